//! The PROXY protocol, versions 1 and 2: the header by which a load balancer says whose connection it passes on. Not reading it off
//! a socket (`worker/preamble.rs`) and not the question whether its sender is believed. Invariants: a header that is not whole yet is no
//! error; what `Step::Need` says never reaches beyond the header's end, so that the bytes behind it stay where they are.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest header that is read: what the specification (2.2) promises to pass through any network in one piece. The
/// addresses take 52 bytes at most; the rest is for extensions, which we have no use for.
pub const HEADER_BYTES_MAX: usize = 536;

/// What a header of version 1 can be at most (specification 2.1).
const LINE_BYTES_MAX: usize = 107;

/// The shortest line: `PROXY UNKNOWN` and its end.
const LINE_BYTES_MIN: usize = 15;

/// What version 2 begins with: bytes that no HTTP request and no TLS handshake begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The peer's own: a health check of the balancer (`LOCAL`), or it does not know (`UNKNOWN`), or it was no TCP.
    Peer,
    /// This client's.
    Address(IpAddr),
}

/// What the bytes so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// At least so many bytes of the header are still missing.
    Need(usize),
    /// The header is whole.
    Whole {
        /// Its length in bytes.
        length: usize,
        /// What it says.
        source: Source,
    },
}

/// The bytes are no such header; why, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Reads the header in front of `bytes`.
///
/// # Errors
/// Whatever follows, this will not be a header that we read.
pub fn parse(bytes: &[u8]) -> Result<Step, Malformed> {
    let is_begun = |start: &[u8]| bytes.iter().zip(start).all(|(byte, known)| byte == known);
    if is_begun(b"PROXY ") {
        version_1(bytes)
    } else if is_begun(&SIGNATURE) {
        version_2(bytes)
    } else {
        Err(Malformed("it does not begin with a PROXY protocol header"))
    }
}

fn version_1(bytes: &[u8]) -> Result<Step, Malformed> {
    const UNENDED: Malformed = Malformed("the line does not end with CR LF within 107 bytes");
    let end = bytes
        .iter()
        .take(LINE_BYTES_MAX)
        .position(|byte| matches!(byte, b'\r' | b'\n'));
    let Some(end) = end else {
        if bytes.len() >= LINE_BYTES_MAX {
            return Err(UNENDED);
        }
        // The line's end at least; and no line of its kind is shorter than this.
        let shortest = match bytes.get(..10) {
            Some(b"PROXY TCP4") => "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".len(),
            Some(b"PROXY TCP6") => "PROXY TCP6 :: :: 0 0\r\n".len(),
            Some(_) | None => LINE_BYTES_MIN,
        };
        return Ok(Step::Need(shortest.saturating_sub(bytes.len()).max(2)));
    };
    let length = end + 2;
    match bytes.get(end..length.min(bytes.len())) {
        Some(b"\r") if length <= LINE_BYTES_MAX => return Ok(Step::Need(1)),
        Some(b"\r\n") if length <= LINE_BYTES_MAX => {}
        Some(_) | None => return Err(UNENDED),
    }
    let line = std::str::from_utf8(bytes.get(..end).unwrap_or_default());
    let source = line.ok().and_then(line_source);
    let source = source.ok_or(Malformed("the line of version 1 is malformed"))?;
    Ok(Step::Whole { length, source })
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`, single blanks between (2.1).
fn line_source(line: &str) -> Option<Source> {
    let rest = line.strip_prefix("PROXY ")?;
    // Whatever stands behind UNKNOWN is to be ignored.
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(Source::Peer);
    }
    let mut words = rest.split(' ');
    let family = words.next()?;
    let (source, target) = (words.next()?, words.next()?);
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, _) = (address(source)?, address(target)?);
    let (_, _) = (port(words.next()?)?, port(words.next()?)?);
    // An IPv4 client on an IPv6 socket is an IPv4 client.
    let whole = words.next().is_none();
    whole.then_some(Source::Address(source.to_canonical()))
}

/// Digits without a leading zero (2.1), for the same reason as everywhere: two readers must not read two numbers.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok())?
}

fn version_2(bytes: &[u8]) -> Result<Step, Malformed> {
    if let Some(byte) = bytes.get(12)
        && !matches!(byte, 0x20 | 0x21)
    {
        return Err(Malformed("the version is not 2, or the command unknown"));
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(Step::Need(FIXED_BYTES - bytes.len()));
    };
    let [.., command, family, high, low] = *fixed;
    let follows = usize::from(u16::from_be_bytes([high, low]));
    let length = FIXED_BYTES + follows;
    if length > HEADER_BYTES_MAX {
        return Err(Malformed("the header is longer than 536 bytes"));
    }
    let Some(addresses) = rest.get(..follows) else {
        return Ok(Step::Need(length - bytes.len()));
    };
    let source = if command == 0x20 {
        Source::Peer
    } else {
        address_of(family, addresses)?
    };
    Ok(Step::Whole { length, source })
}

/// The source address stands first, the target and the ports behind it, extensions behind these (2.2).
fn address_of(family: u8, addresses: &[u8]) -> Result<Source, Malformed> {
    const SHORT: Malformed = Malformed("the header is too short for its addresses");
    match family {
        0x11 => {
            let (addresses, _) = addresses.split_first_chunk::<12>().ok_or(SHORT)?;
            let [a, b, c, d, ..] = *addresses;
            Ok(Source::Address(Ipv4Addr::new(a, b, c, d).into()))
        }
        0x21 => {
            let (addresses, _) = addresses.split_first_chunk::<36>().ok_or(SHORT)?;
            let source = addresses.first_chunk::<16>().ok_or(SHORT)?;
            Ok(Source::Address(
                IpAddr::from(Ipv6Addr::from(*source)).to_canonical(),
            ))
        }
        // Unspecified, datagrams, UNIX sockets: no address that a TCP client could have.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Ok(Source::Peer),
        _ => Err(Malformed("the address family is unknown")),
    }
}
