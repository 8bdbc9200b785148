//! `token why`: everything that is wrong with a token, for the person who has to mend it.
//! Not here: the verdict itself, which is the verifier's. Invariant: it reports by the verifier's own rules, and never the secret.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{DecodeError, Engine as _};

use super::claims::{DateClaim, date_ms};
use super::compact::{self, Compact, Object};
use super::principal::Found;
use super::signature::Key;
use super::{Hmac, Refusal, SecretEncoding, Settings, Verifier, Why, principal, rules};

/// Lines for a terminal: the decoded header and claims, a line for each problem, and the verdict last.
///
/// Unlike a 401 it also looks behind a wrong signature; so it is for those who hold the secret, not for clients.
#[must_use]
pub fn why(settings: &Settings, token: &[u8], now_ms: u64) -> Vec<String> {
    let mut lines = Vec::new();
    let token = strip_scheme(token.trim_ascii(), &mut lines);
    match Compact::split(token) {
        Err(reason) => lines.push(problem(&shape(token, reason))),
        Ok(compact) => {
            explain_header(&compact, settings, &mut lines);
            explain_signature(&compact, settings, &mut lines);
            explain_claims(&compact, settings, now_ms, &mut lines);
        }
    }
    lines.push(verdict(settings, token, now_ms));
    lines
}

fn problem(text: &str) -> String {
    format!("problem: {text}")
}

/// A message without the prefix that only a 401 needs.
fn bare(message: &str) -> &str {
    message.strip_prefix("Invalid token: ").unwrap_or(message)
}

/// People paste the whole header line.
fn strip_scheme<'a>(pasted: &'a [u8], lines: &mut Vec<String>) -> &'a [u8] {
    let mut rest = pasted;
    for prefix in ["authorization:", "bearer "] {
        if let Some((start, after)) = rest.split_at_checked(prefix.len())
            && start.eq_ignore_ascii_case(prefix.as_bytes())
        {
            rest = after.trim_ascii();
        }
    }
    if rest.len() < pasted.len() {
        lines.push("note: looked at what follows \"Bearer\"".to_owned());
    }
    rest
}

fn shape(token: &[u8], reason: Why) -> String {
    if reason == Why::Malformed {
        let dots = token.iter().filter(|byte| **byte == b'.').count();
        return format!("not header.claims.signature: {dots} dots where there are two");
    }
    bare(reason.message()).to_owned()
}

fn explain_header(compact: &Compact<'_>, settings: &Settings, lines: &mut Vec<String>) {
    let decoded = URL_SAFE_NO_PAD.decode(compact.header);
    let Some(header) = part("header", &decoded, lines) else {
        return;
    };
    if rules::algorithm(&header, settings).is_err() {
        let found = header
            .get("alg")
            .map_or("missing".to_owned(), ToString::to_string);
        let expected = settings.algorithm;
        lines.push(problem(&format!(
            "alg is {found}; JWT_ALGORITHM asks for {expected}"
        )));
    }
    for rule in rules::HEADER_RULES {
        if let Err(reason) = rule(&header) {
            lines.push(problem(bare(reason.message())));
        }
    }
}

/// Shows a part, or says which step of reading it failed.
fn part<'a>(
    name: &str,
    decoded: &'a Result<Vec<u8>, DecodeError>,
    lines: &mut Vec<String>,
) -> Option<Object<'a>> {
    let text = match decoded {
        Ok(text) => text,
        Err(error) => {
            let what = format!("the {name} is not base64url without padding: {error}");
            lines.push(problem(&what));
            return None;
        }
    };
    match Object::parse(text) {
        Ok(object) => {
            lines.push(format!("{name}: {}", object.to_json()));
            return Some(object);
        }
        // Shown as it came: parsed, one of the two would be missing.
        Err(Why::DuplicateName) => {
            lines.push(format!("{name}: {}", text.escape_ascii()));
            lines.push(problem(&format!("a name occurs twice in the {name}")));
        }
        Err(_) => {
            let what = format!("the {name} is not a JSON object: {}", text.escape_ascii());
            lines.push(problem(&what));
        }
    }
    None
}

fn explain_signature(compact: &Compact<'_>, settings: &Settings, lines: &mut Vec<String>) {
    let matches = |secret: &[u8], algorithm: Hmac| {
        Key::new(secret, algorithm).has_signed(compact.message, compact.signature)
    };
    if matches(&settings.secret, settings.algorithm) {
        return;
    }
    if compact.signature.is_empty() {
        lines.push(problem("the token is not signed"));
        return;
    }
    if compact::decode(compact.signature).is_err() {
        lines.push(problem("the signature is not base64url without padding"));
        return;
    }
    lines.push(problem("the signature does not match JWT_SECRET_KEY"));
    // The usual mistakes, tried out.
    for algorithm in Hmac::ALL {
        if algorithm != settings.algorithm && matches(&settings.secret, algorithm) {
            lines.push(format!("hint: it matches with {algorithm}"));
        }
    }
    let algorithm = settings.algorithm;
    if matches(settings.secret.trim_ascii(), algorithm) {
        lines.push("hint: it matches without the blanks around JWT_SECRET_KEY".to_owned());
    }
    if matches(&[settings.secret.as_slice(), b"\n"].concat(), algorithm) {
        lines.push("hint: it was signed with the secret and a line end after it".to_owned());
    }
    // `openssl rand -base64` makes a text that one side uses as it is and the other decodes.
    let other = SecretEncoding::ALL.into_iter().find(|encoding| {
        let decoded = encoding.decode(&settings.secret_text).ok();
        let other = decoded.filter(|secret| *secret != settings.secret);
        other.is_some_and(|secret| matches(&secret, algorithm))
    });
    if let Some(encoding) = other {
        let name = encoding.name();
        lines.push(format!("hint: it matches with JWT_SECRET_ENCODING={name}"));
    }
}

