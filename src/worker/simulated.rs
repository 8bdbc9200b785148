//! The door through which a simulation drives a worker: its shard, its connections and its clock, without a thread and without a
//! socket. Not a mock: everything behind it is the worker's own code. Invariant: nothing here decides anything.

#![allow(clippy::expect_used, reason = "a test may fail loudly")]

use std::net::IpAddr;
use std::rc::Rc;

use super::connection::Client;
use super::shard::{Setup, Shard};
use crate::net::Stream;

/// A worker over any stream.
pub(crate) struct Worker<S: Stream>(Rc<Shard<S>>);

impl<S: Stream> Clone for Worker<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S: Stream> Worker<S> {
    pub(crate) fn new(setup: Setup) -> Self {
        Self(Rc::new(Shard::new(setup).expect("a simulated bell")))
    }

    /// What the accept loop starts for each connection.
    pub(crate) async fn connection(&self, reader: S::Reader, writer: S::Writer, peer: IpAddr) {
        let client = Client {
            reader,
            writer,
            inbox: self.0.buffers.small(),
            peer,
            is_slow: false,
        };
        super::connection(client, Rc::clone(&self.0)).await;
    }

    /// What runs beside them until the worker has drained.
    pub(crate) async fn keep_time(&self, stop: impl FnOnce()) {
        super::keep_time(&self.0, stop).await;
    }

    /// What wakes parked connections; it never ends.
    pub(crate) async fn wake_parked(&self) {
        super::wake_loop(Rc::clone(&self.0)).await;
    }

    /// Clients' connections.
    pub(crate) fn connections(&self) -> usize {
        self.0.connections.get()
    }

    /// Buffers that wait for use.
    pub(crate) fn shelved(&self) -> usize {
        self.0.buffers.shelved()
    }

    /// Connections that wait in the pool.
    pub(crate) fn pooled(&self) -> usize {
        let services = 0..self.0.upstreams.services();
        services
            .map(|service| self.0.upstreams.idle_count(service))
            .sum()
    }
}
