//! Whom a service must prove to be. Not the proof (rustls has it). Invariant: a name and the authorities for it go together.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// How a service is to be spoken to over TLS: whom to trust, and the name that its certificate must have.
#[derive(Debug, Clone)]
pub struct Secure {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl Secure {
    /// A way to the service of this name.
    pub fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        Self { config, name }
    }
}
