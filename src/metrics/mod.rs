//! Counters of what the gateway does: one block of plain numbers per worker, summed when somebody asks. Not a place where
//! anything is decided, and no clock. Invariant: a counter has one writer, so adding is a load and a store, never a lock.

mod classic;
mod counters;
mod encode;
mod labels;
mod state;
#[cfg(test)]
mod tests;

pub use counters::{Core, DURATION_BOUNDS_US};
pub use encode::{Gauges, TextFormat};
pub use labels::{
    AuthFailure, CloseReason, LEASE_EVENTS, LIMIT_LEVELS, LimitOutcome, LimitPolicy, METHODS,
    UpstreamEvent, method_index,
};
pub use state::{Driver, ServiceState, State};

use counters::Shape;

/// Routes that have a label of their own. The histogram of one route is 6 KiB per core, so 64 of them stay below 512 KiB;
/// routes beyond are counted under the last label.
pub const ROUTES_MAX: usize = 64;

/// Services with a label of their own; further ones share the last.
pub const SERVICES_MAX: usize = 64;

/// Label index of the gateway's own endpoints; `Registry::new` puts it first.
pub const ROUTE_OWN: usize = 0;

/// Label index of requests without a route (404, malformed heads); `Registry::new` puts it second.
pub const ROUTE_NONE: usize = 1;

/// Label index of the first rule of the configuration.
pub const ROUTE_RULES: usize = 2;

/// All workers' counters and the names of what they count.
#[derive(Debug)]
pub struct Registry {
    cores: Box<[Core]>,
    routes: Vec<String>,
    services: Vec<String>,
}

impl Registry {
    /// Makes the counters of `cores` workers. `rules` names the configured routes (the label of rule `i` is
    /// `ROUTE_RULES + i`), `services` the upstreams, both in the configuration's order. Everything is allocated here.
    pub fn new(cores: usize, rules: &[String], services: &[String]) -> Self {
        let mut routes = vec!["own".to_owned(), "none".to_owned()];
        routes.extend(rules.iter().cloned());
        routes.truncate(ROUTES_MAX);
        let services: Vec<String> = services.iter().take(SERVICES_MAX).cloned().collect();
        let shape = Shape::new(routes.len(), services.len());
        Self {
            cores: (0..cores).map(|_| Core::new(shape)).collect(),
            routes,
            services,
        }
    }

    /// The block of worker `index`, which alone may add to it. `None` when there is no such worker.
    pub fn core(&self, index: usize) -> Option<&Core> {
        self.cores.get(index)
    }

    /// How often a connection's task panicked, over all workers; it must stay 0.
    pub fn panics(&self) -> u64 {
        self.sum().read(Shape::PANICS)
    }

    /// Connections open now, over all workers.
    pub fn connections_active(&self) -> u64 {
        let sum = self.sum();
        let closed: u64 = (0..CloseReason::ALL.len())
            .map(|reason| sum.read(Shape::CLOSED + reason))
            .sum();
        sum.read(Shape::OPENED).saturating_sub(closed)
    }

    fn sum(&self) -> counters::Sum {
        let shape = Shape::new(self.routes.len(), self.services.len());
        counters::Sum::of(shape, &self.cores)
    }
}
