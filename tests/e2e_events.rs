//! Server-sent events: quiet streams and their own idle limit, events in pieces, listeners that leave. Not bodies in general (see
//! `e2e_streaming`). Invariant: what a service has said its listener has, before the service says more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use support::{Broken, Next, PATIENCE, Plan, Upstream, gateway, upstream};

fn plan(up: &Upstream) -> Plan {
    gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
}

const GET: &str =
    "GET /api/v1/open/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n";

/// Says one event, is silent for a while, says another.
fn pausing(kind: &'static str, silence: Duration) -> Upstream {
    upstream().script(move |exchange| {
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\n{kind}Transfer-Encoding: chunked\r\n\r\n"
        ));
        exchange.chunk("data: 1\n\n");
        support::pause(silence);
        exchange.chunk("data: 2\n\n");
        exchange.send("0\r\n\r\n");
        Next::Keep
    })
}

#[test]
fn only_an_event_stream_may_be_silent_for_longer_than_other_answers() {
    let table = [
        ("Content-Type: text/event-stream\r\n", true),
        ("Content-Type: Text/Event-Stream ; charset=utf-8\r\n", true),
        ("content-type: text/event-stream;x\r\n", true),
        ("Content-Type: text/event-streams\r\n", false),
        ("Content-Type: application/x-ndjson\r\n", false),
        ("X-Content-Type: text/event-stream\r\n", false),
        ("", false),
    ];
    for (kind, lasts) in table {
        let up = pausing(kind, Duration::from_millis(1200));
        let gw = plan(&up).env("READ_TIMEOUT", "0.3").start();
        let answer = gw.wire().send(GET).try_answer("GET");
        let text = answer.map(|answer| answer.text());
        let expected = if lasts {
            Ok("data: 1\n\ndata: 2\n\n".to_owned())
        } else {
            Err(Broken::Truncated)
        };
        assert_eq!(text, expected, "{kind}");
    }
}

#[test]
fn an_event_stream_has_an_idle_limit_of_its_own() {
    let up = pausing("Content-Type: text/event-stream\r\n", PATIENCE);
    let gw = plan(&up).env("STREAM_IDLE_TIMEOUT", "0.4").start();
    let mut wire = gw.wire();
    wire.send(GET);
    assert_eq!(wire.head().0, 200);
    assert_eq!(wire.reader().chunk(), Ok(Some(b"data: 1\n\n".to_vec())));
    assert_eq!(wire.reader().chunk(), Err(Broken::Truncated));
}

/// An event may come in halves; nobody waits for its empty line.
#[test]
fn a_piece_of_an_event_does_not_wait_for_the_rest() {
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let up = upstream().script(move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        for piece in [": comment", "\n", "data: he", "llo", "\n\n"] {
            gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            exchange.send(piece);
        }
        Next::Close
    });
    let gw = plan(&up).start();
    let mut wire = gw.wire();
    wire.send(GET);
    assert_eq!(wire.head().0, 200, "the head does not wait for an event");
    for piece in [": comment", "\n", "data: he", "llo", "\n\n"] {
        go.send(()).unwrap();
        assert_eq!(wire.reader().chunk(), Ok(Some(piece.as_bytes().to_vec())));
    }
    assert_eq!(wire.reader().chunk(), Ok(None));
}

#[test]
fn a_listener_that_leaves_ends_a_silent_stream_at_once() {
    let (tell, told) = channel();
    let up = upstream().script(move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        tell.send(exchange.gone()).unwrap();
        Next::Close
    });
    let gw = plan(&up).start();
    let mut wire = gw.wire();
    wire.send(GET);
    assert_eq!(wire.head().0, 200);
    drop(wire);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(true));
}
