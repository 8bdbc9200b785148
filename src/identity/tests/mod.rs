//! Tables for the parts of this room: here bearer fields, claim values and roles; the cache and all texts beside it.
//! Not here: whole forged tokens, which come from outside (`tests/identity_tokens.rs`). Invariant: the time is injected.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test may fail loudly"
)]

mod cache;
mod texts;

use serde_json::{Map, Value, json};

use super::*;

const NOW_MS: u64 = 1_700_000_000_000;
const NOW: u64 = NOW_MS / 1000;

fn settings() -> Settings {
    Settings::with_secret(Hmac::Hs256, *b"a secret of thirty-two bytes....")
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else {
        panic!("{value} is no object");
    };
    object
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
