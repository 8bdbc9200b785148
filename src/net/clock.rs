//! The one place where a clock is read. Everything else takes `now` as an argument, so that tests and the simulation can
//! inject it. Invariant: `now_ns` never goes back.

#![allow(
    clippy::disallowed_methods,
    reason = "this is the clock that the ban on reading clocks points to"
)]

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// Nanoseconds since the process first asked; monotonic, the same for all threads.
pub fn now_ns() -> u64 {
    u64::try_from(origin().elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds on the monotonic clock.
pub fn now_ms() -> u64 {
    now_ns() / 1_000_000
}

/// Milliseconds since the Unix epoch, for tokens and log lines.
pub fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}
