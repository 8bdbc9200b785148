//! The table of LIMITS.md section 7 as data: which traffic on how many nodes, and what it may cost. Not how it is played.
//! Invariant: the figures are the specification's own; a row that misses them stays as it is.
//!
//! The specification does not say how long a row lasts. Where it matters here: the flash of 20 L is a rate and lasts a minute, and
//! begins with a full bucket each time; C tokens come back in 72 s, so "C each minute" is played every 75 s; the 1,000,000/min rows
//! are shortened to some simulated minutes at most, in which the bucket of the one above its limit is emptied once.

/// What is asked for, by all clients together.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Traffic {
    /// At random moments, so many per minute, each of any of the keys.
    Random(u64),
    /// At equal distances, so many per minute.
    Even(u64),
    /// So many at random within 2 s; again after so many seconds.
    Bursts(u64, u64),
    /// As `Random`; the n-th key is asked for 1/n times as often as the first.
    Zipf(u64),
}

/// What happens to the store or on the way to it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Nothing,
    /// So many nodes do not reach it, between these seconds.
    Cut(usize, u64, u64),
    /// It loses everything, at this second.
    Wiped(u64),
}

/// The columns of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// The worst excess over C, in % of C.
    pub(crate) over: f64,
    /// Admissions missing against one exact bucket, in % of its.
    pub(crate) under: f64,
    /// Calls of the script per request.
    pub(crate) calls: f64,
    /// Requests that waited for a call, in %.
    pub(crate) waits: f64,
    /// The most the exact bucket still held at a refusal, in % of C.
    pub(crate) gap: f64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) nodes: usize,
    pub(crate) cores: usize,
    /// L; B = L/5.
    pub(crate) rpm: u32,
    /// D.
    pub(crate) block_s: u64,
    pub(crate) keys: u32,
    pub(crate) traffic: Traffic,
    pub(crate) seconds: u64,
    /// How often it is played, with new keys each time.
    pub(crate) rounds: u32,
    pub(crate) trouble: Trouble,
    pub(crate) told: Figures,
}

const fn told(over: f64, under: f64, calls: f64, waits: f64, gap: f64) -> Figures {
    Figures {
        over,
        under,
        calls,
        waits,
        gap,
    }
}

/// 100/min on 3x8.
const SMALL: Row = Row {
    name: "100/min, 3x8, random at 0.8 L",
    nodes: 3,
    cores: 8,
    rpm: 100,
    block_s: 60,
    keys: 1,
    traffic: Traffic::Random(80),
    seconds: 1_800,
    rounds: 1,
    trouble: Trouble::Nothing,
    told: told(0.0, 0.0, 0.31, 3.9, 0.0),
};

/// 6,000/min on 4x16, without blocks.
const MIDDLE: Row = Row {
    name: "6,000/min, 4x16, 0.9 L",
    nodes: 4,
    cores: 16,
    rpm: 6_000,
    block_s: 0,
    traffic: Traffic::Random(5_400),
    seconds: 300,
    told: told(0.0, 0.0, 0.006, 0.02, 0.0),
    ..SMALL
};

/// 1,000,000/min on 16x64, without blocks.
const LARGE: Row = Row {
    name: "1,000,000/min, 16x64, 0.8 L",
    nodes: 16,
    cores: 64,
    rpm: 1_000_000,
    block_s: 0,
    traffic: Traffic::Random(800_000),
    seconds: 60,
    told: told(0.0, 0.0, 0.004, 0.2, 0.0),
    ..SMALL
};

