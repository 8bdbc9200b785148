//! One worker's counters: a flat block of numbers and the places of things in it. Not shared for writing.
//! Invariant: every index is in the block by construction of `Shape`; an index from outside is clamped first.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::labels::{
    AuthFailure, CLASSES, CloseReason, LIMIT_LEVELS, LimitOutcome, LimitPolicy, METHODS,
    UpstreamEvent, class_index,
};

/// Upper bounds of the duration buckets in microseconds, 0.25 ms to 60 s; what is slower goes to the last, open bucket.
/// Dense below 10 ms, where a gateway's own cost would show, and reaching the longest time limits of HTTP.md.
pub const DURATION_BOUNDS_US: [u64; 17] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Upper bounds in microseconds of the time that a request waits for the store: 50 ms is the most that one call may take.
pub(super) const WAIT_BOUNDS_US: [u64; 10] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000,
];

/// The sum of waits, and one count per bucket.
const WAIT: usize = 1 + WAIT_BOUNDS_US.len() + 1;

/// Numbers per (route, method, class): the sum of durations and one count per bucket. The number of requests is the sum of
/// the counts, so a request costs two additions and not three.
pub(super) const CELL: usize = 1 + DURATION_BOUNDS_US.len() + 1;

/// Numbers per service: the events, then what is set and not added: the idle connections in this worker's pool, the endpoints that
/// it leaves out, and whether its breaker is open.
const SERVICE: usize = UpstreamEvent::LABELS.len() + 3;

/// Where in the block each thing stands, for so many routes and services.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) routes: usize,
    pub(super) services: usize,
}

impl Shape {
    pub(super) const STARTED: usize = 0;
    pub(super) const ENDED: usize = 1;
    pub(super) const ABANDONED: usize = 2;
    pub(super) const OPENED: usize = 3;
    pub(super) const PANICS: usize = 4;
    pub(super) const BYTES_IN: usize = 5;
    pub(super) const BYTES_OUT: usize = 6;
    pub(super) const LOG_DROPPED: usize = 7;
    pub(super) const TUNNELS: usize = 8;
    pub(super) const HANDSHAKES: usize = 9;
    pub(super) const CLOSED: usize = 11;
    pub(super) const AUTH: usize = Self::CLOSED + CloseReason::ALL.len();
    pub(super) const LIMIT: usize = Self::AUTH + AuthFailure::LABELS.len();
    pub(super) const LEVELS: usize =
        Self::LIMIT + LimitPolicy::LABELS.len() * LimitOutcome::LABELS.len();
    pub(super) const WAIT: usize = Self::LEVELS + LIMIT_LEVELS.len();
    const TABLES: usize = Self::WAIT + WAIT;

    pub(super) const fn new(routes: usize, services: usize) -> Self {
        Self { routes, services }
    }

    pub(super) const fn limit(policy: usize, outcome: usize) -> usize {
        Self::LIMIT + policy * LimitOutcome::LABELS.len() + outcome
    }

    pub(super) const fn service(service: usize) -> usize {
        Self::TABLES + service * SERVICE
    }

    pub(super) const fn pool_idle(service: usize) -> usize {
        Self::service(service) + UpstreamEvent::LABELS.len()
    }

    pub(super) const fn ejected(service: usize) -> usize {
        Self::pool_idle(service) + 1
    }

    pub(super) const fn breaker(service: usize) -> usize {
        Self::pool_idle(service) + 2
    }

    pub(super) const fn cell(self, route: usize, method: usize, class: usize) -> usize {
        let cell = (route * METHODS.len() + method) * CLASSES.len() + class;
        Self::service(self.services) + cell * CELL
    }

    const fn len(self) -> usize {
        self.cell(self.routes, 0, 0)
    }
}

/// Sixteen numbers on two cache lines of their own: the prefetcher fetches lines in pairs, so 128 bytes keep two workers'
/// blocks from slowing each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lines([AtomicU64; 16]);

/// One worker's counters. Only that worker may call the methods that add: two writers would lose counts (nothing worse).
#[derive(Debug)]
pub struct Core {
    shape: Shape,
    block: Box<[Lines]>,
}

impl Core {
    pub(super) fn new(shape: Shape) -> Self {
        let lines = shape.len().div_ceil(16);
        Self {
            shape,
            block: (0..lines).map(|_| Lines::default()).collect(),
        }
    }

    /// A request's head was read.
    pub fn request_started(&self) {
        self.add(Shape::STARTED, 1);
    }

    /// A request was answered with `status` after `micros`. `route` is `ROUTE_OWN`, `ROUTE_NONE` or `ROUTE_RULES + rule`,
    /// `method` comes from `method_index`.
    pub fn request(&self, route: usize, method: usize, status: u16, micros: u64) {
        let route = route.min(self.shape.routes.saturating_sub(1));
        let method = method.min(METHODS.len() - 1);
        let cell = self.shape.cell(route, method, class_index(status));
        let bucket = DURATION_BOUNDS_US
            .iter()
            .position(|&bound| micros <= bound)
            .unwrap_or(DURATION_BOUNDS_US.len());
        self.add(cell, micros);
        self.add(cell + 1 + bucket, 1);
        self.add(Shape::ENDED, 1);
    }

