//! The warning about a proxy that `TRUSTED_PROXIES` leaves out: all clients behind it share one limit, and nobody notices until they
//! are refused. Not the decision whom to believe (`forwarded`). Invariant: one line per process, and next to nothing per request.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};

use super::shard::Shard;
use crate::config::Snapshot;
use crate::http1::{Name, Request};
use crate::net::Stream;

/// Requests of each worker that are all looked at.
const FIRST: u32 = 256;

/// Of the others one in so many is: a proxy writes its field into every request.
const ONE_IN: u32 = 64;

/// How many requests go by until the next look.
#[derive(Debug, Default)]
pub(super) struct ProxyHint {
    wait: Cell<u32>,
    looks: Cell<u32>,
}

impl ProxyHint {
    /// Whether this request is to be looked at.
    fn is_due(&self) -> bool {
        let wait = self.wait.get();
        if wait > 0 {
            self.wait.set(wait - 1);
            return false;
        }
        let looks = self.looks.get().saturating_add(1);
        self.looks.set(looks);
        self.wait.set(if looks < FIRST { 0 } else { ONE_IN - 1 });
        true
    }

    /// No request is looked at for a long while: it has been said.
    fn stop(&self) {
        self.wait.set(u32::MAX);
    }
}

/// Warns, once per process, of forwarding fields from a private address that is not trusted. A stranger from outside who writes the
/// field is no proxy of ours.
#[inline]
pub(super) fn look<S: Stream>(
    request: &Request<'_, '_>,
    peer: IpAddr,
    snapshot: &Snapshot,
    shard: &Shard<S>,
) {
    if shard.proxy_hint.is_due() {
        warn_of_proxy(request, peer, snapshot, shard);
    }
}

fn warn_of_proxy<S: Stream>(
    request: &Request<'_, '_>,
    peer: IpAddr,
    snapshot: &Snapshot,
    shard: &Shard<S>,
) {
    let rules = &snapshot.rules;
    // With the PROXY protocol the client is known without the field.
    let is_proxy =
        |name: Name| matches!(name, Name::XForwardedFor | Name::Forwarded | Name::XRealIp);
    let is_meant = !rules.config.proxy_protocol
        && is_private(peer)
        && request.fields.iter().any(|field| is_proxy(field.kind))
        && !rules.trust.covers(peer);
    if !is_meant {
        return;
    }
    shard.proxy_hint.stop();
    if shard.setup.state.take_proxy_hint() {
        tracing::warn!(
            %peer,
            "X-Forwarded-For came from an address that TRUSTED_PROXIES does not cover and is not believed: all clients behind it \
             share one limit; if it is a proxy of yours, name it in TRUSTED_PROXIES"
        );
    }
}

/// Addresses that no stranger from the internet has: RFC 1918, 6598, 4193, 3927, loopback and link-local ones.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let shared = v4.to_bits() >> 22 == Ipv4Addr::new(100, 64, 0, 0).to_bits() >> 22;
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn the_first_requests_are_looked_at_and_then_one_in_64() {
        let hint = ProxyHint::default();
        let due = |count: u32| (0..count).filter(|_| hint.is_due()).count();
        assert_eq!(due(FIRST), 256);
        assert_eq!(due(64 * 10), 10);
        hint.stop();
        assert_eq!(due(10_000), 0);
    }

    #[test]
    fn private_addresses() {
        for (address, expected) in [
            ("10.1.2.3", true),
            ("172.16.0.1", true),
            ("172.32.0.1", false),
            ("192.168.0.1", true),
            ("100.64.0.1", true),
            ("100.127.255.255", true),
            ("100.128.0.1", false),
            ("127.0.0.1", true),
            ("169.254.1.1", true),
            ("203.0.113.9", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
            ("::ffff:10.0.0.1", true),
            ("::ffff:203.0.113.9", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), expected, "{address}");
        }
    }
}
