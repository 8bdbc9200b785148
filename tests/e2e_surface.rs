//! The gateway's own surface end to end: health, probes, documents, identity and what its errors look like. Not routing and
//! not limits. Invariant: every answer, whatever its status, carries the gateway's own fields exactly once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use support::{Answer, Token, gateway, token, until, upstream};

/// What DESIGN.md promises of every response; the request had an `Origin`.
fn check_own_fields(answer: &Answer) {
    let time = answer.must("x-response-time");
    let millis = time.strip_suffix("ms").unwrap_or_else(|| panic!("{time}"));
    let (whole, part) = millis.split_once('.').unwrap_or_else(|| panic!("{time}"));
    assert!(
        whole.parse::<u64>().is_ok() && part.len() == 2 && part.parse::<u64>().is_ok(),
        "{time}"
    );
    assert!(!answer.must("x-request-id").is_empty());
    assert_eq!(answer.must("access-control-allow-origin"), "*");
    assert!(answer.must("date").ends_with(" GMT"));
}

/// A refusal: its status, JSON with two texts, and the fields of every answer.
fn check_error(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    check_own_fields(answer);
    assert!(answer.must("content-type").starts_with("application/json"));
    let body = answer.json();
    assert!(body["error"].is_string(), "{body}");
    body["message"]
        .as_str()
        .unwrap_or_else(|| panic!("{body}"))
        .to_owned()
}

#[test]
fn health_has_the_seeds_eight_fields_and_the_driver() {
    let (up, analyzer) = (upstream(), upstream());
    let gw = gateway()
        .backend(&up)
        .analyzer(&analyzer, "/api/v1")
        .start();
    let answer = gw
        .get("/health")
        .field("Origin", "https://a.example")
        .send();
    assert_eq!(answer.status, 200);
    check_own_fields(&answer);
    let mut health = answer.json();
    let driver = health.as_object_mut().unwrap().remove("driver").unwrap();
    assert!(driver == "io_uring" || driver == "epoll", "{driver}");
    assert_eq!(
        health,
        json!({
            "status": "healthy", "service": "dbpower-api-gateway", "version": "1.0.0",
            "backend": up.url(), "ai_analyzer": format!("{}/api/v1", analyzer.url()),
            "redis": false, "backend_healthy": true, "ai_analyzer_healthy": true,
        })
    );
    assert!(
        answer.field("x-ratelimit-limit").is_none(),
        "health is exempt from limits"
    );
    assert!(
        up.probes() >= 1 && analyzer.probes() >= 1,
        "both were probed before readiness"
    );
}

#[test]
fn health_is_degraded_while_a_service_is_down() {
    let (up, analyzer) = (upstream(), upstream());
    up.probes_get(500);
    let gw = gateway().backend(&up).analyzer(&analyzer, "").start();
    let health = || gw.get("/health").send();
    let first = health();
    assert_eq!(first.status, 200, "degraded is still an answer");
    assert_eq!(first.json()["status"], "degraded");
    assert_eq!(
        (
            &first.json()["backend_healthy"],
            &first.json()["ai_analyzer_healthy"]
        ),
        (&json!(false), &json!(true))
    );
    up.probes_get(204);
    until("the backend to be healthy again", || {
        health().json()["status"] == "healthy"
    });
    analyzer.stop();
    until("the analyzer to be seen as down", || {
        health().json()["ai_analyzer_healthy"] == false
    });
    assert_eq!(health().json()["status"], "degraded");
}

#[test]
fn health_never_shows_a_service_urls_userinfo() {
    let up = upstream();
    let gw = gateway()
        .env(
            "BACKEND_URL",
            format!("http://user:secret@{}", up.authority()),
        )
        .start();
    let health = gw.get("/health").send();
    assert_eq!(health.json()["backend"], up.url());
    assert!(!(health.text() + &gw.log()).contains("secret@"));
}

