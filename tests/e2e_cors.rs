//! Cross-origin rules end to end, as a browser sees them. Not the list's parsing. Invariant: what an upstream says about
//! origins never reaches a browser.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use support::{Answer, Ask, Gateway, gateway, token, upstream};

const APP: &str = "https://app.example";

/// All `Access-Control-*` fields by lower-case name.
fn cors(answer: &Answer) -> Vec<(String, String)> {
    let fields = answer
        .head
        .fields
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    fields
        .filter(|(name, _)| name.starts_with("access-control-"))
        .collect()
}

fn from(origin: &str, ask: Ask) -> Answer {
    ask.field("Origin", origin).send()
}

fn preflight(gw: &Gateway, target: &str, origin: &str) -> Answer {
    let ask = gw
        .ask("OPTIONS", target)
        .field("Access-Control-Request-Method", "PUT");
    from(
        origin,
        ask.field(
            "Access-Control-Request-Headers",
            "authorization, content-type, x-odd",
        ),
    )
}

#[test]
fn a_star_is_a_literal_star_without_credentials() {
    let up = upstream();
    let gw = gateway().backend(&up).start();
    let answer = from(APP, gw.get("/api/v1/x").bearer(&token()));
    assert_eq!(answer.must("access-control-allow-origin"), "*");
    assert_eq!(answer.field("access-control-allow-credentials"), None);
    let exposed = [
        "X-RateLimit-Limit",
        "X-RateLimit-Remaining",
        "X-RateLimit-Reset",
    ];
    for name in exposed
        .into_iter()
        .chain(["Retry-After", "X-Request-ID", "X-Response-Time"])
    {
        assert!(
            answer.lists("access-control-expose-headers", name),
            "{name} is exposed"
        );
    }
}

#[test]
fn a_listed_origin_is_named_with_credentials_and_any_other_gets_nothing() {
    let up = upstream();
    let gw = gateway()
        .backend(&up)
        .env(
            "CORS_ORIGINS",
            " https://app.example , http://localhost:3000",
        )
        .start();
    for origin in [APP, "http://localhost:3000"] {
        let answer = from(origin, gw.get("/api/v1/x").bearer(&token()));
        assert_eq!(answer.must("access-control-allow-origin"), origin);
        assert_eq!(answer.must("access-control-allow-credentials"), "true");
        assert!(answer.lists("vary", "origin"));
    }
    let strangers = [
        "https://app.example.evil.example",
        "https://evil-app.example",
        "http://app.example",
        "https://app.example:8443",
        "HTTPS://APP.EXAMPLE",
        "https://app.example/",
        "null",
        "*",
        "http://localhost:3000, https://app.example",
    ];
    for origin in strangers {
        let answer = from(origin, gw.get("/api/v1/x").bearer(&token()));
        assert_eq!((answer.status, cors(&answer).len()), (200, 0), "{origin}");
        assert!(
            answer.lists("vary", "origin"),
            "{origin}: a cache must know that the answer depends on it"
        );
    }
    let silent = gw.get("/api/v1/x").bearer(&token()).send();
    assert!(
        silent.lists("vary", "origin") && cors(&silent).is_empty(),
        "also without Origin"
    );
}

#[test]
fn a_preflight_is_answered_here_without_token_or_charge() {
    let up = upstream();
    let gw = gateway().backend(&up).env("CORS_ORIGINS", APP);
    let gw = gw
        .env("RATE_LIMIT_RPM", 1)
        .env("RATE_LIMIT_BURST", 0)
        .start();
    for _ in 0..3 {
        for target in [
            "/api/v1/x",
            "/analyzer/analyze",
            "/admin/rate-limit/reset",
            "/nowhere",
        ] {
            let answer = preflight(&gw, target, APP);
            assert_eq!((answer.status, answer.body.len()), (204, 0), "{target}");
            assert_eq!(answer.must("access-control-allow-origin"), APP);
            assert_eq!(answer.must("access-control-allow-credentials"), "true");
            assert_eq!(answer.must("access-control-max-age"), "600");
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] {
                assert!(
                    answer.lists("access-control-allow-methods", method),
                    "{method}"
                );
            }
            for name in ["authorization", "content-type", "x-odd"] {
                assert!(answer.lists("access-control-allow-headers", name), "{name}");
            }
            assert!(answer.lists("vary", "origin"));
            assert!(
                answer.field("x-request-id").is_some() && answer.field("x-response-time").is_some()
            );
        }
    }
    assert!(up.requests().is_empty(), "no preflight goes upstream");
    assert_eq!(
        gw.get("/api/v1/x").bearer(&token()).send().status,
        200,
        "the only token was left"
    );
    assert_eq!(gw.get("/api/v1/x").bearer(&token()).send().status, 429);
    assert_eq!(
        preflight(&gw, "/api/v1/x", APP).status,
        204,
        "from a blocked address too"
    );
}

