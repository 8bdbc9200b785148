//! The breaker of one service: after many failures in a row it is left alone for a while, then asked by one request at a time.
//! Not the endpoints (a service has failed when none of those that could be tried did better). Invariant: a breaker that is open
//! lets a request through again after `open_ms` at the latest, whatever became of the one before.

use super::{Change, Outcome, Settings};

/// Failures count together when the first is at most this old: a dead service that is asked now and then says 502 each time,
/// and only a stream of requests runs into the breaker.
const WINDOW_MS: u64 = 10_000;

/// Leave to send a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// It is the one that finds out whether the service is back.
    trial: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All pass. Failures in a row, and when the first of them was.
    Closed { failures: u32, since_ms: u64 },
    /// None passes until then.
    Open { until_ms: u64 },
    /// One has passed; when nothing has come of it until then, another may.
    HalfOpen { trial_until_ms: u64 },
}

const CLOSED: State = State::Closed {
    failures: 0,
    since_ms: 0,
};

/// A service's breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: Settings,
    state: State,
}

impl Breaker {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: CLOSED,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    pub(super) fn admit(&mut self, now_ms: u64) -> Result<Pass, u32> {
        let until_ms = match self.state {
            State::Closed { .. } => return Ok(Pass { trial: false }),
            State::Open { until_ms } => until_ms,
            State::HalfOpen { trial_until_ms } => trial_until_ms,
        };
        if now_ms < until_ms {
            let seconds = (until_ms - now_ms).div_ceil(1_000).max(1);
            return Err(u32::try_from(seconds).unwrap_or(u32::MAX));
        }
        self.state = State::HalfOpen {
            trial_until_ms: now_ms.saturating_add(self.settings.open_ms),
        };
        Ok(Pass { trial: true })
    }

    pub(super) fn settle(&mut self, pass: Pass, outcome: Outcome, now_ms: u64) -> Option<Change> {
        match (outcome, self.state) {
            (Outcome::Answered, State::Closed { .. }) => {
                self.state = CLOSED;
                None
            }
            // Also the answer to a request from before: it has come now.
            (Outcome::Answered, State::Open { .. } | State::HalfOpen { .. }) => {
                self.state = CLOSED;
                Some(Change::Closed)
            }
            (Outcome::Failed, State::Closed { failures, since_ms }) => {
                self.fail(failures, since_ms, now_ms)
            }
            // Nothing has changed: it was left alone, and still is.
            (Outcome::Failed, State::HalfOpen { .. }) if pass.trial => {
                self.open(now_ms);
                None
            }
            // It has found out nothing: the next one may try.
            (Outcome::Nothing | Outcome::Slow, State::HalfOpen { .. }) if pass.trial => {
                self.state = State::HalfOpen {
                    trial_until_ms: now_ms,
                };
                None
            }
            (Outcome::Failed | Outcome::Nothing | Outcome::Slow, _) => None,
        }
    }

    fn fail(&mut self, failures: u32, since_ms: u64, now_ms: u64) -> Option<Change> {
        let begins = failures == 0 || since_ms.saturating_add(WINDOW_MS) < now_ms;
        let (failures, since_ms) = if begins {
            (1, now_ms)
        } else {
            (failures.saturating_add(1), since_ms)
        };
        if self.settings.failures_max > 0 && failures >= self.settings.failures_max {
            return Some(self.open(now_ms));
        }
        self.state = State::Closed { failures, since_ms };
        None
    }

    fn open(&mut self, now_ms: u64) -> Change {
        let for_ms = self.settings.open_ms;
        self.state = State::Open {
            until_ms: now_ms.saturating_add(for_ms),
        };
        Change::Opened { for_ms }
    }
}
