//! Claims that name somebody: which values are taken, which count as none, and how they stand in the lines for services.
//! Not here: dates and rules. Invariant: nobody is refused for a claim that the gateway does not need.

use serde_json::{Map, Value, json};

use super::super::*;
use super::identity;

/// Values that are no name, whichever claim they stand in.
fn unusable() -> Vec<Value> {
    vec![
        json!(1.5),
        json!(1.0),
        json!(1e30),
        json!(true),
        json!(false),
        json!([[1]]),
        json!({ "id": 1 }),
        json!("a\r\nX-Admin: 1"),
        json!("a\tb\nc"),
        json!("a\0"),
        json!("a\u{7f}"),
        json!("a\u{85}"),
        json!("x".repeat(129)),
        json!("\u{e9}".repeat(129)),
        json!("x".repeat(1_000)),
    ]
}

#[test]
fn names_arrive_encoded_and_are_kept_as_they_are() {
    let long = "x".repeat(128);
    let wide = "\u{1f600}".repeat(128);
    let wide_encoded = "%F0%9F%98%80".repeat(128);
    let taken = [
        (json!(1), "1", "1"),
        (json!(0), "0", "0"),
        (json!(-7), "-7", "-7"),
        (
            json!(i64::MAX),
            "9223372036854775807",
            "9223372036854775807",
        ),
        (
            json!(u64::MAX),
            "18446744073709551615",
            "18446744073709551615",
        ),
        (json!("1"), "1", "1"),
        (json!("01"), "01", "01"),
        (json!("acme corp"), "acme corp", "acme%20corp"),
        (json!(" 1"), " 1", "%201"),
        (json!("1 "), "1 ", "1%20"),
        (json!("a:b/c@d~"), "a:b/c@d~", "a:b/c@d~"),
        (json!("caf\u{e9}"), "caf\u{e9}", "caf%C3%A9"),
        (
            json!("\u{6771}\u{4eac}"),
            "\u{6771}\u{4eac}",
            "%E6%9D%B1%E4%BA%AC",
        ),
        (json!("\u{202e}x"), "\u{202e}x", "%E2%80%AEx"),
        // Two names stay two: the mark of an encoding is encoded itself.
        (json!("caf%C3%A9"), "caf%C3%A9", "caf%25C3%25A9"),
        (json!("50%"), "50%", "50%25"),
        (json!(long), long.as_str(), long.as_str()),
        (json!(wide), wide.as_str(), wide_encoded.as_str()),
    ];
    for (value, text, encoded) in taken {
        let claims = json!({ "organization_id": value, "user_id": value, "role": [value] });
        let identity = identity(claims).unwrap();
        assert_eq!(identity.organization().unwrap().to_string(), text);
        assert_eq!(identity.organization().unwrap().to_json(), value);
        assert_eq!(identity.organization_key(), Some(text));
        assert_eq!(identity.user().unwrap().to_json(), value);
        let lines = format!(
            "X-User-ID: {encoded}\r\nX-Organization-ID: {encoded}\r\nX-User-Role: {encoded}\r\n"
        );
        assert_eq!(identity.upstream_fields(), lines.as_bytes(), "{value}");
    }
}

#[test]
fn only_an_unusable_organization_is_refused() {
    for value in unusable() {
        let mut claims = Map::new();
        for claim in ["user_id", "role", "roles"] {
            claims.insert(claim.to_owned(), value.clone());
        }
        // The next claim of its kind does not take its place: that would be another user.
        claims.insert("sub".to_owned(), json!("somebody else"));
        claims.insert("organization_id".to_owned(), json!(1));
        let other = identity(Value::from(claims.clone())).unwrap();
        assert_eq!(other.user(), None, "{value}");
        assert!(!other.is_admin(), "{value}");
        for listed in [json!([]), json!([value]), json!([value, value])] {
            claims.insert("role".to_owned(), json!(null));
            claims.insert("roles".to_owned(), listed);
            let other = identity(Value::from(claims.clone())).unwrap();
            assert!(other.roles().is_empty(), "{value}");
            assert_eq!(other.upstream_fields(), b"X-Organization-ID: 1\r\n");
        }
        for claim in ["organization_id", "org_id", "tenant_id"] {
            let mut claims = Map::new();
            claims.insert(claim.to_owned(), value.clone());
            let refusal = identity(Value::from(claims)).unwrap_err();
            assert_eq!(refusal, Refusal::Invalid(Why::Organization), "{value}");
            assert!(refusal.message().contains("JWT_ORGANIZATION_CLAIMS"));
        }
    }
    let list = identity(json!({ "organization_id": ["1"] })).unwrap_err();
    assert_eq!(list, Refusal::Invalid(Why::Organization));
}

