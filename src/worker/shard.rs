//! All that one core owns. Not shared with any other thread but through the tables of `lib` (limits, metrics, snapshot, presence).
//! Invariant: nothing here is borrowed across an `.await`.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::admit::Checks;
use super::answer::{Done, Facts};
use super::endpoints::Endpoints;
use super::lot::Lot;
use super::proxy_hint::ProxyHint;
use super::tunnels::Tunnels;
use super::upstream::Upstreams;
use crate::access_log::CoreLog;
use crate::config::Snapshot;
use crate::limit;
use crate::mailbox::{Lease, LimiterHandle, Outbox};
use crate::metrics::{self, CloseReason, Registry, State};
use crate::net::{Pool, Stream, Sweeping, give_back};
use crate::presence::Presence;
use crate::reject::Reject;

/// Time between two sweeps: how late a deadline may be noticed.
pub(super) const TICK_MS: u64 = 20;

/// Time between two looks at memory that could be given back.
const HEAP_LOOK_MS: u64 = 1_000;

/// Deadlines on the last tick's clock: exact to a tick, and free to make.
#[derive(Default)]
pub(super) struct Deadlines {
    now_ms: Cell<u64>,
}

impl Deadlines {
    /// Time of the last tick, on the monotonic clock.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    pub(super) fn after(&self, ms: u64) -> u64 {
        // The last tick is up to one tick old: a limit is never shorter than it says.
        self.now_ms().saturating_add(ms).saturating_add(TICK_MS)
    }
}

/// What a worker is given by `gateway`.
pub struct Setup {
    /// Which worker this is, from 0.
    pub index: usize,
    /// The current snapshot.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The node's buckets.
    pub limits: Arc<crate::limit::Node>,
    /// Counters of all cores.
    pub metrics: Arc<Registry>,
    /// Draining, driver, health.
    pub state: Arc<State>,
    /// To the control thread.
    pub outbox: Outbox,
    /// To the exchange of leases, and what is done when that mailbox is full; None in memory mode.
    pub leases: Option<LimiterHandle>,
    /// This core's end of the access log.
    pub log: Option<CoreLog>,
    /// Who is here, over all workers.
    pub presence: Arc<Presence>,
}

/// A core's state.
pub(super) struct Shard<S: Stream> {
    pub(super) setup: Setup,
    pub(super) checks: RefCell<Checks>,
    pub(super) buffers: Pool,
    pub(super) upstreams: Upstreams<S>,
    pub(super) endpoints: Endpoints,
    pub(super) tunnels: Tunnels,
    pub(super) deadlines: Deadlines,
    pub(super) sweep: Rc<S::Sweep>,
    pub(super) lot: Lot<S>,
    access_log: RefCell<Option<CoreLog>>,
    /// Route names by label index.
    labels: Vec<Rc<str>>,
    pub(super) connections: Cell<usize>,
    /// This core's copy of the snapshot: cloning its `Rc` touches no cache line of another core.
    current: RefCell<Rc<Snapshot>>,
    /// What it is a copy of.
    source: RefCell<Arc<Snapshot>>,
    date: RefCell<String>,
    ids: Cell<u64>,
    heap_looked_ms: Cell<u64>,
    /// When a request is next looked at for the fields of a proxy that is not trusted.
    pub(super) proxy_hint: ProxyHint,
}

impl<S: Stream> Shard<S> {
    pub(super) fn new(mut setup: Setup) -> std::io::Result<Self> {
        let snapshot = setup.snapshot.load_full();
        let prefixes = snapshot
            .rules
            .config
            .routes
            .iter()
            .map(|rule| Rc::from(rule.prefix.as_str()));
        let labels = [Rc::from("own"), Rc::from("none")]
            .into_iter()
            .chain(prefixes)
            .collect();
        let limits = crate::limit::Core::new(Arc::clone(&setup.limits), setup.index);
        let shard = Self {
            checks: RefCell::new(Checks {
                limits,
                presence: Arc::clone(&setup.presence),
                tokens: crate::identity::Cache::new(),
                heard: None,
            }),
            buffers: Pool::default(),
            upstreams: Upstreams::new(snapshot.rules.config.services.len()),
            endpoints: Endpoints::new(&snapshot, setup.index),
            tunnels: Tunnels::default(),
            deadlines: Deadlines::default(),
            sweep: S::sweep(),
            lot: Lot::new()?,
            access_log: RefCell::new(setup.log.take()),
            labels,
            connections: Cell::new(0),
            current: RefCell::new(Rc::new(Snapshot::clone(&snapshot))),
            source: RefCell::new(snapshot),
            date: RefCell::new(String::new()),
            ids: Cell::new(random_seed::<S>()),
            heap_looked_ms: Cell::new(0),
            proxy_hint: ProxyHint::default(),
            setup,
        };
        shard.tick();
        Ok(shard)
    }

