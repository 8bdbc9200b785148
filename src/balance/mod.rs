//! What one worker knows of the endpoints of one service, and which of them it asks next. Not a connection and not a probe; `now`
//! comes in as an argument. Invariants: an endpoint that is left out is one of several, so that a service never has none to ask;
//! nothing here is shared, so that a choice costs no other core anything.

mod breaker;
mod endpoint;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use breaker::Breaker;
use endpoint::{Endpoint, Standing};

pub use breaker::Pass;
pub use endpoint::Load;

/// What the operator chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Requests that fail one after the other until the service is left alone for a while; 0: never (`BREAKER_FAILURES`).
    pub failures_max: u32,
    /// For how long (`BREAKER_OPEN_TIME`).
    pub open_ms: u64,
}

/// What came of asking an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The head of an answer. Also a 5xx: whoever answers is there.
    Answered,
    /// No connection, or one that broke or spoke nonsense before an answer's head was there.
    Failed,
    /// No answer in time. A request can ask for that, so it counts only against an endpoint whose own probe fails as well.
    Slow,
    /// Nothing that says anything about the endpoint: the client left, or its body was at fault.
    Nothing,
}

/// What an outcome has changed: one line for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The endpoint is left out for so long.
    Ejected {
        /// Milliseconds.
        for_ms: u64,
    },
    /// An endpoint that had been left out has answered.
    Returned,
    /// The service is left alone for so long.
    Opened {
        /// Milliseconds.
        for_ms: u64,
    },
    /// The service has answered again.
    Closed,
}

/// The endpoints of a service and the breaker in front of them.
#[derive(Debug)]
pub struct Balancer {
    endpoints: Vec<Endpoint>,
    breaker: Breaker,
    dice: u64,
}

impl Balancer {
    /// No endpoints yet. Workers get different seeds, so that they do not all ask the same endpoint first.
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            endpoints: Vec::new(),
            breaker: Breaker::new(settings),
            dice: seed,
        }
    }

    /// Takes the addresses that the service has now, each with its probe's verdict. What is known of one that stays is kept.
    pub fn update(&mut self, now: impl Iterator<Item = (SocketAddr, bool)>) {
        let mut known = std::mem::take(&mut self.endpoints);
        for (address, healthy) in now {
            let same = known
                .iter()
                .position(|endpoint| endpoint.address == address);
            let mut endpoint = match same {
                Some(at) => known.swap_remove(at),
                None => Endpoint::new(address),
            };
            endpoint.healthy = healthy;
            self.endpoints.push(endpoint);
        }
    }

    /// How many addresses the service has.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// No address is known.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// How many of them are left out now.
    pub fn ejected(&self, now_ms: u64) -> usize {
        let out = |endpoint: &&Endpoint| endpoint.standing(now_ms) == Standing::Ejected;
        self.endpoints.iter().filter(out).count()
    }

    /// Whether requests are refused now.
    pub fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// The less loaded one of two taken at random (Mitzenmacher: nearly as good as the least loaded of all, and no herd) of the
    /// best standing there is, without those already tried.
    pub fn pick(&mut self, tried: &[SocketAddr], now_ms: u64) -> Option<(SocketAddr, Load)> {
        let standing = |endpoint: &Endpoint| {
            let untried = !tried.contains(&endpoint.address);
            untried.then(|| endpoint.standing(now_ms))
        };
        let best = self.endpoints.iter().filter_map(standing).min()?;
        let candidates = || {
            self.endpoints
                .iter()
                .filter(|endpoint| standing(endpoint) == Some(best))
        };
        let count = candidates().count();
        let (first, second) = two_of(roll(&mut self.dice), count);
        let one = candidates().nth(first)?;
        let chosen = match candidates().nth(second) {
            Some(other) if other.load() < one.load() => other,
            Some(_) | None => one,
        };
        Some((chosen.address, chosen.take()))
    }

    /// Learns what came of asking an endpoint.
    pub fn report(&mut self, address: SocketAddr, outcome: Outcome, now_ms: u64) -> Option<Change> {
        let others = self.endpoints.iter().any(|endpoint| {
            endpoint.address != address && endpoint.standing(now_ms) != Standing::Ejected
        });
        let endpoint = self
            .endpoints
            .iter_mut()
            .find(|endpoint| endpoint.address == address)?;
        endpoint.report(outcome, others, now_ms)
    }

    /// Whether a request may be sent at all.
    ///
    /// # Errors
    /// The service is left alone; whole seconds until it is worth asking again, at least 1.
    pub fn admit(&mut self, now_ms: u64) -> Result<Pass, u32> {
        self.breaker.admit(now_ms)
    }

    /// Learns what came of a request in the end, all attempts together. `last` is the endpoint that was asked last, if any was.
    pub fn settle(
        &mut self,
        pass: Pass,
        last: Option<SocketAddr>,
        outcome: Outcome,
        now_ms: u64,
    ) -> Option<Change> {
        let ill = |endpoint: &Endpoint| Some(endpoint.address) == last && !endpoint.healthy;
        let outcome = match outcome {
            Outcome::Slow if self.endpoints.iter().any(ill) => Outcome::Failed,
            Outcome::Slow => Outcome::Nothing,
            other @ (Outcome::Answered | Outcome::Failed | Outcome::Nothing) => other,
        };
        self.breaker.settle(pass, outcome, now_ms)
    }
}

/// splitmix64: well mixed, and repeatable in a test.
fn roll(dice: &mut u64) -> u64 {
    *dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *dice;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Two different numbers below `count`, each pair as likely as any other; the same one twice where there is no other.
fn two_of(roll: u64, count: usize) -> (usize, usize) {
    let below = |roll: u64, bound: usize| {
        let bound = u64::try_from(bound.max(1)).unwrap_or(1);
        usize::try_from(roll % bound).unwrap_or(0)
    };
    let first = below(roll & 0xffff_ffff, count);
    if count < 2 {
        return (first, first);
    }
    let apart = 1 + below(roll >> 32, count - 1);
    (first, (first + apart) % count)
}
