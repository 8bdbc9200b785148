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
    let table: [(&str, String, &str); 17] = [
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
            ok().claim("exp", later.to_string()).mint(),
            "Invalid token: exp is a text, it must be a number of seconds",
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
            "Invalid token: the organization (JWT_ORGANIZATION_CLAIMS) must be ",
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
        (
            "exp in milliseconds",
            ok().claim("exp", later * 1000).mint(),
            "Invalid token: exp looks like milliseconds, it must be in seconds",
        ),
        ("not a token", "abc".to_owned(), "Invalid token: "),
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
fn a_token_that_is_too_long_to_be_read_is_431_and_charged() {
    let gw = gateway().env("RATE_LIMIT_PER_ORG", "false").start();
    let long = token().claim("fill", "x".repeat(9000)).mint();
    let answer = gw.get("/api/v1/x").bearer_text(&long).send();
    let message = check_error(&answer, 431);
    assert!(message.contains("8 KiB"), "{message}");
    // Of the address, as for any other token that is not taken; the question itself costs nothing.
    let info = gw.info(&token());
    assert_eq!(info["ip"]["current_count"], 1);
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
fn a_flag_opens_nothing_that_admin_roles_does_not_list() {
    let flags = || {
        token()
            .org(1)
            .claim("is_admin", true)
            .claim("is_superuser", true)
    };
    // (ADMIN_ROLES, token, may reset an organization, may reset everything)
    let table = [
        ("none", flags(), 403, 403),
        ("none", flags().role("superuser"), 403, 403),
        ("root", flags(), 403, 403),
        ("super_admin,org_admin", flags(), 403, 403),
        ("admin", flags(), 200, 403),
        ("superuser", flags(), 200, 200),
        ("superuser", token().claim("is_admin", true), 403, 403),
        ("admin", token().claim("is_superuser", true), 403, 403),
        (
            "admin,superuser",
            token().claim("is_superuser", "true"),
            403,
            403,
        ),
    ];
    for (roles, token, one, all) in table {
        let gw = gateway().env("ADMIN_ROLES", roles).start();
        let reset = |body: serde_json::Value| {
            let ask = gw.post("/admin/rate-limit/reset").bearer(&token);
            ask.json(&body).send().status
        };
        let found = (
            reset(json!({"organization_id": 1})),
            reset(json!({"ip_address": "192.0.2.1"})),
            reset(json!({"all": true})),
        );
        assert_eq!(found, (one, one, all), "{roles} {token:?}");
    }
}

#[test]
fn claims_that_nobody_needs_lock_nobody_out() {
    let up = upstream();
    let gw = gateway().backend(&up).unlimited().start();
    let many: Vec<String> = (0..129).map(|at| format!("r{at}")).collect();
    let joined = many.join(",");
    // (claims beside the organization, X-User-ID, X-User-Role)
    let table = [
        (json!({"role": ""}), None, None),
        (json!({"roles": [{"authority": "X"}]}), None, None),
        (json!({"role": {"name": "X"}}), None, None),
        (
            json!({"role": "ROLE_A,ROLE_B"}),
            None,
            Some("ROLE_A,ROLE_B"),
        ),
        (json!({"role": "a b"}), None, Some("a,b")),
        (
            json!({"roles": ["a b", "c,d", null, "e"]}),
            None,
            Some("a%20b,e"),
        ),
        (json!({"roles": many}), None, Some(joined.as_str())),
        (json!({"user_id": 1.5, "sub": "s"}), None, None),
        (json!({"user_id": "", "sub": "s"}), Some("s"), None),
        (json!({"user_id": "Jos\u{e9}"}), Some("Jos%C3%A9"), None),
        (json!({"user_id": "a\r\nX-User-Role: admin"}), None, None),
        (json!({"user_id": {"id": 1}, "role": false}), None, None),
    ];
    for (claims, user, roles) in table {
        let mut issued = token().org("M\u{fc}ller & Co");
        for (name, value) in claims.as_object().unwrap() {
            issued = issued.claim(name, value.clone());
        }
        let answer = gw.get("/api/v1/x").bearer(&issued).send();
        assert_eq!(answer.status, 200, "{claims}: {}", answer.text());
        let seen = up.last();
        assert_eq!(
            seen.field("x-organization-id"),
            Some("M%C3%BCller%20&%20Co")
        );
        assert_eq!(seen.field("x-user-id"), user, "{claims}");
        assert_eq!(seen.field("x-user-role"), roles, "{claims}");
    }
}

#[test]
fn an_organization_outside_ascii_is_limited_shown_and_reset_like_any_other() {
    let up = upstream();
    let gw = gateway()
        .backend(&up)
        .env("RATE_LIMIT_RPM", 2)
        .env("RATE_LIMIT_BURST", 0)
        .env("RATE_LIMIT_PER_IP", "false");
    let gw = gw.start();
    let name = "\u{6771}\u{4eac} \u{1f600}";
    let issued = token().org(name);
    let ask = || gw.get("/api/v1/x").bearer(&issued).send().status;
    assert_eq!([ask(), ask(), ask()], [200, 200, 429]);
    assert_eq!(gw.info(&issued)["organization"]["id"], name);
    // What it is called upstream is another organization's name.
    let encoded = token().org("%E6%9D%B1%E4%BA%AC%20%F0%9F%98%80");
    assert_eq!(gw.get("/api/v1/x").bearer(&encoded).send().status, 200);
    let reset = gw
        .post("/admin/rate-limit/reset")
        .bearer(&token().role("admin"))
        .json(&json!({"organization_id": name}));
    assert_eq!(reset.send().status, 200);
    assert_eq!(ask(), 200);
    let own = gw
        .post("/admin/rate-limit/reset")
        .bearer(&token().org(name).role("org_admin"))
        .json(&json!({"organization_id": name}));
    assert_eq!(own.send().status, 200);
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
