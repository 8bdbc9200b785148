//! Limits over several gateways: are they exact, and at which price? Starts a Redis and gateways, drives them by scenario, runs the
//! same arrivals through other ways of doing it, and judges all alike. Not a test of the gateway's faults. Invariant: every way gets
//! the same arrivals from the same seed, and one checker judges them.

mod arrivals;
mod bucket;
mod checker;
mod findings;
mod fleet;
mod judge;
mod price;
mod resets;
mod rivals;
mod scenarios;
mod tables;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use dbpower_gateway::net::clock::now_ns;

use crate::generator;
use crate::process::{free_port, wait};
use crate::session::start_origin;
use crate::target::{Cores, Tools};
pub(crate) use arrivals::Arrival;
use arrivals::nanos;
use findings::{Findings, ScenarioFindings};
use fleet::{Counts, Fleet, Plan};
use judge::{Figures, judge, quantile};
use rivals::Way;
use scenarios::{SCENARIOS, Scenario};

/// Between starting the threads and the first arrival.
const START_NS: u64 = 100_000_000;
const OURS: &str = "this gateway";
const RIVALS: [(&str, Way); 4] = [
    ("a call per request", Way::PerRequest),
    ("sync every 100 ms", Way::Sync(100)),
    ("sync every 1 s", Way::Sync(1_000)),
    ("split C/N", Way::Split),
];

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Shorter phases, without the long scenarios: a minute and a half.
    #[arg(long)]
    quick: bool,
    /// Only scenarios whose name contains this, or `reset`, or `price`; may be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// Gateways on one Redis.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=32))]
    nodes: u32,
    /// Of all arrivals.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Worker threads of each gateway.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Without the other ways.
    #[arg(long)]
    alone: bool,
    /// The gateway's binary; unset: the release binary of this repository, built if need be.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Folder of the reports.
    #[arg(long, default_value = "target/loadtest")]
    out: PathBuf,
}

impl Options {
    fn chosen(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    fn nodes(&self) -> usize {
        usize::try_from(self.nodes).unwrap_or(1)
    }

    fn scale(&self) -> f64 {
        if self.quick { 0.4 } else { 1.0 }
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admitted,
    Refused,
    /// Neither 200 nor 429, or no answer.
    Failed,
}

/// One request as its client saw it. Times in ns since the start; it was decided between the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub arrival: Arrival,
    pub sent: u64,
    pub answered: u64,
    pub verdict: Verdict,
}

/// All of it, then the reports.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let tools = Tools::find(
        options.gateway.as_deref(),
        options.out.join("work").join("accuracy"),
    )?;
    crate::process::raise_descriptors(4_096)?;
    let cores = Cores::of_this_machine();
    let origin_port = free_port()?;
    let _origin = start_origin(&tools, Some(cores.origin), origin_port, false)?;
    let plan = Plan {
        tools: &tools,
        origin_port,
        nodes: options.nodes(),
        workers: options.workers,
        limit: SCENARIOS[0].limit,
        per_ip: false,
        shared: true,
        cores: (None, None),
    };
    let mut findings = Findings::new(options.nodes, options.workers, options.seed, &cores);
    for scenario in &SCENARIOS {
        let left_out = options.quick && scenario.long && options.only.is_empty();
        if options.chosen(scenario.name) && !left_out {
            let found = one(options, &plan, scenario)?;
            print!("{}", findings::table(&found));
            findings.scenarios.push(found);
        }
    }
    if options.chosen("reset") {
        let attack = SCENARIOS.iter().find(|scenario| scenario.name == "attack");
        let limit = attack.map_or(plan.limit, |attack| attack.limit);
        findings.resets = Some(resets::run(&Plan { limit, ..plan })?);
    }
    if options.chosen("price") {
        let (rounds, seconds) = if options.quick { (3, 0.7) } else { (7, 1.2) };
        findings.prices = price::run(&plan, rounds, seconds)?;
    }
    findings.judge_goals();
    print!("{}", findings.rest());
    findings.write(&options.out)
}

