//! What the whole process is at this moment: healthy upstreams, draining, driver. Not a history (the counters are) and not
//! a decision. Invariant: plain atomics that any thread may read; each says who writes it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::labels::LEASE_EVENTS;

/// What drives the workers' I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Not known yet: the workers are starting.
    Unknown,
    /// `io_uring`.
    IoUring,
    /// The fallback.
    Epoll,
}

impl Driver {
    /// The name in `/health`, in the log and in the metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// The process's state, shared by both wings.
#[derive(Debug)]
pub struct State {
    /// Written by the gateway once all workers listen.
    listening: AtomicBool,
    /// Written by the control thread once every service was looked up and probed for the first time.
    probed: AtomicBool,
    /// Written by the gateway at the first signal; never taken back.
    draining: AtomicBool,
    /// Written by the control thread: Redis answers.
    redis: AtomicBool,
    /// Written by the control thread: what the exchange of leases has done, in the order of `LEASE_EVENTS`; all 0 without one.
    leases: [AtomicU64; LEASE_EVENTS.len()],
    /// Written by a worker: the warning about a proxy that is not trusted was written.
    proxy_hinted: AtomicBool,
    /// Written by the gateway: what the workers run on.
    driver: AtomicU8,
    /// Written by the control thread, in the order of `Config::services`.
    services: Box<[ServiceState]>,
}

impl State {
    /// The state of a process that has just begun and has so many services.
    pub fn new(services: usize) -> Self {
        Self {
            listening: AtomicBool::new(false),
            probed: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            redis: AtomicBool::new(false),
            leases: Default::default(),
            proxy_hinted: AtomicBool::new(false),
            driver: AtomicU8::new(Driver::Unknown as u8),
            services: (0..services).map(|_| ServiceState::default()).collect(),
        }
    }

    /// All workers listen.
    pub fn mark_listening(&self) {
        self.listening.store(true, Relaxed);
    }

    /// Every service was probed once.
    pub fn mark_probed(&self) {
        self.probed.store(true, Relaxed);
    }

    /// Shutdown has begun.
    pub fn mark_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    /// True for the first caller alone: the one that writes the warning about a proxy that is not trusted.
    pub fn take_proxy_hint(&self) -> bool {
        !self.proxy_hinted.swap(true, Relaxed)
    }

    /// Start-up is done: the workers listen and the first probes are back.
    pub fn started(&self) -> bool {
        self.listening.load(Relaxed) && self.probed.load(Relaxed)
    }

    /// Shutdown has begun.
    pub fn draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Redis answers.
    pub fn redis(&self) -> bool {
        self.redis.load(Relaxed)
    }

    /// Says whether Redis answers.
    pub fn put_redis(&self, connected: bool) {
        self.redis.store(connected, Relaxed);
    }

    /// What the exchange of leases has done, in the order of `LEASE_EVENTS`.
    pub fn leases(&self) -> [u64; LEASE_EVENTS.len()] {
        std::array::from_fn(|at| self.leases.get(at).map_or(0, |count| count.load(Relaxed)))
    }

    /// Says what the exchange of leases has done.
    pub fn put_leases(&self, counts: [u64; LEASE_EVENTS.len()]) {
        for (place, count) in self.leases.iter().zip(counts) {
            place.store(count, Relaxed);
        }
    }

    /// What drives the workers.
    pub fn driver(&self) -> Driver {
        match self.driver.load(Relaxed) {
            1 => Driver::IoUring,
            2 => Driver::Epoll,
            _ => Driver::Unknown,
        }
    }

    /// Says what drives the workers.
    pub fn put_driver(&self, driver: Driver) {
        self.driver.store(driver as u8, Relaxed);
    }

    /// The state of a service by its index in the configuration.
    pub fn service(&self, index: usize) -> Option<&ServiceState> {
        self.services.get(index)
    }

    /// Whether this service's last probe was answered well; false for a service that does not exist.
    pub fn healthy(&self, index: usize) -> bool {
        self.service(index).is_some_and(ServiceState::healthy)
    }

    /// Whether every service is healthy.
    pub fn all_healthy(&self) -> bool {
        self.services.iter().all(ServiceState::healthy)
    }
}

/// What the last probes of one service's endpoints found.
#[derive(Debug, Default)]
pub struct ServiceState {
    healthy: AtomicBool,
    /// Nanoseconds of the last good probe; 0 before the first.
    latency_ns: AtomicU64,
    /// Addresses probed in the last round, and those of them that are well.
    endpoints: AtomicUsize,
    endpoints_healthy: AtomicUsize,
}

impl ServiceState {
    /// An endpoint answered its last probe 2xx in time; false before the first.
    pub fn healthy(&self) -> bool {
        self.healthy.load(Relaxed)
    }

    /// How long the last good probe took, connect included.
    pub fn latency_ns(&self) -> u64 {
        self.latency_ns.load(Relaxed)
    }

    /// How many endpoints were probed in the last round, and how many of them were well.
    pub fn endpoints(&self) -> (usize, usize) {
        (
            self.endpoints.load(Relaxed),
            self.endpoints_healthy.load(Relaxed),
        )
    }

    /// A round of probes has ended.
    pub fn put_endpoints(&self, probed: usize, healthy: usize) {
        self.endpoints.store(probed, Relaxed);
        self.endpoints_healthy.store(healthy, Relaxed);
    }

    /// A probe was answered well.
    pub fn put_healthy(&self, latency_ns: u64) {
        self.latency_ns.store(latency_ns, Relaxed);
        self.healthy.store(true, Relaxed);
    }

    /// A probe failed.
    pub fn put_unhealthy(&self) {
        self.healthy.store(false, Relaxed);
    }
}
