//! What Redis adds to a request on one node: the same load on a gateway with Redis and on one without, in turn. Not the comparison of
//! ways. Invariant: both are the same binary on the same core, and latency runs from the moment a request was due.

use std::io;

use serde::{Deserialize, Serialize};

use super::bucket::Limit;
use super::fleet::{Fleet, Plan};
use crate::generator::{Load, QUANTILES};
use crate::measure;
use crate::target::Cores;

/// Limits that no load reaches.
const HIGH: Limit = Limit {
    per_minute: 12_000_000,
    burst: 1_000_000,
    block_s: 60,
};
const CONNECTIONS: usize = 32;
const WARM_S: f64 = 0.5;

/// Hot: one organization at a fixed rate. Cold: each request another one. Busy: one organization, as fast as answers come, for CPU time:
/// at low rates waking up is most of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Price {
    pub name: String,
    /// Per second; 0: as fast as answers come.
    pub rate: u32,
    pub off: Vec<Round>,
    pub on: Vec<Round>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub cpu_us: f64,
    pub failed: u64,
}

impl Price {
    /// The middle of the rounds with Redis, and of those without.
    pub(crate) fn middles(&self, figure: impl Fn(&Round) -> f64) -> (f64, f64) {
        let middle = |rounds: &[Round]| {
            let mut all: Vec<f64> = rounds.iter().map(&figure).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(0.0)
        };
        (middle(&self.on), middle(&self.off))
    }

    /// How far the rounds without Redis lie apart: less than that cannot be measured.
    pub(crate) fn noise(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        let all = || self.off.iter().map(&figure);
        all().fold(0.0, f64::max) - all().fold(f64::MAX, f64::min)
    }
}

/// Hot and cold keys, `rounds` rounds of `seconds` each.
pub(super) fn run(plan: &Plan<'_>, rounds: usize, seconds: f64) -> io::Result<Vec<Price>> {
    let cores = Cores::of_this_machine();
    let plan = |shared| Plan {
        nodes: 1,
        workers: 1,
        limit: HIGH,
        per_ip: true,
        shared,
        cores: (Some(cores.target), Some(cores.generator)),
        ..*plan
    };
    let (off, on) = (Fleet::start(&plan(false))?, Fleet::start(&plan(true))?);
    let mut prices = Vec::new();
    for (name, rate) in [("hot", 4_000), ("cold", 1_000), ("busy", 0)] {
        let mut price = Price {
            name: name.into(),
            rate,
            ..Price::default()
        };
        let span = u64::from(rate) * 10;
        for turn in 0..rounds {
            let place = u64::try_from(turn).unwrap_or(0);
            let mut order = [(&off, false), (&on, true)];
            if turn % 2 == 1 {
                order.reverse();
            }
            for (fleet, shared) in order {
                let first_key = 1_000 + place * span;
                let keys = if name == "cold" { span } else { 1 };
                let found = round(fleet, (rate, seconds), (keys, first_key), cores.generator)?;
                let rounds = if shared {
                    &mut price.on
                } else {
                    &mut price.off
                };
                rounds.push(found);
            }
        }
        prices.push(price);
    }
    Ok(prices)
}

fn round(
    fleet: &Fleet,
    (rate, seconds): (u32, f64),
    (keys, first_key): (u64, u64),
    core: usize,
) -> io::Result<Round> {
    let missing = || io::Error::other("there is no gateway");
    let process = fleet.gateways.first().ok_or_else(missing)?;
    let load = Load {
        address: fleet.addresses.first().copied().ok_or_else(missing)?,
        rate: (rate > 0).then_some(rate),
        connections: CONNECTIONS,
        keep_alive: true,
        warm_seconds: WARM_S,
        seconds,
        target: "/api/v1/bytes/64".into(),
        upload_bytes: 0,
        keys,
        first_key,
        users: 0,
        addresses: 0,
        fill: false,
        secure: None,
    };
    let found = measure::round(process, &load, Some(core), || Ok(None))?;
    let at = |quantile: f64| {
        let place = QUANTILES.iter().position(|one| *one == quantile);
        let micros = place.and_then(|place| found.outcome.latency_us.get(place));
        micros.copied().unwrap_or(0.0) / 1_000.0
    };
    Ok(Round {
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        cpu_us: found.cpu_us_per_request,
        failed: found.outcome.failed(),
    })
}
