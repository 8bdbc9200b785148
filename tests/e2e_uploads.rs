//! Request bodies in pieces: however a request is cut on its way, the service gets the same head and body, and what lies behind them is
//! the next request. Not memory (`e2e_bodies`) and not time (`e2e_streaming`). Invariant: no two places of a body look the same, and
//! each body holds what would be a request, should anything be lost, doubled or sent from elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use support::{Framing, Gateway, Next, OK, Upstream, Wire, gateway, pause, upstream};

const PATH: &str = "/api/v1/open/x";
const NEXT: &str = "GET /api/v1/open/next HTTP/1.1\r\nHost: a\r\n\r\n";

/// One worker, so that there is one pool.
fn open(up: &Upstream) -> Gateway {
    gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .env("GATEWAY_WORKERS", 1)
        .start()
}

fn body(size: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for n in 0.. {
        let line = format!("GET /api/v1/open/smuggled-{n} HTTP/1.1\r\nHost: a\r\n\r\n");
        body.extend_from_slice(line.as_bytes());
        if body.len() >= size {
            break;
        }
    }
    body.truncate(size);
    body
}

fn request(method: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Lets what was sent arrive alone.
fn rest() {
    pause(Duration::from_millis(3));
}

/// Sends a request and the next one right behind it, cut in two, and checks what came of both.
fn check(wire: &mut Wire, up: &Upstream, body: &[u8], cut: usize) {
    up.forget();
    let bytes = [&request("POST", body), NEXT.as_bytes()].concat();
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    wire.send(first);
    if !second.is_empty() {
        rest();
        wire.send(second);
    }
    let case = format!("{} bytes cut at {cut}", body.len());
    for _ in 0..2 {
        let answer = wire.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
    let seen = up.requests();
    assert_eq!(seen.len(), 2, "{case}");
    assert_eq!(
        seen[0].framing(),
        Framing::Length(body.len() as u64),
        "{case}"
    );
    assert!(seen[0].body == body && seen[0].complete, "{case}");
    assert_eq!(seen[0].method(), "POST", "{case}");
    assert!(seen[1].target().ends_with("/next"), "{case}");
}

#[test]
fn a_request_is_the_same_wherever_it_is_cut() {
    let up = upstream();
    let gw = open(&up);
    for size in [1, 2_048, 2_049, 16_300, 17_000, 40_000, 65_536, 70_000] {
        let body = body(size);
        let head = request("POST", &body).len() - size;
        let end = head + size;
        // What a client's first large body is read into is smaller than what its others are.
        let mut used = gw.wire();
        check(&mut used, &up, &body, 0);
        for cut in [
            end + NEXT.len(),
            head - 2,
            head,
            head + 1,
            head + 2_048.min(size),
            head + 2_049.min(size),
            head + size / 2,
            17 * 1024,
            end - 1,
            end,
            end + 1,
            end + NEXT.len() - 1,
        ] {
            check(&mut used, &up, &body, cut);
            check(&mut gw.wire(), &up, &body, cut);
        }
    }
}

#[test]
fn large_bodies_in_a_row_are_told_apart() {
    let up = upstream();
    let gw = open(&up);
    let sizes = [30_000, 30_001, 5, 3_000, 66_000, 2_500, 150_000, 4_000];
    let mut bytes = Vec::new();
    for size in sizes {
        bytes.extend_from_slice(&request("POST", &body(size)));
    }
    let mut wire = gw.wire();
    for _ in 0..3 {
        up.forget();
        wire.send(&bytes);
        for _ in sizes {
            assert_eq!(wire.answer().status, 200);
        }
        let seen = up.requests();
        assert_eq!(seen.len(), sizes.len());
        for (seen, size) in seen.iter().zip(sizes) {
            assert!(seen.body == body(size), "{size}");
        }
    }
}

#[test]
fn a_large_body_that_is_sent_again_is_the_same() {
    // Hangs up on the second request of a connection once it has read it.
    let served = Mutex::new(HashSet::new());
    let up = upstream().script(move |exchange| {
        if served.lock().unwrap().insert(exchange.request.connection) {
            return exchange.answer(OK);
        }
        let _ = exchange.body();
        Next::Close
    });
    let gw = open(&up);
    let mut again = 0;
    for size in [1_500, 9_000, 20_000, 40_000].repeat(8) {
        let body = body(size);
        let mut wire = gw.wire();
        // A connection to the service that has served one request, and a large buffer for the client's next one.
        let first = request("PUT", &self::body(90_000));
        while wire.send(&first).try_answer("PUT").map(|a| a.status) != Ok(200) {
            wire = gw.wire();
        }
        up.forget();
        wire.send(request("PUT", &body));
        let answer = wire.answer_to("PUT");
        let seen = up.requests();
        if answer.status == 200 {
            again += 1;
            assert_eq!(seen.len(), 2, "{size}");
            assert_eq!(seen[0].raw, seen[1].raw, "{size}");
        } else {
            // Its first bytes came alone: the others were not there to be sent twice.
            assert_eq!((answer.status, seen.len()), (502, 1), "{size}");
        }
        for seen in seen {
            assert!(seen.body == body && seen.complete, "{size}");
        }
    }
    assert!(again >= 8, "sent again: {again}");
}
