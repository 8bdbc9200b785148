//! The address that a client is limited by. Not here: the bucket itself.
//! Invariant: two addresses of one IPv6 /64, or one IPv4 address in both spellings, have one key and one text.

use std::fmt;
use std::net::{AddrParseError, IpAddr, Ipv6Addr};
use std::str::FromStr;

/// An IPv4 address, or an IPv6 /64: a subscriber has at least 2^64 IPv6 addresses, but one such network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitKey(IpAddr);

impl LimitKey {
    /// The key of a client's address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let network = v6.to_bits() & (u128::MAX << 64);
                Self(IpAddr::V6(Ipv6Addr::from_bits(network)))
            }
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }

    /// The address, or the first one of the /64.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.0
    }
}

/// `192.0.2.1`, `2001:db8::/64`.
impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// Takes any address, and the text that `Display` gives, so that what `/rate-limit/info` shows can be reset.
impl FromStr for LimitKey {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_suffix("/64") {
            Some(network) => network.parse::<Ipv6Addr>().map(|v6| Self::of(v6.into())),
            None => text.parse::<IpAddr>().map(Self::of),
        }
    }
}
