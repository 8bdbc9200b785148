//! The end-to-end harness: a gateway process, scripted upstreams, raw clients, tokens. Not a mock of any of the gateway's
//! parts: what it knows it has from the wire. Invariant: nothing here waits without a deadline.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    reason = "every test binary compiles the whole harness and uses its own part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail loudly"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the harness polls the outside world: it owns its clock, its threads and its sleeps"
)]

pub mod check;
pub mod client;
pub mod gateway;
pub mod limits;
pub mod mortal;
pub mod reader;
pub mod token;
pub mod upstream;

use std::time::{Duration, Instant};

pub use client::{Answer, Ask, Wire};
pub use gateway::{Ended, Gateway, Plan, gateway};
pub use mortal::{Mortal, mortal};
pub use reader::{Broken, Framing, Head, Reader};
pub use token::{SECRET, Token, token};
pub use upstream::{Exchange, Next, Seen, Upstream, blackhole, closed_port, upstream};

/// How long anything may take before a test gives up on it: a guard against hanging, not an expectation.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A plain answer for upstreams that have nothing to say.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";

/// Waits until `look` finds something; fails with `what` when it does not in time.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `holds` is true.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || holds().then_some(()));
}

/// Runs `act` and says how long it took, for generous upper bounds.
pub fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = act();
    (done, start.elapsed())
}

/// Lets real time pass, for tests whose subject is what happens after a while; never in order to be lucky.
pub fn pause(length: Duration) {
    std::thread::sleep(length);
}
