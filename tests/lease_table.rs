//! The table of LIMITS.md section 7: what the leases cost and miss under each kind of traffic, on a simulated fleet with a real Redis
//! server and the real script. Not a measurement of time: the clock and the network are simulated. Invariant: nothing is admitted
//! above one bucket where the table says so, and no row takes more than 1.2 times its calls.
//!
//! The whole table is played by `cargo test --release --test lease_table -- --ignored --nocapture`; `LEASE_ROW=flash` plays the rows
//! with that in their names, `LEASE_SEED=…` another history.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may fail loudly, and a figure is a share of two counts"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the seed and the rows to be played come from the environment"
)]

mod redis_support;

#[path = "redis_support/play.rs"]
mod play;
#[path = "redis_support/rows.rs"]
mod rows;

use play::{Played, play};
use redis_support::Server;
use rows::{ROWS, Row};

const SEED: u64 = 7;

/// A row that is played in a moment.
fn short() -> Row {
    Row {
        seconds: 600,
        ..ROWS[3]
    }
}

#[test]
fn a_row_of_the_table_costs_what_it_says() {
    let row = short();
    let played = play(&row, &Server::start(), SEED, true);
    println!("{}", line(&row, &played));
    assert_eq!(played.requests, 1_000);
    assert_eq!(played.missed(&row.told), [""; 0], "{played:?}");
    // Below its limit nobody is refused.
    assert!(played.seen.under.abs() < f64::EPSILON, "{played:?}");
}

/// The judge must see a miss: without leases ahead every request is a call.
#[test]
fn without_leases_ahead_the_row_is_missed() {
    let row = short();
    let played = play(&row, &Server::start(), SEED, false);
    assert_eq!(played.missed(&row.told), ["calls"], "{played:?}");
}

#[test]
#[ignore = "takes minutes; the README has the command"]
fn every_row_of_the_table_costs_what_it_says() {
    let seed = std::env::var("LEASE_SEED").map_or(SEED, |seed| seed.parse().expect("a number"));
    let wanted = std::env::var("LEASE_ROW").unwrap_or_default();
    println!("Each cell: seen / told. Seed {seed}.\n");
    println!(
        "| traffic | requests | over % | under % | calls/request | waits % | gap % | missed |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut missed = Vec::new();
    for row in ROWS.iter().filter(|row| row.name.contains(&wanted)) {
        let played = play(row, &Server::start(), seed, true);
        println!("{}", line(row, &played));
        if !played.missed(&row.told).is_empty() {
            missed.push(row.name);
        }
    }
    assert!(missed.is_empty(), "missed: {missed:#?}");
}

fn line(row: &Row, played: &Played) -> String {
    let (seen, told) = (&played.seen, &row.told);
    format!(
        "| {} | {} | {:.1} / {} | {:.2} / {} | {:.4} / {} | {:.2} / {} | {:.1} / {} | {} |",
        row.name,
        played.requests,
        seen.over,
        told.over,
        seen.under,
        told.under,
        seen.calls,
        told.calls,
        seen.waits,
        told.waits,
        seen.gap,
        told.gap,
        played.missed(told).join(", ")
    )
}
