//! Whose bucket: an organization or a client address, and the 64-bit keyed hash that stands for it. Not the bucket.
//! Invariant: the hash keys are drawn per node and never leave it, so nobody outside can search for two keys that share a bucket.
//!
//! The hash alone names a key in every table here; no key text is kept. By chance alone, one pair among 262,144 keys collides with a
//! probability of 2^-29, and the pair would then share one bucket: it could be refused early, never admitted above the bound.
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ahash::RandomState;
use arrayvec::ArrayString;

/// What an operator names: a key that owns its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// An organization, by the text of its id.
    Org(Box<str>),
    /// A client address; IPv6 stands for its /64.
    Ip(IpAddr),
}

impl Key {
    /// The key's name in the store. Braces: a cluster places a key by what stands between them.
    #[must_use]
    pub fn store_name(&self) -> Box<str> {
        Name::from(self).store_name()
    }

    /// Reads a store's name back.
    #[must_use]
    pub fn of_store_name(name: &str) -> Option<Self> {
        let text = name.strip_prefix("rl:{")?.strip_suffix('}')?;
        match text.split_once(':')? {
            ("o", id) => Some(Self::Org(id.into())),
            ("i", address) => address.parse().ok().map(Self::Ip),
            (_, _) => None,
        }
    }
}

/// A key as the exchange keeps it, for as long as it remembers it: an address and most ids take no memory of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// An organization whose id is longer than `SHORT`.
    Org(Box<str>),
    Short(ArrayString<SHORT>),
    V4(u32),
    /// A /64.
    V6(u64),
}

/// Bytes of an id that lie in the name itself; integers of 64 bits have 20 digits at most.
const SHORT: usize = 20;

const _: () = assert!(size_of::<Name>() <= 32);

impl From<&Key> for Name {
    fn from(key: &Key) -> Self {
        match key {
            Key::Org(text) => match ArrayString::from(text) {
                Ok(short) => Self::Short(short),
                Err(_) => Self::Org(text.clone()),
            },
            Key::Ip(address) => match IpKey::from(*address).0 {
                Net::V4(bits) => Self::V4(bits),
                Net::V6(bits) => Self::V6(bits),
            },
        }
    }
}

impl Name {
    /// As `Key::store_name`.
    pub(super) fn store_name(&self) -> Box<str> {
        let ip = |net| format!("rl:{{i:{}}}", IpKey(net).address()).into();
        match self {
            Self::Org(text) => format!("rl:{{o:{text}}}").into(),
            Self::Short(text) => format!("rl:{{o:{text}}}").into(),
            Self::V4(bits) => ip(Net::V4(*bits)),
            Self::V6(bits) => ip(Net::V6(*bits)),
        }
    }
}

/// An organization's id, borrowed from the request.
#[derive(Clone, Copy, Debug)]
pub struct OrgKey<'a>(&'a str);

impl<'a> OrgKey<'a> {
    /// The id's text as the token gave it.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    pub(super) fn text(self) -> &'a str {
        self.0
    }
}

/// A client address: IPv4, or the /64 of an IPv6 address, since one subscriber is given a whole /64 and could pick a new address
/// for every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpKey(Net);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Net {
    V4(u32),
    V6(u64),
}

impl IpKey {
    /// The address, or the first one of the network that the key stands for.
    #[must_use]
    pub fn address(self) -> IpAddr {
        match self.0 {
            Net::V4(bits) => IpAddr::V4(bits.into()),
            Net::V6(bits) => IpAddr::V6((u128::from(bits) << 64).into()),
        }
    }
}

impl From<IpAddr> for IpKey {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => Net::V4(v4.to_bits()),
            IpAddr::V6(v6) => Net::V6(upper_half(v6)),
        })
    }
}

fn upper_half(address: Ipv6Addr) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = address.octets();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Which of the two limits a key belongs to; also picks its overflow buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Org,
    Ip,
}

/// A key's keyed hash; never 0, which marks a slot without an owner.
pub(super) type Hash = u64;

/// The node's secret hash keys.
pub(super) struct Hasher(RandomState);

impl Hasher {
    pub(super) fn new() -> Self {
        Self(RandomState::new())
    }

    // The kind is hashed first: organization "1" and address 0.0.0.1 are two keys.
    pub(super) fn org(&self, key: OrgKey<'_>) -> Hash {
        self.0.hash_one((0_u8, key.0)).max(1)
    }

    pub(super) fn ip(&self, key: IpKey) -> Hash {
        let hash = match key.0 {
            Net::V4(bits) => self.0.hash_one((1_u8, u64::from(bits))),
            Net::V6(bits) => self.0.hash_one((2_u8, bits)),
        };
        hash.max(1)
    }

    pub(super) fn key(&self, key: &Key) -> (Kind, Hash) {
        match key {
            Key::Org(text) => (Kind::Org, self.org(OrgKey(text))),
            Key::Ip(address) => (Kind::Ip, self.ip(IpKey::from(*address))),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher(secret)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn a_name_is_the_keys_own() {
        let long = "an-organization-with-a-long-name";
        for (key, name) in [
            (Key::Org("1".into()), "rl:{o:1}".to_owned()),
            (
                Key::Org("18446744073709551615".into()),
                "rl:{o:18446744073709551615}".to_owned(),
            ),
            (Key::Org(long.into()), format!("rl:{{o:{long}}}")),
            (Key::Org("é".into()), "rl:{o:é}".to_owned()),
            (
                Key::Ip([192, 0, 2, 1].into()),
                "rl:{i:192.0.2.1}".to_owned(),
            ),
            (
                Key::Ip("2001:db8::5".parse().unwrap()),
                "rl:{i:2001:db8::}".to_owned(),
            ),
        ] {
            assert_eq!(*Name::from(&key).store_name(), *name);
            let read = Key::of_store_name(&name).unwrap();
            assert_eq!(Name::from(&read), Name::from(&key));
        }
    }

    #[test]
    fn addresses_that_are_one_client_are_one_key() {
        let table = [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::1", "0.0.0.1", false),
        ];
        let hasher = Hasher::new();
        for (a, b, same) in table {
            let [x, y] = [a, b].map(|text| IpKey::from(text.parse::<IpAddr>().unwrap()));
            assert_eq!(x == y, same, "{a} {b}");
            assert_eq!(hasher.ip(x) == hasher.ip(y), same, "{a} {b}");
        }
        assert_ne!(hasher.org(OrgKey::new("1")), hasher.org(OrgKey::new("2")));
    }
}
