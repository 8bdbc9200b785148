//! Time limits towards clients, and the bound on connections. Not those towards services (see `e2e_upstream`). Invariant: the
//! limits are set short and only what happens is asserted, never how fast.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::sync::mpsc::channel;
use std::time::Duration;

use support::{Next, OK, Wire, gateway, until, upstream};

const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n\r\n";

fn plan() -> support::Plan {
    gateway().unlimited().env("PUBLIC_PATHS", "/api/v1/open/*")
}

#[test]
fn a_head_that_does_not_end_is_408() {
    let gw = plan().env("HEAD_TIMEOUT", "0.4").start();
    for begun in [
        "G",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: ",
    ] {
        let mut wire = gw.wire();
        let answer = wire.send(begun).answer();
        assert_eq!(
            (answer.status, answer.says_close()),
            (408, true),
            "{begun:?}"
        );
        assert!(answer.json()["message"].is_string());
        assert!(wire.closed());
    }
}

#[test]
fn a_head_in_drips_is_408_as_well() {
    let gw = plan().env("HEAD_TIMEOUT", "0.5").start();
    let mut wire = gw.wire();
    wire.send("GET / HTTP/1.1\r\nX-Drip: ");
    let stream = wire.reader().stream().try_clone().unwrap();
    let (done, stop) = channel::<()>();
    let dripping = std::thread::spawn(move || {
        use std::io::Write as _;
        while stop
            .recv_timeout(Duration::from_millis(50))
            .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            if (&stream).write_all(b"x").is_err() {
                break;
            }
        }
    });
    assert_eq!(
        wire.answer().status,
        408,
        "the time runs from the first byte, drips do not prolong it"
    );
    drop(done);
    dripping.join().unwrap();
}

#[test]
fn a_request_head_after_others_has_its_own_time() {
    let up = upstream();
    let gw = plan().backend(&up).env("HEAD_TIMEOUT", "0.6").start();
    let mut wire = gw.wire();
    for _ in 0..4 {
        // Idle for longer than half the head's time, each time.
        support::pause(Duration::from_millis(400));
        assert_eq!(wire.send(GET).answer().status, 200);
    }
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let up = upstream();
    let gw = plan().backend(&up).env("IDLE_TIMEOUT", "0.3").start();
    let mut fresh = gw.wire();
    assert!(fresh.closed(), "nothing was asked, nothing is said");
    let mut used = gw.wire();
    assert_eq!(used.send(GET).answer().status, 200);
    assert!(used.closed());
}

#[test]
fn an_idle_connection_serves_again_within_its_time() {
    // Longer than any read is kept armed for, so that a wake from idleness is what is tested.
    let up = upstream();
    let gw = plan().backend(&up).start();
    let mut wire = gw.wire();
    for _ in 0..2 {
        assert_eq!(wire.send(GET).answer().status, 200);
        support::pause(Duration::from_millis(1200));
    }
    assert_eq!(wire.send(GET).answer().status, 200);
}

#[test]
fn a_body_that_stalls_is_408_and_never_looks_whole_upstream() {
    let up = upstream();
    let gw = plan().backend(&up).env("BODY_TIMEOUT", "0.4").start();
    for begun in [
        "Content-Length: 10\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        up.forget();
        let mut wire = gw.wire();
        wire.send(format!(
            "POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\n{begun}"
        ));
        let answer = wire.answer();
        assert_eq!((answer.status, answer.says_close()), (408, true));
        assert!(wire.reader().rest().is_some());
        until("the upstream connection to end", || {
            up.closed() == up.connections()
        });
        assert!(!up.only().complete);
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let (gone, left) = channel();
    let up = upstream().script(move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let piece = "x".repeat(1 << 16);
        while exchange.chunk(&piece) {}
        gone.send(()).unwrap();
        Next::Close
    });
    let gw = plan().backend(&up).env("WRITE_TIMEOUT", "0.5").start();
    let mut wire = gw.wire();
    wire.send(GET);
    left.recv_timeout(support::PATIENCE)
        .expect("the upstream is told that nobody reads");
    drop(wire);
}

#[test]
fn over_the_bound_the_oldest_idle_connection_goes_first() {
    let up = upstream();
    let gw = plan()
        .backend(&up)
        .env("MAX_CONNECTIONS", 8)
        .env("GATEWAY_WORKERS", 1)
        .start();
    let mut idle: Vec<Wire> = Vec::new();
    for _ in 0..20 {
        let mut wire = gw.wire();
        assert_eq!(wire.send(GET).answer().status, 200, "idle ones make room");
        idle.push(wire);
    }
    let first = &mut idle[0];
    assert!(first.closed());
    let last = idle.last_mut().unwrap();
    assert!(last.serves_another());
}

#[test]
fn over_the_bound_with_none_idle_a_new_connection_is_503() {
    let (go, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let up = upstream().script(move |exchange| {
        let _ = wait.lock().unwrap().recv_timeout(support::PATIENCE);
        exchange.answer(OK)
    });
    let gw = plan()
        .backend(&up)
        .env("MAX_CONNECTIONS", 8)
        .env("GATEWAY_WORKERS", 1)
        .start();
    let mut busy: Vec<Wire> = (0..8).map(|_| gw.wire()).collect();
    for wire in &mut busy {
        wire.send(GET);
    }
    up.wait_requests(8);
    let mut more = gw.wire();
    let answer = more.send(GET).answer();
    assert_eq!((answer.status, answer.says_close()), (503, true));
    drop(go);
    for wire in &mut busy {
        assert_eq!(
            wire.answer().status,
            200,
            "those under way are not concerned"
        );
    }
}

/// A gateway whose every limit is short, and whose only worker counts.
fn short() -> support::Plan {
    let plan = plan().env("GATEWAY_WORKERS", 1).env("IDLE_TIMEOUT", "0.4");
    ["HEAD", "BODY", "READ", "WRITE", "RESPONSE"]
        .iter()
        .fold(plan, |plan, name| {
            plan.env(&format!("{name}_TIMEOUT"), "0.4")
        })
}

#[test]
fn each_limit_is_counted_under_its_name() {
    let up = upstream().script(|exchange| {
        if exchange.seen().target().ends_with("/half") {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
            exchange.gone();
            return Next::Close;
        }
        if exchange.body().is_err() {
            return Next::Close;
        }
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let piece = "x".repeat(1 << 16);
        while exchange.chunk(&piece) {}
        Next::Close
    });
    let gw = short().backend(&up).start();
    let post = "POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc";
    let table = [
        ("", "idle_timeout"),
        ("GET / HT", "head_timeout"),
        (post, "body_timeout"),
        (&GET.replace("/x", "/half"), "upstream_broken"),
        (GET, "write_timeout"),
    ];
    for (begun, reason) in table {
        let label = format!("reason=\"{reason}\"");
        let counted = || gw.metric("dbpower_connections_closed_total", &[&label]);
        let before = counted();
        let mut wire = gw.wire();
        wire.send(begun);
        until(reason, || counted() > before + 0.5);
    }
}

#[test]
fn the_body_of_an_own_endpoint_has_its_time() {
    let gw = short().start();
    let mut wire = gw.wire();
    let token = support::token().role("admin").mint();
    wire.send(format!(
        "POST /admin/rate-limit/reset HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 20\r\n\r\n{{"
    ));
    let answer = wire.answer();
    assert_eq!((answer.status, answer.says_close()), (408, true));
}
