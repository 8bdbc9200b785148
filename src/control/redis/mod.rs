//! The exchange of leases with Redis: what workers and own endpoints ask, the connection, and the channel between nodes. Not the
//! arithmetic (`limit::Exchange`). Invariants: one task owns the exchange; whoever asks is answered within twice `CALL_MAX` and a tick,
//! whatever Redis does; each change between connected and away is one line in the log, with its reason.

mod channel;
mod link;
mod task;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::Secret;
use crate::limit::{Info, Key, Node, OnOutage, Verdict};
use crate::mailbox::LeaseInbox;
use crate::metrics::State;

/// Own endpoints that may wait for the store at once.
const ERRANDS_MAX: usize = 1_024;
/// Time for the other nodes to report what they have spent (LIMITS.md section 5).
const REPORTS: Duration = Duration::from_millis(25);
/// An errand is not waited for any longer; the exchange answers well before.
const ERRAND_MAX: Duration = Duration::from_millis(500);
/// A million buckets take some seconds.
const RESET_ALL_MAX: Duration = Duration::from_secs(10);

/// What the exchange is given.
pub struct Store {
    /// The buckets.
    pub node: Arc<Node>,
    /// What workers ask.
    pub inbox: LeaseInbox,
    /// `REDIS_URL`.
    pub url: Secret,
    /// `REDIS_CLUSTER`.
    pub cluster: bool,
    /// `RATE_LIMIT_ON_OUTAGE`.
    pub policy: OnOutage,
    /// `RATE_LIMIT_NODES`.
    pub nodes_min: u32,
}

/// What an own endpoint wants.
enum Errand {
    Info(Key, oneshot::Sender<Verdict>),
    Reset(Key, oneshot::Sender<Verdict>),
    ResetAll(oneshot::Sender<()>),
    Publish(String),
}

/// The own endpoints' way to the exchange.
#[derive(Clone)]
pub(super) struct Door {
    node: Arc<Node>,
    errands: mpsc::Sender<Errand>,
}

/// Starts the exchange on this thread's runtime.
pub(super) fn start(store: Store, state: Arc<State>, clock_ns: fn() -> u64) -> Door {
    let (errands, desk) = mpsc::channel(ERRANDS_MAX);
    let node = Arc::clone(&store.node);
    tokio::spawn(task::run(store, desk, state, clock_ns));
    Door { node, errands }
}

impl Door {
    /// The key's numbers over all nodes; what this node knows if the store is away.
    pub(super) async fn info(&self, key: Key) -> Option<Info> {
        let verdict = self
            .ask(|reply| Errand::Info(key, reply), ERRAND_MAX)
            .await?;
        Some(self.node.info_of(verdict.tokens()?))
    }

    /// Fills the key's bucket for all nodes; in effect here when it returns.
    pub(super) async fn reset(&self, key: Key) {
        let told = format!("reset {}", key.store_name());
        self.ask(|reply| Errand::Reset(key, reply), ERRAND_MAX)
            .await;
        self.tell(told).await;
    }

    /// Fills every bucket.
    pub(super) async fn reset_all(&self) {
        self.ask(Errand::ResetAll, RESET_ALL_MAX).await;
        self.tell("reset".to_owned()).await;
    }

    async fn tell(&self, text: String) {
        // A full desk has no room for news either; nodes ask again within 5 s.
        let _ = self.errands.send(Errand::Publish(text)).await;
    }

    async fn ask<T>(
        &self,
        errand: impl FnOnce(oneshot::Sender<T>) -> Errand,
        max: Duration,
    ) -> Option<T> {
        let (reply, answered) = oneshot::channel();
        self.errands.send(errand(reply)).await.ok()?;
        tokio::time::timeout(max, answered).await.ok()?.ok()
    }
}
