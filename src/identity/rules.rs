//! The rules that a signed token must keep, each one function. Not here: the signature, and who the caller is.
//! Invariant: `verify` applies every rule of [`HEADER_RULES`] and [`CLAIM_RULES`], and `why` reports by the same lists.

use serde_json::Value;

use super::claims::{DateClaim, date_ms, member};
use super::compact::Object;
use super::{Refusal, Settings, Why};

/// How far another machine's clock may be ahead of ours; for `nbf` and `iat` only, `exp` has no leeway.
pub(super) const CLOCK_SKEW_MS_MAX: u64 = 5_000;

/// A rule on the header's members.
pub(super) type HeaderRule = fn(&Object<'_>) -> Result<(), Why>;
/// A rule on the claims; the last argument is now in unix milliseconds.
pub(super) type ClaimRule = fn(&Object<'_>, &Settings, u64) -> Result<(), Refusal>;

pub(super) const HEADER_RULES: [HeaderRule; 2] = [not_critical, header_not_refresh];
pub(super) const CLAIM_RULES: [ClaimRule; 6] = [
    not_expired,
    valid_already,
    issued_already,
    claims_not_refresh,
    for_us,
    from_known_issuer,
];

/// `alg` must be the configured name exactly: neither `none`, nor RS256 with the secret as its public key.
pub(super) fn algorithm(header: &Object<'_>, settings: &Settings) -> Result<(), Why> {
    match header.get("alg") {
        Some(Value::String(name)) if name == settings.algorithm.name() => Ok(()),
        _ => Err(Why::Algorithm),
    }
}

/// We understand no extension, so each one that is critical is one too many (RFC 7515, 4.1.11).
fn not_critical(header: &Object<'_>) -> Result<(), Why> {
    if header.get("crit").is_some() {
        return Err(Why::Critical);
    }
    Ok(())
}

/// `typ` of the header is a media type, as in `refresh+jwt` (RFC 8725, 3.11).
fn header_not_refresh(header: &Object<'_>) -> Result<(), Why> {
    refuse_refresh(header, &["typ", "type"])
}

/// Where issuers say it: flask-jwt-extended `type`, simplejwt `token_type`, Keycloak `typ`, Cognito `token_use`.
fn claims_not_refresh(claims: &Object<'_>, _: &Settings, _: u64) -> Result<(), Refusal> {
    Ok(refuse_refresh(
        claims,
        &["typ", "type", "token_type", "token_use"],
    )?)
}

/// A refresh token lives for weeks and is kept differently; as an access token it would outlive every logout.
/// "Offline" is Keycloak's refresh token without an end.
fn refuse_refresh(object: &Object<'_>, names: &[&str]) -> Result<(), Why> {
    for name in names {
        let Some(Value::String(kind)) = object.get(name) else {
            continue;
        };
        let kind = kind.to_ascii_lowercase();
        if kind.contains("refresh") || matches!(kind.as_str(), "offline" | "rt" | "rt+jwt") {
            return Err(Why::Refresh);
        }
    }
    Ok(())
}

/// "On or after" `exp` a token must not be accepted (RFC 7519, 4.1.4).
fn not_expired(claims: &Object<'_>, _: &Settings, now_ms: u64) -> Result<(), Refusal> {
    if now_ms >= expiry_ms(claims)? {
        return Err(Refusal::Expired);
    }
    Ok(())
}

/// `exp` in unix milliseconds; required, for a token without one would be valid for ever.
pub(super) fn expiry_ms(claims: &Object<'_>) -> Result<u64, Why> {
    date_ms(claims, DateClaim::Exp)?.ok_or(Why::NoExpiry)
}

fn valid_already(claims: &Object<'_>, _: &Settings, now_ms: u64) -> Result<(), Refusal> {
    match date_ms(claims, DateClaim::Nbf)? {
        Some(ms) if ms > now_ms.saturating_add(CLOCK_SKEW_MS_MAX) => {
            Err(Refusal::Invalid(Why::NotYetValid))
        }
        _ => Ok(()),
    }
}

fn issued_already(claims: &Object<'_>, _: &Settings, now_ms: u64) -> Result<(), Refusal> {
    match date_ms(claims, DateClaim::Iat)? {
        Some(ms) if ms > now_ms.saturating_add(CLOCK_SKEW_MS_MAX) => {
            Err(Refusal::Invalid(Why::IssuedInFuture))
        }
        _ => Ok(()),
    }
}

/// RFC 7519, 4.1.3: who does not find itself in `aud` must refuse, also who has no name yet.
fn for_us(claims: &Object<'_>, settings: &Settings, _: u64) -> Result<(), Refusal> {
    let known = |name: &str| settings.audience.iter().any(|ours| ours == name);
    match (member(claims, "aud"), settings.audience.is_empty()) {
        (None, true) => Ok(()),
        (Some(_), true) => Err(Refusal::Invalid(Why::AudienceUnset)),
        (Some(Value::String(name)), false) if known(name) => Ok(()),
        (Some(Value::Array(names)), false) => {
            // A list with anything but strings in it is not an audience, even if we stand in it too.
            let all_text = names.iter().all(Value::is_string);
            if all_text && names.iter().filter_map(Value::as_str).any(known) {
                Ok(())
            } else {
                Err(Refusal::Invalid(Why::Audience))
            }
        }
        (_, false) => Err(Refusal::Invalid(Why::Audience)),
    }
}

/// `iss` is one string (RFC 7519, 4.1.1); a list that happens to contain the right one is not.
fn from_known_issuer(claims: &Object<'_>, settings: &Settings, _: u64) -> Result<(), Refusal> {
    if settings.issuer.is_empty() {
        return Ok(());
    }
    match member(claims, "iss") {
        Some(Value::String(name)) if settings.issuer.iter().any(|known| known == name) => Ok(()),
        _ => Err(Refusal::Invalid(Why::Issuer)),
    }
}
