//! The compact form of a token: three base64url parts, two of them JSON objects. Not here: what they mean.
//! Invariant: no object with a repeated name gets through, so no two readers can see different claims in it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::Why;

/// A longer token is refused unread: hashing and parsing it would cost more than a stranger may spend.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The members of a header or of the claims.
pub(super) type Object = Map<String, Value>;

/// A token cut at its two dots.
pub(super) struct Compact<'a> {
    pub(super) header: &'a str,
    pub(super) claims: &'a str,
    pub(super) signature: &'a str,
    /// `header.claims`: the bytes that are signed.
    pub(super) message: &'a [u8],
}

impl<'a> Compact<'a> {
    pub(super) fn split(token: &'a [u8]) -> Result<Self, Why> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Why::TooLong);
        }
        let text = std::str::from_utf8(token).map_err(|_| Why::Malformed)?;
        let (message, signature) = text.rsplit_once('.').ok_or(Why::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Why::Malformed)?;
        // More parts are another thing: an encrypted token (JWE) has five.
        if claims.contains('.') {
            return Err(Why::Malformed);
        }
        Ok(Self {
            header,
            claims,
            signature,
            message: message.as_bytes(),
        })
    }
}

/// Decodes one part. Strict: no padding, no stray bits, so one token has one spelling.
pub(super) fn object(part: &str) -> Result<Object, Why> {
    let bytes = decode(part)?;
    match serde_json::from_slice::<Unique>(&bytes) {
        Ok(unique) if unique.repeated => Err(Why::DuplicateName),
        Ok(unique) => Ok(unique.members),
        Err(_) => Err(Why::Malformed),
    }
}

pub(super) fn decode(part: &str) -> Result<Vec<u8>, Why> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Why::Malformed)
}

/// A JSON object that remembers whether a name was repeated. `serde_json::Map` keeps the last value, other
/// parsers the first: a token with `"organization_id":1,…,"organization_id":2` would be two callers (RFC 8725, 2.4).
struct Unique {
    members: Object,
    repeated: bool,
}

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
        let mut unique = Unique {
            members: Object::new(),
            repeated: false,
        };
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            unique.repeated |= unique.members.insert(name, value).is_some();
        }
        Ok(unique)
    }
}
