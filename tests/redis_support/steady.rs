//! Exact counts on a machine that may be too busy for 50 ms: then Redis counts as away for a moment, as it should, and a count says
//! nothing. Not a second chance for anything else. Invariant: a test is repeated only if a gateway's log shows such a moment.

use std::cell::Cell;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::support::Gateway;

thread_local! {
    static DISTURBED: Cell<bool> = const { Cell::new(false) };
}

/// Gateways whose logs are looked at when a test fails.
pub(crate) struct Watched(pub(crate) Vec<Gateway>);

impl Deref for Watched {
    type Target = [Gateway];

    fn deref(&self) -> &[Gateway] {
        &self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // The line may be left out where another came shortly before; the count is always there, as long as the gateway is.
        let late = |gw: &Gateway| {
            gw.log().contains("no answer within 50 ms")
                || catch_unwind(AssertUnwindSafe(|| {
                    gw.metric("dbpower_leases_total", &["lost"]) > 0.0
                }))
                .unwrap_or(false)
        };
        if self.0.iter().any(late) {
            DISTURBED.set(true);
        }
    }
}

/// Runs a test, again if it failed while the machine was too busy for Redis to answer in time.
pub(crate) fn steady(test: impl Fn()) {
    for _ in 0..5 {
        DISTURBED.set(false);
        match catch_unwind(AssertUnwindSafe(&test)) {
            Ok(()) => return,
            Err(failure) if !DISTURBED.get() => resume_unwind(failure),
            Err(_) => {}
        }
    }
    panic!("this machine is too busy for Redis to answer within 50 ms");
}
