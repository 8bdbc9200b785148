//! Heads on their way: what a service is told of its client and of itself, and how its references come back. Not identity
//! (`e2e_identity`) and not routing (`e2e_routing`). Invariant: what a client invents reaches nobody.

mod support;
mod support_ws;

use support::{Gateway, Next, Plan, Seen, Upstream, gateway, token, upstream};
use support_ws::{handshake, switch};

const PATH: &str = "/api/v1/x";

fn plan(up: &Upstream) -> Plan {
    gateway().backend(up).unlimited()
}

/// What the service saw of a request with these fields.
fn seen(gw: &Gateway, up: &Upstream, fields: &[(&str, &str)]) -> Seen {
    up.forget();
    let mut ask = gw.get(PATH).bearer(&token());
    for (name, value) in fields {
        ask = ask.field(name, value);
    }
    let answer = ask.send();
    assert_eq!(answer.status, 200, "{fields:?}: {}", answer.text());
    up.only()
}

/// The answer to a request with exactly these fields beside its token.
fn answer_to(gw: &Gateway, target: &str, fields: &[(&str, &str)]) -> support::Answer {
    let lines = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let lines: String = lines.collect();
    let bearer = token().mint();
    let raw = format!("GET {target} HTTP/1.1\r\nAuthorization: Bearer {bearer}\r\n{lines}\r\n");
    gw.wire().send(raw).answer()
}

fn answer_with(fields: &str) -> String {
    format!("HTTP/1.1 307 Temporary Redirect\r\n{fields}Content-Length: 0\r\n\r\n")
}

#[test]
fn names_that_cgi_folds_into_ours_reach_nobody() {
    let up = upstream();
    let gw = plan(&up).start();
    let table = [
        "X.User.ID",
        "X!User!ID",
        "X*Organization*ID",
        "X~User~Role",
        "X.Forwarded.For",
        "X.Forwarded.Port",
        "X.Real.IP",
        "Client.Cert",
        "X|Client|Cert|Subject",
        // The default of DROP_FIELDS, in any spelling.
        "X-Original-URL",
        "X_Rewrite.URL",
        "Proxy",
        "True-Client-IP",
        "cf.connecting.ip",
        "Remote_User",
        "X-SSL-Cert",
    ];
    for name in table {
        let seen = seen(&gw, &up, &[(name, "forged"), ("X-Kept", "kept")]);
        let forged = seen.head.fields.iter().any(|(_, value)| value == "forged");
        assert!(!forged, "{name}: {:?}", seen.head.fields);
        assert_eq!(seen.field("x-kept"), Some("kept"));
    }
    // Behind a body as well.
    up.forget();
    let bearer = token().mint();
    let raw = format!(
        "POST {PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {bearer}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\
         X.User.ID: forged\r\nX-Original-URL: forged\r\nRemote_User: forged\r\nX-Kept: kept\r\n\r\n"
    );
    assert_eq!(gw.wire().send(raw).answer().status, 200);
    let kept = vec![("X-Kept".to_owned(), "kept".to_owned())];
    assert_eq!(up.only().trailers, kept);
}

#[test]
fn what_is_dropped_can_be_said() {
    let up = upstream();
    let fields = [
        ("X-Original-URL", "/a"),
        ("X-Mine", "b"),
        ("True-Client-IP", "c"),
    ];
    let passed = |plan: Plan| {
        let gw = plan.start();
        let seen = seen(&gw, &up, &fields);
        fields.map(|(name, _)| seen.field(name).is_some())
    };
    assert_eq!(passed(plan(&up)), [false, true, false]);
    assert_eq!(
        passed(plan(&up).env("DROP_FIELDS", "none")),
        [true, true, true]
    );
    assert_eq!(
        passed(plan(&up).env("DROP_FIELDS", "x-mine True-Client-IP")),
        [true, false, false]
    );
    assert_eq!(
        passed(plan(&up).env("TRUSTED_PROXIES", "127.0.0.1")),
        [true, true, true]
    );
}

