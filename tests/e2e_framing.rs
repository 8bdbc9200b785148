//! Framing and connection-bound fields through the gateway: chunks, trailers, interim answers, messages without a body, bounds.
//! Not the table of malformed bytes (see `e2e_conformance`). Invariant: both sides see one framing, and it is the gateway's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use support::{Framing, Gateway, Next, Upstream, gateway, token, upstream};

fn open(up: &Upstream) -> Gateway {
    gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .start()
}

/// An upstream that answers with the target it saw.
fn echo_target() -> Upstream {
    upstream().script(|exchange| {
        let target = exchange.request.target().to_owned();
        exchange.answer(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}",
            target.len()
        ))
    })
}

#[test]
fn head_204_and_304_have_no_body_and_keep_their_length() {
    for (method, raw, status, length) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            200,
            Some("5"),
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            200,
            None,
        ),
        (
            "HEAD",
            "HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n",
            404,
            Some("9"),
        ),
        ("GET", "HTTP/1.1 204 Nothing\r\n\r\n", 204, None),
        (
            "GET",
            "HTTP/1.1 304 Same\r\nETag: \"a\"\r\nContent-Length: 7\r\n\r\n",
            304,
            Some("7"),
        ),
    ] {
        let up = upstream().answers(raw);
        let gw = open(&up);
        let mut wire = gw.wire();
        for _ in 0..2 {
            let answer = gw.ask(method, "/api/v1/open/x").on(&mut wire);
            assert_eq!(
                (answer.status, answer.field("content-length")),
                (status, length),
                "{raw}"
            );
        }
        assert!(wire.serves_another());
        assert_eq!(
            up.connections(),
            1,
            "{raw}: the upstream connection is clean"
        );
    }
    let gw = open(&echo_target());
    let mut wire = gw.wire();
    for target in ["/livez", "/api/v1/closed", "/health"] {
        assert!(gw.ask("HEAD", target).on(&mut wire).body.is_empty());
    }
    assert!(
        wire.serves_another(),
        "our own answers to HEAD have no body either"
    );
}

#[test]
fn a_body_where_none_belongs_is_not_the_next_answer() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (method, raw) in [
        (
            "HEAD",
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{evil}",
                evil.len()
            ),
        ),
        ("GET", format!("HTTP/1.1 204 Nothing\r\n\r\n{evil}")),
        (
            "GET",
            format!("HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n{evil}"),
        ),
        (
            "GET",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{evil}"),
        ),
    ] {
        let up = upstream().script(move |exchange| {
            let raw = if exchange.request.target().ends_with("trap") {
                raw.as_str()
            } else {
                support::OK
            };
            exchange.answer(raw)
        });
        let gw = open(&up);
        let mut wire = gw.wire();
        gw.ask(method, "/api/v1/open/trap").on(&mut wire);
        let mut wire = if wire.serves_another() {
            wire
        } else {
            gw.wire()
        };
        for _ in 0..3 {
            assert_eq!(
                gw.get("/api/v1/open/next").on(&mut wire).text(),
                "ok",
                "{method}"
            );
        }
    }
}

#[test]
fn a_chunked_upload_arrives_with_its_trailers_and_without_extensions() {
    let up = upstream();
    let gw = open(&up);
    let mut wire = gw.wire();
    wire.send("POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n");
    wire.send("4;name=value\r\nWiki\r\n5\r\npedia\r\n0010\r\n0123456789abcdef\r\n0;last\r\n");
    wire.send(
        "X-Sum: 25\r\nContent-Length: 1\r\nX-User-ID: 666\r\nAuthorization: Bearer x\r\n\r\n",
    );
    assert_eq!(wire.answer().status, 200);
    let seen = up.only();
    assert_eq!(
        (seen.framing(), seen.body.as_slice()),
        (Framing::Chunked, &b"Wikipedia0123456789abcdef"[..])
    );
    assert_eq!(
        seen.trailers,
        [("X-Sum".to_owned(), "25".to_owned())],
        "framing and identity in trailers are dropped"
    );
    assert!(wire.serves_another());
}

#[test]
fn a_chunked_answer_arrives_with_its_trailers() {
    let up = upstream().answers(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         3;x\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-Sum: 13\r\n\r\n",
    );
    let gw = open(&up);
    let mut wire = gw.wire();
    for _ in 0..2 {
        let answer = gw.get("/api/v1/open/x").on(&mut wire);
        assert_eq!(
            (answer.framing, answer.text().as_str()),
            (Framing::Chunked, "abc0123456789")
        );
        assert_eq!(answer.trailers, [("X-Sum".to_owned(), "13".to_owned())]);
    }
    assert_eq!(up.connections(), 1);
}

