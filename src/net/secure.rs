//! Whom a service must prove to be. Not the proof (rustls has it). Invariant: a name and what is trusted for it go
//! together.

use std::sync::Arc;

use rustls::pki_types::ServerName;

use crate::throttle::SharedThrottle;
use crate::tls::{Cause, Services};

/// Least time between two log lines about one kind of failure of one URL.
const TOLD_MS: u64 = 10_000;

/// How a service is to be spoken to over TLS: whom to trust, and the name that its certificate must have.
#[derive(Debug)]
pub struct Secure {
    pub(super) services: Arc<Services>,
    pub(super) name: ServerName<'static>,
    told: [SharedThrottle; Cause::COUNT],
}

impl Secure {
    /// A way to the service of this name.
    pub fn new(services: Arc<Services>, name: ServerName<'static>) -> Self {
        let told = [const { SharedThrottle::new(TOLD_MS) }; Cause::COUNT];
        Self {
            services,
            name,
            told,
        }
    }

    /// Counts the replacements of what is trusted.
    pub fn generation(&self) -> u64 {
        self.services.generation()
    }

    /// Called for each failure. `Some`: a line is due now, and so many of this kind were left out before this one.
    pub fn is_told(&self, cause: Cause, now_ms: u64) -> Option<u64> {
        self.told.get(cause as usize)?.pass(now_ms)
    }
}
