//! Tables for the parts of this room: bearer fields, claim values, dates, roles, the cache, `why` and `mint`.
//! Not here: whole forged tokens, which come from outside (`tests/identity_tokens.rs`). Invariant: the time is injected.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test may fail loudly"
)]

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::*;

const NOW_MS: u64 = 1_700_000_000_000;
const NOW: u64 = NOW_MS / 1000;

fn settings() -> Settings {
    Settings::with_secret(Hmac::Hs256, *b"a secret of thirty-two bytes....")
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

/// A valid token with `extra` put over `{"exp": now + 3600}`.
fn token(settings: &Settings, extra: Value) -> String {
    let mut claims = object(json!({ "exp": NOW + 3600 }));
    claims.extend(object(extra));
    mint(settings, claims).unwrap()
}

fn identity(extra: Value) -> Result<Identity, Refusal> {
    let settings = settings();
    let verifier = Verifier::new(settings.clone()).unwrap();
    verifier.verify(token(&settings, extra).as_bytes(), NOW_MS)
}

#[test]
fn one_bearer_field_is_a_token() {
    use Refusal::{BadHeaderFormat as Bad, MissingHeader as Missing};
    let table: &[(&[&str], Result<&str, Refusal>)] = &[
        (&[], Err(Missing)),
        (&[""], Err(Bad)),
        (&["Bearer"], Err(Bad)),
        (&["Bearer "], Err(Bad)),
        (&["Bearer x.y.z"], Ok("x.y.z")),
        (&["bearer x"], Ok("x")),
        (&["BEARER x"], Ok("x")),
        (&["  Bearer x  "], Ok("x")),
        (&["Bearer   x"], Ok("x")),
        (&["Bearer\tx"], Err(Bad)),
        (&["Bearer \tx"], Err(Bad)),
        (&["Bearerx"], Err(Bad)),
        (&["Bearer:x"], Err(Bad)),
        (&["Bearer x y"], Err(Bad)),
        (&["Bearer x, Bearer y"], Err(Bad)),
        (&["Basic dTpw"], Err(Bad)),
        (&["x.y.z"], Err(Bad)),
        (&["Bearer x", "Bearer x"], Err(Bad)),
        (&["Basic dTpw", "Bearer x"], Err(Bad)),
        (&["Bearer x", ""], Err(Bad)),
    ];
    for (values, expected) in table {
        let found = bearer(values.iter().map(|value| value.as_bytes()));
        assert_eq!(found, expected.map(str::as_bytes), "{values:?}");
    }
}

#[test]
fn identifiers_are_integers_or_plain_text() {
    let long = "x".repeat(128);
    let taken = [
        (json!(1), "1"),
        (json!(0), "0"),
        (json!(-7), "-7"),
        (json!(i64::MAX), "9223372036854775807"),
        (json!(u64::MAX), "18446744073709551615"),
        (json!("1"), "1"),
        (json!("01"), "01"),
        (json!("acme corp"), "acme corp"),
        (json!("a:b/c@d~"), "a:b/c@d~"),
        (json!(long), long.as_str()),
    ];
    for (value, text) in taken {
        let identity = identity(json!({ "organization_id": value, "user_id": value })).unwrap();
        assert_eq!(identity.organization().unwrap().to_string(), text);
        assert_eq!(identity.organization().unwrap().to_json(), value);
        assert_eq!(identity.organization_key(), Some(text));
        assert_eq!(identity.user().unwrap().to_json(), value);
    }
    let refused = [
        json!(""),
        json!(1.5),
        json!(1.0),
        json!(1e30),
        json!(true),
        json!(false),
        json!([1]),
        json!({ "id": 1 }),
        json!(" 1"),
        json!("1 "),
        json!("a\r\nX-Admin: 1"),
        json!("a\tb"),
        json!("a\0"),
        json!("caf\u{e9}"),
        json!("x".repeat(129)),
    ];
    for value in refused {
        let cases = [
            ("organization_id", Why::Organization),
            ("user_id", Why::User),
            ("role", Why::Role),
        ];
        for (claim, why) in cases {
            // A list is right for roles, if what is in it is.
            let value = if claim == "role" {
                json!([value])
            } else {
                value.clone()
            };
            let mut claims = Map::new();
            claims.insert(claim.to_owned(), value);
            let refusal = identity(Value::from(claims.clone())).unwrap_err();
            assert_eq!(refusal, Refusal::Invalid(why), "{claims:?}");
        }
    }
}

#[test]
fn integers_beyond_64_bits_are_refused_not_rounded() {
    let number: Value = serde_json::from_str("18446744073709551617").unwrap();
    let refusal = identity(json!({ "organization_id": number })).unwrap_err();
    assert_eq!(refusal, Refusal::Invalid(Why::Organization));
}

#[test]
fn the_first_claim_present_decides() {
    // (claims, organization, user)
    let table = [
        (json!({}), None, None),
        (json!({ "sub": "s" }), None, Some("s")),
        (json!({ "sub": "s", "user_id": 5 }), None, Some("5")),
        (json!({ "user_id": null, "sub": "s" }), None, Some("s")),
        (json!({ "tenant_id": "t" }), Some("t"), None),
        (json!({ "tenant_id": "t", "org_id": "o" }), Some("o"), None),
        (
            json!({ "tenant_id": "t", "org_id": "o", "organization_id": 1 }),
            Some("1"),
            None,
        ),
        (
            json!({ "organization_id": null, "org_id": 2 }),
            Some("2"),
            None,
        ),
        (
            json!({ "organization_id": 1, "org_id": [] }),
            Some("1"),
            None,
        ),
    ];
    for (claims, organization, user) in table {
        let identity = identity(claims.clone()).unwrap();
        let text = |value: Option<&ClaimValue>| value.map(ToString::to_string);
        assert_eq!(
            text(identity.organization()).as_deref(),
            organization,
            "{claims}"
        );
        assert_eq!(text(identity.user()).as_deref(), user, "{claims}");
    }
    let refusal = identity(json!({ "organization_id": {}, "org_id": 2 })).unwrap_err();
    assert_eq!(refusal, Refusal::Invalid(Why::Organization));
}

#[test]
fn roles_make_ranks() {
    // (claims, admin, super admin, of the own organization only, line)
    let table = [
        (json!({}), false, false, false, ""),
        (json!({ "role": "user" }), false, false, false, "user"),
        (json!({ "role": "admin" }), true, false, false, "admin"),
        (json!({ "role": "Admin" }), false, false, false, "Admin"),
        (
            json!({ "role": "super_admin" }),
            true,
            true,
            false,
            "super_admin",
        ),
        (
            json!({ "role": "superuser" }),
            true,
            true,
            false,
            "superuser",
        ),
        (
            json!({ "role": "org_admin" }),
            true,
            false,
            true,
            "org_admin",
        ),
        (
            json!({ "roles": ["org_admin", "admin"] }),
            true,
            false,
            false,
            "org_admin,admin",
        ),
        (
            json!({ "roles": ["user", "org_admin"] }),
            true,
            false,
            true,
            "user,org_admin",
        ),
        (json!({ "roles": [] }), false, false, false, ""),
        (
            json!({ "role": null, "roles": "admin" }),
            true,
            false,
            false,
            "admin",
        ),
        (
            json!({ "role": "user", "roles": ["user", "admin"] }),
            true,
            false,
            false,
            "user,admin",
        ),
        (json!({ "role": 3 }), false, false, false, "3"),
        (json!({ "is_admin": true }), true, false, false, ""),
        (json!({ "is_superuser": true }), true, true, false, ""),
        (
            json!({ "is_admin": true, "role": "org_admin" }),
            true,
            false,
            false,
            "org_admin",
        ),
        (json!({ "is_admin": false }), false, false, false, ""),
        (json!({ "is_admin": "true" }), false, false, false, ""),
        (json!({ "is_admin": 1 }), false, false, false, ""),
        (json!({ "is_admin": [true] }), false, false, false, ""),
    ];
    for (claims, admin, super_admin, own_only, line) in table {
        let identity = identity(claims.clone()).unwrap();
        let ranks = (
            identity.is_admin(),
            identity.is_super_admin(),
            identity.is_org_admin_only(),
        );
        assert_eq!(ranks, (admin, super_admin, own_only), "{claims}");
        let expected = if line.is_empty() {
            String::new()
        } else {
            format!("X-User-Role: {line}\r\n")
        };
        assert_eq!(identity.upstream_fields(), expected.as_bytes(), "{claims}");
    }
    let many: Vec<u32> = (0..129).collect();
    for (roles, why) in [
        (json!("user,admin"), Why::Role),
        (json!(["a", null]), Why::Role),
        (json!({ "admin": true }), Why::Role),
        (json!(many), Why::TooManyRoles),
    ] {
        let refusal = identity(json!({ "roles": roles })).unwrap_err();
        assert_eq!(refusal, Refusal::Invalid(why), "{roles}");
    }
}

#[test]
fn a_role_outside_admin_roles_has_no_power() {
    let mut settings = settings();
    settings.admin_roles = vec!["ops".to_owned(), "7".to_owned()];
    let verifier = Verifier::new(settings.clone()).unwrap();
    for (role, admin) in [
        (json!("ops"), true),
        (json!(7), true),
        (json!("super_admin"), false),
        (json!("org_admin"), false),
    ] {
        let token = token(&settings, json!({ "role": role }));
        let identity = verifier.verify(token.as_bytes(), NOW_MS).unwrap();
        assert_eq!(identity.is_admin(), admin, "{role}");
        assert!(!identity.is_super_admin());
    }
}

#[test]
fn upstream_lines_are_complete() {
    let claims = json!({ "user_id": 123, "organization_id": 1, "role": "admin" });
    assert_eq!(
        identity(claims).unwrap().upstream_fields(),
        b"X-User-ID: 123\r\nX-Organization-ID: 1\r\nX-User-Role: admin\r\n"
    );
}

#[test]
fn one_and_the_text_one_are_one_organization() {
    let number = identity(json!({ "organization_id": 1 })).unwrap();
    let text = identity(json!({ "organization_id": "1" })).unwrap();
    assert_eq!(number.organization_key(), text.organization_key());
    assert_ne!(number.organization(), text.organization());
}

#[test]
fn the_cache_answers_with_what_it_verified() {
    let settings = settings();
    let verifier = Verifier::new(settings.clone()).unwrap();
    let mut cache = Cache::new();
    let token = token(&settings, json!({ "user_id": 1 }));
    let mut at = |now_ms| cache.identify(&verifier, token.as_bytes(), now_ms);
    let first = at(NOW_MS).unwrap();
    // (time, whether it is the remembered identity)
    let same = |other: &Arc<Identity>| Arc::ptr_eq(&first, other);
    assert!(same(&at(NOW_MS).unwrap()));
    assert!(same(&at(NOW_MS + 59_999).unwrap()));
    assert!(!same(&at(NOW_MS + 60_000).unwrap()));
    assert_eq!(
        at(NOW_MS + 3_599_999).unwrap().expires_ms(),
        NOW_MS + 3_600_000
    );
    assert_eq!(at(NOW_MS + 3_600_000).unwrap_err(), Refusal::Expired);
    assert_eq!(at(NOW_MS + 3_600_001).unwrap_err(), Refusal::Expired);
    // A clock set back far enough: the verification lies in the future and is not believed.
    assert!(!same(&at(NOW_MS - 1).unwrap()));
}

#[test]
fn the_cache_never_outlives_exp() {
    let settings = settings();
    let verifier = Verifier::new(settings.clone()).unwrap();
    let mut cache = Cache::new();
    let token = token(&settings, json!({ "exp": NOW + 10 }));
    assert!(cache.identify(&verifier, token.as_bytes(), NOW_MS).is_ok());
    assert!(
        cache
            .identify(&verifier, token.as_bytes(), NOW_MS + 9_999)
            .is_ok()
    );
    let late = cache.identify(&verifier, token.as_bytes(), NOW_MS + 10_000);
    assert_eq!(late.unwrap_err(), Refusal::Expired);
}

#[test]
fn new_keys_empty_the_cache() {
    let old = settings();
    let mut new = settings();
    new.secret = b"another secret, as long as it is".to_vec();
    let (old_verifier, new_verifier) = (
        Verifier::new(old.clone()).unwrap(),
        Verifier::new(new).unwrap(),
    );
    let same_again = Verifier::new(old.clone()).unwrap();
    assert_ne!(old_verifier.generation(), same_again.generation());
    let mut cache = Cache::new();
    let token = token(&old, json!({}));
    let first = cache
        .identify(&old_verifier, token.as_bytes(), NOW_MS)
        .unwrap();
    let refused = cache.identify(&new_verifier, token.as_bytes(), NOW_MS);
    assert_eq!(refused.unwrap_err(), Refusal::Invalid(Why::Signature));
    let again = cache
        .identify(&old_verifier, token.as_bytes(), NOW_MS)
        .unwrap();
    assert!(!Arc::ptr_eq(&first, &again));
}

#[test]
fn the_cache_compares_whole_tokens() {
    let settings = settings();
    let verifier = Verifier::new(settings.clone()).unwrap();
    let mut cache = Cache::new();
    let token = token(&settings, json!({ "user_id": 1 }));
    assert!(cache.identify(&verifier, token.as_bytes(), NOW_MS).is_ok());
    for at in 0..token.len() {
        let mut forged = token.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let refused = cache.identify(&verifier, &forged, NOW_MS);
        assert!(refused.is_err(), "byte {at} changed");
    }
    assert!(
        cache
            .identify(&verifier, &token.as_bytes()[..token.len() - 1], NOW_MS)
            .is_err()
    );
    let long = vec![b'a'; TOKEN_BYTES_MAX + 1];
    let refused = cache.identify(&verifier, &long, NOW_MS);
    assert_eq!(refused.unwrap_err(), Refusal::Invalid(Why::TooLong));
}

#[test]
fn more_tokens_than_entries_are_all_identified() {
    let settings = settings();
    let verifier = Verifier::new(settings.clone()).unwrap();
    let mut cache = Cache::new();
    let tokens: Vec<String> = (0..2 * CACHE_ENTRIES_MAX)
        .map(|user| token(&settings, json!({ "user_id": user })))
        .collect();
    let hot = tokens[0].as_bytes();
    let mut kept = 0;
    let mut before = cache.identify(&verifier, hot, NOW_MS).unwrap();
    for (user, token) in tokens.iter().enumerate() {
        let identity = cache.identify(&verifier, token.as_bytes(), NOW_MS).unwrap();
        assert_eq!(identity.user().unwrap().to_string(), user.to_string());
        let again = cache.identify(&verifier, hot, NOW_MS).unwrap();
        kept += usize::from(Arc::ptr_eq(&before, &again));
        before = again;
    }
    // The clock hand passes over what is in use.
    assert!(
        kept > tokens.len() * 99 / 100,
        "the hot token was evicted: {kept}"
    );
}

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
            "hint: it was signed with the base64-decoded secret",
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
    assert!(
        Why::TooManyRoles
            .message()
            .contains(&principal::ROLES_MAX.to_string())
    );
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
