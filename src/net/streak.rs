//! Whether an operation had to wait. On epoll one that is always ready would never let go of the worker; io_uring always waits.
//! Invariant: who takes its turn here before each operation lets others run after at most `max` of them.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;

use super::sleep_ms;

/// How long one stands back: a timer, because a task that wakes itself runs again before anything else does.
const STAND_BACK_MS: u64 = 1;

/// Operations in a row that did not have to wait.
#[derive(Debug, Default)]
pub(super) struct Streak(Cell<u32>);

impl Streak {
    /// Lets others run when there have been `max` of them.
    pub(super) async fn take_turn(&self, max: u32) {
        if self.0.get() >= max {
            self.0.set(0);
            sleep_ms(STAND_BACK_MS).await;
        }
    }

    /// Runs an operation and notes whether it had to wait.
    pub(super) async fn noted<F: Future>(&self, operation: F) -> F::Output {
        let mut operation = pin!(operation);
        let mut streak = self.0.get().saturating_add(1);
        let output = poll_fn(|context| {
            let polled = operation.as_mut().poll(context);
            if polled.is_pending() {
                streak = 0;
            }
            polled
        });
        let output = output.await;
        self.0.set(streak);
        output
    }
}
