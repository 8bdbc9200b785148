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
mod names;
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
fn a_flag_counts_as_the_role_of_its_name_and_no_more() {
    // (ADMIN_ROLES, is_admin is one, is_superuser is one)
    let table: [(&[&str], bool, bool); 6] = [
        (&[], false, false),
        (&["root"], false, false),
        (&["admin"], true, false),
        (&["superuser"], false, true),
        // Another super role does not stand for this one.
        (&["super_admin", "org_admin"], false, false),
        (&["admin", "superuser"], true, true),
    ];
    for (roles, by_admin, by_superuser) in table {
        let mut settings = settings();
        settings.admin_roles = roles.iter().map(ToString::to_string).collect();
        let verifier = Verifier::new(settings.clone()).unwrap();
        let ranks = |claims: Value| {
            let token = token(&settings, claims);
            let identity = verifier.verify(token.as_bytes(), NOW_MS).unwrap();
            (identity.is_admin(), identity.is_super_admin())
        };
        assert_eq!(
            ranks(json!({ "is_admin": true })),
            (by_admin, false),
            "{roles:?}"
        );
        let superuser = ranks(json!({ "is_superuser": true }));
        assert_eq!(superuser, (by_superuser, by_superuser), "{roles:?}");
        let both = ranks(json!({ "is_superuser": true, "is_admin": true, "role": "org_admin" }));
        assert_eq!(both.1, by_superuser, "{roles:?}");
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
