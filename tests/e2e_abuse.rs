//! Clients of bad will, and others beside them: while each attack goes on, well-formed requests are answered, and soon. Not how soon
//! exactly (`loadtest abuse` measures a release build against 50 ms). Invariant: the bound is one that only a hang exceeds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

#[path = "../loadtest/src/attacks.rs"]
mod attacks;
mod support;

use std::time::Duration;

use attacks::{attacks, under};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Upstream, gateway, until, upstream};

/// Machines are shared, and a debug build is slow: only what stands still is found.
const BOUND: Duration = Duration::from_secs(1);

/// Connections of the largest attack.
const MANY: usize = 1_000;

/// Raises the descriptor limit of the test, which its gateway inherits.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

fn plan(up: &Upstream) -> support::Plan {
    gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .env("LOG_REQUESTS", "false")
}

#[test]
fn others_are_answered_while_each_attack_goes_on() {
    raise_descriptors();
    for attack in attacks(MANY) {
        let up = upstream();
        let gw = plan(&up).start();
        let found = under(&attack, gw.port, Duration::from_millis(800));
        let found = found.unwrap_or_else(|error| panic!("{}: {error}\n{}", attack.name, gw.log()));
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| found.quantile(part));
        eprintln!(
            "{}: {} connections, {} requests, p50 {p50:?}, p99 {p99:?}, max {max:?}",
            attack.name,
            attack.connections,
            found.count()
        );
        assert!(max < BOUND, "{}: {max:?}", attack.name);
        // And it leaves nothing behind.
        until(&format!("{} to be over", attack.name), || {
            gw.metric("dbpower_connections_active", &[]) < 0.5
        });
        assert!(gw.metric("dbpower_panics_total", &[]) < 0.5);
    }
}

#[test]
fn a_tls_hello_is_told_that_this_port_speaks_plain_http() {
    let gw = plan(&upstream()).start();
    let mut wire = gw.wire();
    // A whole record of a ClientHello's size, which nobody may wait for.
    wire.send(
        [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            &[7; 506],
        ]
        .concat(),
    );
    let answer = wire.answer();
    assert_eq!((answer.status, answer.says_close()), (400, true));
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("plain HTTP"), "{message}");
    assert!(wire.closed());
}