#[test]
fn names_below_a_listed_one_may_call_and_no_others() {
    let up = upstream();
    let gw = gateway().backend(&up).env(
        "CORS_ORIGINS",
        "https://*.example.com:443,http://a.example:80",
    );
    let gw = gw.start();
    for origin in [
        "https://app.example.com",
        "https://a.b.example.com",
        "http://a.example",
    ] {
        let answer = from(origin, gw.get("/api/v1/x").bearer(&token()));
        assert_eq!(answer.must("access-control-allow-origin"), origin);
        assert_eq!(answer.must("access-control-allow-credentials"), "true");
        assert!(answer.lists("access-control-expose-headers", "retry-after"));
        assert!(answer.lists("vary", "origin"));
        let answer = preflight(&gw, "/api/v1/x", origin);
        assert_eq!(answer.must("access-control-allow-origin"), origin);
    }
    for origin in [
        "https://example.com",
        "https://evil-example.com",
        "https://app.example.com:443",
        "https://app.example.com.evil.net",
        "http://app.example.com",
        "null",
    ] {
        let answer = from(origin, gw.get("/api/v1/x").bearer(&token()));
        assert_eq!((answer.status, cors(&answer).len()), (200, 0), "{origin}");
        assert!(answer.lists("vary", "origin"), "{origin}");
        assert!(cors(&preflight(&gw, "/api/v1/x", origin)).is_empty());
    }
}

#[test]
fn requested_headers_in_several_fields_are_all_allowed() {
    let gw = gateway().env("CORS_ORIGINS", APP).start();
    let ask = gw
        .ask("OPTIONS", "/api/v1/x")
        .field("Access-Control-Request-Method", "PUT")
        .field("Access-Control-Request-Headers", "authorization")
        .field("access-control-request-headers", "content-type, x-odd");
    let answer = from(APP, ask);
    assert_eq!(
        answer.must("access-control-allow-headers"),
        "authorization, content-type, x-odd"
    );
}

#[test]
fn two_origins_are_refused_whatever_is_asked() {
    let up = upstream();
    let gw = gateway().backend(&up).env("CORS_ORIGINS", APP).start();
    for (method, target, second) in [
        ("GET", "/api/v1/x", "https://evil.example"),
        ("GET", "/api/v1/x", APP),
        ("POST", "/api/v1/auth/login", "null"),
        ("OPTIONS", "/api/v1/x", "https://evil.example"),
        ("GET", "/health", "https://evil.example"),
    ] {
        let ask = gw
            .ask(method, target)
            .field("Access-Control-Request-Method", "PUT")
            .field("origin", second)
            .bearer(&token());
        let answer = from(APP, ask);
        assert_eq!(answer.status, 400, "{method} {target}");
        assert!(answer.text().contains("More than one Origin field"));
        assert!(cors(&answer).is_empty());
    }
    assert!(up.requests().is_empty());
}

#[test]
fn a_strangers_preflight_gets_no_permission() {
    let gw = gateway().env("CORS_ORIGINS", APP).start();
    let answer = preflight(&gw, "/api/v1/x", "https://evil.example");
    assert_eq!((answer.status, cors(&answer).len()), (204, 0));
    assert!(answer.lists("vary", "origin"));
}

