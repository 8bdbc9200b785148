//! Where requests go and what stands on them when they arrive: routes, paths, identity and forwarding fields. Not framing.
//! Invariant: the upstream believes nothing that the client merely claimed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use serde_json::json;
use support::{gateway, token, upstream};

#[test]
fn backend_paths_and_queries_are_kept() {
    let up = upstream();
    let gw = gateway().backend(&up).unlimited().start();
    let ask = gw
        .ask("PATCH", "/api/v1/items/7?q=a%20b&q=&x=/../y")
        .bearer(&token().org(1))
        .body("{}");
    let answer = ask.send();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let seen = up.only();
    assert_eq!(
        seen.head.first,
        "PATCH /api/v1/items/7?q=a%20b&q=&x=/../y HTTP/1.1"
    );
    assert_eq!(
        (seen.body.as_slice(), seen.field("x-forwarded-prefix")),
        (&b"{}"[..], None)
    );
}

#[test]
fn the_backend_urls_own_path_stands_in_front() {
    let up = upstream();
    let gw = gateway()
        .env("BACKEND_URL", format!("{}/deep/", up.url()))
        .unlimited()
        .start();
    assert_eq!(gw.get("/api/v1/x").bearer(&token()).send().status, 200);
    assert_eq!(up.only().target(), "/deep/api/v1/x");
}

#[test]
fn the_analyzers_prefix_is_stripped_and_its_own_path_joined() {
    let up = upstream();
    let gw = gateway().analyzer(&up, "/api/v1").unlimited().start();
    for (target, seen) in [
        ("/analyzer/analyze", "/api/v1/analyze"),
        ("/analyzer/analyze?deep=1", "/api/v1/analyze?deep=1"),
        ("/analyzer/a/b/", "/api/v1/a/b/"),
        ("/analyzer/", "/api/v1/"),
    ] {
        assert_eq!(
            gw.post(target)
                .bearer(&token().org(1))
                .body("x")
                .send()
                .status,
            200,
            "{target}"
        );
        let last = up.last();
        assert_eq!((last.method(), last.target()), ("POST", seen));
        assert_eq!(last.field("x-forwarded-prefix"), Some("/analyzer"));
    }
    let plain = upstream();
    let gw = gateway().analyzer(&plain, "").unlimited().start();
    assert_eq!(
        gw.get("/analyzer/analyze").bearer(&token()).send().status,
        200
    );
    assert_eq!(plain.only().target(), "/analyze");
}

#[test]
fn an_absolute_form_target_goes_upstream_in_origin_form_without_its_authority() {
    let up = upstream();
    let gw = gateway().backend(&up).unlimited().start();
    let bearer = token().mint();
    let mut wire = gw.wire();
    wire.send(format!(
        "GET http://other.example:81/api/v1/x?y HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {bearer}\r\n\r\n"
    ));
    assert_eq!(wire.answer().status, 200);
    assert_eq!(up.only().target(), "/api/v1/x?y");
    assert_eq!(
        up.only().field("x-forwarded-host"),
        Some("other.example:81"),
        "its authority replaces Host"
    );
}

#[test]
fn verified_identity_goes_upstream_and_claimed_identity_is_dropped() {
    let up = upstream();
    let gw = gateway().backend(&up).unlimited().start();
    let spoofed = [
        "X-User-ID",
        "x-user-id",
        "X_User_Id",
        "X-Organization-ID",
        "X_ORGANIZATION_ID",
        "x-USER-role",
    ];
    let token = token().org(1).user(123).role("analyst");
    let ask = spoofed
        .iter()
        .fold(gw.get("/api/v1/x").bearer(&token), |ask, name| {
            ask.field(name, "666")
        });
    assert_eq!(ask.send().status, 200);
    let seen = up.only();
    assert_eq!(seen.field("x-user-id"), Some("123"));
    assert_eq!(seen.field("x-organization-id"), Some("1"));
    assert_eq!(seen.field("x-user-role"), Some("analyst"));
    assert!(!support::reader::latin1(&seen.raw).contains("666"));
    assert_eq!(
        seen.field("authorization"),
        Some(format!("Bearer {}", token.mint()).as_str())
    );
}

