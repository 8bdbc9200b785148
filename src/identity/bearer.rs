//! From `Authorization` field values to the one bearer token. Not here: what the token says.
//! Invariant: a request with two `Authorization` fields has no token, whichever of them is good.

use super::Refusal;

const SCHEME: &[u8] = b"bearer";

/// The token of the only `Authorization` field.
///
/// Two fields are refused even when equal: the gateway and the upstream could each believe another one.
///
/// # Errors
/// [`Refusal::MissingHeader`] without a field, [`Refusal::BadHeaderFormat`] for anything but one
/// `Bearer 1*SP token` (RFC 6750, 2.1; the scheme is case-free, RFC 9110, 11.1).
pub fn bearer<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<&'a [u8], Refusal> {
    let value = values.next().ok_or(Refusal::MissingHeader)?;
    if values.next().is_some() {
        return Err(Refusal::BadHeaderFormat);
    }
    let (scheme, rest) = value
        .trim_ascii()
        .split_at_checked(SCHEME.len())
        .ok_or(Refusal::BadHeaderFormat)?;
    let token = rest.trim_ascii_start();
    let spaces = rest.len() - token.len();
    let spaced = spaces > 0 && rest.iter().take(spaces).all(|byte| *byte == b' ');
    // A blank inside means a second credential or parameters; neither is a token. All bytes are looked at, without a way out on the
    // first: so the compiler takes sixteen at a time, and tokens are long.
    let blank = token
        .iter()
        .fold(false, |seen, byte| seen | (*byte <= b' '));
    let whole = !token.is_empty() && !blank;
    if scheme.eq_ignore_ascii_case(SCHEME) && spaced && whole {
        Ok(token)
    } else {
        Err(Refusal::BadHeaderFormat)
    }
}
