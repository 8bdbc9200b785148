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

/// Hops of a forwarding field that are looked at, from the right. More proxies in a row than any set-up has; a client can write any number.
pub const HOPS_MAX: usize = 32;

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

    /// What is known of the client of a request that came from `peer`.
    ///
    /// From a peer that is not trusted: its own address, and nothing that it says. From a trusted proxy the client is the right-most hop that
    /// is no trusted proxy, as `X-Forwarded-For` or `Forwarded` says it; with neither field, `X-Real-IP`; with none of them, the peer. A hop
    /// that cannot be read ends the walk at the trusted proxy that reported it: its clients then share one bucket. If all hops are
    /// trusted, or more than [`HOPS_MAX`], the left-most that was looked at is the client.
    ///
    /// # Errors
    /// `X-Forwarded-For` and `Forwarded` name different clients: a proxy that writes one of them has let the client's own text in the
    /// other through. Which one cannot be known, and either guess would let a client choose the bucket that it is charged to.
    pub fn account<'a, I>(&self, peer: IpAddr, said: &Said<I>) -> Result<Account<'a>, Contradiction>
    where
        I: DoubleEndedIterator<Item = &'a [u8]> + Clone,
    {
        let peer = peer.to_canonical();
        if !self.covers(peer) {
            return Ok(Account::of_peer(peer));
        }
        let xff = self.walk(peer, hop::elements(said.xff.clone()), hop::from_xff);
        let forwarded = hop::elements(said.forwarded.clone());
        let forwarded = self.walk(peer, forwarded, hop::from_forwarded);
        let (source, client, element) = match (xff, forwarded) {
            (Some((one, _)), Some((other, _))) if one != other => return Err(Contradiction),
            // `X-Forwarded-Proto` and `-Host` go with it.
            (Some((client, _)), _) => (Source::XForwardedFor, client, None),
            (None, Some((client, element))) => (Source::Forwarded, client, Some(element)),
            (None, None) => match real_ip(said.real_ip.clone()) {
                Some(client) => (Source::XRealIp, client.unwrap_or(peer), None),
                None => (Source::Peer, peer, None),
            },
        };
        let parameter = |name| element.and_then(|element| hop::parameter(element, name));
        Ok(Account {
            client,
            trusted: true,
            source,
            proto: parameter(b"proto"),
            host: parameter(b"host"),
        })
    }

    /// From the right: the client and the element that names it; `None` if there is not a single hop.
    fn walk<'a>(
        &self,
        peer: IpAddr,
        hops: impl Iterator<Item = &'a [u8]>,
        parse: fn(&[u8]) -> Option<IpAddr>,
    ) -> Option<(IpAddr, &'a [u8])> {
        let mut certain = None;
        for hop in hops.take(HOPS_MAX) {
            match parse(hop) {
                None => return Some(certain.unwrap_or((peer, hop))),
                Some(address) if self.covers(address) => certain = Some((address, hop)),
                Some(address) => return Some((address, hop)),
            }
        }
        certain
    }
}

/// The value of a single `X-Real-IP`, or `Some(None)` for one that cannot be read.
fn real_ip<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<Option<IpAddr>> {
    let value = values.next()?;
    Some(
        values
            .next()
            .is_none()
            .then(|| hop::from_xff(value.trim_ascii()))
            .flatten(),
    )
}

/// The values of a request's forwarding fields, each in the order received.
#[derive(Clone, Debug)]
pub struct Said<I> {
    /// All `X-Forwarded-For`.
    pub xff: I,
    /// All `Forwarded`.
    pub forwarded: I,
    /// All `X-Real-IP`.
    pub real_ip: I,
}

/// Which field of a trusted proxy told who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Peer,
    XForwardedFor,
    Forwarded,
    XRealIp,
}

/// The one account of a request's client: what limits, logs, redirects and the service are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// The peer is a trusted proxy.
    pub trusted: bool,
    /// `proto` of the `Forwarded` element that names the client, where that field told the account.
    pub proto: Option<&'a [u8]>,
    /// `host` of the same element.
    pub host: Option<&'a [u8]>,
    source: Source,
}

/// The forwarding fields of a trusted proxy name different clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction;

impl Contradiction {
    /// What the client is told, and an operator can mend.
    #[must_use]
    pub const fn message(self) -> &'static str {
        "X-Forwarded-For and Forwarded name different clients: the proxy in front must write both of them or drop the one that it does not write"
    }
}

impl Account<'_> {
    /// Of a peer that speaks for itself.
    #[must_use]
    pub const fn of_peer(peer: IpAddr) -> Self {
        Self {
            client: peer,
            trusted: false,
            proto: None,
            host: None,
            source: Source::Peer,
        }
    }

    /// Appends the value of `X-Forwarded-For` for the service: the hops of the field that told the account, and the peer itself. Of an
    /// untrusted peer the address alone, for what it sent is its own invention.
    pub fn write_chain<'a, I>(&self, peer: IpAddr, said: &Said<I>, out: &mut Vec<u8>)
    where
        I: DoubleEndedIterator<Item = &'a [u8]> + Clone,
    {
        match self.source {
            Source::Peer => {}
            Source::XForwardedFor => {
                for value in said.xff.clone().map(<[u8]>::trim_ascii) {
                    if !value.is_empty() {
                        out.extend_from_slice(value);
                        out.extend_from_slice(b", ");
                    }
                }
            }
            Source::Forwarded => {
                let mut hops = [None; HOPS_MAX];
                let mut count = 0;
                for (place, element) in hops.iter_mut().zip(hop::elements(said.forwarded.clone())) {
                    *place = hop::from_forwarded(element);
                    count += 1;
                }
                for hop in hops.iter().take(count).rev() {
                    // Writing to a `Vec` cannot fail.
                    let _ = match hop {
                        Some(address) => write!(out, "{address}, "),
                        None => write!(out, "unknown, "),
                    };
                }
            }
            Source::XRealIp => {
                let _ = write!(out, "{}, ", self.client);
            }
        }
        let _ = write!(out, "{}", peer.to_canonical());
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
