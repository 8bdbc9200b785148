//! Resets and `/rate-limit/info` as the task makes them. Not what a reset does to a bucket (`lease.lua`). Invariant: a reset that is
//! answered with anything but `Done` has changed nothing and will not, unless the store's answer alone was lost: the store is told
//! until when it may be made, by its own clock.

use std::time::Duration;

use tokio::sync::oneshot;

use super::REPORTS;
use super::link::{FLEET_KEY, Fleet, Link};
use super::reason::Failure;
use super::task::{Event, Task};
use crate::limit::{Key, Reset, Verdict, Wish};

/// What came of the way to a reset.
pub(super) enum Step {
    /// It may be made until then, by the store's clock in ms.
    May(Key, Wish),
    /// All keys were reset.
    All(Fleet),
    Not(Reset),
    Failed(u64, Failure),
}

type Place = oneshot::Sender<Verdict>;

impl Task {
    /// The key's level over all nodes. Callers that come while the others report share what comes of it.
    pub(super) fn inform(&mut self, key: Key, reply: Place) {
        if let Some(callers) = self.infos.get_mut(&key) {
            callers.push(reply);
            return;
        }
        self.publish(format!("report {}", key.store_name()));
        self.infos.insert(key.clone(), vec![reply]);
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(REPORTS).await;
            let _ = events.send(Event::Reported(key));
        });
    }

    /// One key. What is spent until now is reported first, here and elsewhere: it is not to count afterwards.
    pub(super) fn reset(&mut self, key: Key, gap_ms: u64, reply: Place) {
        let Some((link, turn)) = self.link_now() else {
            let _ = reply.send(Verdict::of_reset(Reset::Away));
            return;
        };
        self.publish(format!("report {}", key.store_name()));
        let (events, timeout) = (self.events.clone(), self.store.timeout);
        tokio::spawn(async move {
            tokio::time::sleep(REPORTS).await;
            let step = match until(link, &key.store_name(), timeout).await {
                Ok(until_ms) => Step::May(key, Wish { until_ms, gap_ms }),
                Err(failure) => Step::Failed(turn, failure),
            };
            let _ = events.send(Event::Reset(step, reply));
        });
    }

    /// All keys: a time in the store, which every call carries from then on, so that each bucket follows when it is next used.
    pub(super) fn reset_all(&mut self, reply: Place) {
        let Some((link, turn)) = self.link_now() else {
            let _ = reply.send(Verdict::of_reset(Reset::Away));
            return;
        };
        let (events, timeout) = (self.events.clone(), self.store.timeout);
        let mut brought = self.brought();
        tokio::spawn(async move {
            let step = async {
                let until_ms = until(link.clone(), FLEET_KEY, timeout).await?;
                brought.reset_until_ms = Some(until_ms);
                link.fleet(brought).await
            };
            let step = match step.await {
                Ok((fleet, true)) => Step::All(fleet),
                Ok((_, false)) => Step::Not(Reset::TooLate),
                Err(failure) => Step::Failed(turn, failure),
            };
            let _ = events.send(Event::Reset(step, reply));
        });
    }

    /// Goes on with a reset.
    pub(super) fn go_on(&mut self, step: Step, reply: Place) {
        let now = (self.clock_ns)();
        let done = match step {
            Step::May(key, wish) => {
                self.exchange.reset(&key, wish, reply, now);
                return;
            }
            Step::All(fleet) => {
                self.put_fleet(fleet);
                Reset::Done
            }
            Step::Not(why) => why,
            Step::Failed(turn, failure) => {
                self.lose(turn, failure);
                Reset::Unanswered
            }
        };
        let _ = reply.send(Verdict::of_reset(done));
    }
}

/// Until when a reset may be made: the answer to whoever asked for it is given no sooner.
async fn until(link: Link, key: &str, timeout: Duration) -> Result<u64, Failure> {
    let now_ms = link.clock(key).await?;
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    Ok(now_ms.saturating_add(timeout_ms))
}