#[test]
fn probes_answer_on_both_ports_without_token_or_charge() {
    let up = upstream();
    let gw = gateway()
        .backend(&up)
        .env("RATE_LIMIT_RPM", 1)
        .env("RATE_LIMIT_BURST", 0)
        .start();
    for _ in 0..5 {
        for path in ["/health", "/livez", "/readyz"] {
            assert_eq!(gw.get(path).send().status, 200, "{path}");
        }
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(gw.ops(path).status, 200, "{path} on the operations port");
    }
    assert_eq!(
        gw.get("/api/v1/x").bearer(&token()).send().status,
        200,
        "nothing was charged so far"
    );
    assert_eq!(
        gw.get("/metrics").bearer(&token()).send().status,
        429,
        "metrics are not on the public port"
    );
}

#[test]
fn documents_are_reachable_without_a_token_and_fetch_nothing() {
    let gw = gateway().start();
    for path in ["/docs", "/redoc"] {
        let page = gw.get(path).send();
        assert_eq!(page.status, 200, "{path}");
        assert!(page.must("content-type").starts_with("text/html"));
        for remote in [
            "src=\"http",
            "src='http",
            "src=\"//",
            "rel=\"stylesheet\" href=\"http",
            "url(http",
        ] {
            assert!(
                !page.text().contains(remote),
                "{path} fetches something: {remote}"
            );
        }
    }
    let api = gw.get("/openapi.json").send();
    assert_eq!(api.status, 200);
    let document = api.json();
    assert!(
        document["openapi"].as_str().unwrap().starts_with("3.1"),
        "{}",
        document["openapi"]
    );
    for path in ["/health", "/rate-limit/info", "/admin/rate-limit/reset"] {
        assert!(document["paths"][path].is_object(), "{path} is described");
    }
}

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

#[test]
fn every_kind_of_refusal_is_json_with_our_fields() {
    let up = upstream().answers_and_closes("nonsense\r\n\r\n");
    let gw = gateway().backend(&up).unlimited().start();
    let origin = "Origin: https://a.example\r\n";
    let bearer = format!("Authorization: Bearer {}\r\n", token().org(1).mint());
    let long = "a".repeat(9000);
    let table: [(u16, String); 9] = [
        (
            401,
            format!("GET /api/v1/x HTTP/1.1\r\nHost: a\r\n{origin}\r\n"),
        ),
        (
            404,
            format!("GET /x HTTP/1.1\r\nHost: a\r\n{origin}{bearer}\r\n"),
        ),
        (
            405,
            format!("TRACE /api/v1/x HTTP/1.1\r\nHost: a\r\n{origin}{bearer}\r\n"),
        ),
        (
            414,
            format!("GET /{long} HTTP/1.1\r\nHost: a\r\n{origin}\r\n"),
        ),
        (
            417,
            format!("GET /api/v1/x HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n{origin}{bearer}\r\n"),
        ),
        (
            431,
            format!("GET /api/v1/x HTTP/1.1\r\nHost: a\r\n{origin}X: {long}{long}\r\n\r\n"),
        ),
        (
            501,
            format!(
                "POST /api/v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n{origin}{bearer}\r\n"
            ),
        ),
        (
            502,
            format!("GET /api/v1/x HTTP/1.1\r\nHost: a\r\n{origin}{bearer}\r\n"),
        ),
        (
            505,
            format!("GET /api/v1/x HTTP/2.0\r\nHost: a\r\n{origin}\r\n"),
        ),
    ];
    for (status, bytes) in table {
        let answer = gw.wire().send(&bytes).answer();
        let message = check_error(&answer, status);
        assert!(
            !message.is_empty() && !message.contains("127.0.0.1"),
            "{status}: {message}"
        );
    }
}

#[test]
fn rate_limit_info_has_the_seeds_shape() {
    let gw = gateway().start();
    let info = gw
        .get("/rate-limit/info")
        .bearer(&token().org(1).user(2))
        .send();
    assert_eq!(info.status, 200);
    let expected = json!({
        "organization": {"id": 1, "current_count": 0, "limit": 100, "remaining": 100},
        "ip": {"address": "127.0.0.1", "current_count": 0, "limit": 100, "remaining": 100},
    });
    assert_eq!(info.json(), expected);
    let text = gw.info(&token().org("acme"));
    assert_eq!(
        text["organization"]["id"], "acme",
        "the JSON type of the claim is kept"
    );
    assert_eq!(
        gw.info(&token().user(1))["organization"],
        Value::Null,
        "no organization, no part"
    );
    assert_eq!(gw.get("/rate-limit/info").send().status, 401);
}
