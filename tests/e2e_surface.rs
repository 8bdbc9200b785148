//! The gateway's own surface end to end: health, probes, documents, identity and what its errors look like. Not routing and
//! not limits. Invariant: every answer, whatever its status, carries the gateway's own fields exactly once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use serde_json::{Value, json};
use support::check::{check_error, check_own_fields};
use support::{gateway, token, until, upstream};

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
            "limits": "memory",
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
fn a_service_url_with_userinfo_is_refused_and_its_password_is_nowhere() {
    // /health shows the service URLs to anybody: a credential in one of them never gets as far as a running gateway.
    for name in ["BACKEND_URL", "AI_ANALYZER_URL"] {
        let ended = gateway()
            .env(name, "http://user:hunter2@service:8000")
            .run();
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code(), Some(78), "{said}");
        assert!(
            said.contains(name) && said.contains("@service:8000"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
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
