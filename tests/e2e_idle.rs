//! Connections between two requests: parked after a moment, woken by their next byte, ended by time, drain and want of room. Not
//! what they cost exactly (`loadtest idle` measures a release build). Invariant: whether a connection was parked shows in nothing
//! but memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use support::{Gateway, Plan, Upstream, Wire, gateway, pause, until, upstream};

const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n\r\n";

/// Longer than a connection idles before it is parked (0.3 s and a tick).
const PARKED: Duration = Duration::from_millis(600);

fn plan(up: &Upstream) -> Plan {
    gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .env("GATEWAY_WORKERS", 1)
}

/// Connections that have been served once and are parked.
fn parked(gw: &Gateway, count: usize) -> Vec<Wire> {
    let mut wires: Vec<Wire> = (0..count).map(|_| gw.wire()).collect();
    for wire in &mut wires {
        assert_eq!(wire.send(GET).answer().status, 200);
    }
    pause(PARKED);
    wires
}

fn closed(gw: &Gateway, reason: &str) -> f64 {
    gw.metric(
        "dbpower_connections_closed_total",
        &[&format!("reason=\"{reason}\"")],
    )
}

fn active(gw: &Gateway) -> f64 {
    gw.metric("dbpower_connections_active", &[])
}

#[test]
fn a_parked_connection_serves_on_whatever_comes_first() {
    let up = upstream();
    let gw = plan(&up).start();
    let mut wires = parked(&gw, 4);
    assert_eq!(wires[0].send(GET).answer().status, 200);
    // A head in pieces.
    wires[1].send("GET /api/v1/open/x HT");
    pause(Duration::from_millis(100));
    assert_eq!(
        wires[1].send("TP/1.1\r\nHost: a\r\n\r\n").answer().status,
        200
    );
    // Several at once.
    wires[2].send(GET.repeat(3));
    assert!((0..3).all(|_| wires[2].answer().status == 200));
    // No request at all.
    assert_eq!(wires[3].send("nonsense\r\n\r\n").answer().status, 400);
    // And again.
    pause(PARKED);
    for wire in &mut wires[..3] {
        assert_eq!(wire.send(GET).answer().status, 200);
    }
}

#[test]
fn what_a_parked_connection_does_is_counted_as_ever() {
    let up = upstream();
    let gw = plan(&up).env("HEAD_TIMEOUT", "0.3").start();
    // Whoever asked whether it is ready has left.
    until("nobody to be there", || active(&gw) < 0.5);
    let before = closed(&gw, "client_closed");
    let mut wires = parked(&gw, 10);
    assert!((active(&gw) - 10.0).abs() < 0.5, "still open");
    wires.truncate(4);
    until("six to be counted as closed by their clients", || {
        closed(&gw, "client_closed") >= before + 6.0
    });
    assert!((active(&gw) - 4.0).abs() < 0.5);
    // A head that is begun from the parked state has its time as well.
    assert_eq!(wires[0].send("G").answer().status, 408);
    until("the late head to be counted", || {
        closed(&gw, "head_timeout") >= 1.0
    });
}

#[test]
fn a_parked_connection_ends_with_its_idle_time() {
    let up = upstream();
    let gw = plan(&up).env("IDLE_TIMEOUT", "1").start();
    let mut wires = parked(&gw, 3);
    // One of them has spoken meanwhile: its time begins anew.
    assert_eq!(wires[1].send(GET).answer().status, 200);
    assert!(wires[0].closed() && wires[2].closed());
    assert!(wires[1].serves_another());
    until("both to be counted", || closed(&gw, "idle_timeout") >= 2.0);
}

#[test]
fn over_the_bound_the_oldest_parked_one_goes_first() {
    let up = upstream();
    let gw = plan(&up).env("MAX_CONNECTIONS", 4).start();
    let mut wires = parked(&gw, 4);
    let mut newcomer = gw.wire();
    assert_eq!(newcomer.send(GET).answer().status, 200);
    assert!(wires[0].closed(), "the one that came first");
    for wire in &mut wires[1..] {
        assert!(wire.serves_another());
    }
}

#[test]
fn a_gateway_with_parked_connections_is_gone_at_once() {
    let up = upstream();
    let mut gw = plan(&up).env("DRAIN_TIMEOUT", 10).start();
    let mut wires = parked(&gw, 200);
    gw.signal(Signal::TERM);
    assert_eq!(
        gw.wait_exit().code(),
        Some(0),
        "it did not wait for the drain's end"
    );
    assert!(wires.iter_mut().all(Wire::closed));
}

#[test]
fn thousands_of_idle_connections_cost_little() {
    const COUNT: usize = 2_000;
    // A kilobyte and a half is what a release build is held to at 10,000; a debug build's tasks are larger while they last.
    const KIB_MAX: u64 = COUNT as u64 * 4;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let up = upstream();
    let gw = plan(&up).start();
    let _some = parked(&gw, 50);
    let before = gw.rss_kib();
    let mut more = parked(&gw, COUNT);
    until("what they needed to be given back", || {
        gw.rss_kib() < before + KIB_MAX
    });
    let each = (gw.rss_kib().saturating_sub(before)) * 1024 / COUNT as u64;
    eprintln!("{each} bytes of user memory for each of {COUNT} idle connections");
    assert!(more.iter_mut().step_by(100).all(Wire::serves_another));
}
