//! Whether bytes are `host[:port]`. Not name resolution, not routing. Invariant: what passes reads the same in a `Host` field,
//! in a URL and in a log line.

use std::net::Ipv6Addr;

/// A host name's bound (RFC 1035 2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// `host`, `host:port`, `[v6]`, `[v6]:port`. The grammar of RFC 3986 also has percent-codes, `,` `;` `'` and the like in
/// a host; no name in DNS has them and two readers split them differently, so they are refused.
#[must_use]
pub fn is_authority(text: &[u8]) -> bool {
    let (host_is_good, port) = match text {
        [b'[', rest @ ..] => {
            let Some(end) = memchr::memchr(b']', rest) else {
                return false;
            };
            let (address, behind) = rest.split_at(end);
            (is_ipv6(address), behind.get(1..).unwrap_or_default())
        }
        _ => {
            let end = memchr::memchr(b':', text).unwrap_or(text.len());
            let (host, port) = text.split_at(end);
            (is_name(host), port)
        }
    };
    host_is_good && is_port(port)
}

fn is_name(host: &[u8]) -> bool {
    let is_host_byte = |&byte: &u8| HOST_BYTES.get(usize::from(byte)).is_some_and(|&good| good);
    !host.is_empty() && host.len() <= HOST_BYTES_MAX && host.iter().all(is_host_byte)
}

/// Letters, digits and `-._~`, as a table because every request's host is looked at.
static HOST_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
};

fn is_ipv6(address: &[u8]) -> bool {
    std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// Nothing, or a colon with digits up to 65535; RFC 3986 3.2.3 lets them be none.
fn is_port(port: &[u8]) -> bool {
    let [b':', digits @ ..] = port else {
        return port.is_empty();
    };
    // Bounded first: the sum of five digits cannot overflow.
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let value = digits
        .iter()
        .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    value <= 65_535
}
