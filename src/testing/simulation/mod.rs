//! Seeded simulation: the worker's connection code, whole, over simulated connections and a simulated clock. A seed decides
//! everything else. Not a test of the kernel or of the runtime (`tests/e2e_*` are). Invariant: a run is a function of its seed.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]

mod bell;
mod client;
mod dice;
mod message;
mod plan;
mod run;
mod service;
mod stream;
mod sweep;
mod wire;
mod world;

use run::run;

/// Seeds that every test run tries.
const SEEDS: u64 = 300;

/// A number from the environment.
fn asked(name: &str, otherwise: u64) -> u64 {
    #[allow(clippy::disallowed_methods, reason = "a test's own setting")]
    let value = std::env::var(name);
    value.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Runs so many seeds; the first that fails is printed with what went wrong.
#[track_caller]
fn check(start: u64, seeds: u64) {
    for seed in start..start.saturating_add(seeds) {
        if let Err(why) = run(seed) {
            panic!("seed {seed}: {why}");
        }
    }
}

#[test]
fn hundreds_of_seeds() {
    check(asked("START", 1), asked("SEEDS", SEEDS));
}

#[test]
#[ignore = "as many seeds as asked for: SEEDS=100000 START=1"]
fn seeds() {
    check(asked("START", 1), asked("SEEDS", 10_000));
}

#[test]
fn a_seed_is_a_run() {
    for seed in 1..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
