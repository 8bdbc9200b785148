//! Seeded simulation: the worker's connection code, whole, over simulated connections and a simulated clock. A seed decides
//! everything else. Not a test of the kernel or of the runtime (`tests/e2e_*` are). Invariant: a run is a function of its seed.
//!
//! A run is some clients, a worker and its services on one thread (`world`), with `wire` between them. What each side will do is
//! decided beforehand (`plan`), so that both are judged by the plan and not by each other. `client`, `service` and `run` check:
//! a client gets exactly the answers to its own requests, in order, or a visible break; a service sees no byte of a request that was
//! refused, each request whole or visibly broken, and twice only what may be sent twice; no connection is used again that is not
//! clean; connections and buffers stay within their bounds; in the end nothing is left. `limits` has every time limit, `rhythm` who is parked when, `found` what
//! runs have found.
//!
//! `tests/mutations/run` plants mistakes in the worker and lets runs find them. The first seed that did, of those from 1 on:
//!
//! | mistake | seed |
//! |---|---|
//! | `skip_the_token`: a request without one goes on | 28 |
//! | `accept_two_lengths` | 24 |
//! | `pool_with_bytes_unread`: what came behind an answer is forgotten | 3 |
//! | `reuse_without_a_look`: the same, while it waits in the socket | 12 |
//! | `pool_after_half_a_request` | 13 |
//! | `retry_a_post` | 224 |
//! | `resend_after_body_bytes` | 488 |
//! | `drop_the_tie`: a service works on for a client that left | 63 |
//! | `forget_the_head_deadline` | 37 |
//! | `forget_the_answer_deadline` | 2 |
//! | `end_a_torn_body_politely`: an end instead of a reset | 2 |
//! | `wait_behind_a_torn_body`: neither | 2 |
//! | `end_a_broken_answer_whole`: a last chunk behind a broken body | 11 |
//! | `close_where_a_reset_is_due`: the same for a 1.0 client | 304 |
//! | `count_sent_bytes_twice`: a body's rest is read as a request | 1156 |
//! | `go_on_after_a_torn_upload`: a dropped read's bytes are missing | 550 |
//! | `exceed_the_connections` | 196 |
//! | `lose_a_buffer` | 2 |
//! | `do_not_linger`: an answer is lost to a reset | 247 |
//! | `interims_for_everybody`: a 103 for a 1.0 client | 16 |
//!
//! Seeds change their meaning with every change to the plans; that each mistake is found does not.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]

mod bell;
mod client;
mod dice;
mod found;
mod limits;
mod message;
mod plan;
mod rhythm;
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
#[ignore = "as many seeds as asked for: SEEDS=20000 START=1"]
fn seeds() {
    check(asked("START", 1), asked("SEEDS", 10_000));
}

#[test]
fn a_seed_is_a_run() {
    for seed in 1..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