#[test]
fn a_foreign_host_is_421_but_for_health() {
    let up = upstream();
    let gw = plan(&up)
        .env("ALLOWED_HOSTS", "API.example.com,*.example.org,127.0.0.1")
        .start();
    let bearer = token().mint();
    let status = |target: &str, host: &str| {
        let raw = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {bearer}\r\n\r\n"
        );
        let mut wire = gw.wire();
        let status = wire.send(raw).answer().status;
        assert!(wire.serves_another() || status == 400);
        status
    };
    let table = [
        (PATH, "api.example.com", 200),
        (PATH, "api.example.com:8000", 200),
        (PATH, "a.example.org", 200),
        (PATH, "a.b.example.org", 421),
        (PATH, "evil.example", 421),
        ("/docs", "evil.example", 421),
        ("/rate-limit/info", "evil.example", 421),
        ("/nowhere", "evil.example", 421),
        ("/health", "evil.example", 200),
        ("/livez", "evil.example", 200),
        ("/readyz", "evil.example", 200),
        // The authority of an absolute target is the host.
        ("http://evil.example/api/v1/x", "api.example.com", 421),
        ("http://api.example.com/api/v1/x", "evil.example", 200),
    ];
    for (target, host, expected) in table {
        assert_eq!(status(target, host), expected, "{target} {host}");
    }
    let hosts: Vec<_> = up
        .requests()
        .iter()
        .map(|seen| seen.field("x-forwarded-host").map(str::to_owned))
        .collect();
    assert!(
        !hosts.iter().flatten().any(|host| host.contains("evil")),
        "{hosts:?}"
    );
}

#[test]
fn a_host_that_a_trusted_proxy_passes_on_must_be_allowed_too() {
    let up = upstream();
    let gw = plan(&up)
        .env("ALLOWED_HOSTS", "api.example.com")
        .env("TRUSTED_PROXIES", "127.0.0.1")
        .start();
    let status = |host: &str| {
        let ask = gw
            .get(PATH)
            .bearer(&token())
            .field("X-Forwarded-Host", host);
        ask.send().status
    };
    assert_eq!(
        (status("api.example.com"), status("evil.example")),
        (200, 421)
    );
}

