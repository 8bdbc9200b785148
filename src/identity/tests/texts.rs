//! What people read: messages, `token why`, and what must never be read, the secret. Not here: the rules themselves.
//! Invariant: texts are compared with what the documents promise.

use serde_json::{Map, json};

use super::super::*;
use super::{NOW, NOW_MS, object, settings, token};

#[test]
fn why_lists_everything() {
    let mut settings = settings();
    settings.issuer = vec!["https://id.example".to_owned()];
    let other = Settings::with_secret(Hmac::Hs512, "wrong");
    let claims = object(json!({
        "exp": NOW - 200, "nbf": NOW + 100, "aud": "x", "iss": "y", "type": "refresh", "org_id": 1.5,
    }));
    let bad = mint(&other, claims).unwrap();
    let lines = why(
        &settings,
        format!("Authorization: Bearer {bad}").as_bytes(),
        NOW_MS,
    );
    let text = lines.join("\n");
    for expected in [
        "note: looked at what follows",
        "header: {\"alg\":\"HS512\",\"typ\":\"JWT\"}",
        "problem: alg is \"HS512\"; JWT_ALGORITHM asks for HS256",
        "problem: the signature does not match JWT_SECRET_KEY",
        "claims: {",
        "problem: expired 3 min 20 s ago, at 2023-11-14T22:10:00Z",
        "problem: not valid yet (nbf): 1 min 40 s ahead, 2023-11-14T22:15:00Z",
        "JWT_AUDIENCE is not set",
        "not in JWT_ISSUER: https://id.example",
        "a refresh token gives no access",
        "(claims: organization_id, org_id, tenant_id)",
        "verdict: refused, 401 \"Invalid token: not signed with the configured algorithm\"",
    ] {
        assert!(
            text.contains(expected),
            "{expected:?} is missing in:\n{text}"
        );
    }
    assert!(!text.contains("thirty-two"), "the secret shows");
}

#[test]
fn why_finds_the_usual_mistakes() {
    let token_of = |secret: &[u8], algorithm| {
        let settings = Settings::with_secret(algorithm, secret);
        token(&settings, json!({ "organization_id": 1, "role": "admin" }))
    };
    let good = token_of(b"secret", Hmac::Hs256);
    let with = |secret: &[u8]| Settings::with_secret(Hmac::Hs256, secret);
    let table = [
        (
            with(b"secret"),
            good.clone(),
            "verdict: accepted; organization 1, user none, roles [admin], admin yes, for another 1 h 0 min, until 2023-11-14T23:13:20Z",
        ),
        (
            with(b" secret\n"),
            good.clone(),
            "hint: it matches without the blanks around JWT_SECRET_KEY",
        ),
        (
            with(b"secret"),
            token_of(b"secret\n", Hmac::Hs256),
            "hint: it was signed with the secret and a line end",
        ),
        (
            with(b"c2VjcmV0"),
            good.clone(),
            "hint: it matches with JWT_SECRET_ENCODING=base64",
        ),
        (
            Settings {
                secret_text: "secret".to_owned(),
                ..with(&[0xb1, 0xe7, 0x2b, 0x7a])
            },
            good.clone(),
            "hint: it matches with JWT_SECRET_ENCODING=text",
        ),
        (
            with(b"736563726574"),
            good.clone(),
            "hint: it matches with JWT_SECRET_ENCODING=hex",
        ),
        (
            with(b"secret"),
            token_of(b"secret", Hmac::Hs384),
            "hint: it matches with HS384",
        ),
        (
            with(b""),
            good.clone(),
            "verdict: refused; the JWT secret is empty",
        ),
        (
            with(b"secret"),
            "nonsense".to_owned(),
            "problem: not header.claims.signature: 0 dots",
        ),
        (
            with(b"secret"),
            good.replace('.', "=."),
            "problem: the header is not base64url without padding",
        ),
        (
            with(b"secret"),
            "bm8.e30.".to_owned(),
            "problem: the header is not a JSON object: no",
        ),
        (
            with(b"secret"),
            "e30.e30.".to_owned(),
            "problem: the token is not signed",
        ),
        (
            with(b"secret"),
            "e30.e30.x=".to_owned(),
            "problem: the signature is not base64url",
        ),
        (
            with(b"secret"),
            "e30.eyJhIjoxLCJhIjoyfQ.AA".to_owned(),
            "problem: a name occurs twice in the claims",
        ),
        (
            with(b"secret"),
            "e30.e30.AA".to_owned(),
            "problem: alg is missing",
        ),
        (
            with(b"secret"),
            "e30.e30.AA".to_owned(),
            "problem: exp is missing",
        ),
    ];
    for (settings, token, expected) in table {
        let text = why(&settings, token.as_bytes(), NOW_MS).join("\n");
        assert!(
            text.contains(expected),
            "{expected:?} is missing in:\n{text}"
        );
    }
    assert!(
        why(&with(b"secret"), &vec![b'a'; TOKEN_BYTES_MAX + 1], NOW_MS)[0]
            .contains("longer than 8192")
    );
}

#[test]
fn minted_tokens_keep_the_configured_names() {
    let mut settings = settings();
    settings.audience = vec!["gateway".to_owned(), "other".to_owned()];
    settings.issuer = vec!["me".to_owned()];
    let verifier = Verifier::new(settings.clone()).unwrap();
    let minted = token(&settings, json!({}));
    assert!(verifier.verify(minted.as_bytes(), NOW_MS).is_ok());
    let own = token(&settings, json!({ "aud": "elsewhere" }));
    let refusal = verifier.verify(own.as_bytes(), NOW_MS).unwrap_err();
    assert_eq!(refusal, Refusal::Invalid(Why::Audience));
    settings.secret.clear();
    assert_eq!(mint(&settings, Map::new()), Err(MintError::EmptySecret));
    assert_eq!(
        Verifier::new(settings).unwrap_err(),
        SetupError::EmptySecret
    );
}

#[test]
fn messages_are_the_documented_ones() {
    let table = [
        (
            Refusal::MissingHeader,
            "Missing Authorization header",
            false,
        ),
        (
            Refusal::BadHeaderFormat,
            "Invalid Authorization header format",
            false,
        ),
        (Refusal::Expired, "Token has expired", true),
    ];
    for (refusal, message, sent) in table {
        assert_eq!(
            (refusal.message(), refusal.token_was_sent()),
            (message, sent)
        );
    }
    let invalid = Refusal::Invalid(Why::AudienceUnset);
    assert!(invalid.message().starts_with("Invalid token: ") && invalid.token_was_sent());
    assert!(invalid.message().contains("JWT_AUDIENCE"));
    assert!(
        Why::TooLong
            .message()
            .contains(&TOKEN_BYTES_MAX.to_string())
    );
    for claim in [DateClaim::Exp, DateClaim::Nbf, DateClaim::Iat] {
        for (fault, looks) in [
            (DateFault::Milliseconds, "looks like milliseconds"),
            (DateFault::Text, "is a text"),
            (DateFault::Other, "is not a date in seconds"),
        ] {
            let message = Why::Date(claim, fault).message();
            let begin = format!("Invalid token: {} {looks}", claim.name());
            assert!(message.starts_with(&begin), "{message}");
        }
    }
}

#[test]
fn secrets_do_not_show() {
    let settings = settings();
    let verifier = Verifier::new(settings.clone()).unwrap();
    let shown = format!("{settings:?} {verifier:?} {:?}", Cache::new());
    assert!(
        !shown.contains("thirty-two") && shown.contains("[32 bytes]"),
        "{shown}"
    );
}
