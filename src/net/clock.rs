//! The one place where a clock is read. Everything else takes `now` as an argument, so that tests and the simulation can
//! inject it. Invariant: `now_ns` never goes back, and goes on while the machine sleeps: whoever wakes up from a suspension must not
//! spend leases that the store has ended meanwhile, which `CLOCK_MONOTONIC` would not tell.

#![allow(
    clippy::disallowed_methods,
    reason = "this is the clock that the ban on reading clocks points to"
)]

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds since the machine started, those in which it slept included.
fn uptime_ns() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(tv_nsec).unwrap_or(0)
}

/// Nanoseconds since the process first asked; monotonic, the same for all threads.
pub fn now_ns() -> u64 {
    static ORIGIN: OnceLock<u64> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(uptime_ns);
    uptime_ns().saturating_sub(origin)
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