    /// A started request ended without any answer (the client left first).
    pub fn request_abandoned(&self) {
        self.add(Shape::ABANDONED, 1);
        self.add(Shape::ENDED, 1);
    }

    /// A client's connection was accepted.
    pub fn connection_opened(&self) {
        self.add(Shape::OPENED, 1);
    }

    /// A client's connection was closed.
    pub fn connection_closed(&self, reason: CloseReason) {
        self.add(Shape::CLOSED + reason as usize, 1);
    }

    /// The limiter decided about one key.
    pub fn limit(&self, policy: LimitPolicy, outcome: LimitOutcome) {
        self.add(Shape::limit(policy as usize, outcome as usize), 1);
    }

    /// So many keys were judged so far at each level, in the order of `LIMIT_LEVELS`.
    pub fn limit_levels(&self, counts: [u64; LIMIT_LEVELS.len()]) {
        for (level, count) in counts.into_iter().enumerate() {
            self.set(Shape::LEVELS + level, count);
        }
    }

    /// A request waited for the store.
    pub fn limit_waited(&self, micros: u64) {
        let bucket = WAIT_BOUNDS_US.iter().position(|&bound| micros <= bound);
        let bucket = bucket.unwrap_or(WAIT_BOUNDS_US.len());
        self.add(Shape::WAIT, micros);
        self.add(Shape::WAIT + 1 + bucket, 1);
    }

    /// A caller was not identified.
    pub fn auth_failed(&self, reason: AuthFailure) {
        self.add(Shape::AUTH + reason as usize, 1);
    }

    /// Something happened between this worker and service `service` (index into `Config::services`).
    pub fn upstream(&self, service: usize, event: UpstreamEvent) {
        if let Some(service) = self.service(service) {
            self.add(Shape::service(service) + event as usize, 1);
        }
    }

    /// So many idle connections to `service` are in this worker's pool now.
    pub fn pool_idle(&self, service: usize, connections: usize) {
        if let Some(service) = self.service(service) {
            self.set(Shape::pool_idle(service), connections as u64);
        }
    }

    /// So many endpoints of `service` are left out by this worker now, and whether its breaker is open.
    pub fn left_out(&self, service: usize, endpoints: usize, breaker_open: bool) {
        if let Some(service) = self.service(service) {
            self.set(Shape::ejected(service), endpoints as u64);
            self.set(Shape::breaker(service), u64::from(breaker_open));
        }
    }

    /// A panic was caught around a connection.
    pub fn panicked(&self) {
        self.add(Shape::PANICS, 1);
    }

    /// Bytes read from clients.
    pub fn bytes_in(&self, bytes: u64) {
        self.add(Shape::BYTES_IN, bytes);
    }

    /// Bytes written to clients.
    pub fn bytes_out(&self, bytes: u64) {
        self.add(Shape::BYTES_OUT, bytes);
    }

    /// A client's TLS handshake was done.
    pub fn handshake(&self, resumed: bool) {
        self.add(Shape::HANDSHAKES + usize::from(resumed), 1);
    }

    /// So many tunnels are open on this worker now.
    pub fn tunnels_open(&self, tunnels: usize) {
        self.set(Shape::TUNNELS, tunnels as u64);
    }

    /// Access lines dropped so far by this worker's log (`CoreLog::dropped`).
    pub fn log_dropped(&self, lines: u64) {
        self.set(Shape::LOG_DROPPED, lines);
    }

    /// Services beyond the bound share the last label.
    fn service(&self, service: usize) -> Option<usize> {
        self.shape
            .services
            .checked_sub(1)
            .map(|last| service.min(last))
    }

    fn add(&self, index: usize, n: u64) {
        if let Some(number) = self.number(index) {
            // The only writer adds without a locked instruction: a load, an addition, a store.
            number.store(number.load(Relaxed).wrapping_add(n), Relaxed);
        }
    }

    fn set(&self, index: usize, n: u64) {
        if let Some(number) = self.number(index) {
            number.store(n, Relaxed);
        }
    }

    fn number(&self, index: usize) -> Option<&AtomicU64> {
        self.block.get(index / 16)?.0.get(index % 16)
    }
}

/// All workers' blocks added up, number by number, at one moment (each number by itself, not all at once).
#[derive(Debug)]
pub(super) struct Sum {
    pub(super) shape: Shape,
    numbers: Vec<u64>,
}

impl Sum {
    pub(super) fn of(shape: Shape, cores: &[Core]) -> Self {
        let mut numbers = vec![0; shape.len()];
        for core in cores {
            for (index, total) in numbers.iter_mut().enumerate() {
                let number = core.number(index).map_or(0, |number| number.load(Relaxed));
                *total = number.wrapping_add(*total);
            }
        }
        Self { shape, numbers }
    }

    pub(super) fn read(&self, index: usize) -> u64 {
        self.numbers.get(index).copied().unwrap_or(0)
    }

    /// Waits in the open, not cumulated, buckets.
    pub(super) fn waits(&self) -> impl Iterator<Item = u64> + '_ {
        (1..WAIT).map(|bucket| self.read(Shape::WAIT + bucket))
    }

    /// Requests in the open, not cumulated, buckets of one cell.
    pub(super) fn buckets(&self, cell: usize) -> impl Iterator<Item = u64> + '_ {
        (1..CELL).map(move |bucket| self.read(cell + bucket))
    }
}
