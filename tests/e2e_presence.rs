//! How many may be here at once: connections of the process and of an address, requests of an organization. Not rate limits (see
//! `e2e_limits`). Invariant: whoever is refused is told why in JSON with the fields of any answer, and room that is left is found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use support::{Answer, Gateway, OK, Plan, Upstream, Wire, gateway, token, until, upstream};

const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n\r\n";

fn plan(up: &Upstream) -> Plan {
    gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
}

/// An upstream that answers when the sender is dropped, but at once what is free.
fn held() -> (Upstream, Sender<()>) {
    let (go, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let up = upstream().script(move |exchange| {
        if !exchange.seen().target().ends_with("/free") {
            let _ = wait.lock().unwrap().recv_timeout(support::PATIENCE);
        }
        exchange.answer(OK)
    });
    (up, go)
}

/// What every answer carries (DESIGN section 3), and what these add.
fn check_refusal(answer: &Answer, message: &str) {
    assert_eq!((answer.status, answer.number("Retry-After")), (503, 1));
    assert_eq!(answer.json()["error"], "Service Unavailable");
    let told = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(told.contains(message), "{told}");
    assert_eq!(answer.must("X-Request-ID").len(), 16);
    assert!(answer.must("X-Response-Time").ends_with("ms"));
    assert!(answer.must("Date").ends_with(" GMT"));
    assert_eq!(answer.must("Access-Control-Allow-Origin"), "*");
    assert_eq!(answer.must("Content-Type"), "application/json");
}

fn idle(gw: &Gateway, source: [u8; 4]) -> Wire {
    let mut wire = gw.wire_from(source);
    assert_eq!(wire.send(GET).answer().status, 200);
    wire
}

fn active(gw: &Gateway) -> f64 {
    gw.metric("dbpower_connections_active", &[])
}

/// The harness's own look at readiness has gone.
fn nobody(gw: &Gateway) {
    until("no connection to be left", || active(gw) < 0.5);
}

#[test]
fn who_finds_no_room_is_told_as_in_any_answer() {
    let (up, _go) = held();
    let gw = plan(&up)
        .env("MAX_CONNECTIONS", 1)
        .env("GATEWAY_WORKERS", 1)
        .start();
    nobody(&gw);
    let mut busy = gw.wire();
    busy.send(GET);
    up.wait_requests(1);
    let mut more = gw.wire();
    let answer = more.send(GET).answer();
    check_refusal(&answer, "too many connections");
    assert!(answer.says_close() && more.closed());
}

#[test]
fn the_bound_is_the_processes_whichever_worker_has_the_idle_ones() {
    let up = upstream();
    let gw = plan(&up).env("MAX_CONNECTIONS", 6).start();
    nobody(&gw);
    let mut wires = Vec::new();
    for number in 0..30 {
        // A worker without an idle one of its own refuses once and has the others give one up.
        until("a newcomer to find room", || {
            let mut wire = gw.wire();
            let status = wire.send(GET).answer().status;
            assert!(status == 200 || status == 503, "{status}");
            if status == 200 {
                wires.push(wire);
            }
            status == 200
        });
        assert_eq!(wires.len(), number + 1);
    }
    until("no more than may be", || active(&gw) < 6.5);
    assert!(wires.last_mut().unwrap().serves_another());
}

#[test]
fn an_address_has_its_own_bound() {
    let up = upstream();
    let gw = plan(&up).env("MAX_CONNECTIONS_PER_IP", 3).start();
    nobody(&gw);
    let (one, other) = ([127, 0, 0, 2], [127, 0, 0, 3]);
    let mut wires: Vec<Wire> = (0..3).map(|_| idle(&gw, one)).collect();
    // Parked ones count as well.
    support::pause(Duration::from_millis(600));
    let mut more = gw.wire_from(one);
    let answer = more.send(GET).answer();
    check_refusal(&answer, "from your address (MAX_CONNECTIONS_PER_IP)");
    assert!(answer.says_close() && more.closed());
    drop(idle(&gw, other));
    assert!(
        wires.iter_mut().all(Wire::serves_another),
        "nobody went for it"
    );
    wires.pop();
    until("the place to be free again", || {
        gw.wire_from(one).send(GET).answer().status == 200
    });
    let refused = gw.metric(
        "dbpower_connections_closed_total",
        &["reason=\"address_full\""],
    );
    assert!(refused >= 1.0, "{refused}");
}

#[test]
fn a_trusted_proxy_has_no_bound_of_its_own() {
    let up = upstream();
    let gw = plan(&up)
        .env("MAX_CONNECTIONS_PER_IP", 1)
        .env("TRUSTED_PROXIES", "127.0.0.4")
        .start();
    let _wires: Vec<Wire> = (0..5).map(|_| idle(&gw, [127, 0, 0, 4])).collect();
}

#[test]
fn an_organization_has_so_many_requests_under_way() {
    let (up, go) = held();
    let gw = gateway()
        .backend(&up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .env("MAX_IN_FLIGHT_PER_ORG", 2)
        .start();
    let ask = |org: u64, path: &str| {
        gw.get(&format!("/api/v1/{path}"))
            .bearer(&token().org(org))
            .bytes()
    };
    let mut wires: Vec<Wire> = (0..2).map(|_| gw.wire()).collect();
    for wire in &mut wires {
        wire.send(ask(1, "x"));
    }
    up.wait_requests(2);
    let mut third = gw.wire();
    let answer = third.send(ask(1, "free")).answer();
    check_refusal(&answer, "MAX_IN_FLIGHT_PER_ORG");
    assert!(!answer.says_close(), "its connection is fine");
    // Another organization is not concerned, nor who has none.
    assert_eq!(third.send(ask(2, "free")).answer().status, 200);
    assert_eq!(
        third
            .send(GET.replace("open/x", "open/free"))
            .answer()
            .status,
        200
    );
    // A client that leaves frees its place, and each answer does.
    wires.pop();
    for _ in 0..5 {
        until("a place to be free", || {
            third.send(ask(1, "free")).answer().status == 200
        });
    }
    drop(go);
    assert_eq!(wires[0].answer().status, 200);
}
