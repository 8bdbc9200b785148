//! The two kinds of values that the gateway takes from a token: identifiers and dates. Not here: which claim is which.
//! Invariant: a [`ClaimValue`] can stand in a header line and in a log line as it is: printable ASCII, no outer blanks.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Number, Value};

use super::Why;
use super::compact::Object;

/// The longest identifier taken, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 128;

/// 9999-12-31T23:59:59Z. A later date is a mistake, most often milliseconds for seconds,
/// which would make a token live for ten thousand years.
const DATE_SECONDS_MAX: u64 = 253_402_300_799;

/// The identifier of an organization, a user or a role, with its JSON type kept for replies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClaimValue {
    /// Any JSON integer of 64 bits, signed or not; as JSON keeps it, in 16 bytes (an `i128` would make each value 32).
    Integer(Number),
    /// 1 to 128 printable ASCII characters, neither first nor last a blank.
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

    /// As it stands in a header line.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }

    /// `None` for every other JSON value: fractions (also `1.0` and integers beyond 64 bits, which two readers
    /// would round to different numbers), booleans, objects, lists, text that a header line cannot carry unchanged.
    pub(super) fn parse(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => {
                let is_whole = number.is_i64() || number.is_u64();
                is_whole.then(|| Self::Integer(number.clone()))
            }
            Value::String(text) => is_plain(text).then(|| Self::Text(text.as_str().into())),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
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

/// Outer blanks are refused because a header loses them: `" 1"` would be organization 1 upstream, but not here.
fn is_plain(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && !text.starts_with(' ')
        && !text.ends_with(' ')
}

/// The member `name`; `null` counts as absent, as it does for the libraries that issue tokens.
pub(super) fn member<'a>(object: &'a Object<'_>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// A NumericDate (RFC 7519, 2) in unix milliseconds; `None` if the claim is absent.
pub(super) fn date_ms(claims: &Object<'_>, name: &str) -> Result<Option<u64>, Why> {
    let Some(value) = member(claims, name) else {
        return Ok(None);
    };
    let Value::Number(number) = value else {
        return Err(Why::Date);
    };
    if let Some(seconds) = number.as_u64() {
        return if seconds <= DATE_SECONDS_MAX {
            Ok(Some(seconds * 1000))
        } else {
            Err(Why::Date)
        };
    }
    let seconds = number.as_f64().ok_or(Why::Date)?;
    // Written so that NaN fails it. The bound as a float is exact: it is below 2^53.
    let bound = 253_402_300_799.0;
    if (0.0..=bound).contains(&seconds) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 2.6e14 by the line above"
        )]
        let ms = (seconds * 1000.0) as u64;
        return Ok(Some(ms));
    }
    Err(Why::Date)
}
