//! Plays a row of the table on a simulated fleet, and tells its figures. Not the fleet, and not what the figures should be.
//! Invariant: every request is also put to one exact bucket, at the same moment.

use std::collections::{HashMap, VecDeque};

use dbpower_gateway::limit::{OnOutage, Settings};

use crate::redis_support::Server;
use crate::redis_support::checked::Checked;
use crate::redis_support::fleet::{Fleet, SECOND};
use crate::redis_support::weather::{CALM, Mistake, Random, Weather};
use crate::rows::{Figures, Row, Traffic, Trouble};

/// A round trip of 0.5 ms: 0.1 to 0.4 ms each way.
const NEAR: Weather = Weather {
    delay_max_us: 300,
    ..CALM
};
/// After a round: longer than any lease.
const REST: u64 = 25 * SECOND;
const BURST: u64 = 2 * SECOND;

/// What came of a row.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) requests: u64,
    /// Tokens above C in the worst interval of the worst key.
    pub(crate) excess: i128,
    pub(crate) seen: Figures,
}

impl Played {
    /// What of it is worse than the table has it, by more than a fifth. Where the table knows no excess, a single token is one.
    pub(crate) fn missed(&self, told: &Figures) -> Vec<&'static str> {
        let over = if told.over > 0.0 {
            self.seen.over > 1.2 * told.over
        } else {
            self.excess > 0
        };
        let calls = self.seen.calls > 1.2 * told.calls;
        let columns = [(over, "over"), (calls, "calls")];
        let missed = columns.iter().filter(|(missed, _)| *missed);
        missed.map(|(_, column)| *column).collect()
    }
}

/// One row from its first request until its last lease has ended. Without `slices` nothing is leased ahead.
pub(crate) fn play(row: &Row, server: &Server, seed: u64, slices: bool) -> Played {
    let settings = Settings {
        rpm: row.rpm,
        burst: row.rpm / 5,
        block_ms: row.block_s * 1_000,
        per_org: true,
        per_ip: false,
        keys_max: (2 * row.keys * row.rounds) as usize + 64,
        cores: row.cores,
        slices,
    };
    let members = (row.nodes, OnOutage::Share);
    let weather = (NEAR, Mistake::None);
    let mut fleet = Fleet::new(server.connect(), seed, settings, members, weather);
    let mut exact: HashMap<u32, Checked> = HashMap::new();
    let mut requests = 0;
    for round in 0..row.rounds {
        let mut trouble = row.trouble;
        let start = fleet.now;
        for (at, key) in Arrivals::new(row, seed + u64::from(round)) {
            fleet.idle((start + at).saturating_sub(fleet.now));
            befall(&mut fleet, &mut trouble, start);
            let key = round * row.keys + key;
            let now = fleet.now;
            exact.entry(key).or_default().take(1, &settings, now);
            let member = fleet.random.index(row.nodes);
            fleet.request(member, key, 1);
            requests += 1;
        }
        fleet.idle(REST);
    }
    figures(&fleet, exact.values(), requests)
}

/// The row's misfortune, when its time has come.
fn befall(fleet: &mut Fleet, trouble: &mut Trouble, start: u64) {
    match *trouble {
        Trouble::Cut(nodes, from, until) if fleet.now >= start + from * SECOND => {
            let length = (start + until * SECOND).saturating_sub(fleet.now);
            (0..nodes).for_each(|at| fleet.cut(at, length));
        }
        Trouble::Wiped(at) if fleet.now >= start + at * SECOND => fleet.flush(),
        Trouble::Nothing | Trouble::Cut(..) | Trouble::Wiped(_) => return,
    }
    *trouble = Trouble::Nothing;
}

fn figures<'a>(fleet: &Fleet, exact: impl Iterator<Item = &'a Checked>, requests: u64) -> Played {
    let capacity = f64::from(fleet.settings.rpm + fleet.settings.burst);
    let exact: u64 = exact.map(|key| key.tokens).sum();
    let tokens: u64 = fleet.checked.values().map(|key| key.tokens).sum();
    let gap = fleet.checked.values().map(|key| key.gap).max();
    let excess = fleet.excess();
    let seen = Figures {
        over: 100.0 * excess.max(0) as f64 / capacity,
        under: 100.0 * (exact as f64 - tokens as f64) / exact as f64,
        calls: fleet.calls as f64 / requests as f64,
        waits: 100.0 * fleet.waited() as f64 / requests as f64,
        gap: 100.0 * gap.unwrap_or(0) as f64 / capacity,
    };
    Played {
        requests,
        excess,
        seen,
    }
}

/// The moments at which requests come, in ns from the start, and their keys.
struct Arrivals {
    traffic: Traffic,
    random: Random,
    keys: u32,
    /// For Zipf's law: how often this key or one before it is asked for.
    shares: Vec<f64>,
    /// Of the burst that is under way.
    burst: VecDeque<u64>,
    at: f64,
    count: u64,
    end: u64,
}

impl Arrivals {
    fn new(row: &Row, seed: u64) -> Self {
        let mut shares = Vec::new();
        if matches!(row.traffic, Traffic::Zipf(_)) {
            let mut sum = 0.0;
            shares.extend((1..=row.keys).map(|rank| {
                sum += 1.0 / f64::from(rank);
                sum
            }));
        }
        Self {
            traffic: row.traffic,
            random: Random::new(seed ^ 0xa771),
            keys: row.keys,
            shares,
            burst: VecDeque::new(),
            at: 0.0,
            count: 0,
            end: row.seconds * SECOND,
        }
    }

    /// Above 0 and at most 1.
    fn part(&mut self) -> f64 {
        const PARTS: u64 = 1 << 53;
        (self.random.below(PARTS) + 1) as f64 / PARTS as f64
    }

    fn next_random(&mut self, per_minute: u64) -> u64 {
        self.at -= self.part().ln() * (60 * SECOND) as f64 / per_minute as f64;
        self.at as u64
    }

    fn next_of_burst(&mut self, size: u64, every: u64) -> u64 {
        if self.burst.is_empty() {
            let start = self.count / size * every * SECOND;
            let moments = (0..size).map(|_| start + self.random.below(BURST));
            let mut moments: Vec<u64> = moments.collect();
            moments.sort_unstable();
            self.burst.extend(moments);
        }
        self.burst.pop_front().unwrap_or(u64::MAX)
    }

    fn key(&mut self) -> u32 {
        if self.shares.is_empty() {
            return self.random.below(u64::from(self.keys)) as u32;
        }
        let place = self.part() * self.shares[self.shares.len() - 1];
        self.shares.partition_point(|share| *share < place) as u32
    }
}

impl Iterator for Arrivals {
    type Item = (u64, u32);

    fn next(&mut self) -> Option<(u64, u32)> {
        let at = match self.traffic {
            Traffic::Random(per_minute) | Traffic::Zipf(per_minute) => self.next_random(per_minute),
            Traffic::Even(per_minute) => self.count * 60 * SECOND / per_minute,
            Traffic::Bursts(size, every) => self.next_of_burst(size, every),
        };
        self.count += 1;
        let key = self.key();
        (at < self.end).then_some((at, key))
    }
}
