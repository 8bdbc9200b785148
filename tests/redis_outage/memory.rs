//! What a key costs the gateway's process, with a real Redis. Long rounds and organizations are `tests/clients/check_memory`'s.

use std::fmt::Write as _;

use support::{gateway, token};

use super::*;

const KEYS: u32 = 20_000;
/// Requests of one connection that are under way at once.
const BATCH: u32 = 50;
/// Each waits for Redis, one request after the other.
const CONNECTIONS: u32 = 20;

/// One request of each of these addresses; for a path that leads nowhere, which is charged all the same.
fn ask(gw: &Gateway, first: u32, count: u32) {
    let bearer = token().mint();
    let mut wires: Vec<_> = (0..CONNECTIONS).map(|_| gw.wire()).collect();
    for start in (first..first + count).step_by((BATCH * CONNECTIONS) as usize) {
        for (wire, start) in wires.iter_mut().zip((start..).step_by(BATCH as usize)) {
            let mut requests = String::new();
            for n in start..start + BATCH {
                let [_, b, c, d] = n.to_be_bytes();
                write!(
                    requests,
                    "GET /nothing HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {bearer}\r\n\
                     X-Forwarded-For: 10.{b}.{c}.{d}\r\n\r\n"
                )
                .unwrap();
            }
            wire.send(requests);
        }
        for wire in &mut wires {
            for _ in 0..BATCH {
                assert_eq!(wire.answer().status, 404);
            }
        }
    }
}

#[test]
fn an_address_costs_500_bytes_at_most() {
    let server = Server::start();
    let plan = gateway()
        .env("GATEWAY_WORKERS", 1)
        .env("LOG_REQUESTS", "false")
        .env("TRUSTED_PROXIES", "127.0.0.1");
    let gw = on(plan, &server.url()).start();
    shows(&gw, true);
    // What the first requests allocate once.
    ask(&gw, 0x00f0_0000, 2_000);
    let before = gw.rss_kib();
    ask(&gw, 0, KEYS);
    let each = (gw.rss_kib() - before) * 1_024 / u64::from(KEYS);
    eprintln!("{each} bytes for each of {KEYS} addresses");
    assert!(each <= 500, "{each} bytes each");
}