fn explain_claims(
    compact: &Compact<'_>,
    settings: &Settings,
    now_ms: u64,
    lines: &mut Vec<String>,
) {
    let decoded = URL_SAFE_NO_PAD.decode(compact.claims);
    let Some(claims) = part("claims", &decoded, lines) else {
        return;
    };
    let mut said = Vec::new();
    for rule in rules::CLAIM_RULES {
        // A date that is none is met by more than one rule, and said once.
        if let Err(refusal) = rule(&claims, settings, now_ms)
            && !said.contains(&refusal)
        {
            said.push(refusal);
            lines.push(problem(&rule_text(&claims, settings, refusal, now_ms)));
        }
    }
    if let Err(reason) = principal::organization(&claims, settings) {
        let names = settings.organization_claims.join(", ");
        let message = bare(reason.message());
        lines.push(problem(&format!("{message} (claims: {names})")));
    }
    explain_unusable(&claims, settings, lines);
}

/// What the verifier passes over: nobody is refused for it, and somebody may wonder where it went.
fn explain_unusable(claims: &Object<'_>, settings: &Settings, lines: &mut Vec<String>) {
    const EXPECTED: &str = "not an integer or 1 to 128 characters without control characters";
    if principal::user(claims, settings) == Found::Unusable {
        let names = settings.user_claims.join(", ");
        lines.push(format!(
            "note: the user is {EXPECTED}, and counts as none (claims: {names})"
        ));
    }
    let (_, unusable) = principal::roles(claims, settings);
    if unusable > 0 {
        let names = settings.role_claims.join(", ");
        lines.push(format!(
            "note: left out as roles: {unusable}, {EXPECTED}, or with a comma in a list (claims: {names})"
        ));
    }
}

/// The refusal with the figures behind it.
fn rule_text(claims: &Object<'_>, settings: &Settings, refusal: Refusal, now_ms: u64) -> String {
    let dated = |claim| date_ms(claims, claim).ok().flatten().unwrap_or_default();
    match refusal {
        Refusal::Expired => {
            let ms = dated(DateClaim::Exp);
            let ago = span(now_ms.saturating_sub(ms));
            format!("expired {ago} ago, at {}", utc(ms))
        }
        Refusal::Invalid(why @ (Why::NotYetValid | Why::IssuedInFuture)) => {
            let ms = dated(if why == Why::NotYetValid {
                DateClaim::Nbf
            } else {
                DateClaim::Iat
            });
            let ahead = span(ms.saturating_sub(now_ms));
            format!("{}: {ahead} ahead, {}", bare(why.message()), utc(ms))
        }
        Refusal::Invalid(why @ Why::Audience) => {
            format!("{}: {}", bare(why.message()), settings.audience.join(", "))
        }
        Refusal::Invalid(why @ Why::Issuer) => {
            format!("{}: {}", bare(why.message()), settings.issuer.join(", "))
        }
        Refusal::MissingHeader | Refusal::BadHeaderFormat | Refusal::Invalid(_) => {
            bare(refusal.message()).to_owned()
        }
    }
}

fn verdict(settings: &Settings, token: &[u8], now_ms: u64) -> String {
    let verifier = match Verifier::new(settings.clone()) {
        Ok(verifier) => verifier,
        Err(error) => return format!("verdict: refused; {error}"),
    };
    match verifier.verify(token, now_ms) {
        Err(refusal) => format!("verdict: refused, 401 \"{}\"", refusal.message()),
        Ok(identity) => {
            let or_none = |value: Option<&super::ClaimValue>| {
                value.map_or_else(|| "none".to_owned(), ToString::to_string)
            };
            let roles: Vec<String> = identity.roles().iter().map(ToString::to_string).collect();
            format!(
                "verdict: accepted; organization {}, user {}, roles [{}], admin {}, for another {}, until {}",
                or_none(identity.organization()),
                or_none(identity.user()),
                roles.join(", "),
                if identity.is_admin() { "yes" } else { "no" },
                span(identity.expires_ms().saturating_sub(now_ms)),
                utc(identity.expires_ms()),
            )
        }
    }
}

/// A length of time in its two largest units.
fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{}.{:03} s", seconds, ms % 1000),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// RFC 3339 in UTC; the civil date from days by Howard Hinnant's algorithm ("chrono-compatible low-level date algorithms").
fn utc(ms: u64) -> String {
    let seconds = ms / 1000;
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
