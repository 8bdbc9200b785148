//! Bodies under way: what passes at once, what breaks visibly, who notices that the other side has left. Not memory (see
//! `e2e_bodies`). Invariant: the scripts are stepped by channels, so order is forced and nothing depends on speed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use support::{Broken, Framing, Gateway, Next, Upstream, gateway, until, upstream};

fn open(up: &Upstream) -> Gateway {
    gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .start()
}

/// A channel whose receiver a script can hold.
fn steps() -> (Sender<()>, Mutex<Receiver<()>>) {
    let (sender, receiver) = channel();
    (sender, Mutex::new(receiver))
}

fn wait(steps: &Mutex<Receiver<()>>) {
    steps
        .lock()
        .unwrap()
        .recv_timeout(support::PATIENCE)
        .expect("the test takes its next step");
}

const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn an_upload_reaches_the_upstream_before_its_end_is_sent() {
    for (framing, first, second) in [
        ("Content-Length: 10", "01234", "56789"),
        (
            "Transfer-Encoding: chunked",
            "5\r\n01234\r\n",
            "5\r\n56789\r\n0\r\n\r\n",
        ),
    ] {
        let up = upstream();
        let gw = open(&up);
        let mut wire = gw.wire();
        wire.send(format!(
            "POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{first}"
        ));
        up.wait_body(5);
        assert!(!up.only().complete);
        wire.send(second);
        assert_eq!(wire.answer().status, 200);
        assert_eq!(
            (up.only().body.as_slice(), up.only().complete),
            (&b"0123456789"[..], true)
        );
    }
}

#[test]
fn each_event_of_a_stream_reaches_the_client_before_the_next_is_sent() {
    for chunked in [true, false] {
        let (next, step) = steps();
        let up = upstream().script(move |exchange| {
            let coding = if chunked {
                "Transfer-Encoding: chunked\r\n"
            } else {
                ""
            };
            exchange.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{coding}\r\n"
            ));
            for n in 0..5 {
                wait(&step);
                let event = format!("data: {n}\n\n");
                if chunked {
                    exchange.chunk(&event)
                } else {
                    exchange.send(event)
                };
            }
            wait(&step);
            if chunked {
                exchange.send("0\r\n\r\n");
            }
            Next::Close
        });
        let gw = open(&up);
        let mut wire = gw.wire();
        wire.send(GET);
        let (status, head) = wire.head();
        assert_eq!(
            (status, head.field("content-type")),
            (200, Some("text/event-stream"))
        );
        assert_eq!(
            head.framing(Framing::UntilClose),
            Ok(Framing::Chunked),
            "to 1.1 an unknown length is chunked"
        );
        for n in 0..5 {
            next.send(()).unwrap();
            let mut event = Vec::new();
            while event.len() < 9 {
                event.extend(wire.reader().chunk().unwrap().expect("more to come"));
            }
            assert_eq!(event, format!("data: {n}\n\n").into_bytes());
        }
        next.send(()).unwrap();
        assert_eq!(wire.reader().chunk(), Ok(None));
        assert_eq!(wire.reader().trailers(), Ok(vec![]));
        assert!(wire.serves_another(), "the client's connection goes on");
    }
}

#[test]
fn a_final_answer_before_the_bodys_end_is_relayed_at_once_and_both_sides_close() {
    let up = upstream().script(|exchange| {
        exchange.send("HTTP/1.1 403 Enough\r\nContent-Length: 6\r\n\r\nenough");
        exchange.gone();
        Next::Close
    });
    let gw = open(&up);
    let mut wire = gw.wire();
    wire.send("POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nonly this");
    let answer = wire.answer();
    assert_eq!((answer.status, answer.text().as_str()), (403, "enough"));
    assert!(
        wire.reader().rest().is_some(),
        "the client's connection ends"
    );
    until("the upstream connection to end", || up.closed() == 1);
}

#[test]
fn an_answer_until_close_is_whole_for_either_version() {
    let up = upstream()
        .answers_and_closes("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end");
    let gw = open(&up);
    let mut wire = gw.wire();
    for _ in 0..2 {
        let answer = wire.send(GET).answer();
        assert_eq!(
            (answer.framing, answer.text().as_str()),
            (Framing::Chunked, "until the end")
        );
    }
    let answer = gw
        .wire()
        .send("GET /api/v1/open/x HTTP/1.0\r\n\r\n")
        .answer();
    assert_eq!(
        (answer.framing, answer.text().as_str()),
        (Framing::UntilClose, "until the end")
    );
    assert_eq!(up.connections(), 3, "such a connection is never used again");
}