#[test]
fn claims_are_looked_for_in_order() {
    let up = upstream();
    let gw = gateway().backend(&up).unlimited().start();
    let table = [
        (
            token().claim("org_id", 2).claim("tenant_id", 3),
            Some("2"),
            None,
            None,
        ),
        (
            token().claim("tenant_id", "t-3").claim("sub", "alice"),
            Some("t-3"),
            Some("alice"),
            None,
        ),
        (
            token().claim("sub", "alice").user(5).role("x"),
            None,
            Some("5"),
            Some("x"),
        ),
        (token(), None, None, None),
    ];
    for (token, org, user, role) in table {
        assert_eq!(gw.get("/api/v1/x").bearer(&token).send().status, 200);
        let seen = up.last();
        let found = ["x-organization-id", "x-user-id", "x-user-role"].map(|name| seen.field(name));
        assert_eq!(found, [org, user, role], "{token:?}");
    }
    let gw = gateway()
        .backend(&up)
        .unlimited()
        .env("JWT_ORGANIZATION_CLAIMS", "company")
        .start();
    assert_eq!(
        gw.get("/api/v1/x")
            .bearer(&token().claim("company", 9).org(1))
            .send()
            .status,
        200
    );
    assert_eq!(up.last().field("x-organization-id"), Some("9"));
}

#[test]
fn forwarding_fields_are_ours_and_the_clients_are_dropped() {
    let up = upstream();
    let gw = gateway().backend(&up).unlimited().start();
    let lies = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("x_forwarded_for", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-Anything", "evil"),
        ("Forwarded", "for=6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
        ("x_real_ip", "6.6.6.6"),
        ("True-Client-IP", "6.6.6.6"),
    ];
    let ask = lies.iter().fold(
        gw.get("/api/v1/x").bearer(&token()),
        |ask, (name, value)| ask.field(name, value),
    );
    assert_eq!(ask.field("X-Other", "kept").send().status, 200);
    let seen = up.only();
    assert_eq!(seen.field("host"), Some(up.authority().as_str()));
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("x-forwarded-host"), Some("gateway.test"));
    assert_eq!(seen.field("x-other"), Some("kept"));
    let raw = support::reader::latin1(&seen.raw);
    assert!(!raw.contains("6.6.6.6") && !raw.contains("evil"), "{raw}");
}

#[test]
fn a_trusted_proxys_chain_is_appended_to() {
    let up = upstream();
    let gw = gateway()
        .backend(&up)
        .unlimited()
        .env("TRUSTED_PROXIES", "127.0.0.1/32, 10.0.0.0/8")
        .start();
    let ask = gw
        .get("/api/v1/x")
        .bearer(&token())
        .field("X-Forwarded-For", "203.0.113.9, 10.1.1.1");
    assert_eq!(ask.send().status, 200);
    assert_eq!(
        up.last().field("x-forwarded-for"),
        Some("203.0.113.9, 10.1.1.1, 127.0.0.1")
    );
    assert_eq!(ask.from([127, 0, 0, 2]).send().status, 200);
    assert_eq!(
        up.last().field("x-forwarded-for"),
        Some("127.0.0.2"),
        "an untrusted peer's chain is dropped"
    );
}

