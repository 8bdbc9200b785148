//! The exchange of leases with Redis: what workers and own endpoints ask, the connection, and the channel between nodes. Not the
//! arithmetic (`limit::Exchange`). Invariants: one task owns the exchange; whoever asks is answered within a bound that follows from
//! `REDIS_TIMEOUT`, whatever Redis does; what the log says of its coming and going is bounded (`announce`).

mod address;
mod announce;
mod channel;
mod link;
mod reason;
mod resets;
mod task;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::Secret;
use crate::limit::{Info, Key, Node, OnOutage, Reset, Verdict};
use crate::mailbox::LeaseInbox;
use crate::metrics::State;

/// Own endpoints that may wait for the store at once.
const ERRANDS_MAX: usize = 1_024;
/// Time for the other nodes to report what they have spent (LIMITS.md section 5), and for this node's slices to settle.
const REPORTS: Duration = Duration::from_millis(25);
/// Calls that may follow each other for one errand, each with its own time: one under way, the clock, the reset itself.
const CALLS_PER_ERRAND: u32 = 4;
/// A reset that came too late to be made is tried again, so often in all.
const RESET_TRIES: u32 = 3;

/// What the exchange is given.
pub struct Store {
    /// The buckets.
    pub node: Arc<Node>,
    /// What workers ask.
    pub inbox: LeaseInbox,
    /// `REDIS_URL`.
    pub url: Secret,
    /// `REDIS_CA`.
    pub ca_file: Option<String>,
    /// `REDIS_CLUSTER`.
    pub cluster: bool,
    /// `REDIS_TIMEOUT`.
    pub timeout: Duration,
    /// `RATE_LIMIT_ON_OUTAGE`.
    pub policy: OnOutage,
    /// `RATE_LIMIT_NODES`.
    pub nodes_min: u32,
}

/// What an own endpoint wants.
enum Errand {
    Info(Key, oneshot::Sender<Verdict>),
    /// One token, as a request would take it.
    Charge(Key, oneshot::Sender<Verdict>),
    /// Of a key, and the shortest time in ms since the last one that asked for it.
    Reset(Key, u64, oneshot::Sender<Verdict>),
    ResetAll(oneshot::Sender<Verdict>),
    Publish(String),
}

/// The own endpoints' way to the exchange.
#[derive(Clone)]
pub(super) struct Door {
    node: Arc<Node>,
    errands: mpsc::Sender<Errand>,
    patience: Duration,
}

/// Starts the exchange on this thread's runtime.
pub(super) fn start(store: Store, state: Arc<State>, clock_ns: fn() -> u64) -> Door {
    let (errands, desk) = mpsc::channel(ERRANDS_MAX);
    let door = Door {
        node: Arc::clone(&store.node),
        errands,
        // A busy machine gets some time beside that.
        patience: CALLS_PER_ERRAND * store.timeout + REPORTS + Duration::from_millis(500),
    };
    tokio::spawn(task::run(store, desk, state, clock_ns));
    door
}

impl Door {
    /// The key's numbers over all nodes; while the store is away this node's own. None: they are not told.
    pub(super) async fn info(&self, key: Key) -> Option<Info> {
        let verdict = self.ask(|reply| Errand::Info(key, reply)).await?;
        Some(self.node.info_of(verdict.tokens()?))
    }

    /// Takes a token of a key. None: nothing is told.
    ///
    /// # Errors
    /// Seconds to wait, if there is none.
    pub(super) async fn charge(&self, key: Key) -> Result<Option<Info>, u32> {
        let verdict = self.ask(|reply| Errand::Charge(key, reply)).await;
        let verdict = verdict.ok_or(1_u32)?;
        match verdict.seconds() {
            Some(seconds) => Err(seconds),
            None => Ok(verdict.tokens().map(|tokens| self.node.info_of(tokens))),
        }
    }

    /// Fills the key's bucket for all nodes; in effect here when it returns. Not within `gap_ms` of the last reset that asked for a gap.
    pub(super) async fn reset(&self, key: &Key, gap_ms: u64) -> Reset {
        let errand = |reply| Errand::Reset(key.clone(), gap_ms, reply);
        let done = self.try_reset(errand).await;
        if done == Reset::Done {
            self.tell(format!("reset {}", key.store_name())).await;
        }
        done
    }

    /// Fills every bucket.
    pub(super) async fn reset_all(&self) -> Reset {
        let done = self.try_reset(Errand::ResetAll).await;
        if done == Reset::Done {
            self.tell("reset".to_owned()).await;
        }
        done
    }

    async fn try_reset(&self, errand: impl Fn(oneshot::Sender<Verdict>) -> Errand) -> Reset {
        let mut last = Reset::Unanswered;
        for _ in 0..RESET_TRIES {
            let verdict = self.ask(&errand).await;
            last = verdict.and_then(Verdict::reset).unwrap_or(last);
            if last != Reset::TooLate {
                break;
            }
        }
        last
    }

    async fn tell(&self, text: String) {
        // A full desk has no room for news either; nodes find out by themselves.
        let _ = self.errands.send(Errand::Publish(text)).await;
    }

    async fn ask<T>(&self, errand: impl FnOnce(oneshot::Sender<T>) -> Errand) -> Option<T> {
        let (reply, answered) = oneshot::channel();
        self.errands.send(errand(reply)).await.ok()?;
        tokio::time::timeout(self.patience, answered)
            .await
            .ok()?
            .ok()
    }
}