#[test]
fn a_preflight_with_any_origin_names_what_was_asked_for() {
    let gw = gateway().start();
    let answer = preflight(&gw, "/api/v1/x", "https://anywhere.example");
    assert_eq!(answer.must("access-control-allow-origin"), "*");
    assert!(
        answer.lists("access-control-allow-headers", "authorization"),
        "a star does not cover it"
    );
    assert!(answer.lists("access-control-allow-methods", "PUT"));
    assert_eq!(answer.field("access-control-allow-credentials"), None);
}

#[test]
fn options_without_a_requested_method_is_an_ordinary_request() {
    let up = upstream();
    let gw = gateway().backend(&up).start();
    assert_eq!(from(APP, gw.ask("OPTIONS", "/api/v1/x")).status, 401);
    assert_eq!(
        from(APP, gw.ask("OPTIONS", "/api/v1/x").bearer(&token())).status,
        200
    );
    assert_eq!(up.only().method(), "OPTIONS");
    let originless = gw
        .ask("OPTIONS", "/api/v1/x")
        .field("Access-Control-Request-Method", "GET")
        .send();
    assert_eq!(originless.status, 401);
}

#[test]
fn errors_carry_the_fields_too_so_that_a_browser_can_read_them() {
    let up = upstream().answers_and_closes("nonsense\r\n\r\n");
    let gw = gateway().backend(&up).env("CORS_ORIGINS", APP);
    let gw = gw
        .env("RATE_LIMIT_RPM", 1)
        .env("RATE_LIMIT_BURST", 3)
        .start();
    let asks = [
        (401, gw.get("/api/v1/x")),
        (404, gw.get("/nowhere").bearer(&token())),
        (502, gw.get("/api/v1/x").bearer(&token())),
        (400, gw.get("/api/v1/../x").bearer(&token())),
        (
            403,
            gw.post("/admin/rate-limit/reset")
                .bearer(&token())
                .body("{}"),
        ),
        (401, gw.get("/api/v1/x")),
        (429, gw.get("/api/v1/x")),
    ];
    for (status, ask) in asks {
        let answer = from(APP, ask);
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.must("access-control-allow-origin"), APP, "{status}");
        assert!(
            answer.lists("access-control-expose-headers", "retry-after"),
            "{status}"
        );
    }
}

#[test]
fn an_upstreams_own_permissions_are_always_dropped() {
    let up = upstream().answers(
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://evil.example\r\n\
         access-control-allow-credentials: true\r\nAccess-Control-Expose-Headers: X-Secret\r\n\
         Access-Control-Allow-Private-Network: true\r\nContent-Length: 0\r\n\r\n",
    );
    let gw = gateway().backend(&up).env("CORS_ORIGINS", APP).start();
    let listed = from(APP, gw.get("/api/v1/x").bearer(&token()));
    assert_eq!(listed.must("access-control-allow-origin"), APP);
    assert!(!listed.lists("access-control-expose-headers", "x-secret"));
    assert_eq!(listed.field("access-control-allow-private-network"), None);
    for origin in ["https://evil.example", "null"] {
        assert!(
            cors(&from(origin, gw.get("/api/v1/x").bearer(&token()))).is_empty(),
            "{origin}"
        );
    }
}

#[test]
fn an_upstreams_vary_is_merged_with_ours() {
    for (vary, members) in [
        (
            "Vary: Accept-Encoding\r\n",
            &["accept-encoding", "origin"][..],
        ),
        (
            "Vary: Accept-Encoding, Accept\r\nVary: Cookie\r\n",
            &["accept-encoding", "accept", "cookie", "origin"],
        ),
        ("Vary: ORIGIN\r\n", &["origin"]),
        ("", &["origin"]),
    ] {
        let up = upstream().answers(format!(
            "HTTP/1.1 200 OK\r\n{vary}Content-Length: 0\r\n\r\n"
        ));
        let gw = gateway().backend(&up).env("CORS_ORIGINS", APP).start();
        let answer = from(APP, gw.get("/api/v1/x").bearer(&token()));
        let lines = answer.all("vary").join(",").to_ascii_lowercase();
        let mut found: Vec<&str> = lines.split(',').map(str::trim).collect();
        found.sort_unstable();
        let mut members = members.to_vec();
        members.sort_unstable();
        assert_eq!(found, members, "{vary:?}");
    }
}
