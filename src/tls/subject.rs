//! What a peer has proved to be, as text for a service: its certificate, and the subject in it as a string of RFC 4514. Not the proof
//! (rustls has checked it before). Invariants: the text is printable ASCII, so that no name in a certificate can end a header field;
//! two different subjects never read the same, because what has a meaning in the string is escaped.

use base64::Engine as _;

/// A peer's certificate and its subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// Base64 of the certificate's DER.
    pub certificate: String,
    /// Its subject: `CN=device-7,O=Example`. `None` where it has none, or one that is no name.
    pub subject: Option<String>,
}

impl Proved {
    /// Of a certificate as it was shown (DER).
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self {
            certificate: base64::engine::general_purpose::STANDARD.encode(der),
            subject: subject(der).filter(|text| !text.is_empty()),
        }
    }
}

// Tags of DER (X.690) that stand on the way to a name (RFC 5280 4.1).
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const VERSION: u8 = 0xa0;

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

/// One element of DER.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    /// Tag and length included.
    whole: &'a [u8],
}

/// Takes the next element off the front.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<Element<'a>> {
    let all = *bytes;
    let (&[tag, first], rest) = all.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = length
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    let whole = all.get(..all.len() - rest.len())?;
    Some(Element {
        tag,
        content,
        whole,
    })
}

fn take_content<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    take(bytes)
        .filter(|element| element.tag == tag)
        .map(|element| element.content)
}

/// The subject of a certificate. `None`: it is none.
fn subject(mut der: &[u8]) -> Option<String> {
    let mut certificate = take_content(&mut der, SEQUENCE)?;
    let mut body = take_content(&mut certificate, SEQUENCE)?;
    if body.first() == Some(&VERSION) {
        take(&mut body)?;
    }
    for _serial_algorithm_issuer_validity in 0..4 {
        take(&mut body)?;
    }
    let mut name = take_content(&mut body, SEQUENCE)?;
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

/// `2.5.4.97`: the first number holds two parts, each number seven bits a byte (X.690 8.19).
fn dotted(oid: &[u8]) -> Option<String> {
    let mut numbers = Vec::new();
    let mut number = 0_u64;
    for byte in oid {
        number = number.checked_mul(128)? + u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            numbers.push(std::mem::take(&mut number));
        }
    }
    let (first, rest) = numbers.split_first()?;
    let top = (first / 40).min(2);
    let mut text = format!("{top}.{}", first - top * 40);
    for number in rest {
        text.push('.');
        text.push_str(&number.to_string());
    }
    Some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use rcgen::string::{BmpString, Ia5String};
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;

    fn certificate(parts: Vec<(DnType, DnValue)>) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind, value);
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn check(parts: Vec<(DnType, DnValue)>, expected: Option<&str>) {
        let proved = Proved::of(&certificate(parts));
        assert_eq!(proved.subject.as_deref(), expected);
    }

    fn utf8(text: &str) -> DnValue {
        DnValue::Utf8String(text.to_owned())
    }

    #[test]
    fn a_subject_is_written_as_in_rfc_4514() {
        let cn = |text: &str| vec![(DnType::CommonName, utf8(text))];
        check(
            vec![
                (DnType::CountryName, utf8("DE")),
                (DnType::OrganizationName, utf8("Example, Inc.")),
                (DnType::CommonName, utf8("device-7")),
            ],
            Some("CN=device-7,O=Example\\, Inc.,C=DE"),
        );
        for (text, expected) in [
            ("", "CN="),
            (" a b ", "CN=\\ a b\\ "),
            (" ", "CN=\\ "),
            ("#a#", "CN=\\#a#"),
            ("a+b;\"<c>\\=", "CN=a\\+b\\;\\\"\\<c\\>\\\\="),
            // What would end a field, or the string in another language.
            (
                "a\r\nX-User-ID: 1\0\u{7f}",
                "CN=a\\0D\\0AX-User-ID: 1\\00\\7F",
            ),
            ("a,CN=admin", "CN=a\\,CN=admin"),
            ("Gärtner", "CN=G\\C3\\A4rtner"),
        ] {
            check(cn(text), Some(expected));
        }
        let wide = BmpString::try_from("Gärtner").unwrap();
        let mail = Ia5String::try_from("a@b.test").unwrap();
        let email = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
        check(
            vec![
                (DnType::CommonName, DnValue::BmpString(wide)),
                (email, DnValue::Ia5String(mail)),
                (DnType::CustomDnType(vec![2, 5, 4, 97]), utf8("x")),
                (DnType::CustomDnType(vec![2, 999, 3]), utf8("x")),
            ],
            Some("2.999.3=#0C0178,2.5.4.97=#0C0178,emailAddress=a@b.test,CN=G\\C3\\A4rtner"),
        );
        check(Vec::new(), None);
    }

    /// The certificate has been checked before; all the same no byte of it may do harm.
    #[test]
    fn no_bytes_reach_a_panic_or_leave_the_line() {
        let good = certificate(vec![
            (DnType::OrganizationName, utf8("Example")),
            (DnType::CommonName, utf8("a")),
        ]);
        for length in 0..good.len() {
            let _ = subject(&good[..length]);
        }
        let mut state = 0x1234_5678_u64;
        println!("seed {state:#x}");
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from(state >> 33).unwrap()
        };
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..=random() % 3 {
                // Where the subject stands, for the most part.
                let at = random() % good.len().min(200);
                bytes[at] = u8::try_from(random() % 256).unwrap();
            }
            if let Some(text) = subject(&bytes) {
                assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }
    }
}
