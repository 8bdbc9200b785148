//! The balancers of one worker, one per service, with their log lines and counts. Not the decisions (the room `balance` makes them)
//! and not the connections (`upstream`). Invariant: every request that was let in is settled once.

use std::cell::RefCell;
use std::net::SocketAddr;

use super::failure::Failure;
use super::shard::Shard;
use crate::balance::{Balancer, Change, Load, Outcome, Pass};
use crate::config::{Snapshot, balance_settings};
use crate::metrics::UpstreamEvent;
use crate::net::Stream;

/// Of each service what this worker knows of its endpoints.
pub(super) struct Endpoints {
    services: Vec<RefCell<Balancer>>,
}

impl Endpoints {
    pub(super) fn new(snapshot: &Snapshot, worker: usize) -> Self {
        let config = &snapshot.rules.config;
        let settings = balance_settings(config);
        // Any number will do that no other worker has.
        let seed = u64::try_from(worker).unwrap_or(0);
        let balancer = |_| RefCell::new(Balancer::new(settings, seed));
        let endpoints = Self {
            services: config.services.iter().map(balancer).collect(),
        };
        endpoints.update(snapshot);
        endpoints
    }

    /// Takes over addresses and verdicts.
    pub(super) fn update(&self, snapshot: &Snapshot) {
        for (balancer, addresses) in self.services.iter().zip(&snapshot.addresses) {
            let now = addresses.iter().map(|one| (one.at, one.healthy));
            balancer.borrow_mut().update(now);
        }
    }

    fn with<T>(&self, service: usize, ask: impl FnOnce(&mut Balancer) -> T) -> Option<T> {
        let balancer = self.services.get(service)?;
        Some(ask(&mut balancer.borrow_mut()))
    }

    /// How many addresses a service has.
    pub(super) fn count(&self, service: usize) -> usize {
        self.with(service, |balancer| balancer.len()).unwrap_or(0)
    }
}

/// An attempt: a request with leave to be sent, and who was asked.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) service: usize,
    pub(super) address: SocketAddr,
    pub(super) pass: Pass,
}

impl<S: Stream> Shard<S> {
    /// Leave to send a request to a service.
    ///
    /// # Errors
    /// Its breaker is open, for so many seconds more.
    pub(super) fn enter(&self, service: usize) -> Result<Pass, u32> {
        let now_ms = self.deadlines.now_ms();
        let entered = self.endpoints.with(service, |all| all.admit(now_ms));
        let entered = entered.unwrap_or(Err(1));
        if entered.is_err() {
            self.count(|core| core.upstream(service, UpstreamEvent::BreakerRefused));
        }
        entered
    }

    /// Who is asked next.
    pub(super) fn pick(&self, service: usize, tried: &[SocketAddr]) -> Option<(SocketAddr, Load)> {
        let now_ms = self.deadlines.now_ms();
        self.endpoints
            .with(service, |all| all.pick(tried, now_ms))
            .flatten()
    }

    /// The head of an answer is there: now, and not when a long body has ended, both endpoint and service are known to be well.
    pub(super) fn answered(&self, asked: Asked) {
        self.report(asked.service, asked.address, Outcome::Answered, "");
        self.settle(
            asked.service,
            asked.pass,
            Some(asked.address),
            Outcome::Answered,
        );
    }

    /// A request has failed, and is sent once more.
    pub(super) fn failed_once(&self, asked: Asked, outcome: Outcome, failure: Failure) {
        self.report(asked.service, asked.address, outcome, failure.what());
        self.count(|core| core.upstream(asked.service, UpstreamEvent::Retried));
    }

    /// A request has failed for good.
    pub(super) fn failed(&self, asked: Asked, outcome: Outcome, failure: Failure) {
        self.report(asked.service, asked.address, outcome, failure.what());
        self.settle(asked.service, asked.pass, Some(asked.address), outcome);
    }

    /// What came of asking an endpoint; `reason` is for the log.
    pub(super) fn report(
        &self,
        service: usize,
        endpoint: SocketAddr,
        outcome: Outcome,
        reason: &'static str,
    ) {
        let now_ms = self.deadlines.now_ms();
        let change = self
            .endpoints
            .with(service, |all| all.report(endpoint, outcome, now_ms));
        let Some(change) = change.flatten() else {
            return;
        };
        let (snapshot, worker) = (self.snapshot(), self.setup.index);
        let service_name = name(&snapshot, service);
        if let Change::Ejected { for_ms } = change {
            self.count(|core| core.upstream(service, UpstreamEvent::Ejected));
            let what = "an endpoint failed repeatedly and is left out for a while";
            tracing::warn!(service = service_name, %endpoint, reason, for_ms, worker, "{what}");
        } else {
            let what = "an endpoint that was left out has answered";
            tracing::info!(service = service_name, %endpoint, worker, "{what}");
        }
    }

    /// What came of a request in the end; `last` is who was asked last.
    pub(super) fn settle(
        &self,
        service: usize,
        pass: Pass,
        last: Option<SocketAddr>,
        outcome: Outcome,
    ) {
        let now_ms = self.deadlines.now_ms();
        let settled = self
            .endpoints
            .with(service, |all| all.settle(pass, last, outcome, now_ms));
        let Some(change) = settled.flatten() else {
            return;
        };
        let (snapshot, worker) = (self.snapshot(), self.setup.index);
        let service_name = name(&snapshot, service);
        if let Change::Opened { for_ms } = change {
            self.count(|core| core.upstream(service, UpstreamEvent::BreakerOpened));
            let what = "requests failed in a row: the service is left alone, then tried";
            tracing::warn!(service = service_name, for_ms, worker, "{what}");
        } else {
            tracing::info!(service = service_name, worker, "the service answers again");
        }
    }

    /// Every tick: what is left out now.
    pub(super) fn count_left_out(&self, now_ms: u64) {
        for (service, balancer) in self.endpoints.services.iter().enumerate() {
            let balancer = balancer.borrow();
            let (ejected, open) = (balancer.ejected(now_ms), balancer.is_open());
            self.count(|core| core.left_out(service, ejected, open));
        }
    }
}

fn name(snapshot: &Snapshot, service: usize) -> &str {
    let service = snapshot.rules.config.services.get(service);
    service.map_or("", |service| service.name.as_str())
}