#[test]
fn a_good_request_id_is_kept_and_any_other_replaced() {
    let up = upstream()
        .answers("HTTP/1.1 200 OK\r\nX-Request-ID: upstream\r\nContent-Length: 0\r\n\r\n");
    let gw = gateway().backend(&up).unlimited().start();
    let longest = "a".repeat(64);
    for id in ["abc", "A.b_c-9", &longest] {
        let answer = gw
            .get("/api/v1/x")
            .bearer(&token())
            .field("X-Request-ID", id)
            .send();
        assert_eq!(
            (answer.must("x-request-id"), up.last().field("x-request-id")),
            (id, Some(id))
        );
    }
    let too_long = "a".repeat(65);
    for id in ["", "a b", "a,b", "\u{e9}", "<script>", &too_long] {
        let answer = gw
            .get("/api/v1/x")
            .bearer(&token())
            .field("X-Request-ID", id)
            .send();
        let ours = answer.must("x-request-id");
        assert!(
            ours != id && !ours.is_empty() && ours != "upstream",
            "{id:?} became {ours:?}"
        );
        assert_eq!(up.last().field("x-request-id"), Some(ours));
    }
    let ids = [(); 2].map(|()| gw.get("/health").send().must("x-request-id").to_owned());
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn an_upstreams_copies_of_our_fields_are_replaced_not_doubled() {
    let up = upstream().answers(
        "HTTP/1.1 200 Fine\r\nX-Response-Time: 1s\r\nx-ratelimit-limit: 1\r\nX-RateLimit-Remaining: 1\r\n\
         X-RateLimit-Reset: 1\r\nX-Request-Id: theirs\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: nginx\r\n\
         Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
    );
    let gw = gateway().backend(&up).start();
    let answer = gw.get("/api/v1/x").bearer(&token().org(1)).send();
    assert!(answer.must("x-response-time").ends_with("ms"));
    assert_eq!(
        (
            answer.number("x-ratelimit-limit"),
            answer.number("x-ratelimit-remaining")
        ),
        (100, 99)
    );
    assert_eq!(answer.field("x-ratelimit-reset"), None);
    assert_ne!(answer.must("x-request-id"), "theirs");
    assert_eq!(
        answer.must("date"),
        "Mon, 01 Jan 2024 00:00:00 GMT",
        "the upstream's date is kept"
    );
    assert_eq!(answer.must("server"), "nginx");
    assert_eq!(
        answer.all("set-cookie"),
        ["a=1", "b=2"],
        "repeated fields keep their order"
    );
}

#[test]
fn public_paths_need_no_token_and_ignore_a_bad_one() {
    let up = upstream();
    let gw = gateway()
        .backend(&up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/auth/refresh, /api/v1/open/*")
        .start();
    let public = [
        "/api/v1/auth/login",
        "/api/v1/auth/login?next=/",
        "/api/v1/auth/register",
        "/api/v1/auth/refresh",
        "/api/v1/open/a/b",
    ];
    for path in public {
        assert_eq!(
            gw.post(path)
                .body("{}")
                .field("X-User-ID", "666")
                .send()
                .status,
            200,
            "{path}"
        );
        assert_eq!(
            gw.post(path)
                .body("{}")
                .bearer(&token().org(1).forged())
                .send()
                .status,
            200,
            "{path}"
        );
        assert_eq!(
            up.last()
                .field("x-user-id")
                .or(up.last().field("x-organization-id")),
            None,
            "{path}"
        );
    }
    let count = up.requests().len();
    let private = [
        "/api/v1/auth/login/",
        "/api/v1/auth/loginx",
        "/API/v1/auth/login",
        "/api/v1/auth",
        "/api/v1/opens/x",
    ];
    for path in private {
        assert_eq!(gw.post(path).body("{}").send().status, 401, "{path}");
    }
    assert_eq!(up.requests().len(), count, "nothing private went upstream");
}

#[test]
fn a_target_with_two_readings_opens_no_door() {
    let up = upstream();
    let gw = gateway()
        .backend(&up)
        .analyzer(&up, "/base")
        .unlimited()
        .start();
    let traps = [
        "/api/v1/auth/login/../secret",
        "/api/v1/auth/login/..%2fsecret",
        "/api/v1/x/../auth/login",
        "/api/v1/x/%2e%2e/auth/login",
        "/api/v1/auth/%6cogin/%2e%2e/%2e%2e/x",
        "/api/v1/auth/login;x=1",
        "/api/v1/auth//login",
        "/api/v1/auth/./login",
        "/api/v1/../v2/x",
        "/api/v1/%2e%2e/%2e%2e/admin/x",
        "/api/v1/..%2f..%2fhealth",
        "/api/v1/..%5c..%5chealth",
        "/health/../api/v1/x",
        "//api/v1/x",
        "/analyzer/../api/v1/x",
        "/analyzer/%2e%2e/x",
    ];
    for trap in traps {
        let open = gw.get(trap).send();
        assert!(
            matches!(open.status, 400 | 401),
            "{trap} without a token: {}",
            open.status
        );
        let closed = gw.get(trap).bearer(&token().org(1)).send();
        let untouched = closed.status == 200 && up.last().target() == trap;
        assert!(
            closed.status == 400 || untouched,
            "{trap} with a token: {}",
            closed.status
        );
    }
    for trap in [
        "/api/v1/../v2/x",
        "/analyzer/%2e%2e/x",
        "/api/v1/x/../auth/login",
    ] {
        assert_eq!(gw.get(trap).bearer(&token()).send().status, 400, "{trap}");
    }
}

#[test]
fn a_target_whose_readings_agree_is_forwarded_as_it_came() {
    let up = upstream();
    let gw = gateway().backend(&up).unlimited().start();
    let targets = [
        "/api/v1/a%20b",
        "/api/v1/files/a%2Fb",
        "/api/v1/a//b",
        "/api/v1/a/./b",
        "/api/v1/a/../b",
        "/api/v1/a;v=1/b",
        "/api/v1/%41",
        "/api/v1/a?x=../../y&z=%2e%2e",
    ];
    for target in targets {
        assert_eq!(
            gw.get(target).bearer(&token()).send().status,
            200,
            "{target}"
        );
        assert_eq!(up.last().target(), target);
    }
}

#[test]
fn further_routes_come_from_a_toml_file() {
    let (up, reports, open) = (upstream(), upstream(), upstream());
    let file = format!(
        "[[routes]]\nprefix = \"/reports\"\nurl = \"{}/base\"\nstrip = true\n\n\
         [[routes]]\nprefix = \"/api/v1/open\"\nurl = \"{}\"\nstrip = false\npublic = true\n",
        reports.url(),
        open.url()
    );
    let gw = gateway()
        .backend(&up)
        .unlimited()
        .file("gateway.toml", file)
        .env("GATEWAY_CONFIG", "gateway.toml");
    let gw = gw.start();
    assert_eq!(gw.get("/reports/daily?x=1").send().status, 401);
    assert_eq!(
        gw.get("/reports/daily?x=1").bearer(&token()).send().status,
        200
    );
    assert_eq!(reports.only().target(), "/base/daily?x=1");
    assert_eq!(
        gw.get("/api/v1/open/x").send().status,
        200,
        "the longest prefix wins, and it is public"
    );
    assert_eq!(open.only().target(), "/api/v1/open/x");
    assert_eq!(gw.get("/api/v1/other").bearer(&token()).send().status, 200);
    assert_eq!(up.only().target(), "/api/v1/other");
    for text in ["/reports", "/api/v1", "/analyzer"] {
        assert!(
            gw.log().contains(text),
            "the route map is printed at start: {text}"
        );
    }
}

#[test]
fn a_service_that_is_down_does_not_take_the_other_with_it() {
    let up = upstream();
    let gw = gateway().backend(&up).unlimited().start();
    let down = gw.get("/analyzer/x").bearer(&token()).send();
    assert_eq!(down.status, 502, "{}", down.text());
    assert!(
        !down.text().contains("127.0.0.1"),
        "no address in a message: {}",
        down.text()
    );
    assert_eq!(gw.get("/api/v1/x").bearer(&token()).send().status, 200);
    assert_eq!(down.json()["error"].is_string(), json!(true));
}

#[test]
fn the_message_says_what_is_there() {
    let up = upstream();
    let gw = gateway().analyzer(&up, "").unlimited().start();
    let answer = gw.get("/analyzer//y").bearer(&token()).send();
    let message = support::check::check_error(&answer, 400);
    assert!(
        message.contains("two slashes") && !message.contains("dot"),
        "{message}"
    );
}