    /// The snapshot that holds now.
    pub(super) fn snapshot(&self) -> Rc<Snapshot> {
        Rc::clone(&self.current.borrow())
    }

    /// Counts something in this core's counters.
    pub(super) fn count(&self, add: impl FnOnce(&metrics::Core)) {
        if let Some(core) = self.setup.metrics.core(self.setup.index) {
            add(core);
        }
    }

    /// Whether requests are logged.
    pub(super) fn wants_log(&self) -> bool {
        self.current.borrow().rules.config.log.logs_requests()
    }

    /// One line for the operator about a 5xx of our own; it never waits for the disk (the subscriber's buffer is bounded).
    pub(super) fn warn(&self, service: &str, reject: &Reject, detail: &str) {
        let detail = (!detail.is_empty()).then_some(detail);
        tracing::warn!(
            service,
            status = reject.status,
            detail,
            "{}",
            reject.message
        );
    }

    /// A client's connection has come; how many there are beyond `MAX_CONNECTIONS`.
    pub(super) fn opened(&self) -> usize {
        self.count(metrics::Core::connection_opened);
        self.connections.set(self.connections.get() + 1);
        self.setup.presence.arrived()
    }

    /// A client's connection has ended: the one place where it is taken from every count.
    pub(super) fn closed(&self, reason: CloseReason, peer: IpAddr) {
        self.closed_unknown(reason);
        self.setup.presence.address_left(peer);
    }

    /// One has ended that never said whose it was.
    pub(super) fn closed_unknown(&self, reason: CloseReason) {
        self.count(|core| core.connection_closed(reason));
        self.connections.set(self.connections.get() - 1);
        self.setup.presence.left();
    }

    /// Ends a connection that is idle, the longest one but for the moment after which a connection is parked: the first of those in
    /// the lot. False when none is.
    pub(super) fn evict_oldest_idle(&self) -> bool {
        if let Some(peer) = self.lot.evict() {
            self.closed(CloseReason::Overload, peer);
            return true;
        }
        self.sweep.evict_oldest_idle()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.setup.state.draining()
    }