#[test]
fn an_empty_string_is_an_absent_claim() {
    let claims = json!({
        "organization_id": "", "org_id": null, "tenant_id": "t", "user_id": "", "sub": "s", "role": "", "roles": ["", "a"],
    });
    let found = identity(claims).unwrap();
    let lines = b"X-User-ID: s\r\nX-Organization-ID: t\r\nX-User-Role: a\r\n";
    assert_eq!(found.upstream_fields(), lines);
    let none = identity(json!({ "organization_id": "", "user_id": "", "role": "", "roles": [] }));
    assert_eq!(none.unwrap().upstream_fields(), b"");
}

#[test]
fn roles_are_read_from_every_shape() {
    // (claims, roles upstream, admin)
    let table = [
        (json!({ "role": "" }), "", false),
        (json!({ "roles": [{ "authority": "admin" }] }), "", false),
        (json!({ "role": { "name": "admin" } }), "", false),
        (json!({ "roles": { "admin": true } }), "", false),
        (json!({ "role": true }), "", false),
        (
            json!({ "roles": ["a", null, 7, false, { "x": 1 }, ["b"]] }),
            "a,7",
            false,
        ),
        (json!({ "role": "ROLE_A,ROLE_B" }), "ROLE_A,ROLE_B", false),
        (json!({ "role": "user,admin" }), "user,admin", true),
        (
            json!({ "role": " user \t admin , , x " }),
            "user,admin,x",
            true,
        ),
        (json!({ "role": ", ," }), "", false),
        // A list says by itself where a role ends.
        (
            json!({ "roles": ["team lead", "user admin"] }),
            "team%20lead,user%20admin",
            false,
        ),
        (json!({ "roles": ["a,admin", "b"] }), "b", false),
        (
            json!({ "roles": ["a", "b", "a"], "role": "b c" }),
            "b,c,a",
            false,
        ),
        (json!({ "role": "Verk\u{e4}ufer" }), "Verk%C3%A4ufer", false),
        (json!({ "role": "admin\n" }), "", false),
    ];
    for (claims, line, admin) in table {
        let identity = identity(claims.clone()).unwrap();
        assert_eq!(identity.is_admin(), admin, "{claims}");
        let expected = if line.is_empty() {
            String::new()
        } else {
            format!("X-User-Role: {line}\r\n")
        };
        assert_eq!(
            String::from_utf8_lossy(identity.upstream_fields()),
            expected,
            "{claims}"
        );
    }
}

#[test]
fn there_may_be_any_number_of_roles() {
    for count in [2, 16, 17, 129, 300] {
        let roles: Vec<String> = (0..count).map(|at| format!("r{at}")).collect();
        let twice: Vec<&String> = roles.iter().chain(&roles).collect();
        let listed = identity(json!({ "roles": twice })).unwrap();
        let written = identity(json!({ "role": roles.join(" "), "roles": roles })).unwrap();
        let expected = format!("X-User-Role: {}\r\n", roles.join(","));
        assert_eq!(listed.upstream_fields(), expected.as_bytes(), "{count}");
        assert_eq!(written.upstream_fields(), expected.as_bytes(), "{count}");
        assert!(!listed.is_admin());
    }
    let mut many: Vec<String> = (0..128).map(|at| format!("r{at}")).collect();
    many.push("admin".to_owned());
    assert!(identity(json!({ "roles": many })).unwrap().is_admin());
}

#[test]
fn why_says_what_it_passed_over() {
    let settings = super::settings();
    let claims = json!({ "user_id": 1.5, "roles": [{ "authority": "X" }, "a,b", "c"] });
    let token = super::token(&settings, claims);
    let text = why(&settings, token.as_bytes(), super::NOW_MS).join("\n");
    for expected in [
        "note: the user is not an integer",
        "(claims: user_id, sub)",
        "note: left out as roles: 2, not an integer",
        "verdict: accepted; organization none, user none, roles [c]",
    ] {
        assert!(
            text.contains(expected),
            "{expected:?} is missing in:\n{text}"
        );
    }
    let token = super::token(&settings, json!({ "organization_id": [1] }));
    let text = why(&settings, token.as_bytes(), super::NOW_MS).join("\n");
    assert!(text.contains("problem: the organization (JWT_ORGANIZATION_CLAIMS) must be"));
    assert!(text.contains("(claims: organization_id, org_id, tenant_id)"));
}
