//! What goes wrong in a simulated fleet, and the random numbers that decide it. Not the fleet. Invariant: equal seeds, equal weather.

/// A mistake planted in a run, by its number in LIMITS.md section 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    /// 1: refill up to C instead of C - out.
    RefillToC,
    /// 3: a lease's end is what the node thinks it is: half a second after the store's.
    EndByNode,
    /// 6: what is given back has not left the pool, and can be spent until the reply.
    ReturnAndSpend,
}

/// What goes wrong in a run, in thousandths of calls or of steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) delay_max_us: u64,
    pub(crate) crash: u64,
    pub(crate) cut: u64,
    /// Of a core, for longer than its slices last.
    pub(crate) stall: u64,
    /// Of `/rate-limit/info`.
    pub(crate) watch: u64,
    pub(crate) flush: u64,
    /// Of Redis, backwards only: forwards costs what section 2 says.
    pub(crate) clock_step: u64,
    /// An operator resets a key.
    pub(crate) reset: u64,
    /// Of the messages that tell other nodes.
    pub(crate) missed: u64,
}

pub(crate) const CALM: Weather = Weather {
    lost: 0,
    repeated: 0,
    delay_max_us: 1_000,
    crash: 0,
    cut: 0,
    stall: 0,
    watch: 0,
    flush: 0,
    clock_step: 0,
    reset: 0,
    missed: 0,
};

/// xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % end.max(1)
    }

    pub(crate) fn thousandths(&mut self, n: u64) -> bool {
        self.below(1_000) < n
    }

    pub(crate) fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap_or(0)
    }
}
