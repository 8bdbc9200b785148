//! One client connection end to end: persistence, pipelining, versions, framing, expectations, connection-bound fields. Not
//! the table of malformed bytes (see `e2e_conformance`). Invariant: what follows on a connection is never mistaken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use support::{Broken, Framing, Gateway, Next, Upstream, gateway, token, upstream};

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

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn a_connection_serves_many_requests() {
    let up = echo_target();
    let gw = open(&up);
    let mut wire = gw.wire();
    for n in 0..50 {
        let target = format!("/api/v1/open/{n}");
        let answer = match n % 3 {
            0 => wire.send(get(&target, "")).answer(),
            1 => gw.post(&target).body(vec![b'x'; n * 1000]).on(&mut wire),
            _ => gw.ask("DELETE", &target).bearer(&token()).on(&mut wire),
        };
        assert_eq!((answer.status, answer.text()), (200, target));
        assert!(!answer.says_close());
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let up = echo_target();
    let gw = open(&up);
    let mut bytes = Vec::new();
    for n in 0..40 {
        let target = format!("/api/v1/open/{n}");
        let ask = match n % 4 {
            0 => gw.get(&target),
            1 => gw.post(&target).body("0123456789"),
            2 => gw.get("/livez"),
            _ => gw.get("/api/v1/closed"),
        };
        bytes.extend_from_slice(&ask.bytes());
    }
    let mut wire = gw.wire();
    wire.send(&bytes);
    for n in 0..40 {
        let answer = wire.answer();
        match n % 4 {
            0 | 1 => assert_eq!(
                (answer.status, answer.text()),
                (200, format!("/api/v1/open/{n}"))
            ),
            2 => assert_eq!(answer.status, 200),
            _ => assert_eq!(answer.status, 401),
        }
    }
    assert!(wire.serves_another());
    let bodies: Vec<_> = up
        .requests()
        .into_iter()
        .filter(|seen| seen.method() == "POST")
        .collect();
    assert!(bodies.len() == 10 && bodies.iter().all(|seen| seen.body == b"0123456789"));
}

#[test]
fn requests_arriving_byte_by_byte_are_whole_requests() {
    let up = echo_target();
    let gw = open(&up);
    let mut wire = gw.wire();
    for byte in get("/api/v1/open/slow", "X: y\r\n").bytes() {
        wire.send([byte]);
    }
    assert_eq!(wire.answer().text(), "/api/v1/open/slow");
}

#[test]
fn connection_close_is_honoured() {
    let up = echo_target();
    let gw = open(&up);
    for target in ["/api/v1/open/x", "/livez", "/api/v1/closed"] {
        let mut wire = gw.wire();
        wire.send(get(target, "Connection: close\r\n"))
            .send(get("/livez", ""));
        assert!(wire.answer().says_close(), "{target}");
        assert!(
            wire.closed(),
            "{target}: the request behind it is not answered"
        );
    }
}

#[test]
fn version_1_0_closes_unless_asked_to_keep_alive() {
    let up = echo_target();
    let gw = open(&up);
    let mut wire = gw.wire();
    wire.send("GET /api/v1/open/a HTTP/1.0\r\n\r\n");
    assert_eq!(wire.answer().text(), "/api/v1/open/a");
    assert!(wire.closed());
    let mut wire = gw.wire();
    for n in 0..2 {
        wire.send(format!(
            "GET /api/v1/open/{n} HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
        ));
        let answer = wire.answer();
        assert_eq!(answer.text(), format!("/api/v1/open/{n}"));
        assert!(
            answer.lists("connection", "keep-alive"),
            "a 1.0 client must be told"
        );
    }
}

#[test]
fn version_1_0_never_gets_chunks_or_interim_answers() {
    let up = upstream().answers(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    let gw = open(&up);
    let mut wire = gw.wire();
    wire.send("GET /api/v1/open/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = wire.answer();
    assert_eq!(
        (answer.interim.len(), answer.framing),
        (0, Framing::UntilClose)
    );
    assert_eq!(answer.text(), "abcde");
}

#[test]
fn framing_errors_close_and_other_refusals_do_not() {
    let up = upstream();
    let gw = open(&up);
    let mut wire = gw.wire();
    wire.send("POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    wire.send(get("/api/v1/open/smuggled", ""));
    let answer = wire.answer();
    assert_eq!((answer.status, answer.says_close()), (400, true));
    assert!(wire.closed(), "nothing behind it is read");
    let mut wire = gw.wire();
    wire.send(get("/api/v1/closed", ""));
    assert_eq!(wire.answer().status, 401);
    assert!(wire.serves_another());
    assert!(up.requests().is_empty());
}

#[test]
fn a_refused_requests_small_body_is_read_past() {
    let up = upstream();
    let gw = open(&up);
    let mut wire = gw.wire();
    for _ in 0..3 {
        let answer = gw
            .post("/api/v1/closed")
            .body(vec![b'x'; 10_000])
            .on(&mut wire);
        assert_eq!((answer.status, answer.says_close()), (401, false));
    }
    assert!(wire.serves_another());
    assert!(up.requests().is_empty());
}

#[test]
fn a_refusal_is_not_lost_to_a_client_that_goes_on_sending() {
    let gw = open(&upstream());
    let mut wire = gw.wire();
    wire.send(format!(
        "POST /api/v1/closed HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        1 << 24
    ));
    let piece = vec![b'x'; 1 << 14];
    // As a real client would: it goes on until the peer stops taking bytes.
    let _sent = (0..64).take_while(|_| wire.try_send(&piece)).count();
    let answer = wire.answer();
    assert_eq!((answer.status, answer.says_close()), (401, true));
}

#[test]
fn unusual_methods_and_bodies_are_framed_like_any_other() {
    let up = upstream();
    let gw = open(&up);
    let mut wire = gw.wire();
    for method in ["PROPFIND", "GET", "DELETE", "get", "M-SEARCH"] {
        let answer = gw.ask(method, "/api/v1/open/x").body("body").on(&mut wire);
        assert_eq!(answer.status, 200, "{method}");
        assert_eq!(
            (up.last().method(), up.last().body.as_slice()),
            (method, &b"body"[..])
        );
    }
    let latin = gw.get("/api/v1/open/x").field("X-Name", "caf\u{e9}").send();
    assert_eq!(
        (latin.status, up.last().field("x-name")),
        (200, Some("caf\u{e9}")),
        "obs-text passes unchanged"
    );
}

#[test]
fn a_second_request_never_gets_a_broken_firsts_answer() {
    let up = upstream().script(|exchange| {
        let target = exchange.request.target().to_owned();
        if target.ends_with("short") {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc");
            return Next::Close;
        }
        exchange.answer(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}",
            target.len()
        ))
    });
    let gw = open(&up);
    let mut wire = gw.wire();
    wire.send(get("/api/v1/open/short", ""))
        .send(get("/api/v1/open/behind", ""));
    assert_eq!(wire.try_answer("GET").unwrap_err(), Broken::Truncated);
    assert_eq!(
        gw.get("/api/v1/open/other").send().text(),
        "/api/v1/open/other"
    );
}
