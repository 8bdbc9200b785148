//! What a peer has proved to be: its certificate and the subject in it (RFC 4514) as text for a service, and until
//! when. Not the proof (rustls has checked it before). Invariants: the text is printable ASCII, so that no name in a
//! certificate can end a header field; two different subjects never read the same, because what has a meaning in the
//! string is escaped.

use base64::Engine as _;

use super::certificate::Certificate;
use super::der::{Element, OID, SEQUENCE, SET, dotted, take, take_content};

/// A peer's certificate, its subject and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// Base64 of the certificate's DER.
    pub certificate: String,
    /// Its subject: `CN=device-7,O=Example`. `None` where it has none, or one that is no name.
    pub subject: Option<String>,
    /// When it ends: from then on it proves nothing. Milliseconds of the Unix clock.
    pub ends_ms: u64,
}

impl Proved {
    /// Of a certificate as it was shown (DER).
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let parsed = Certificate::parse(der);
        let subject = parsed.and_then(|certificate| subject(certificate.subject));
        // The last second still counts. What cannot be read proves nothing from the start.
        let ends_ms = parsed.map_or(0, |certificate| (certificate.not_after + 1) * 1_000);
        Self {
            certificate: base64::engine::general_purpose::STANDARD.encode(der),
            subject: subject.filter(|text| !text.is_empty()),
            ends_ms,
        }
    }
}

/// Attributes with a name of their own (RFC 4514 3, RFC 4519), by the DER of their type; the mail address as everybody writes it.
const NAMED: [(&[u8], &str); 12] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 12], "title"),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
        "DC",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1],
        "UID",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1],
        "emailAddress",
    ),
];

/// The text of a name, given its DER's content. `None`: it is none.
pub(super) fn subject(mut name: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    while !name.is_empty() {
        parts.push(relative(take_content(&mut name, SET)?)?);
    }
    // The most significant part stands first in the certificate and last in the string (2.1).
    parts.reverse();
    Some(parts.join(","))
}

/// One part of the name, in general a single attribute (2.2).
fn relative(mut set: &[u8]) -> Option<String> {
    let mut attributes = Vec::new();
    while !set.is_empty() {
        let mut pair = take_content(&mut set, SEQUENCE)?;
        let kind = take_content(&mut pair, OID)?;
        attributes.push(attribute(kind, &take(&mut pair)?)?);
    }
    Some(attributes.join("+"))
}

fn attribute(kind: &[u8], value: &Element<'_>) -> Option<String> {
    let named = NAMED.iter().find(|(der, _)| *der == kind);
    let text = match value.tag {
        // UTF-8, numeric, printable, IA5, visible: bytes of UTF-8 all of them.
        0x0c | 0x12 | 0x13 | 0x16 | 0x1a => {
            std::str::from_utf8(value.content).ok().map(str::to_owned)
        }
        0x1e => utf16(value.content),
        _ => None,
    };
    Some(match (named, text) {
        (Some((_, name)), Some(text)) => format!("{name}={}", escaped(&text)),
        // A type without a name, or a value that is no text, is written as its DER (2.4).
        (Some((_, name)), None) => format!("{name}=#{}", hex(value.whole)),
        (None, _) => format!("{}=#{}", dotted(kind)?, hex(value.whole)),
    })
}

fn utf16(bytes: &[u8]) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    rest.is_empty().then(|| String::from_utf16(&units).ok())?
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Everything that is not plain is escaped: with a backslash, or as `\` and two digits, which the RFC allows for any byte (2.4).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' ' if at == 0 || at == last => out.push_str("\\ "),
            b'#' if at == 0 => out.push_str("\\#"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                out.push('\\');
                out.push_str(&hex(&[byte]));
            }
        }
    }
    out
}
