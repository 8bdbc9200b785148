//! The compact form of a token: three base64url parts, two of them JSON objects. Not here: what they mean.
//! Invariant: no object with a repeated name gets through, so no two readers can see different claims in it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::Why;

/// A longer token is refused unread: hashing and parsing it would cost more than a stranger may spend.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

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
pub(super) fn decode(part: &str) -> Result<Vec<u8>, Why> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Why::Malformed)
}

/// The members of a decoded header or of decoded claims: a handful, which a list finds sooner than a map is built.
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Value)>);

/// Most tokens have no more members.
const FEW: usize = 16;

impl<'a> Object<'a> {
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, Why> {
        let object: Self = serde_json::from_slice(json).map_err(|_| Why::Malformed)?;
        if object.has_repeated() {
            return Err(Why::DuplicateName);
        }
        Ok(object)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let mut members = self.0.iter();
        members.find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// For showing it.
    pub(super) fn to_json(&self) -> Value {
        let members = self.0.iter();
        members
            .map(|(name, value)| (name.clone().into_owned(), value.clone()))
            .collect()
    }

    /// One parser keeps the last value of a name, another the first: a token with `"organization_id":1,…,"organization_id":2` would be
    /// two callers (RFC 8725, 2.4).
    fn has_repeated(&self) -> bool {
        let names = || self.0.iter().map(|(name, _)| &**name);
        if self.0.len() <= FEW {
            let mut numbered = names().enumerate();
            return numbered.any(|(at, name)| names().take(at).any(|other| other == name));
        }
        // A header is read before its signature is checked: a thousand names must not cost a million comparisons.
        let mut names: Vec<&str> = names().collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair.first() == pair.last())
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Object<'de>, A::Error> {
        let mut members = Vec::with_capacity(FEW / 2);
        while let Some((Name(name), value)) = access.next_entry()? {
            members.push((name, value));
        }
        Ok(Object(members))
    }
}

/// A member's name, where it lies unless it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(json: &str) -> Result<Value, Why> {
        Object::parse(json.as_bytes()).map(|object| object.to_json())
    }

    #[test]
    fn a_repeated_name_is_found_however_it_is_spelt_and_among_however_many() {
        let twice = Err(Why::DuplicateName);
        assert_eq!(verdict(r#"{"a":1,"b":2,"a":3}"#), twice);
        assert_eq!(verdict(r#"{"a":1,"\u0061":1}"#), twice);
        assert_eq!(verdict(r#"{"a":null,"a":null}"#), twice);
        for count in 1..3 * FEW {
            let names = |count| (0..count).map(|at| format!("\"n{at}\":{at}"));
            let all: Vec<String> = names(count).collect();
            let json = format!("{{{}}}", all.join(","));
            assert_eq!(
                verdict(&json),
                Ok(serde_json::from_str(&json).unwrap_or_default())
            );
            for name in names(count) {
                let json = format!("{{{},{name}}}", all.join(","));
                assert_eq!(verdict(&json), twice, "{json}");
            }
        }
    }

    #[test]
    fn only_an_object_is_one() {
        for json in [
            "", "1", "[]", "null", "{", "{}{}", "{1:2}", r#"{"a"}"#, "\"\"",
        ] {
            assert_eq!(verdict(json), Err(Why::Malformed), "{json}");
        }
        let named = Object::parse(br#" {"a\n":[{"b":1,"b":2}],"":null} "#);
        assert!(named.is_ok_and(|it| it.get("a\n").is_some() && it.get("").is_some()));
    }
}
