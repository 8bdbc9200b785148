//! Who may pass: tokens good and bad, the messages of 401 and 403, roles. Not what identity does upstream (see `e2e_routing`).
//! Invariant: nothing unidentified reaches a service, and every refusal says why.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test may fail loudly, and a table is as long as its cases"
)]

mod support;

use jsonwebtoken::Algorithm;
use serde_json::json;
use support::check::check_error;
use support::{Token, gateway, token, until, upstream};

#[test]
fn a_missing_or_malformed_authorization_is_401_with_its_message() {
    let up = upstream();
    let gw = gateway().backend(&up).unlimited().start();
    let good = format!("Bearer {}", token().org(1).mint());
    let missing = "Missing Authorization header";
    let format = "Invalid Authorization header format";
    let table: [(&[&str], &str); 7] = [
        (&[], missing),
        (&["Basic dXNlcjpwYXNz"], format),
        (&["Bearer"], format),
        (&["Bearer "], format),
        (&["Bearer a b"], format),
        (&["Token abc"], format),
        (&[&good, &good], format),
    ];
    for (values, message) in table {
        let ask = gw.get("/api/v1/x").field("Origin", "https://a.example");
        let answer = values
            .iter()
            .fold(ask, |ask, value| ask.field("Authorization", value))
            .send();
        assert_eq!(check_error(&answer, 401), message, "{values:?}");
        assert_eq!(answer.json()["error"], "Unauthorized");
        assert!(answer.must("www-authenticate").starts_with("Bearer"));
    }
    let answer = gw.get("/api/v1/x").send();
    assert_eq!(
        answer.must("www-authenticate"),
        "Bearer",
        "no token was sent, so none was invalid"
    );
    assert_eq!(
        gw.get("/api/v1/x")
            .field("AUTHORIZATION", &good.replacen("Bearer", "bEARER", 1))
            .send()
            .status,
        200
    );
    assert_eq!(up.requests().len(), 1, "nothing unidentified went upstream");
}

#[test]
fn a_bad_token_is_401_and_says_why() {
    let up = upstream();
    let gw = gateway().backend(&up).unlimited().start();
    let ok = || token().org(1).user(2);
    let later = support::token::now() + 600;
    let table: [(&str, String, &str); 18] = [
        ("expired", ok().expires_in(-1).mint(), "Token has expired"),
        (
            "long expired",
            ok().expires_in(-1_000_000).mint(),
            "Token has expired",
        ),
        ("forged", ok().forged().mint(), "Invalid token: "),
        (
            "another algorithm",
            ok().algorithm(Algorithm::HS512).mint(),
            "Invalid token: ",
        ),
        ("unsigned", unsigned(), "Invalid token: "),
        ("no exp", ok().without("exp").mint(), "Invalid token: "),
        (
            "exp as text",
            ok().claim("exp", "soon").mint(),
            "Invalid token: ",
        ),
        (
            "not yet valid",
            ok().claim("nbf", later).mint(),
            "Invalid token: ",
        ),
        (
            "issued tomorrow",
            ok().claim("iat", later).mint(),
            "Invalid token: ",
        ),
        (
            "refresh by typ",
            ok().typ("refresh").mint(),
            "Invalid token: ",
        ),
        (
            "refresh by claim",
            ok().claim("type", "refresh").mint(),
            "Invalid token: ",
        ),
        (
            "an audience nobody configured",
            ok().claim("aud", "x").mint(),
            "Invalid token: ",
        ),
        (
            "organization of the wrong type",
            ok().org(json!({"id": 1})).mint(),
            "Invalid token: ",
        ),
        (
            "organization too long",
            ok().org("x".repeat(129)).mint(),
            "Invalid token: ",
        ),
        (
            "organization with a line end",
            ok().org("1\r\nX-User-Role: admin").mint(),
            "Invalid token: ",
        ),
        ("fractional user", ok().user(1.5).mint(), "Invalid token: "),
        ("not a token", "abc".to_owned(), "Invalid token: "),
        (
            "too long",
            ok().claim("fill", "x".repeat(9000)).mint(),
            "Invalid token: ",
        ),
    ];
    for (what, text, message) in table {
        let answer = gw
            .get("/api/v1/x")
            .field("Origin", "https://a.example")
            .bearer_text(&text)
            .send();
        let said = check_error(&answer, 401);
        assert!(said.starts_with(message), "{what}: {said}");
        assert!(
            answer
                .must("www-authenticate")
                .contains("error=\"invalid_token\""),
            "{what}"
        );
    }
    let audience = gw.get("/api/v1/x").bearer(&ok().claim("aud", "x")).send();
    assert!(
        audience.text().contains("JWT_AUDIENCE"),
        "the message names the variable: {}",
        audience.text()
    );
    assert!(up.requests().is_empty());
}

/// `alg: none`, as in the oldest attack on JWT libraries.
fn unsigned() -> String {
    let claims = token().org(1).mint();
    let claims = claims.split('.').nth(1).unwrap();
    // {"alg":"none","typ":"JWT"}
    format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
}

