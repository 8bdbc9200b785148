//! The two kinds of values that the gateway takes from a token: identifiers and dates. Not here: which claim is which.
//! Invariant: a [`ClaimValue`] has no control character, and [`ClaimValue::write_encoded`] gives two values one spelling never.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde_json::{Number, Value};

use super::Why;
use super::compact::Object;

/// The longest identifier taken, in characters.
const NAME_CHARS_MAX: usize = 128;

/// 9999-12-31T23:59:59Z. A later date is a mistake, most often milliseconds for seconds,
/// which would make a token live for ten thousand years.
const DATE_SECONDS_MAX: u64 = 253_402_300_799;

/// The identifier of an organization, a user or a role, with its JSON type kept for replies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClaimValue {
    /// Any JSON integer of 64 bits, signed or not; as JSON keeps it, in 16 bytes (an `i128` would make each value 32).
    Integer(Number),
    /// 1 to 128 characters, none of them a control character.
    Text(Box<str>),
}

impl ClaimValue {
    /// The value in its own JSON type: `1` stays a number, `"1"` a string.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Integer(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::from(&**text),
        }
    }

    /// The value as it is compared and counted by: not encoded.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }

    /// Appends the value as a header line carries it: every byte outside %x21-7E, and `%`, percent-encoded (RFC 3986 2.1), so that
    /// `é` arrives as `%C3%A9` and ` 1` is not taken for `1` where outer blanks get lost.
    pub(super) fn write_encoded(&self, out: &mut String) {
        let Self::Text(text) = self else {
            // Writing to a `String` cannot fail.
            let _ = write!(out, "{self}");
            return;
        };
        for byte in text.bytes() {
            if byte.is_ascii_graphic() && byte != b'%' {
                out.push(char::from(byte));
            } else {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }

    /// `None` for every other JSON value: fractions (also `1.0` and integers beyond 64 bits, which two readers
    /// would round to different numbers), booleans, objects, lists, text that is no name.
    pub(super) fn parse(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => {
                let is_whole = number.is_i64() || number.is_u64();
                is_whole.then(|| Self::Integer(number.clone()))
            }
            Value::String(text) => Self::of_text(text),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// A text as an identifier, if it can be one.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        is_name(text).then(|| Self::Text(text.into()))
    }
}

impl fmt::Display for ClaimValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Whether a text can name an organization, a user or a role: 1 to 128 characters, none of them a control character.
#[must_use]
pub fn is_name(text: &str) -> bool {
    // A character has at most four bytes: what is longer than that is not counted.
    (1..=4 * NAME_CHARS_MAX).contains(&text.len())
        && text.chars().count() <= NAME_CHARS_MAX
        && !text.chars().any(char::is_control)
}

/// The member `name`; `null` counts as absent, as it does for the libraries that issue tokens.
pub(super) fn member<'a>(object: &'a Object<'_>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// A claim that holds a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DateClaim {
    /// `exp`: from then on it is no longer valid.
    Exp,
    /// `nbf`: before that it is not valid yet.
    Nbf,
    /// `iat`: when it was issued.
    Iat,
}

impl DateClaim {
    /// The claim's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exp => "exp",
            Self::Nbf => "nbf",
            Self::Iat => "iat",
        }
    }
}

/// What a date claim that is no date in seconds looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DateFault {
    /// A number that is a date of our time when it is read as milliseconds.
    Milliseconds,
    /// A string, perhaps with a number in it.
    Text,
    /// Anything else: a negative or far larger number, a boolean, a list.
    Other,
}

/// A NumericDate (RFC 7519, 2) in unix milliseconds; `None` if the claim is absent.
pub(super) fn date_ms(claims: &Object<'_>, claim: DateClaim) -> Result<Option<u64>, Why> {
    // Both bounds as floats are exact: they are below 2^53.
    let bound = 253_402_300_799.0;
    let Some(value) = member(claims, claim.name()) else {
        return Ok(None);
    };
    let Value::Number(number) = value else {
        let fault = match value {
            Value::String(_) => DateFault::Text,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => DateFault::Other,
        };
        return Err(Why::Date(claim, fault));
    };
    if let Some(seconds) = number.as_u64().filter(|number| *number <= DATE_SECONDS_MAX) {
        return Ok(Some(seconds * 1000));
    }
    let seconds = number.as_f64().unwrap_or(f64::NAN);
    // Written so that NaN fails it.
    if (0.0..=bound).contains(&seconds) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 2.6e14 by the line above"
        )]
        let ms = (seconds * 1000.0) as u64;
        return Ok(Some(ms));
    }
    let fault = if (bound..=bound * 1000.0).contains(&seconds) {
        DateFault::Milliseconds
    } else {
        DateFault::Other
    };
    Err(Why::Date(claim, fault))
}
