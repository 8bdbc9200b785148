//! Sessions with services, to resume them. Not the cache itself (rustls has it). Invariant: no session outlives a
//! certificate of the handshake that it comes from: a resumption shows no certificate, so rustls alone would believe an
//! expired one for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

use crate::net::clock;

/// Sessions kept to come back with: a few per service are enough.
const SESSIONS_MAX: usize = 256;

/// No certificate was seen that ends.
const NEVER: u64 = u64::MAX;

/// After all sessions were forgotten none is kept for so long: a handshake that was under way would bring an old one
/// back.
const PAUSE_S: u64 = 60;

/// The sessions of all services.
#[derive(Debug)]
pub(super) struct Sessions {
    cache: ArcSwap<ClientSessionMemoryCache>,
    /// The first second in which one of the certificates seen has ended, since the Unix epoch.
    end_s: AtomicU64,
    /// None is kept before.
    pause_until_s: AtomicU64,
    now_s: fn() -> u64,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self::with_clock(|| clock::unix_ms() / 1_000)
    }

    fn with_clock(now_s: fn() -> u64) -> Self {
        Self {
            cache: ArcSwap::from_pointee(ClientSessionMemoryCache::new(SESSIONS_MAX)),
            end_s: AtomicU64::new(NEVER),
            pause_until_s: AtomicU64::new(0),
            now_s,
        }
    }

    /// A certificate was believed whose last second is `not_after`.
    pub(super) fn proved_until(&self, not_after: u64) {
        self.end_s.fetch_min(not_after.saturating_add(1), Relaxed);
    }

    /// Forgets all when one of the certificates has ended; which one is not known, and the next handshakes will tell.
    fn look(&self) {
        let now_s = (self.now_s)();
        if now_s >= self.end_s.load(Relaxed) {
            self.pause_until_s.store(now_s + PAUSE_S, Relaxed);
            self.end_s.store(NEVER, Relaxed);
            let empty = ClientSessionMemoryCache::new(SESSIONS_MAX);
            self.cache.store(Arc::new(empty));
        }
    }

    fn keeps(&self) -> bool {
        (self.now_s)() >= self.pause_until_s.load(Relaxed)
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.cache.load().set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.cache.load().kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        if self.keeps() {
            self.cache.load().set_tls12_session(server_name, value);
        }
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.look();
        self.cache.load().tls12_session(server_name)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.cache.load().remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        if self.keeps() {
            self.cache.load().insert_tls13_ticket(server_name, value);
        }
    }

    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        self.look();
        self.cache.load().take_tls13_ticket(server_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static NOW_S: AtomicU64 = AtomicU64::new(1_000);

    #[test]
    fn sessions_end_with_the_first_certificate() {
        let sessions = Sessions::with_clock(|| NOW_S.load(Relaxed));
        let first = || Arc::as_ptr(&sessions.cache.load());
        let cache = first();
        sessions.proved_until(2_000);
        sessions.proved_until(1_500);
        sessions.proved_until(3_000);
        let table = [
            // (now, forgotten, kept)
            (1_500, false, true),
            (1_501, true, false),
            (1_560, true, false),
            (1_561, true, true),
            (9_000, true, true),
        ];
        for (now, forgotten, kept) in table {
            NOW_S.store(now, Relaxed);
            sessions.look();
            assert_eq!(
                (first() != cache, sessions.keeps()),
                (forgotten, kept),
                "at {now}"
            );
        }
    }
}
