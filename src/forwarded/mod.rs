//! The client's address behind proxies, and the key that it is limited by. Not here: the PROXY protocol, any limit.
//! Invariant: no header of an untrusted peer changes anything, and whatever cannot be read charges the nearest
//! address that is certain: a caller can make itself share a bucket, never get a fresh one.

mod hop;
mod key;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

pub use key::LimitKey;

/// The networks whose word about an address we take (`TRUSTED_PROXIES`).
#[derive(Clone, Debug, Default)]
pub struct Trust {
    networks: Vec<IpNet>,
}

impl Trust {
    /// Networks of IPv4-mapped addresses are taken as the IPv4 networks that they are.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self {
            networks: networks.into_iter().map(unmapped).collect(),
        }
    }

    /// Whether the address belongs to a proxy of ours.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }

    /// The client: the peer, or if that is a trusted proxy the right-most hop that is none.
    ///
    /// `xff` and `forwarded` are the values of all `X-Forwarded-For` and `Forwarded` fields, in the order received.
    /// A hop that cannot be read ends the walk at the trusted proxy that reported it: its clients then share
    /// one bucket. If all hops are trusted, the left-most is the client. If both fields are there and disagree, one of
    /// them was let through by a proxy that writes the other; which one we cannot know, so the peer is charged.
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        xff: impl DoubleEndedIterator<Item = &'a [u8]>,
        forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.covers(peer) {
            return peer;
        }
        let by_xff = self.walk(peer, hop::elements(xff), hop::from_xff);
        let by_forwarded = self.walk(peer, hop::elements(forwarded), hop::from_forwarded);
        match (by_xff, by_forwarded) {
            (Some(client), None) | (None, Some(client)) => client,
            (Some(one), Some(other)) if one == other => one,
            (Some(_), Some(_)) | (None, None) => peer,
        }
    }

    /// From the right; `None` if there is not a single hop.
    fn walk<'a>(
        &self,
        peer: IpAddr,
        hops: impl Iterator<Item = &'a [u8]>,
        parse: fn(&[u8]) -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        let mut certain = None;
        for hop in hops {
            match parse(hop) {
                None => return Some(certain.unwrap_or(peer)),
                Some(address) if self.covers(address) => certain = Some(address),
                Some(address) => return Some(address),
            }
        }
        certain
    }

    /// Appends the value of `X-Forwarded-For` for the upstream: what a trusted peer sent, and the peer itself;
    /// of an untrusted peer the address alone, for what it sent is its own invention.
    pub fn chain<'a>(
        &self,
        peer: IpAddr,
        inbound: impl Iterator<Item = &'a [u8]>,
        out: &mut Vec<u8>,
    ) {
        let peer = peer.to_canonical();
        if self.covers(peer) {
            for value in inbound.map(<[u8]>::trim_ascii) {
                if !value.is_empty() {
                    out.extend_from_slice(value);
                    out.extend_from_slice(b", ");
                }
            }
        }
        // Writing to a `Vec` cannot fail.
        let _ = write!(out, "{peer}");
    }
}

fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else {
        return network;
    };
    let mapped = v6.addr().to_ipv4_mapped();
    let narrow = v6.prefix_len().checked_sub(96);
    let v4 = mapped
        .zip(narrow)
        .and_then(|(address, len): (Ipv4Addr, u8)| Ipv4Net::new(address, len).ok());
    v4.map_or(network, IpNet::V4)
}