    /// `Date` for answers whose sender set none (RFC 9110 6.6.1).
    pub(super) fn write_date(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(self.date.borrow().as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// A request identifier that no other request of this fleet has: 64 bits walked through by a random start (splitmix64).
    pub(super) fn write_request_id(&self, out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let state = self.ids.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.ids.set(state);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let bytes = mixed.to_be_bytes();
        let digit = |at: usize| {
            let byte = bytes[at / 2];
            HEX[usize::from(if at.is_multiple_of(2) {
                byte >> 4
            } else {
                byte & 15
            })]
        };
        out.extend_from_slice(&std::array::from_fn::<u8, 16, _>(digit));
    }

    /// Sends what nobody waits for. A full mailbox costs a wait later, or a charge: the exchange is drowning anyway.
    pub(super) fn post_letters(&self, limits: &mut limit::Core) {
        let Some(limiter) = &self.setup.leases else {
            return;
        };
        for letter in limits.letters() {
            let letter = match letter {
                limit::Letter::Fetch(hint) => Lease::Fetch(hint),
                limit::Letter::Charge(key, cost) => Lease::Ask {
                    key,
                    cost,
                    reply: None,
                },
            };
            let _ = limiter.outbox.try_send(letter);
        }
    }

    /// Takes the buffers of a request back that is judged again.
    pub(super) fn discard(&self, facts: Facts) {
        if let Some(draft) = facts.draft {
            self.buffers.put(draft.text);
        }
        self.buffers.put(facts.own);
    }

    /// Counts and logs an ended request, and takes its buffers back.
    pub(super) fn record(&self, done: Done) {
        self.tally(&done.facts, done.status);
        self.log(done);
    }

    /// Counts an answered or abandoned request.
    pub(super) fn tally(&self, facts: &Facts, status: Option<u16>) {
        let micros = facts.micros(S::now_ns());
        self.count(|core| match status {
            Some(status) => core.request(facts.route, facts.method, status, micros),
            None => core.request_abandoned(),
        });
    }

    /// Writes the access line.
    pub(super) fn log(&self, done: Done) {
        let Done {
            mut facts,
            status,
            keep,
        } = done;
        if let Some(draft) = facts.draft.take() {
            let micros = facts.micros(S::now_ns());
            let route = self.route_label(facts.route);
            let closed = keep.err().map(CloseReason::label);
            // 499 is what operators know from nginx for a client that left before its answer.
            let line = draft.line(status.unwrap_or(499), micros, &route, closed);
            if let Some(log) = &mut *self.access_log.borrow_mut() {
                log.record(&line, S::unix_ms());
            }
            self.buffers.put(draft.text);
        }
        self.buffers.put(facts.own);
    }

    fn route_label(&self, route: usize) -> Rc<str> {
        self.labels.get(route).cloned().unwrap_or_default()
    }

    /// The last lines go to the writer.
    pub(super) fn finish(&self) {
        if let Some(log) = &mut *self.access_log.borrow_mut() {
            log.finish();
        }
    }

    /// Everything that is done now and then rather than per request.
    pub(super) fn tick(&self) {
        let now_ns = S::now_ns();
        let unix_ms = S::unix_ms();
        self.deadlines.now_ms.set(now_ns / 1_000_000);
        self.sweep.tick(now_ns / 1_000_000);
        let levels = {
            let limits = &mut self.checks.borrow_mut().limits;
            limits.tick(now_ns);
            limits.counters().levels()
        };
        self.upstreams.expire(now_ns / 1_000_000);
        self.count_left_out(now_ns / 1_000_000);
        self.tunnels.expire(unix_ms);
        if self.setup.presence.take_wish() {
            // With nothing idle here either the wish is lost; the next newcomer without room makes it again.
            self.evict_oldest_idle();
        }
        self.look_after_heap(now_ns / 1_000_000);
        let mut dropped = 0;
        if let Some(log) = &mut *self.access_log.borrow_mut() {
            log.flush();
            dropped = log.dropped();
        }
        self.count(|core| {
            core.limit_levels(levels);
            core.log_dropped(dropped);
            core.tunnels_open(self.tunnels.count());
            for service in 0..self.upstreams.services() {
                core.pool_idle(service, self.upstreams.idle_count(service));
            }
        });
        let date = httpdate::HttpDate::from(
            std::time::UNIX_EPOCH + std::time::Duration::from_millis(unix_ms),
        );
        let mut text = self.date.borrow_mut();
        text.clear();
        let _ = std::fmt::Write::write_fmt(&mut *text, format_args!("{date}"));
        let newest = self.setup.snapshot.load_full();
        if !Arc::ptr_eq(&newest, &self.source.borrow()) {
            self.endpoints.update(&newest);
            self.current.replace(Rc::new(Snapshot::clone(&newest)));
            self.source.replace(newest);
        }
        if let Some(services) = &self.current.borrow().rules.services_tls {
            self.upstreams.renew(services.generation());
        }
    }
}

impl<S: Stream> Shard<S> {
    /// Gives back what a crowd of connections needed for its requests, once they only idle.
    fn look_after_heap(&self, now_ms: u64) {
        if now_ms < self.heap_looked_ms.get() + HEAP_LOOK_MS {
            return;
        }
        self.heap_looked_ms.set(now_ms);
        if self.lot.crowd_has_settled() {
            self.buffers.shrink();
            give_back();
        }
    }
}

fn random_seed<S: Stream>() -> u64 {
    // Without randomness from the system the identifiers start at the clock: still distinct within a process.
    getrandom::u64().unwrap_or_else(|_| S::now_ns())
}
