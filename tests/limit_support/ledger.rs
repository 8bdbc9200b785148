//! The checker of LIMITS.md 7: every admission of a run goes into one bucket of capacity C that may fall below 0, and must not.
//! Not a limiter: it sees only what was admitted and when. Invariant: an admission counts for an interval only if it certainly
//! happened within it, so a violation that is reported is one.

use crate::limit_support::{Limits, MINUTE};

/// The steps of the simulated clock, in ns, and what makes room beside refill.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    pub(crate) at: Vec<u64>,
    /// Tokens that resets and higher limits may have added, by step.
    pub(crate) credit: Vec<u64>,
}

impl Timeline {
    /// A new step; gives its number.
    pub(crate) fn step(&mut self, at: u64) -> usize {
        self.at.push(at);
        self.credit.push(0);
        self.at.len() - 1
    }
}

/// Admissions of one key: cost by the steps before and after the call, which are the same or next to each other.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// Admitted while the clock stood at this step.
    within: Vec<u64>,
    /// Admitted while the clock went from this step to the next.
    across: Vec<u64>,
    pub(crate) total: u64,
}

impl Ledger {
    pub(crate) fn new(steps: usize) -> Self {
        Self {
            within: vec![0; steps],
            across: vec![0; steps],
            total: 0,
        }
    }

    pub(crate) fn admit(&mut self, before: usize, after: usize, cost: u32) {
        assert!(after - before <= 1, "the clock runs ahead of the workers");
        let steps = if before == after {
            &mut self.within
        } else {
            &mut self.across
        };
        steps[before] += u64::from(cost);
        self.total += u64::from(cost);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, others) in [
            (&mut self.within, &other.within),
            (&mut self.across, &other.across),
        ] {
            for (all, one) in mine.iter_mut().zip(others) {
                *all += one;
            }
        }
        self.total += other.total;
    }

    /// Whether anything was admitted between a refusal that told of a block and the block's end. `blocks` by step: what refusals up
    /// to the step before said.
    pub(crate) fn breaks_a_block(&self, at: &[u64], blocks: &[u64]) -> bool {
        let mut until = 0;
        (0..at.len()).any(|step| {
            until = blocks[step].max(until);
            let next = at.get(step + 1).copied().unwrap_or(u64::MAX);
            (at[step] < until && self.within[step] > 0) || (next < until && self.across[step] > 0)
        })
    }

    /// The largest excess over C + L * t / W of all intervals, in tokens; negative: never above. `limits` are the largest that were
    /// in force.
    pub(crate) fn excess(&self, limits: Limits, time: &Timeline) -> i128 {
        let minute = i128::from(MINUTE);
        let capacity = i128::from(limits.capacity()) * minute;
        // The worst over all intervals that end at this step: the deficit of a bucket that starts full.
        let (mut used, mut worst) = (0_i128, -capacity);
        for step in 0..time.at.len() {
            if step > 0 {
                let passed = i128::from(time.at[step] - time.at[step - 1]);
                used += i128::from(self.across[step - 1]) * minute;
                used = (used - passed * i128::from(limits.rpm)).max(0);
            }
            let admitted = i128::from(self.within[step]) - i128::from(time.credit[step]);
            used += admitted * minute;
            worst = worst.max(used - capacity);
        }
        // Towards the larger: half a token too much is too much.
        worst.div_euclid(minute) + i128::from(worst.rem_euclid(minute) > 0)
    }
}