/// All ways in one scenario.
fn one(options: &Options, plan: &Plan<'_>, scenario: &Scenario) -> io::Result<ScenarioFindings> {
    eprintln!("{}: {}", scenario.name, scenario.title);
    let arrivals = arrivals::draw(scenario, plan.nodes, options.seed, options.scale());
    let mut found = ScenarioFindings::new(scenario, &arrivals);
    let (seen, figures) = ours(plan, scenario, &arrivals)?;
    found.add(figures, &seen);
    if options.alone {
        return Ok(found);
    }
    let (redis, port) = fleet::redis(plan.tools, None)?;
    // The one that asks Redis for every request alone; the others, which hardly do, together. All at once if it has to be quick.
    let (alone, together) = RIVALS.split_at(usize::from(!options.quick));
    for ways in [alone, together] {
        let start = now_ns() + START_NS;
        let all = std::thread::scope(|scope| {
            let run = |&(name, way): &(&'static str, Way)| {
                let arrivals = &arrivals;
                let run = move || {
                    rivals::run(
                        way,
                        arrivals,
                        plan.nodes,
                        scenario.limit,
                        (port, name),
                        start,
                    )
                };
                (name, scope.spawn(run))
            };
            let threads: Vec<_> = ways.iter().map(run).collect();
            let lost = |_| Err(io::Error::other("a way of the comparison panicked"));
            let joined = threads.into_iter();
            joined
                .map(|(name, thread)| Ok((name, thread.join().unwrap_or_else(lost)?)))
                .collect::<io::Result<Vec<_>>>()
        })?;
        for (name, done) in all {
            found.add(rival(name, &done, scenario), &done.seen);
        }
    }
    drop(redis);
    Ok(found)
}

/// The gateways in one scenario.
fn ours(
    plan: &Plan<'_>,
    scenario: &Scenario,
    arrivals: &[Arrival],
) -> io::Result<(Vec<Seen>, Figures)> {
    let fleet = Fleet::start(&Plan {
        limit: scenario.limit,
        ..*plan
    })?;
    let keys = arrivals.iter().map(|arrival| arrival.key + 1).max();
    let requests = generator::requests_of(keys.unwrap_or(1), 1)?;
    let first = fleet.counts()?;
    let warm = nanos(scenario.warm_s);
    let start = now_ns() + START_NS;
    let (seen, warmed) = std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            wait(Duration::from_nanos(
                (start + warm).saturating_sub(now_ns()),
            ));
            fleet.counts()
        });
        let seen = generator::replay(arrivals, &fleet.addresses, &requests, start);
        let lost = |_| {
            Err(io::Error::other(
                "the thread that reads the counts panicked",
            ))
        };
        (seen, look.join().unwrap_or_else(lost))
    });
    let (seen, last) = (seen?, fleet.counts()?);
    // Without a warm-up the first calls count.
    let warmed = if warm == 0 { first.clone() } else { warmed? };
    let mut figures = judge(OURS, &seen, scenario);
    let all = figures.requests as f64;
    let after = arrivals.iter().filter(|arrival| arrival.at >= warm).count() as f64;
    let (since_first, since_warm) = (last.since(&first), last.since(&warmed));
    let per = |count: f64, requests: f64| count / requests.max(1.0);
    figures.redis_calls_all = per(since_first.calls, all);
    figures.redis_calls_counted = per(since_first.redis_calls, all);
    figures.redis_calls = per(since_warm.calls, after);
    figures.waited = per(since_warm.waited(), after);
    figures.waited_for_calls = per(since_warm.waited_for_calls, after);
    figures.lost_calls = since_first.lost;
    waits(&mut figures, &since_warm);
    Ok((seen, figures))
}

fn waits(figures: &mut Figures, counts: &Counts) {
    figures.wait_p50_ms = counts.wait_ms(0.5);
    figures.wait_p99_ms = counts.wait_ms(0.99);
}

fn rival(name: &str, done: &rivals::Done, scenario: &Scenario) -> Figures {
    let mut figures = judge(name, &done.seen, scenario);
    let all = figures.requests.max(1) as f64;
    figures.redis_calls_all = done.calls as f64 / all;
    figures.redis_calls_counted = figures.redis_calls_all;
    figures.redis_calls = figures.redis_calls_all;
    figures.waited = done.waits.len() as f64 / all;
    let mut waits = done.waits.clone();
    waits.sort_unstable();
    figures.wait_p50_ms = quantile(&waits, 0.5) as f64 / 1e6;
    figures.wait_p99_ms = quantile(&waits, 0.99) as f64 / 1e6;
    figures
}
