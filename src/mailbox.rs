//! The letters between the wings: what a worker may ask of the control thread. Not a queue of its own (tokio's bounded channel
//! is). Invariant: a worker never waits for room; a full mailbox is an answer.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::identity::Identity;
use crate::limit;

/// Own-endpoint calls that may wait for the control thread at once.
pub const CALLS_MAX: usize = 1024;

/// Bytes of body that an own endpoint accepts; more is answered 413 by the worker.
pub const OWN_BODY_BYTES_MAX: usize = 64 * 1024;

/// What a worker asks of the control thread.
#[derive(Debug)]
pub enum Call {
    /// A request for one of the gateway's own endpoints.
    Own(Box<OwnCall>),
    /// A connect to this service (index into `Config::services`) failed: look its name up again.
    Resolve(usize),
}

/// A request for an own endpoint and where its answer goes.
#[derive(Debug)]
pub struct OwnCall {
    /// The request; its extensions carry a [`Caller`].
    pub request: http::Request<Bytes>,
    /// Where the answer goes; dropped when the client has left.
    pub reply: oneshot::Sender<http::Response<Bytes>>,
}

/// Who calls an own endpoint: established by the worker, never taken from fields.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Client address as DESIGN's "Client IP" says.
    pub address: IpAddr,
    /// The verified token's identity, if there was one.
    pub identity: Option<Arc<Identity>>,
    /// The call came through the public port (true) or the operations port.
    pub public: bool,
}

/// What a worker asks of the exchange with the store. It has a mailbox of its own, so that no own endpoint is in its way.
#[derive(Debug)]
pub enum Lease {
    /// A request needs tokens that are not here.
    Ask {
        /// Of which key.
        key: limit::Key,
        /// Tokens.
        cost: u32,
        /// Where the verdict goes; without one the key is charged and nobody waits.
        reply: Option<oneshot::Sender<limit::Verdict>>,
    },
    /// A pool runs low.
    Fetch(limit::Hint),
}

/// Letters to the exchange that may lie in its mailbox.
pub const LEASES_MAX: usize = limit::WAITING_MAX;

/// The workers' end of the exchange's mailbox.
pub type LeaseOutbox = mpsc::Sender<Lease>;

/// The workers' way to the exchange.
#[derive(Clone, Debug)]
pub struct LimiterHandle {
    /// Where letters go.
    pub outbox: LeaseOutbox,
    /// What is done with a request when that mailbox is full, or no answer comes.
    pub policy: limit::OnOutage,
    /// How long a request waits for an answer, in ms.
    pub wait_ms: u64,
}

/// The exchange's end.
pub type LeaseInbox = mpsc::Receiver<Lease>;

/// The worker's end.
pub type Outbox = mpsc::Sender<Call>;

/// The control thread's end.
pub type Inbox = mpsc::Receiver<Call>;
