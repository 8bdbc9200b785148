//! How things end under pressure: a drain with newcomers, answers that only the connection's end delimits, a client that asks
//! without pause, more connections than there may be. Not the ordinary drain (see `e2e_process`). Invariant: an end that is no
//! proper end never looks like one, and no client waits on a gateway that will not answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use support::{Gateway, Next, Plan, Upstream, Wire, gateway, pause, timed, until, upstream};

const GET_1_0: &str = "GET /api/v1/open/x HTTP/1.0\r\n\r\n";
const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n\r\n";

fn plan(up: &Upstream) -> Plan {
    gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .env("GATEWAY_WORKERS", 1)
}

/// Begins an answer without a length, as long as asked, and holds it.
fn endless(bytes: usize) -> Upstream {
    upstream().script(move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\n\r\n");
        exchange.send(vec![b'a'; bytes]);
        exchange.gone();
        Next::Close
    })
}

/// How the stream ends: `Ok(0)` is a proper end.
fn end_of(wire: &mut Wire) -> std::io::Result<usize> {
    let mut stream = wire.reader().stream();
    let mut piece = vec![0; 65_536];
    loop {
        match stream.read(&mut piece) {
            Ok(count) if count > 0 => {}
            end => return end,
        }
    }
}

#[test]
fn an_answer_until_close_does_not_look_whole_when_the_drain_time_is_over() {
    let up = endless(3);
    let mut gw = plan(&up).env("DRAIN_TIMEOUT", "0.3").start();
    let mut wire = gw.wire();
    wire.send(GET_1_0);
    assert_eq!(wire.head().0, 200);
    assert_eq!(wire.reader().take(3), Ok(b"aaa".to_vec()));
    gw.signal(Signal::TERM);
    gw.wait_exit();
    assert!(end_of(&mut wire).is_err(), "a reset, not an end");
}

#[test]
fn an_answer_until_close_does_not_look_whole_to_a_client_that_stalled() {
    let up = endless(32 << 20);
    let gw = plan(&up).env("WRITE_TIMEOUT", "0.3").start();
    let mut wire = gw.wire();
    wire.send(GET_1_0);
    assert_eq!(wire.head().0, 200);
    until("the upstream connection to end", || up.closed() == 1);
    assert!(end_of(&mut wire).is_err(), "a reset, not an end");
}

#[test]
fn a_whole_answer_until_close_ends_properly() {
    let up = upstream().answers_and_closes("HTTP/1.1 200 OK\r\n\r\nabc");
    let gw = plan(&up).start();
    let mut wire = gw.wire();
    wire.send(GET_1_0);
    assert_eq!(end_of(&mut wire).unwrap(), 0);
}

/// A gateway that has been told to end and has one answer to finish.
fn draining(up: &Upstream) -> (Gateway, Wire) {
    let gw = plan(up).start();
    let mut wire = gw.wire();
    wire.send(GET);
    assert_eq!(wire.head().0, 200);
    gw.signal(Signal::TERM);
    (gw, wire)
}

#[test]
fn newcomers_to_a_draining_gateway_are_told_so_and_then_refused() {
    let up = endless(3);
    let (_gw, _wire) = {
        let (gw, wire) = draining(&up);
        let mut unanswered = 0;
        // At first it still accepts, then the port is closed; nobody is left waiting in a queue that no one serves.
        until("connections to be refused", || {
            let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, gw.port)) else {
                return true;
            };
            let mut reader = support::Reader::new(stream);
            reader.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
            let answered = reader.head().is_ok_and(|(head, _)| {
                head.first.contains(" 200 ") || head.first.contains(" 503 ")
            });
            unanswered += usize::from(!answered);
            false
        });
        // Closing the port may meet one that has just come.
        assert!(unanswered <= 1, "{unanswered} were reset");
        (gw, wire)
    };
}

#[test]
fn too_many_connections_are_told_so_in_json() {
    let up = endless(3);
    let gw = plan(&up).env("MAX_CONNECTIONS", 2).start();
    let mut busy: Vec<Wire> = (0..2).map(|_| gw.wire()).collect();
    for wire in &mut busy {
        wire.send(GET);
        assert_eq!(wire.head().0, 200);
    }
    let answer = gw.wire().send(GET).answer();
    assert_eq!((answer.status, answer.says_close()), (503, true));
    assert_eq!(answer.json()["error"], "Service Unavailable");
}

#[test]
fn a_client_that_asks_without_pause_does_not_hold_the_worker() {
    let up = upstream();
    let gw = plan(&up).env("LOG_REQUESTS", "false").start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let greedy = TcpStream::connect((Ipv4Addr::LOCALHOST, gw.port)).unwrap();
            let (mut sender, mut reader) = (greedy.try_clone().unwrap(), greedy);
            let stop = &stop;
            scope.spawn(move || {
                let cheap = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_000);
                while !stop.load(Ordering::Relaxed) && sender.write_all(cheap.as_bytes()).is_ok() {}
                let _ = sender.shutdown(std::net::Shutdown::Both);
            });
            scope.spawn(move || {
                let mut piece = vec![0; 1 << 20];
                while matches!(reader.read(&mut piece), Ok(count) if count > 0) {}
            });
        }
        pause(Duration::from_millis(200));
        let mut wire = gw.wire();
        let mut worst = Duration::ZERO;
        for _ in 0..40 {
            let (fine, took) = timed(|| wire.serves_another());
            assert!(fine);
            worst = worst.max(took);
        }
        stop.store(true, Ordering::Relaxed);
        eprintln!("worst {worst:?}");
        assert!(worst < Duration::from_secs(1), "{worst:?}");
    });
}
