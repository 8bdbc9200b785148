//! Version 1 of the header: a line of text. Not its bytes in the binary version. Invariant: nothing but the specification's one
//! spelling is read, so that whoever wrote the line meant what we read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Malformed, Source, Step};

/// What it begins with: no HTTP method of ours.
pub(super) const BEGIN: &[u8] = b"PROXY ";

/// What a header of version 1 can be at most (specification 2.1).
pub(super) const LINE_BYTES_MAX: usize = 107;

/// The shortest line: `PROXY UNKNOWN` and its end.
const LINE_BYTES_MIN: usize = 15;

/// Reads a line that has begun with `BEGIN`, as far as it goes.
pub(super) fn parse(bytes: &[u8]) -> Result<Step, Malformed> {
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
