//! When which key asks which node: drawn once from a seed, then the same for every way of limiting. A pure value. Invariant: sorted by
//! time; equal scenarios, nodes and seeds give equal arrivals.

use super::scenarios::{Keys, Nodes, Phase, Scenario};

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// ns since the start.
    pub at: u64,
    pub node: usize,
    pub key: u32,
}

/// Random numbers from a seed (SplitMix64, Steele and others 2014).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }
}

/// All arrivals of a scenario; `scale` shortens its long phases.
pub(crate) fn draw(scenario: &Scenario, nodes: usize, seed: u64, scale: f64) -> Vec<Arrival> {
    let mut dice = Dice::new(seed);
    let keys = zipf(scenario);
    let (mut arrivals, mut start) = (Vec::new(), 0.0);
    let mut turn = 0_u32;
    for phase in scenario.phases {
        let seconds = phase.lasts(scale);
        for at in times(phase, seconds, &mut dice) {
            let node = match scenario.nodes {
                Nodes::Even => dice.below(nodes),
                Nodes::First(share) if dice.part() < share => 0,
                Nodes::First(_) => dice.below(nodes),
            };
            let key = match scenario.keys {
                Keys::One => 0,
                Keys::Fresh => turn,
                Keys::InTurn(count) => turn % count,
                Keys::Zipf(_) => {
                    let part = dice.part();
                    u32::try_from(keys.partition_point(|&sum| sum < part)).unwrap_or(0)
                }
            };
            turn += 1;
            let at = nanos(start + at);
            arrivals.push(Arrival { at, node, key });
        }
        start += seconds;
    }
    arrivals
}

/// Moments of one phase in seconds since its begin, in order.
fn times(phase: &Phase, seconds: f64, dice: &mut Dice) -> Vec<f64> {
    let count = (phase.per_second * seconds).round();
    let mut times = Vec::new();
    let mut at = 0.0;
    while at < count {
        let place = if phase.even { at / count } else { dice.part() };
        times.push(place * seconds);
        at += 1.0;
    }
    times.sort_by(f64::total_cmp);
    times
}

/// Sums of the keys' shares, the first key's first: its share is 1, the second one's 1/2, then 1/3.
fn zipf(scenario: &Scenario) -> Vec<f64> {
    let Keys::Zipf(count) = scenario.keys else {
        return Vec::new();
    };
    let total: f64 = (1..=count).map(|rank| 1.0 / f64::from(rank)).sum();
    let mut sum = 0.0;
    (1..=count)
        .map(|rank| {
            sum += 1.0 / f64::from(rank) / total;
            sum
        })
        .collect()
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a scenario lasts seconds"
)]
pub(crate) fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
