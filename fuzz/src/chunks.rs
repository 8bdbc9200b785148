//! The chunked coding read straight from RFC 9112 7.1, over the whole input at once. Not incremental, and on no other parser.
//! Invariant: it takes what the grammar takes, but extensions, which are dropped, it only follows to their line's end.

use crate::{Read, strict};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunked {
    pub data: Vec<u8>,
    /// Without their line ends.
    pub trailers: Vec<Vec<u8>>,
    pub len: usize,
}

/// chunked-body = *chunk last-chunk trailer-section CRLF
pub fn chunked(bytes: &[u8]) -> Read<Chunked> {
    let mut data = Vec::new();
    let mut at = 0;
    loop {
        let (size, line) = match size_line(&bytes[at..]) {
            Read::Whole(found) => found,
            Read::Incomplete => return Read::Incomplete,
            Read::Wrong => return Read::Wrong,
        };
        at += line;
        if size == 0 {
            return trailers(bytes, at, data);
        }
        let present = (bytes.len() - at) as u128;
        if present < size {
            return Read::Incomplete;
        }
        let end = at + size as usize;
        data.extend_from_slice(&bytes[at..end]);
        match bytes[end..] {
            [b'\r', b'\n', ..] => at = end + 2,
            [] | [b'\r'] => return Read::Incomplete,
            _ => return Read::Wrong,
        }
    }
}

/// chunk-size [ chunk-ext ] CRLF: the size, and the bytes of the line.
fn size_line(bytes: &[u8]) -> Read<(u128, usize)> {
    let mut size: u128 = 0;
    let mut at = 0;
    while let Some(digit) = bytes
        .get(at)
        .and_then(|byte| char::from(*byte).to_digit(16))
    {
        size = size.saturating_mul(16).saturating_add(u128::from(digit));
        at += 1;
    }
    if at == 0 {
        return if bytes.is_empty() {
            Read::Incomplete
        } else {
            Read::Wrong
        };
    }
    let digits = at;
    while matches!(bytes.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    match bytes.get(at) {
        None => return Read::Incomplete,
        Some(b';') => match extension(&bytes[at..]) {
            Read::Whole(len) => at += len,
            Read::Incomplete => return Read::Incomplete,
            Read::Wrong => return Read::Wrong,
        },
        // White space only ahead of an extension (BWS).
        Some(b'\r') if at == digits => {}
        Some(_) => return Read::Wrong,
    }
    match bytes[at..] {
        [b'\r', b'\n', ..] => Read::Whole((size, at + 2)),
        [b'\r'] => Read::Incomplete,
        _ => Read::Wrong,
    }
}

/// Up to the CR, minding quoted strings and pairs.
fn extension(bytes: &[u8]) -> Read<usize> {
    let (mut quoted, mut pair) = (false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match (byte, quoted, pair) {
            (b'\r', false, _) => return Read::Whole(at),
            (0x00..=0x08 | 0x0a..=0x1f | 0x7f, ..) => return Read::Wrong,
            (_, _, true) => pair = false,
            (b'"', ..) => quoted = !quoted,
            (b'\\', true, _) => pair = true,
            _ => {}
        }
    }
    Read::Incomplete
}

fn trailers(bytes: &[u8], mut at: usize, data: Vec<u8>) -> Read<Chunked> {
    let mut trailers = Vec::new();
    loop {
        let line = match strict::line(&bytes[at..]) {
            Read::Whole(line) => line,
            Read::Incomplete => return Read::Incomplete,
            Read::Wrong => return Read::Wrong,
        };
        at += line.len() + 2;
        if line.is_empty() {
            return Read::Whole(Chunked {
                data,
                trailers,
                len: at,
            });
        }
        if strict::field(line).is_none() {
            return Read::Wrong;
        }
        trailers.push(line.to_vec());
    }
}

/// What no trailer may say (RFC 9110 6.5.1): how the message is framed, where it goes, who sent it.
pub fn is_forbidden_trailer(line: &[u8]) -> bool {
    const NEVER: [&str; 40] = [
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "authorization",
        "cookie",
        "set-cookie",
        "www-authenticate",
        "content-type",
        "content-encoding",
        "content-range",
        "cache-control",
        "max-forwards",
        "range",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-range",
        "age",
        "date",
        "expires",
        "vary",
        "location",
        "retry-after",
        "origin",
        "forwarded",
        "x-real-ip",
        "true-client-ip",
        "x-user-id",
        "x-organization-id",
        "x-user-role",
        "x-request-id",
    ];
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    let folded = folded(name);
    NEVER.iter().any(|never| folded == never.as_bytes()) || folded.starts_with(b"x-forwarded-")
}

/// Lower case, and in the names that say who a caller is, or that strangers may not send, whatever is no letter and no digit as `-`, as
/// CGI-like services read them.
pub fn folded(name: &[u8]) -> Vec<u8> {
    let lower = name.to_ascii_lowercase();
    let dash = |byte: &u8| if byte.is_ascii_alphanumeric() { *byte } else { b'-' };
    let dashed: Vec<u8> = lower.iter().map(dash).collect();
    let guarded = [
        &b"content-length"[..],
        b"transfer-encoding",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"remote-user",
        b"ssl-client-cert",
        b"client-cert",
        b"client-cert-chain",
    ];
    if dashed.starts_with(b"x-") || guarded.contains(&dashed.as_slice()) {
        dashed
    } else {
        lower
    }
}