#[test]
fn each_endpoint_is_called_by_its_own_name() {
    let ups = [upstream(), upstream(), upstream()];
    let url = |up: &Upstream, host: &str| format!("http://{host}:{}", up.port());
    // Names of different length for one address, so that the head is rewritten to shorter and longer ones.
    let urls = [
        url(&ups[0], "127.0.0.1"),
        url(&ups[1], "localhost"),
        url(&ups[2], "127.0.0.1"),
    ];
    for (host, expected) in [
        (
            "service",
            [
                format!("127.0.0.1:{}", ups[0].port()),
                format!("localhost:{}", ups[1].port()),
            ],
        ),
        (
            "preserve",
            [
                "api.example.com:81".to_owned(),
                "api.example.com:81".to_owned(),
            ],
        ),
        ("one.name", ["one.name".to_owned(), "one.name".to_owned()]),
    ] {
        ups.iter().for_each(Upstream::forget);
        let gw = gateway()
            .unlimited()
            .env("BACKEND_URL", urls.join(","))
            .env("BACKEND_HOST", host)
            .start();
        let mut wire = gw.wire();
        let bearer = token().mint();
        let body = "b".repeat(5_000);
        for _ in 0..20 {
            let get = format!(
                "GET {PATH} HTTP/1.1\r\nHost: api.example.com:81\r\nAuthorization: Bearer {bearer}\r\n\r\n"
            );
            assert_eq!(wire.send(get).answer().status, 200);
            let post = format!(
                "POST {PATH} HTTP/1.1\r\nHost: api.example.com:81\r\nAuthorization: Bearer {bearer}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            assert_eq!(wire.send(post).answer().status, 200);
        }
        for (up, expected) in ups.iter().zip(&expected) {
            let requests = up.requests();
            assert!(!requests.is_empty(), "{host}");
            for seen in requests {
                assert_eq!(seen.field("host"), Some(expected.as_str()), "{host}");
                assert!(seen.complete && (seen.body.is_empty() || seen.body == body.as_bytes()));
                assert_eq!(seen.target(), PATH);
            }
        }
    }
}

#[test]
fn a_request_that_is_sent_again_names_the_other_endpoint() {
    let dead = upstream().script(|_| Next::Close);
    let live = upstream();
    let gw = gateway()
        .unlimited()
        .env(
            "BACKEND_URL",
            format!(
                "http://localhost:{},http://127.0.0.1:{}",
                dead.port(),
                live.port()
            ),
        )
        .start();
    let expected = format!("127.0.0.1:{}", live.port());
    for _ in 0..12 {
        live.forget();
        assert_eq!(gw.get(PATH).bearer(&token()).send().status, 200);
        assert_eq!(live.only().field("host"), Some(expected.as_str()));
    }
    assert!(dead.requests().iter().all(|seen| {
        seen.field("host")
            .is_some_and(|host| host.starts_with("localhost:"))
    }));
}

#[test]
fn redirects_and_cookies_of_a_stripped_route_come_back_below_its_prefix() {
    let up = upstream();
    let port = up.port();
    let fields = format!(
        "Location: http://127.0.0.1:{port}/internal/x/?q=1\r\nContent-Location: /internal/y\r\nSet-Cookie: a=b; Path=/internal; Domain=127.0.0.1\r\n\
         X-Kept: 1\r\nSet-Cookie: __Host-c=d; Path=/; Secure\r\nSet-Cookie: e=f; Path=/\r\n"
    );
    let up = up.answers(answer_with(&fields));
    let gw = gateway().analyzer(&up, "/internal").unlimited().start();
    let answer = answer_to(&gw, "/analyzer/x", &[("Host", "api.example.com")]);
    assert_eq!(
        answer.must("location"),
        "http://api.example.com/analyzer/x/?q=1"
    );
    assert_eq!(answer.must("content-location"), "/analyzer/y");
    assert_eq!(
        answer.all("set-cookie"),
        [
            "a=b; Path=/analyzer",
            "__Host-c=d; Path=/; Secure",
            "e=f; Path=/analyzer/"
        ]
    );
    assert_eq!(answer.must("x-kept"), "1");
}

/// The trailing slash of FastAPI, with the names that the public knows.
#[test]
fn a_redirect_leads_to_the_public_origin() {
    let up = upstream();
    let location = format!("Location: http://{}/api/v1/collectors/\r\n", up.authority());
    let up = up.answers(answer_with(&location));
    let ask = |gw: &Gateway, fields: &[(&str, &str)]| {
        let mut all = fields.to_vec();
        if !all.iter().any(|(name, _)| *name == "Host") {
            all.push(("Host", "gateway"));
        }
        let answer = answer_to(gw, "/api/v1/collectors", &all);
        answer.must("location").to_owned()
    };
    let gw = plan(&up).start();
    assert_eq!(
        ask(&gw, &[("Host", "api.example.com:8000")]),
        "http://api.example.com:8000/api/v1/collectors/"
    );
    // A stranger's account of the way is not believed.
    let forged = [
        ("Host", "a"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
    ];
    assert_eq!(ask(&gw, &forged), "http://a/api/v1/collectors/");
    let gw = plan(&up).env("TRUSTED_PROXIES", "127.0.0.1").start();
    let told = [
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "api.example.com"),
        ("X-Forwarded-For", "192.0.2.1"),
    ];
    assert_eq!(
        ask(&gw, &told),
        "https://api.example.com/api/v1/collectors/"
    );
    let told = [(
        "Forwarded",
        "for=192.0.2.1;proto=https;host=\"api.example.com:444\"",
    )];
    assert_eq!(
        ask(&gw, &told),
        "https://api.example.com:444/api/v1/collectors/"
    );
    // What leads elsewhere passes.
    let up = upstream().answers(answer_with(
        "Location: https://login.example.org/?next=/api/v1\r\n",
    ));
    let gw = plan(&up).start();
    assert_eq!(ask(&gw, &[]), "https://login.example.org/?next=/api/v1");
}

#[test]
fn a_service_is_told_one_account_of_the_client() {
    let up = upstream();
    let gw = plan(&up).env("TRUSTED_PROXIES", "127.0.0.1").start();
    type Told<'a> = (
        Option<&'a str>,
        Option<&'a str>,
        Option<&'a str>,
        Option<&'a str>,
    );
    let table: [(&[(&str, &str)], Told<'_>); 5] = [
        (
            &[(
                "Forwarded",
                "for=192.0.2.1;proto=https;host=api.example.com",
            )],
            (
                Some("192.0.2.1, 127.0.0.1"),
                Some("https"),
                Some("api.example.com"),
                None,
            ),
        ),
        (
            &[
                ("X-Forwarded-For", "192.0.2.1"),
                ("X-Forwarded-Proto", "https"),
                ("X-Real-IP", "192.0.2.1"),
            ],
            (
                Some("192.0.2.1, 127.0.0.1"),
                Some("https"),
                None,
                Some("192.0.2.1"),
            ),
        ),
        // The client's own text beside what the proxy wrote.
        (
            &[
                ("X-Forwarded-For", "192.0.2.1"),
                ("X-Real-IP", "198.51.100.9"),
            ],
            (
                Some("192.0.2.1, 127.0.0.1"),
                Some("http"),
                None,
                Some("192.0.2.1"),
            ),
        ),
        (
            &[("X-Real-IP", "192.0.2.1")],
            (
                Some("192.0.2.1, 127.0.0.1"),
                Some("http"),
                None,
                Some("192.0.2.1"),
            ),
        ),
        (&[], (Some("127.0.0.1"), Some("http"), None, None)),
    ];
    for (fields, (chain, proto, host, real_ip)) in table {
        let seen = seen(&gw, &up, fields);
        assert_eq!(seen.field("x-forwarded-for"), chain, "{fields:?}");
        assert_eq!(seen.field("x-forwarded-proto"), proto, "{fields:?}");
        if host.is_some() {
            assert_eq!(seen.field("x-forwarded-host"), host, "{fields:?}");
        }
        assert_eq!(seen.field("x-real-ip"), real_ip, "{fields:?}");
        assert_eq!(seen.field("forwarded"), None, "{fields:?}");
    }
}

#[test]
fn no_second_field_gives_a_second_bucket() {
    let up = upstream();
    let gw = gateway()
        .backend(&up)
        .env("TRUSTED_PROXIES", "127.0.0.1")
        .env("RATE_LIMIT_PER_ORG", "false")
        .env("RATE_LIMIT_RPM", "10")
        .env("RATE_LIMIT_BURST", "0")
        .start();
    let status = |fields: &[(&str, &str)]| {
        let mut ask = gw.get(PATH).bearer(&token());
        for (name, value) in fields {
            ask = ask.field(name, value);
        }
        ask.send().status
    };
    let honest = ("X-Forwarded-For", "192.0.2.1");
    assert!((0..10).all(|_| status(&[honest]) == 200));
    assert_eq!(status(&[honest]), 429);
    let table: [(&[(&str, &str)], u16); 5] = [
        (&[honest, ("X-Real-IP", "198.51.100.7")], 429),
        (&[honest, ("Forwarded", "for=192.0.2.1")], 429),
        (&[honest, ("Forwarded", "for=198.51.100.7")], 400),
        (&[honest, ("Forwarded", "for=unknown")], 400),
        (
            &[
                ("X-Forwarded-For", "198.51.100.7"),
                ("Forwarded", "for=192.0.2.1"),
            ],
            400,
        ),
    ];
    for (fields, expected) in table {
        assert_eq!(status(fields), expected, "{fields:?}");
    }
    // The contradictions were charged to the proxy's own address.
    assert_eq!(up.requests().len(), 10);
}

#[test]
fn a_long_chain_costs_32_hops() {
    let up = upstream();
    let gw = plan(&up)
        .env("TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")
        .start();
    let chain = vec!["10.0.0.1"; 1_000].join(",");
    let seen = seen(&gw, &up, &[("X-Forwarded-For", &chain)]);
    assert_eq!(
        seen.field("x-forwarded-for"),
        Some(format!("{chain}, 127.0.0.1").as_str())
    );
}

/// As Java's own client sends it: a length of 0 is no body, and the service is told of none.
#[test]
fn a_handshake_that_announces_no_bytes_is_whole() {
    let up = upstream().script(|exchange| {
        exchange.send(switch(""));
        Next::Close
    });
    let gw = plan(&up).start();
    let fields = format!(
        "Content-Length: 0\r\nAuthorization: Bearer {}\r\n",
        token().mint()
    );
    let raw = handshake(PATH, &fields);
    assert_eq!(gw.wire().send(&raw).head().0, 101);
    let seen = up.wait_requests(1).remove(0);
    assert_eq!(
        (seen.field("upgrade"), seen.field("content-length")),
        (Some("websocket"), None)
    );
}