#[test]
fn an_answer_that_breaks_off_arrives_visibly_broken() {
    for raw in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n9\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Half: tr",
    ] {
        let up = upstream().answers_and_closes(raw);
        let gw = open(&up);
        let mut wire = gw.wire();
        let broken = wire.send(GET).try_answer("GET").unwrap_err();
        assert_eq!(broken, Broken::Truncated, "{raw}");
    }
}

#[test]
fn an_upload_that_breaks_off_never_looks_whole_upstream() {
    for (framing, body) in [
        ("Content-Length: 10", "01234"),
        ("Transfer-Encoding: chunked", "5\r\n01234\r\n"),
        ("Transfer-Encoding: chunked", "5\r\n01234\r\n5\r\n01"),
        ("Transfer-Encoding: chunked", "5\r\n01234\r\nxyz\r\n"),
        (
            "Transfer-Encoding: chunked",
            "5\r\n01234\r\n5\r\n012345\r\n0\r\n\r\n",
        ),
        (
            "Transfer-Encoding: chunked",
            "5\r\n01234\r\n0\r\nbad trailer\r\n\r\n",
        ),
        ("Transfer-Encoding: chunked", "5\r\n01234\n0\r\n\r\n"),
    ] {
        let up = upstream();
        let gw = open(&up);
        let mut wire = gw.wire();
        // The head goes first: what is seen to be malformed together with its head never reaches the upstream at all.
        wire.send(format!(
            "POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"
        ));
        up.wait_requests(1);
        wire.send(body);
        drop(wire);
        until("the upload to be torn upstream", || up.only().torn);
        assert!(!up.only().complete, "{body:?}");
    }
}

#[test]
fn when_the_client_leaves_the_upstream_connection_closes_at_once() {
    // Before any answer, in the middle of one, and by ending only its sending direction.
    for (begun, half) in [(false, false), (true, false), (false, true), (true, true)] {
        let (gone, left) = channel();
        let up = upstream().script(move |exchange| {
            if begun {
                exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
            }
            gone.send(exchange.gone()).unwrap();
            Next::Close
        });
        let gw = open(&up);
        let mut wire = gw.wire();
        wire.send(GET);
        up.wait_requests(1);
        if begun {
            assert_eq!(wire.head().0, 200);
            assert_eq!(wire.reader().chunk(), Ok(Some(b"abc".to_vec())));
        }
        if half {
            wire.finish();
        } else {
            drop(wire);
        }
        assert_eq!(
            left.recv_timeout(support::PATIENCE),
            Ok(true),
            "begun {begun}, half {half}"
        );
    }
}

#[test]
fn large_bodies_arrive_byte_for_byte() {
    let content: Vec<u8> = (0..5_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let expected = content.clone();
    let up = upstream().script(move |exchange| {
        exchange.body().unwrap();
        let body = exchange.seen().body;
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        exchange.send(body);
        Next::Keep
    });
    let gw = open(&up);
    let mut wire = gw.wire();
    for _ in 0..2 {
        // Upload and download overlap in the kernel's buffers only: this upstream answers after the last byte.
        let answer = gw
            .post("/api/v1/open/x")
            .body(content.clone())
            .on(&mut wire);
        assert_eq!((answer.status, answer.body.len()), (200, expected.len()));
        assert!(answer.body == expected);
    }
}

#[test]
fn both_directions_flow_at_the_same_time() {
    // An echo that answers each chunk before the next one is sent.
    let (next, step) = steps();
    let up = upstream().script(move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for n in 0..3 {
            wait(&step);
            exchange.chunk(&format!("answer {n}"));
        }
        exchange.body().unwrap();
        exchange.send("0\r\n\r\n");
        Next::Keep
    });
    let gw = open(&up);
    let mut wire = gw.wire();
    wire.send("POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(wire.head().0, 200);
    for n in 0..3 {
        wire.send("4\r\npart\r\n");
        next.send(()).unwrap();
        assert_eq!(
            wire.reader().chunk(),
            Ok(Some(format!("answer {n}").into_bytes()))
        );
    }
    wire.send("0\r\n\r\n");
    assert_eq!(wire.reader().chunk(), Ok(None));
    assert_eq!(wire.reader().trailers(), Ok(vec![]));
    assert_eq!(up.only().body, b"partpartpart");
    assert!(wire.serves_another());
}