/// In the table's order.
pub(crate) const ROWS: [Row; 24] = [
    SMALL,
    Row {
        name: "100/min, 3x8, even at 0.99 L",
        traffic: Traffic::Even(99),
        told: told(0.0, 0.0, 0.26, 1.1, 0.0),
        ..SMALL
    },
    Row {
        name: "100/min, 3x8, 27 in 2 s each minute",
        traffic: Traffic::Bursts(27, 60),
        told: told(0.0, 0.0, 0.59, 20.0, 0.0),
        ..SMALL
    },
    Row {
        name: "100/min, 3x8, 100 in 2 s each minute",
        traffic: Traffic::Bursts(100, 60),
        told: told(0.0, 0.0, 0.22, 3.0, 0.0),
        ..SMALL
    },
    Row {
        name: "100/min, 3x8, C in 2 s",
        traffic: Traffic::Bursts(120, 75),
        told: told(0.0, 0.0, 0.31, 6.0, 0.0),
        ..SMALL
    },
    Row {
        name: "100/min, 16x64, C in 2 s",
        nodes: 16,
        cores: 64,
        traffic: Traffic::Bursts(120, 75),
        told: told(0.0, 0.3, 0.86, 41.0, 5.3),
        ..SMALL
    },
    Row {
        name: "100/min, 3x8, D=0, 2 L for ever",
        block_s: 0,
        traffic: Traffic::Random(200),
        told: told(0.0, 0.3, 0.71, 61.0, 3.2),
        ..SMALL
    },
    Row {
        name: "100/min, 3x8, D=0, flash of 20 L",
        block_s: 0,
        traffic: Traffic::Random(2_000),
        seconds: 60,
        rounds: 10,
        told: told(0.0, 0.2, 0.28, 21.0, 1.9),
        ..SMALL
    },
    Row {
        name: "100/min, 16x64, D=0, flash of 20 L",
        nodes: 16,
        cores: 64,
        block_s: 0,
        traffic: Traffic::Random(2_000),
        seconds: 60,
        rounds: 10,
        told: told(0.0, 0.2, 0.71, 60.0, 3.4),
        ..SMALL
    },
    Row {
        name: "100/min, 3x8, D=60, flash of 20 L",
        traffic: Traffic::Random(2_000),
        seconds: 60,
        rounds: 10,
        told: told(0.0, 0.3, 0.066, 2.4, 1.8),
        ..SMALL
    },
    Row {
        name: "6,000/min, 4x16, D=60, flash of 20 L",
        block_s: 60,
        traffic: Traffic::Random(120_000),
        seconds: 60,
        rounds: 2,
        told: told(0.0, 0.3, 0.005, 0.15, 0.4),
        ..MIDDLE
    },
    Row {
        name: "100/min, 3x8, D=60, attack of 1,000/s",
        traffic: Traffic::Random(60_000),
        seconds: 300,
        told: told(0.0, 0.0, 0.002, 0.1, 1.0),
        ..SMALL
    },
    Row {
        name: "100/min, 16x64, D=60, attack of 1,000/s",
        nodes: 16,
        cores: 64,
        traffic: Traffic::Random(60_000),
        seconds: 300,
        told: told(0.0, 0.0, 0.006, 0.4, 2.7),
        ..SMALL
    },
    MIDDLE,
    Row {
        name: "6,000/min, 4x16, D=0, 2 L for ever",
        traffic: Traffic::Random(12_000),
        told: told(0.0, 0.0, 0.24, 13.0, 0.8),
        ..MIDDLE
    },
    LARGE,
    Row {
        name: "1,000,000/min, 16x64, D=0, 2 L",
        traffic: Traffic::Random(2_000_000),
        seconds: 150,
        told: told(0.0, 0.06, 0.011, 0.8, 0.3),
        ..LARGE
    },
    Row {
        name: "3,000,000/min, 1x16, 0.8 L",
        nodes: 1,
        cores: 16,
        rpm: 3_000_000,
        traffic: Traffic::Random(2_400_000),
        told: told(0.0, 0.0, 0.0001, 0.0, 0.0),
        ..LARGE
    },
    Row {
        name: "100/min, 3x8, D=0, 100,000 keys (Zipf), 5,000/s",
        block_s: 0,
        keys: 100_000,
        traffic: Traffic::Zipf(300_000),
        seconds: 60,
        told: told(0.0, 0.05, 0.62, 44.0, 12.0),
        ..SMALL
    },
    Row {
        name: "100/min, 3x8, 1,000 keys at 0.5 L",
        keys: 1_000,
        traffic: Traffic::Random(50_000),
        seconds: 120,
        told: told(0.0, 0.0, 0.53, 15.0, 0.0),
        ..SMALL
    },
    Row {
        name: "6,000/min, 4x16, 2 L, away for 10 s",
        traffic: Traffic::Random(12_000),
        trouble: Trouble::Cut(4, 100, 110),
        told: told(4.4, -0.9, 0.23, 12.0, 0.8),
        ..MIDDLE
    },
    Row {
        name: "100/min, 3x8, 2 L, away for 10 s",
        block_s: 0,
        traffic: Traffic::Random(200),
        seconds: 300,
        rounds: 5,
        trouble: Trouble::Cut(3, 100, 110),
        told: told(2.9, -0.5, 0.68, 58.0, 5.7),
        ..SMALL
    },
    Row {
        name: "6,000/min, 4x16, flash of 20 L, one node cut off",
        traffic: Traffic::Random(120_000),
        seconds: 45,
        trouble: Trouble::Cut(1, 0, 20),
        told: told(31.0, -19.0, 0.02, 1.0, 0.1),
        ..MIDDLE
    },
    Row {
        name: "6,000/min, 4x16, 2 L, Redis wiped",
        traffic: Traffic::Random(12_000),
        trouble: Trouble::Wiped(150),
        told: told(0.0, 0.0, 0.24, 13.0, 0.8),
        ..MIDDLE
    },
];