#[test]
fn a_token_ends_on_time_though_it_was_verified_before() {
    let up = upstream();
    let gw = gateway().backend(&up).unlimited().start();
    let short = token().org(1).expires_in(2);
    let ask = gw.get("/api/v1/x").bearer(&short);
    assert_eq!(ask.send().status, 200);
    until("the token to end", || ask.send().status == 401);
    assert_eq!(ask.send().json()["message"], "Token has expired");
}

#[test]
fn algorithm_audience_and_issuer_come_from_the_configuration() {
    let up = upstream();
    let gw = gateway()
        .backend(&up)
        .unlimited()
        .env("JWT_ALGORITHM", "HS512")
        .env("JWT_AUDIENCE", "a,b");
    let gw = gw.env("JWT_ISSUER", "https://id.example").start();
    let good = || {
        token()
            .algorithm(Algorithm::HS512)
            .claim("aud", "b")
            .claim("iss", "https://id.example")
    };
    let table: [(&str, Token, u16); 7] = [
        ("all as configured", good(), 200),
        (
            "one of several audiences",
            good().claim("aud", json!(["x", "a"])),
            200,
        ),
        ("HS256", good().algorithm(Algorithm::HS256), 401),
        ("another audience", good().claim("aud", "c"), 401),
        ("no audience", good().without("aud"), 401),
        (
            "another issuer",
            good().claim("iss", "https://evil.example"),
            401,
        ),
        ("no issuer", good().without("iss"), 401),
    ];
    for (what, token, status) in table {
        assert_eq!(
            gw.get("/api/v1/x").bearer(&token).send().status,
            status,
            "{what}"
        );
    }
}

#[test]
fn an_unknown_path_is_404_only_after_401() {
    let gw = gateway().unlimited().start();
    for path in [
        "/",
        "/nowhere",
        "/api/v2/x",
        "/apix/v1",
        "/health/",
        "/Health",
        "/admin",
    ] {
        assert_eq!(gw.get(path).send().status, 401, "{path} without a token");
        let answer = gw
            .get(path)
            .field("Origin", "https://a.example")
            .bearer(&token().org(1))
            .send();
        check_error(&answer, 404);
    }
}

#[test]
fn admin_endpoints_want_an_admin_and_the_right_method() {
    let gw = gateway().start();
    let reset = |token: &Token| {
        let ask = gw
            .post("/admin/rate-limit/reset")
            .field("Origin", "https://a.example");
        ask.bearer(token)
            .json(&json!({"organization_id": 1}))
            .send()
    };
    let refused = reset(&token().org(1).role("user"));
    assert_eq!(check_error(&refused, 403), "Admin access required");
    assert_eq!(refused.json()["error"], "Forbidden");
    let admins = [
        token().role("admin"),
        token().role("super_admin"),
        token().role("superuser"),
        token().claim("roles", json!(["user", "admin"])),
        token().claim("is_admin", true),
        token().claim("is_superuser", true),
        token().role("org_admin").org(1),
    ];
    for admin in admins {
        let answer = reset(&admin);
        assert_eq!(answer.status, 200, "{admin:?}: {}", answer.text());
        let expected = json!({"status": "success", "message": "Rate limits reset successfully"});
        assert_eq!(answer.json(), expected);
    }
    check_error(&reset(&token().claim("is_admin", false)), 403);
    let get = gw
        .get("/admin/rate-limit/reset")
        .field("Origin", "https://a.example");
    check_error(&get.bearer(&token().role("admin")).send(), 405);
    check_error(
        &gw.post("/health")
            .field("Origin", "https://a.example")
            .body("")
            .send(),
        405,
    );
}

#[test]
fn admin_roles_are_configurable() {
    let gw = gateway().env("ADMIN_ROLES", "root").start();
    let reset = |role: &str| {
        let ask = gw
            .post("/admin/rate-limit/reset")
            .bearer(&token().role(role));
        ask.json(&json!({"organization_id": 1})).send().status
    };
    assert_eq!((reset("root"), reset("admin")), (200, 403));
}

#[test]
fn without_required_authentication_a_bad_token_is_anonymous() {
    let up = upstream();
    let gw = gateway()
        .backend(&up)
        .unlimited()
        .env("REQUIRE_AUTHENTICATION", "false")
        .start();
    let identified = gw.get("/api/v1/x").bearer(&token().org(7).user(8)).send();
    assert_eq!(
        (identified.status, up.last().field("x-organization-id")),
        (200, Some("7"))
    );
    for ask in [
        gw.get("/api/v1/x"),
        gw.get("/api/v1/x").bearer(&token().org(7).forged()),
    ] {
        assert_eq!(ask.send().status, 200);
        assert_eq!(up.last().field("x-organization-id"), None);
    }
    let reset = gw
        .post("/admin/rate-limit/reset")
        .json(&json!({"organization_id": 1}));
    assert_eq!(
        reset.send().status,
        401,
        "admin endpoints need a token all the same"
    );
    assert_eq!(gw.get("/nowhere").send().status, 404);
}
