//! One hop of `X-Forwarded-For` or `Forwarded` (RFC 7239), read strictly. Not here: whom to believe.
//! Invariant: elements come from the right, so that nothing to the left (a client's own text) can change how one is read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The elements of all field values, last first; empty ones are no elements (RFC 9110, 5.6.1.2).
pub(super) fn elements<'a>(
    values: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> impl Iterator<Item = &'a [u8]> {
    values
        .rev()
        .flat_map(|value| value.rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Longest element that is looked into: an address with a port has at most 47 bytes, the parameters of a `Forwarded` element hold a host
/// name more. A client can write 15 KB.
const ELEMENT_BYTES_MAX: usize = 512;

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`; nothing else.
pub(super) fn from_xff(element: &[u8]) -> Option<IpAddr> {
    if element.len() > ELEMENT_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(element).ok()?;
    let address = if let Some(bracketed) = text.strip_prefix('[') {
        let (inside, after) = bracketed.split_once(']')?;
        port_or_nothing(after)?;
        IpAddr::V6(inside.parse::<Ipv6Addr>().ok()?)
    } else if let Ok(address) = text.parse::<IpAddr>() {
        address
    } else {
        // An IPv6 address without brackets has no port; what is left is IPv4 with one.
        let (host, port) = text.split_at_checked(text.find(':')?)?;
        port_or_nothing(port)?;
        IpAddr::V4(host.parse::<Ipv4Addr>().ok()?)
    };
    Some(address.to_canonical())
}

/// The `for` of one element; `unknown` and obfuscated names (`_x`) are no address.
///
/// Commas were cut without regard to quotes. An element out of which a quoted comma was cut has an odd number of quotes
/// and is refused, and so is one with a backslash, which could hide a quote; so a quoted Host that a proxy
/// reports (`host="a,for=192.0.2.9"`) cannot pass for a hop.
pub(super) fn from_forwarded(element: &[u8]) -> Option<IpAddr> {
    from_xff(parameter(element, b"for")?)
}

/// The value of the one parameter with this name (lower case), without its quotes; `None` also for an element that cannot be read.
pub(super) fn parameter<'a>(element: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    if element.len() > ELEMENT_BYTES_MAX {
        return None;
    }
    let quotes = element.iter().filter(|byte| **byte == b'"').count();
    if quotes % 2 == 1 || element.contains(&b'\\') {
        return None;
    }
    let mut found = None;
    for pair in element.split(|byte| *byte == b';') {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (pair.get(..equals)?, pair.get(equals + 1..)?);
        if name.trim_ascii().eq_ignore_ascii_case(wanted) {
            if found.is_some() {
                return None;
            }
            found = Some(unquoted(value.trim_ascii())?);
        }
    }
    found
}

fn unquoted(value: &[u8]) -> Option<&[u8]> {
    match value.strip_prefix(b"\"") {
        Some(rest) => rest.strip_suffix(b"\""),
        // IPv6 must be quoted there (RFC 7239, 6), but bare brackets cannot be misread.
        None => Some(value),
    }
}

/// `:` and 1 to 5 digits, or nothing.
fn port_or_nothing(text: &str) -> Option<()> {
    let Some(digits) = text.strip_prefix(':') else {
        return text.is_empty().then_some(());
    };
    let valid = (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then_some(())
}
