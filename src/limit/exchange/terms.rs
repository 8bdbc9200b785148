//! How much is leased, for how long, and when the store is called: arithmetic alone. Not the state it is applied to.
//! Invariant: integers only; whatever the demand, a lease lasts 0.1 s to 20 s and no more than 10 s of demand are wanted.

const SECOND_NS: u64 = 1_000_000_000;
/// A shorter time says nothing about a rate.
const ELAPSED_NS_MIN: u64 = 2_000_000;
/// Tokens per second are counted in thousandths.
const MILLI: u64 = 1_000;
/// Below this a hot key would call three times as often; above, one node holds too much.
const AHEAD: u64 = 256;
/// Longer leases lengthen what a crash costs; leases of 5 s cost 2.3 times the calls at 100/min.
const TAU_MS_MAX: u64 = 20_000;
const TAU_MS_MIN: u64 = 1_000;
/// The least that a grant for those who wait lasts; otherwise twice a call's timeout: by then it is surely spent or dropped.
pub(super) const BRIEF_MS_MIN: u64 = 100;
/// The end of a lease on this node, before its end in the store: clock rates over 20 s.
pub(super) const MARGIN_NS: u64 = 20_000_000;
/// Before its end a lease is closed and its rest given back.
const CLOSE_NS: u64 = 30_000_000;
/// A refusal without a block is believed this long at most.
pub(super) const DENY_NS_MAX: u64 = 5 * SECOND_NS;
/// A refusal is followed by this much time of paced calls.
pub(super) const PACED_NS: u64 = SECOND_NS;

/// A key's demand, in thousandths of a token per second; at most some four million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate {
    last: u32,
    before: u32,
    calls: bool,
}

impl Rate {
    /// A call is made: `demand` tokens were asked for in `elapsed_ns`.
    pub(super) fn observe(&mut self, demand: u32, elapsed_ns: u64) {
        let elapsed = elapsed_ns.max(ELAPSED_NS_MIN);
        let rate = u128::from(demand) * u128::from(SECOND_NS * MILLI) / u128::from(elapsed);
        let rate = u32::try_from(rate).unwrap_or(u32::MAX);
        if self.calls {
            self.before = self.last;
            self.last = rate;
        } else {
            // Of a key that has just come, a single moment says little.
            let once = u64::from(demand) * MILLI;
            self.last = rate.min(u32::try_from(once).unwrap_or(u32::MAX));
            self.before = self.last;
            self.calls = true;
        }
    }

    /// The average of the last two.
    pub(super) fn milli(&self) -> u64 {
        u64::midpoint(u64::from(self.last), u64::from(self.before))
    }

    /// Tokens in `ns` at this rate.
    pub(super) fn in_ns(&self, ns: u64) -> u64 {
        let tokens = u128::from(self.milli()) * u128::from(ns) / u128::from(SECOND_NS * MILLI);
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }
}

/// Tokens wanted ahead.
pub(super) fn want(rate: &Rate, held: u32, demand: u32) -> u32 {
    let ahead = AHEAD
        .max(rate.in_ns(SECOND_NS / 4))
        .min(rate.in_ns(10 * SECOND_NS));
    let want = ahead
        .saturating_sub(u64::from(held))
        .min(2 * u64::from(demand));
    u32::try_from(want).unwrap_or(u32::MAX)
}

/// How long the lease shall last, in ms: twice as long as what is held and wanted serves; `brief_ms` for nothing.
pub(super) fn tau_ms(rate: &Rate, want: u32, held: u32, brief_ms: u64) -> u64 {
    let tokens = u64::from(want) + u64::from(held);
    if tokens == 0 {
        return brief_ms;
    }
    let ms = (2 * tokens * MILLI)
        .saturating_mul(1_000)
        .checked_div(rate.milli());
    ms.unwrap_or(TAU_MS_MAX).clamp(TAU_MS_MIN, TAU_MS_MAX)
}

/// The shortest time between two calls of a key that is short: the calls of a flood stay few, and tokens that come back are found soon.
pub(super) fn pace_ns(rate: &Rate) -> u64 {
    let ns = (256 * SECOND_NS)
        .saturating_mul(MILLI)
        .checked_div(rate.milli());
    ns.unwrap_or(u64::MAX).clamp(10_000_000, 250_000_000)
}

/// The pool at which more is fetched: what two round trips use up. For a slow key that is none left, or there would be a call per
/// request (pitfall 8).
pub(super) fn low_water(rate: &Rate, rtt_ns: u64) -> u32 {
    u32::try_from(rate.in_ns(2 * rtt_ns)).unwrap_or(u32::MAX)
}

/// Spent tokens that are worth a report: 3 % of C.
pub(super) fn report_min(capacity: u32) -> u32 {
    let tokens = (u64::from(capacity) * 3).div_ceil(100);
    u32::try_from(tokens).unwrap_or(u32::MAX).max(1)
}

/// When the rest of a lease is given back.
pub(super) fn close_at(ends_ns: u64, rtt_ns: u64) -> u64 {
    ends_ns.saturating_sub(CLOSE_NS + rtt_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(milli: u32) -> Rate {
        Rate {
            last: milli,
            before: milli,
            calls: true,
        }
    }

    #[test]
    fn a_first_call_wants_little_and_later_ones_follow_demand() {
        let mut seen = Rate::default();
        seen.observe(3, 1);
        assert_eq!(seen.milli(), 3_000);
        seen.observe(100, SECOND_NS);
        assert_eq!(seen.milli(), (3_000 + 100_000) / 2);
        seen.observe(100, SECOND_NS);
        assert_eq!(seen.milli(), 100_000);
        seen.observe(u32::MAX, 0);
        assert!(seen.milli() > 1 << 30);
    }

    #[test]
    fn terms() {
        // per second * 1000, held, demand: want, tau
        for (milli, held, demand, wanted, tau) in [
            (0, 0, 10, 0, 100),
            (1_667, 0, 100, 16, 19_196),
            (1_667, 0, 3, 6, 7_198),
            (1_667, 16, 3, 0, 19_196),
            (100_000, 0, 1_000, 256, 5_120),
            (100_000, 56, 1_000, 200, 5_120),
            (40_000_000, 0, 1_000_000, 10_000, 1_000),
            (10, 1, 0, 0, 20_000),
        ] {
            let rate = rate(milli);
            let found = want(&rate, held, demand);
            assert_eq!(
                (found, tau_ms(&rate, found, held, 100)),
                (wanted, tau),
                "{milli}"
            );
        }
        for (milli, pace) in [(0, 250), (1_667, 250), (12_800_000, 20), (100_000_000, 10)] {
            assert_eq!(pace_ns(&rate(milli)), pace * 1_000_000);
        }
        assert_eq!(low_water(&rate(1_667), 500_000), 0);
        assert_eq!(low_water(&rate(16_000_000), 500_000), 16);
        assert_eq!(
            (report_min(10), report_min(120), report_min(6_000)),
            (1, 4, 180)
        );
    }
}
