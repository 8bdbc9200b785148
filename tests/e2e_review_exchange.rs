//! Exchanges at their edges: answers that come before the body, bodies that are withheld, heads that just fit, connections that
//! die in between. Not the ordinary ones (see `e2e_upstream`, `e2e_streaming`). Invariant: what a client reads is one whole
//! answer or a visibly broken one, and what a service reads is one whole body or a visibly broken one.
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

use support::{Next, OK, Plan, Upstream, gateway, pause, timed, upstream};

const PATH: &str = "/api/v1/open/x";
const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n\r\n";

/// One worker, so that there is one pool.
fn plan(up: &Upstream) -> Plan {
    gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .env("GATEWAY_WORKERS", 1)
}

/// A request whose body comes later.
fn head_of(method: &str, fields: &str) -> String {
    format!("{method} {PATH} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn no_continue_is_put_into_an_answer_that_has_begun() {
    let up = upstream().script(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234");
        // Longer than the gateway waits for a 100 of the service.
        pause(Duration::from_millis(1_400));
        exchange.send("56789");
        exchange.gone();
        Next::Close
    });
    let gw = plan(&up).start();
    let mut wire = gw.wire();
    wire.send(head_of(
        "POST",
        "Content-Length: 3\r\nExpect: 100-continue\r\n",
    ));
    let answer = wire.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "0123456789"));
    assert_eq!(answer.interim, [] as [u16; 0]);
    assert!(wire.closed(), "nothing follows");
}

#[test]
fn an_upload_may_take_longer_than_the_read_time_after_a_100() {
    let up = upstream();
    let gw = plan(&up).env("READ_TIMEOUT", "0.4").start();
    let mut wire = gw.wire();
    wire.send(head_of(
        "POST",
        "Content-Length: 10\r\nExpect: 100-continue\r\n",
    ));
    assert_eq!(wire.head().0, 100);
    for _ in 0..10 {
        pause(Duration::from_millis(100));
        wire.send("x");
    }
    assert_eq!(wire.answer().status, 200);
    assert!(up.only().complete);
}

#[test]
fn an_answer_may_take_its_time_after_a_100() {
    let up = upstream().script(|exchange| {
        exchange.send("HTTP/1.1 100 Continue\r\n\r\n");
        let _ = exchange.body();
        pause(Duration::from_millis(900));
        exchange.send(OK);
        Next::Keep
    });
    let gw = plan(&up).env("READ_TIMEOUT", "0.3").start();
    let mut wire = gw.wire();
    wire.send(head_of(
        "POST",
        "Content-Length: 1\r\nExpect: 100-continue\r\n",
    ));
    assert_eq!(wire.head().0, 100);
    assert_eq!(wire.send("x").answer().status, 200);
}

/// Serves the first request of a connection and hangs up on the second as soon as its head is there.
fn hangs_up_on_the_second() -> Upstream {
    let served = Mutex::new(HashSet::new());
    upstream().script(move |exchange| {
        if served.lock().unwrap().insert(exchange.request.connection) {
            exchange.answer(OK)
        } else {
            Next::Close
        }
    })
}

#[test]
fn a_body_that_was_still_coming_is_never_shifted_by_a_retry() {
    for method in ["PUT", "POST"] {
        let up = hangs_up_on_the_second();
        let gw = plan(&up).start();
        assert_eq!(gw.get(PATH).send().status, 200);
        let mut wire = gw.wire();
        wire.send(head_of(method, "Content-Length: 10\r\n"));
        up.wait_requests(2);
        pause(Duration::from_millis(200));
        wire.send("0123456789");
        wire.send(GET);
        let answer = wire.answer();
        if answer.status == 200 {
            assert_eq!(up.wait_requests(3)[2].body, b"0123456789", "{method}");
            continue;
        }
        assert_eq!(answer.status, 502, "{method}");
        assert!(answer.says_close(), "{method}: the connection ends");
        assert!(wire.closed(), "{method}");
    }
}

#[test]
fn an_early_answer_is_not_lost_to_a_client_that_goes_on_sending() {
    for raw in ["HTTP/1.1 403 Enough\r\nContent-Length: 6\r\n\r\nenough", ""] {
        let up = upstream().script(move |exchange| {
            exchange.send(raw);
            if !raw.is_empty() {
                exchange.gone();
            }
            Next::Close
        });
        let gw = plan(&up).start();
        let mut wire = gw.wire();
        wire.send(head_of("POST", "Content-Length: 1000000\r\n"));
        assert_eq!(wire.answer().status, if raw.is_empty() { 502 } else { 403 });
        for n in 0..5 {
            // A connection closed with bytes unread resets, and a reset may take the answer with it.
            assert!(wire.try_send([b'x'; 1000]), "{raw:?}: reset after {n}");
            pause(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_head_that_fills_the_buffer_does_not_keep_its_body_waiting() {
    let up = upstream().script(|exchange| {
        let size: usize = exchange
            .request
            .target()
            .rsplit('/')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        exchange.answer(format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok",
            "a".repeat(size)
        ))
    });
    let gw = plan(&up).start();
    let mut wire = gw.wire();
    for size in (17_000..17_400).step_by(10) {
        let ask = gw.get(&format!("/api/v1/open/{size}"));
        let (answer, took) = timed(|| ask.on(&mut wire));
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        assert!(took < Duration::from_secs(8), "{size}: {took:?}");
    }
}

#[test]
fn interim_answers_that_come_in_one_go_are_all_read() {
    let up = upstream().script(|exchange| {
        let hint = format!(
            "HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n",
            "a".repeat(1_900)
        );
        exchange.answer(hint.repeat(60) + OK)
    });
    let gw = plan(&up).start();
    for _ in 0..5 {
        let answer = gw.get(PATH).send();
        assert_eq!((answer.status, answer.interim.len()), (200, 60));
    }
}

#[test]
fn connecting_in_vain_leaves_no_descriptor_behind() {
    let hole = support::blackhole();
    let gw = gateway()
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .env("CONNECT_TIMEOUT", "0.1")
        .env("BACKEND_URL", format!("http://127.0.0.1:{}", hole.port))
        .start();
    let open = || {
        std::fs::read_dir(format!("/proc/{}/fd", gw.pid()))
            .unwrap()
            .count()
    };
    let before = open();
    for _ in 0..20 {
        assert_eq!(gw.get(PATH).send().status, 504);
    }
    support::until("the sockets to be closed", || open() <= before + 4);
}

#[test]
fn bytes_pipelined_behind_a_body_whose_service_died_are_no_request_in_its_middle() {
    // The body holds what would be a request, should the gateway lose count of it.
    let evil = "GET /api/v1/open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let served = Mutex::new(HashSet::new());
    let up = upstream().script(move |exchange| {
        if exchange.request.method() == "PUT"
            && served.lock().unwrap().insert(exchange.request.connection)
        {
            return Next::Close;
        }
        exchange.answer(OK)
    });
    let gw = plan(&up).start();
    for round in 0..30 {
        let mut wire = gw.wire();
        let body = evil.repeat(400);
        wire.send(head_of(
            "PUT",
            &format!("Content-Length: {}\r\n", body.len()),
        ));
        if round % 2 == 0 {
            pause(Duration::from_millis(1));
        }
        wire.send(&body[..body.len() / 3]);
        pause(Duration::from_millis(round / 4));
        wire.send(&body[body.len() / 3..]);
        let _ = wire.try_answer("PUT");
    }
    assert!(
        up.requests()
            .iter()
            .all(|seen| !seen.target().ends_with("smuggled"))
    );
}