#[test]
fn expect_100_continue_is_answered_before_the_body_is_sent() {
    let up = upstream();
    let gw = open(&up);
    let mut wire = gw.wire();
    for _ in 0..2 {
        wire.send("POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(wire.head().0, 100);
        wire.send("hello");
        assert_eq!(wire.answer().status, 200);
        assert_eq!(up.last().body, b"hello");
    }
}

#[test]
fn expect_100_continue_never_waits_for_ever() {
    // This upstream knows nothing of 100 and simply reads.
    let up = upstream().script(|exchange| {
        exchange.body().unwrap();
        exchange.send(support::OK);
        Next::Keep
    });
    let gw = open(&up);
    let ask = gw
        .post("/api/v1/open/x")
        .field("Expect", "100-continue")
        .body("hello");
    assert_eq!(ask.send().status, 200);
    let mut wire = gw.wire();
    wire.send("POST /api/v1/closed HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let refused = wire.answer();
    assert_eq!(
        (refused.status, refused.interim.len()),
        (401, 0),
        "a refused body is not asked for"
    );
    if !refused.says_close() {
        assert!(wire.send("hello").serves_another());
    }
}

#[test]
fn a_final_answer_in_place_of_100_is_relayed() {
    let up = upstream().script(|exchange| {
        exchange.send("HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        Next::Close
    });
    let gw = open(&up);
    let mut wire = gw.wire();
    wire.send("POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let answer = wire.answer();
    assert_eq!((answer.status, answer.interim.len()), (403, 0));
}

#[test]
fn interim_answers_are_passed_on_or_dropped_and_counted() {
    let answer = |interim: String| format!("{interim}{}", support::OK);
    let table = [
        (
            answer("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(2)),
            200,
            vec![103, 103],
        ),
        (
            answer("HTTP/1.1 102 Processing\r\n\r\n".to_owned()),
            200,
            vec![],
        ),
        (
            answer("HTTP/1.1 102 Processing\r\n\r\n".repeat(64)),
            200,
            vec![],
        ),
        (
            answer("HTTP/1.1 102 Processing\r\n\r\n".repeat(65)),
            502,
            vec![],
        ),
        (
            answer(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
                    .to_owned(),
            ),
            502,
            vec![],
        ),
    ];
    for (raw, status, interim) in table {
        let up = upstream().answers(&raw);
        let gw = open(&up);
        let answer = gw.get("/api/v1/open/x").send();
        assert_eq!((answer.status, answer.interim), (status, interim), "{raw}");
    }
}

#[test]
fn connection_bound_fields_end_at_the_gateway_on_both_sides() {
    let up = upstream().answers(
        "HTTP/1.1 200 OK\r\nConnection: X-Mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: timeout=1\r\n\
         Proxy-Authenticate: Basic\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nX-Other: 2\r\nContent-Length: 0\r\n\r\n",
    );
    let gw = open(&up);
    let ask = gw
        .get("/api/v1/open/x")
        .field("Connection", "x-hop , Keep-Alive")
        .field("X-Hop", "1");
    let ask = ask
        .field("Keep-Alive", "timeout=9")
        .field("Proxy-Connection", "keep-alive")
        .field("TE", "gzip");
    let ask = ask
        .field("Proxy-Authorization", "Basic x")
        .field("Upgrade", "h2c")
        .field("X-End", "to-end");
    let ask = ask
        .field("Cookie", "a=1")
        .field("Accept", "x")
        .field("Accept", "y");
    let mut wire = gw.wire();
    let answer = ask.on(&mut wire);
    let seen = up.only();
    for name in [
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "te",
        "proxy-authorization",
        "upgrade",
    ] {
        assert_eq!(seen.field(name), None, "{name} went upstream");
    }
    assert_eq!(
        (seen.field("x-end"), seen.field("cookie")),
        (Some("to-end"), Some("a=1"))
    );
    assert_eq!(
        seen.head.all("accept"),
        ["x", "y"],
        "repeated fields keep their order"
    );
    for name in [
        "x-mine",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "upgrade",
    ] {
        assert_eq!(answer.field(name), None, "{name} came back");
    }
    assert_eq!(answer.must("x-other"), "2");
    assert!(wire.serves_another());
}

#[test]
fn naming_our_own_fields_as_connection_bound_does_not_remove_ours() {
    let up = upstream();
    let gw = open(&up);
    let ask = gw.get("/api/v1/x").bearer(&token().org(1).user(2));
    let ask = ask
        .field(
            "Connection",
            "X-User-ID, X-Forwarded-For, X-Organization-ID",
        )
        .field("X-User-ID", "666");
    assert_eq!(ask.send().status, 200);
    let seen = up.only();
    assert_eq!(
        (seen.field("x-user-id"), seen.field("x-organization-id")),
        (Some("2"), Some("1"))
    );
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn a_body_over_the_bound_is_413() {
    let up = upstream();
    let gw = gateway()
        .backend(&up)
        .unlimited()
        .env("MAX_BODY_BYTES", 1000)
        .env("PUBLIC_PATHS", "/api/v1/open/*");
    let gw = gw.start();
    let exact = gw.post("/api/v1/open/x").body(vec![b'x'; 1000]).send();
    assert_eq!(exact.status, 200);
    up.forget();
    let mut wire = gw.wire();
    wire.send("POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
    assert_eq!(
        wire.answer().status,
        413,
        "at once, no byte of the body was sent"
    );
    assert!(up.requests().is_empty());
    let mut wire = gw.wire();
    wire.send("POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..11 {
        wire.send(format!("64\r\n{}\r\n", "x".repeat(100)));
    }
    assert_eq!(wire.answer().status, 413);
    assert!(
        up.requests().iter().all(|seen| !seen.complete),
        "no half request looks whole"
    );
}
