//! The harness tested on itself: clients against upstreams with no gateway between. Not a test of the gateway. Invariant: a
//! harness that reads leniently would hide what the gateway does, so its strictness is shown here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use support::{Ask, Broken, Framing, Next, Wire, token, until, upstream};

#[test]
fn a_fixed_answer_is_read_and_the_request_recorded() {
    let up = upstream().answers("HTTP/1.1 201 Created\r\nX-A: 1\r\nContent-Length: 3\r\n\r\nabc");
    let answer = Ask::new(up.port(), "POST", "/x?y=1")
        .field("X-B", "\u{e9}")
        .body("hello")
        .send();
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.must("x-a")),
        (201, "abc", "1")
    );
    let seen = up.only();
    assert_eq!(
        (seen.method(), seen.target(), seen.body.as_slice()),
        ("POST", "/x?y=1", &b"hello"[..])
    );
    assert_eq!(seen.field("x-b"), Some("\u{e9}"));
    assert!(seen.complete);
}

#[test]
fn chunks_trailers_and_interim_answers_are_read() {
    let up = upstream().script(|exchange| {
        exchange.body().unwrap();
        exchange.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        exchange.chunk("one");
        exchange.chunk("two");
        exchange.send("0\r\nX-End: yes\r\n\r\n");
        Next::Keep
    });
    let mut wire = Wire::to(up.port());
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-T: 1\r\n\r\n");
    let answer = wire.answer();
    assert_eq!(
        (answer.interim.as_slice(), answer.text().as_str()),
        (&[103][..], "onetwo")
    );
    assert_eq!(
        (answer.framing, answer.trailers[0].1.as_str()),
        (Framing::Chunked, "yes")
    );
    assert_eq!(
        (up.only().body.as_slice(), up.only().trailers[0].1.as_str()),
        (&b"abc"[..], "1")
    );
    assert_eq!(Ask::new(up.port(), "GET", "/").on(&mut wire).status, 200);
    assert_eq!((up.requests()[1].connection, up.connections()), (0, 1));
}

#[test]
fn broken_answers_are_told_apart() {
    let table = [
        ("", Broken::Closed),
        ("HTTP/1.1 200 OK\r\nContent-", Broken::Truncated),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
            Broken::Truncated,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            Broken::Truncated,
        ),
    ];
    for (raw, broken) in table {
        let up = upstream().answers_and_closes(raw);
        let mut wire = Wire::to(up.port());
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(wire.try_answer("GET").unwrap_err(), broken, "{raw:?}");
        assert!(wire.reader().rest().is_some());
        until("the end of the connection", || up.closed() == 1);
    }
    for raw in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "nonsense\r\n\r\n",
    ] {
        let up = upstream().answers_and_closes(raw);
        let mut wire = Wire::to(up.port());
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(
            matches!(wire.try_answer("GET"), Err(Broken::Malformed(_))),
            "{raw:?}"
        );
    }
}

#[test]
fn other_loopback_addresses_are_other_clients() {
    let up = upstream().script(|exchange| {
        let from = exchange.stream().peer_addr().unwrap().ip().to_string();
        exchange.answer(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{from}",
            from.len()
        ))
    });
    assert_eq!(
        Ask::new(up.port(), "GET", "/")
            .from([127, 0, 9, 7])
            .send()
            .text(),
        "127.0.9.7"
    );
    assert_eq!(Ask::new(up.port(), "GET", "/").send().text(), "127.0.0.1");
}

#[test]
fn probes_are_apart_and_a_stopped_upstream_refuses() {
    let up = upstream();
    up.probes_get(503);
    assert_eq!(Ask::new(up.port(), "GET", "/health").send().status, 503);
    assert_eq!(
        (up.probes(), up.requests().len(), up.connections()),
        (1, 0, 0)
    );
    up.stop();
    assert_eq!(up.probes(), 1);
}

#[test]
fn a_blackhole_neither_takes_nor_refuses() {
    let hole = support::blackhole();
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], hole.port));
    let tried = std::net::TcpStream::connect_timeout(&at, std::time::Duration::from_millis(300));
    assert_eq!(tried.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn tokens_are_signed() {
    let text = token().org(1).user("abc").role("admin").mint();
    assert_eq!(text.split('.').count(), 3);
    assert_ne!(
        text,
        token().org(1).user("abc").role("admin").forged().mint()
    );
}
