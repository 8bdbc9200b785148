//! What clients, operators and the log are told while Redis fails, and what holds afterwards: real gateways, a real server, each kind of
//! failure. Not whether requests are still answered (`redis_faults.rs`). Invariant: no number is compared that the clock could change,
//! but for tokens that have come back since.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "how many tokens have come back is a matter of time"
)]

#[path = "redis_outage/lines.rs"]
mod lines;
#[path = "redis_outage/memory.rs"]
mod memory;
#[path = "redis_outage/numbers.rs"]
mod numbers;
mod redis_support;
#[path = "redis_outage/resets.rs"]
mod resets;
#[path = "redis_support/steady.rs"]
mod steady;
mod support;

use redis_support::Server;
use serde_json::json;
use support::{Gateway, Plan, until};

/// A gateway on that server.
fn on(plan: Plan, url: &str) -> Plan {
    plan.env("REDIS_ENABLED", "true").env("REDIS_URL", url)
}

fn shows(gw: &Gateway, redis: bool) {
    until("/health shows the change", || {
        gw.get("/health").send().json()["redis"] == json!(redis)
    });
}

/// A user of the server's with these rules, and a URL for it.
fn user(server: &Server, name: &str, rules: &[&str]) -> String {
    let mut words = vec!["ACL", "SETUSER", name, "reset", "on", ">s3cr3t"];
    words.extend(rules);
    server.tell(&words);
    format!("redis://{name}:s3cr3t@127.0.0.1:{}/0", server.port)
}
