//! How a shared secret is written in the configuration, and its bytes. Not where it comes from (`config`). Invariant: an error says
//! what the text must be and never holds a part of it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding may be left out, and bits behind the last whole byte may be anything: Java's and Node's decoders take both, and a secret
/// that an issuer signs with must give the same key here.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// How a secret is written (`JWT_SECRET_ENCODING`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretEncoding {
    /// The text's own bytes are the key.
    Text,
    /// RFC 4648 section 4.
    Base64,
    /// RFC 4648 section 5.
    Base64Url,
    /// Two digits a byte, in either case.
    Hex,
}

impl SecretEncoding {
    /// Every encoding, in the order of the help text.
    pub const ALL: [Self; 4] = [Self::Text, Self::Base64, Self::Base64Url, Self::Hex];

    /// The setting's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
            Self::Hex => "hex",
        }
    }

    /// The encoding of this name, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|encoding| encoding.name().eq_ignore_ascii_case(name))
    }

    /// The key's bytes. Blanks and line ends are no part of an encoded secret: `openssl rand -base64 64` breaks its line.
    ///
    /// # Errors
    /// What the text must be, worded to follow "must be".
    pub fn decode(self, text: &str) -> Result<Vec<u8>, &'static str> {
        if self == Self::Text {
            return Ok(text.as_bytes().to_vec());
        }
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let other_alphabet = |marks: [u8; 2]| digits.iter().any(|byte| marks.contains(byte));
        let (decoded, expected) = match self {
            Self::Base64 if other_alphabet([b'-', b'_']) => (
                None,
                "base64 (it has - or _, as base64url has: JWT_SECRET_ENCODING=base64url)",
            ),
            Self::Base64 => (BASE64.decode(&digits).ok(), "base64 (A-Z a-z 0-9 + /)"),
            Self::Base64Url if other_alphabet([b'+', b'/']) => (
                None,
                "base64url (it has + or /, as base64 has: JWT_SECRET_ENCODING=base64)",
            ),
            Self::Base64Url => (
                BASE64URL.decode(&digits).ok(),
                "base64url (A-Z a-z 0-9 - _)",
            ),
            Self::Text | Self::Hex => (
                from_hex(&digits),
                "hexadecimal digits, two for each byte (0-9 a-f)",
            ),
        };
        decoded.filter(|key| !key.is_empty()).ok_or(expected)
    }
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(value(*high)? * 16 + value(*low)?).ok(),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_decoded_as_issuers_decode_it() {
        use SecretEncoding::{Base64, Base64Url, Hex, Text};
        let key: &[u8] = &[0xfb, 0xff, 0xbe, 1];
        let table: [(SecretEncoding, &str, Option<&[u8]>); 22] = [
            (Text, "+/-_ =\n", Some(b"+/-_ =\n")),
            (Base64, "+/++AQ==", Some(key)),
            (Base64, "+/++AQ", Some(key)),
            (Base64, " +/++\r\nAQ==\n", Some(key)),
            // Bits behind the last byte.
            (Base64, "+/++AR", Some(key)),
            (Base64, "-_--AQ", None),
            (Base64, "+/++A", None),
            (Base64, "+/++AQ==AQ==", None),
            (Base64, "+/++AQ!", None),
            (Base64, "\"+/++AQ==\"", None),
            (Base64, "=", None),
            (Base64, " ", None),
            (Base64Url, "-_--AQ==", Some(key)),
            (Base64Url, "-_--AQ", Some(key)),
            (Base64Url, "+/++AQ", None),
            (Base64Url, "\u{e9}", None),
            (Hex, "fbffbe01", Some(key)),
            (Hex, "FBff BE01\n", Some(key)),
            (Hex, "fbffbe1", None),
            (Hex, "0xfb", None),
            (Hex, "+f", None),
            (Hex, "", None),
        ];
        for (encoding, text, expected) in table {
            let found = encoding.decode(text);
            assert_eq!(found.as_deref().ok(), expected, "{encoding:?} {text:?}");
        }
        let wrong = |encoding: SecretEncoding, text| encoding.decode(text).err();
        assert!(wrong(Base64, "-A").is_some_and(|hint| hint.contains("=base64url")));
        assert!(wrong(Base64Url, "+A").is_some_and(|hint| hint.contains("=base64)")));
    }

    #[test]
    fn names_are_read_in_any_case() {
        for encoding in SecretEncoding::ALL {
            let name = encoding.name();
            assert_eq!(SecretEncoding::named(name), Some(encoding));
            let upper = name.to_ascii_uppercase();
            assert_eq!(SecretEncoding::named(&upper), Some(encoding));
        }
        assert_eq!(SecretEncoding::named("base32"), None);
    }
}
