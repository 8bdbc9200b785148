//! `token mint` and `token why`: makes tokens for trying things out, and explains refused ones. Decides nothing itself: the identity
//! room signs and judges. Invariant: the secret is used and never printed.

use std::io::Read as _;

use serde_json::{Map, Value};

use super::arguments::{Mint, Why};
use super::{EXIT_CONFIG, EXIT_FAILED, Outcome};
use crate::config::{self, Auth, Raw};
use crate::identity;

/// Bytes read from standard input; a token is refused unread above 8 KiB, and a pasted header line adds little.
const INPUT_BYTES_MAX: u64 = 64 * 1024;

/// Makes a token that says what was asked for.
pub fn mint(mint: &Mint, flags: &Raw, now_ms: u64) -> Outcome {
    with_auth(mint.secret.as_ref(), flags, |auth, settings| {
        let claims = claims(mint, auth, now_ms);
        identity::mint(settings, claims).map_or_else(
            |error| Outcome::failed(&format!("no token: {error}")),
            |token| Outcome::done(format!("{token}\n")),
        )
    })
}

/// Explains what the gateway would make of a token.
pub fn why(why: &Why, flags: &Raw, now_ms: u64) -> Outcome {
    let mut token = why.token.clone();
    if token == "-" {
        token.clear();
        if let Err(error) = std::io::stdin()
            .take(INPUT_BYTES_MAX)
            .read_to_string(&mut token)
        {
            return Outcome::failed(&format!("standard input: {error}"));
        }
    }
    with_auth(why.secret.as_ref(), flags, |_, settings| {
        let lines = identity::why(settings, token.as_bytes(), now_ms);
        let is_accepted = lines
            .last()
            .is_some_and(|line| line.starts_with("verdict: accepted"));
        let code = if is_accepted { 0 } else { EXIT_FAILED };
        Outcome {
            out: lines.join("\n") + "\n",
            err: String::new(),
            code,
        }
    })
}

/// Loads the identity settings alone, so that no other setting has to be right.
fn with_auth(
    secret: Option<&String>,
    flags: &Raw,
    task: impl FnOnce(&Auth, &identity::Settings) -> Outcome,
) -> Outcome {
    let forced = secret.map(|secret| ("JWT_SECRET_KEY", secret.clone()));
    let auth = match config::load_auth(flags, forced.into_iter().collect()) {
        Ok(auth) => auth,
        Err(problems) => return Outcome::misconfigured(&problems),
    };
    match config::identity_settings(&auth) {
        Some(settings) => task(&auth, &settings),
        None => Outcome {
            code: EXIT_CONFIG,
            ..Outcome::failed("configuration: JWT_SECRET_KEY is not set (or --secret)")
        },
    }
}

/// Claims under the first configured name of each kind; those given by name come last and win.
fn claims(mint: &Mint, auth: &Auth, now_ms: u64) -> Map<String, Value> {
    let now = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    let mut claims = Map::new();
    let identities = [
        (&auth.organization_claims, mint.org.as_deref().map(id)),
        (&auth.user_claims, mint.user.as_deref().map(id)),
        (&auth.role_claims, mint.role.clone().map(Value::String)),
    ];
    for (names, value) in identities {
        if let (Some(name), Some(value)) = (names.first(), value) {
            claims.insert(name.clone(), value);
        }
    }
    claims.insert("iat".to_owned(), now.into());
    claims.insert("exp".to_owned(), now.saturating_add(mint.expires_in).into());
    for (name, value) in &mint.claims {
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.clone()));
        claims.insert(name.clone(), value);
    }
    claims
}

/// Digits as a number, as backends write their keys; `007` is a text, since no number is written so.
fn id(text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => number.into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers_only_when_written_as_numbers() {
        for (text, expected) in [
            ("1", Value::from(1)),
            ("0", Value::from(0)),
            ("007", Value::from("007")),
            ("+1", Value::from("+1")),
            ("acme", Value::from("acme")),
            ("18446744073709551616", Value::from("18446744073709551616")),
        ] {
            assert_eq!(id(text), expected);
        }
    }
}
