//! How long an administrator's reset takes to reach every node: keys are blocked everywhere, one gateway is asked to reset one, and all
//! are asked for it meanwhile. Not a test of the endpoint. Invariant: what is told is an upper bound, by the distance of the probes and
//! a request's own time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use dbpower_gateway::net::clock::{now_ns, unix_ms};
use serde::{Deserialize, Serialize};

use super::arrivals::nanos;
use super::fleet::{Fleet, Plan, ask};
use super::{Arrival, START_NS, Seen, Verdict};
use crate::generator;
use crate::process::wait;

const KEYS: u32 = 8;
/// Until then every key has been refused everywhere.
const BLOCKED_S: f64 = 1.5;
const APART_S: f64 = 0.3;
/// Each node is asked this often around a reset.
pub(super) const PROBE_S: f64 = 0.002;

/// ms from the sending of the reset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Resets {
    /// Until the gateway that was asked has answered.
    pub answered_ms: Vec<f64>,
    /// Until the first admission that some node answers.
    pub first_ms: Vec<f64>,
    /// Until every node has answered one.
    pub everywhere_ms: Vec<f64>,
    /// Keys that some node still refused at the end.
    pub missed: u64,
}

/// Blocks, resets, looks.
pub(super) fn run(plan: &Plan<'_>) -> io::Result<Resets> {
    let fleet = Fleet::start(plan)?;
    let arrivals = arrivals(plan.nodes, plan.limit.capacity());
    let requests = generator::requests_of(KEYS, 1)?;
    let token = generator::admin_token(unix_ms() / 1_000 + 3_600)?;
    let start = now_ns() + START_NS;
    let addresses = fleet.addresses.clone();
    let (seen, asked) = std::thread::scope(|scope| {
        let resets = scope.spawn(|| reset_all(&addresses, &token, start));
        let seen = generator::replay(&arrivals, &addresses, &requests, start);
        let lost = |_| Err(io::Error::other("the thread of the resets panicked"));
        (seen, resets.join().unwrap_or_else(lost))
    });
    Ok(judge(&seen?, &asked?, plan.nodes))
}

fn reset_at(key: u32) -> f64 {
    BLOCKED_S + 0.1 + APART_S * f64::from(key)
}

/// First more than each bucket holds, then probes of each node from shortly before a key's reset until its next one's.
fn arrivals(nodes: usize, capacity: u32) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for turn in 0..2 * capacity {
        for key in 0..KEYS {
            let at = nanos(f64::from(turn) / f64::from(2 * capacity));
            let node = usize::try_from(turn).unwrap_or(0) % nodes;
            arrivals.push(Arrival { at, node, key });
        }
    }
    for key in 0..KEYS {
        let mut at = reset_at(key) - 0.02;
        while at < reset_at(key) + APART_S * 0.5 {
            for node in 0..nodes {
                let at = nanos(at);
                arrivals.push(Arrival { at, node, key });
            }
            at += PROBE_S;
        }
    }
    arrivals.sort_by_key(|arrival| arrival.at);
    arrivals
}

/// Asks one gateway after the other, one key each: when it was sent and answered.
fn reset_all(addresses: &[SocketAddr], token: &str, start: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut asked = Vec::new();
    for (key, address) in (0..KEYS).zip(addresses.iter().cycle()) {
        let due = start + nanos(reset_at(key));
        wait(Duration::from_nanos(due.saturating_sub(now_ns())));
        let sent = now_ns() - start;
        let body = format!("{{\"organization_id\": {}}}", key + 1);
        let path = "/admin/rate-limit/reset";
        let answer = ask(*address, "POST", path, Some(token), &body)?;
        if !answer.starts_with("HTTP/1.1 200") {
            return Err(io::Error::other(format!(
                "the reset was refused:\n{answer}"
            )));
        }
        asked.push((sent, now_ns() - start));
    }
    Ok(asked)
}

/// From all that was seen, and when each key's reset was sent and answered.
pub(super) fn judge(seen: &[Seen], asked: &[(u64, u64)], nodes: usize) -> Resets {
    let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
    let mut resets = Resets::default();
    for (key, &(sent, answered)) in (0_u32..).zip(asked) {
        resets.answered_ms.push(ms(sent, answered));
        let after = |one: &&Seen| {
            one.arrival.key == key && one.sent >= sent && one.verdict == Verdict::Admitted
        };
        let first = |node: usize| {
            let own = seen.iter().filter(|one| one.arrival.node == node);
            own.filter(after).map(|one| one.answered).min()
        };
        let firsts: Option<Vec<u64>> = (0..nodes).map(first).collect();
        match firsts {
            Some(firsts) => {
                let (first, last) = (firsts.iter().min(), firsts.iter().max());
                resets.first_ms.extend(first.map(|&at| ms(sent, at)));
                resets.everywhere_ms.extend(last.map(|&at| ms(sent, at)));
            }
            None => resets.missed += 1,
        }
    }
    resets
}
