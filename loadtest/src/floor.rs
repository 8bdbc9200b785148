//! CPU per request of the gateway against the floor, in one run: both pinned to the same core, in turn, the load and the origin on
//! the other. wrk makes the load (closed loop); the kernel's own accounting of the process gives the CPU time.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{self, Process, free_port};

/// Secret of the gateway under test.
const SECRET: &str = "load-test-secret-of-at-least-32-bytes";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds of load per round.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Connections of the load.
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// The gateway binary; built when missing.
    #[arg(long, default_value = "target/release/dbpower-gateway")]
    gateway: PathBuf,
}

/// One measured round.
#[derive(Debug, Clone, Copy)]
struct Round {
    per_second: f64,
    micros: f64,
}

/// Runs the comparison and prints it as a Markdown table.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    process::build(&options.gateway)?;
    let own = std::env::current_exe()?;
    let (origin_port, relay_port, gateway_port) = (free_port()?, free_port()?, free_port()?);
    let mut origin = Command::new(&own);
    origin.args(["origin", "--port", &origin_port.to_string()]);
    let _origin = Process::start(&mut origin, Some(1), origin_port)?;
    let mut relay = Command::new(&own);
    relay.args([
        "relay",
        "--port",
        &relay_port.to_string(),
        "--to",
        &origin_port.to_string(),
    ]);
    let relay = Process::start(&mut relay, Some(0), relay_port)?;
    let gateway = start_gateway(&options.gateway, gateway_port, origin_port)?;
    let token = mint(&options.gateway)?;
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    let _ = (
        load(options, relay_port, &token, 1)?,
        load(options, gateway_port, &token, 1)?,
    );
    for round in 1..=options.rounds {
        floor.push(measure(options, &relay, relay_port, &token)?);
        ours.push(measure(options, &gateway, gateway_port, &token)?);
        eprintln!(
            "round {round}: relay {:?}, gateway {:?}",
            floor.last(),
            ours.last()
        );
    }
    report(floor, ours);
    Ok(())
}

fn start_gateway(binary: &Path, port: u16, origin: u16) -> io::Result<Process> {
    let origin = format!("http://127.0.0.1:{origin}");
    let mut command = Command::new(binary);
    command
        .env_clear()
        .env("GATEWAY_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("GATEWAY_WORKERS", "1")
        .env("OPS_PORT", "0")
        .env("BACKEND_URL", &origin)
        .env("AI_ANALYZER_URL", &origin)
        .env("JWT_SECRET_KEY", SECRET)
        .env("REDIS_ENABLED", "false")
        .env("RATE_LIMIT_RPM", "16000000")
        .env("RATE_LIMIT_BURST", "100000")
        .env("LOG_REQUESTS", "false");
    Process::start(&mut command, Some(0), port)
}

fn mint(binary: &Path) -> io::Result<String> {
    let output = Command::new(binary)
        .env_clear()
        .env("JWT_SECRET_KEY", SECRET)
        .args([
            "token", "mint", "--org", "1", "--user", "123", "--role", "user",
        ])
        .args(["--expires-in", "86400"])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Requests per second and their number, as wrk tells them.
fn load(options: &Options, port: u16, token: &str, seconds: u32) -> io::Result<(f64, u64)> {
    let output = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1"])
        .arg(format!("-c{}", options.connections))
        .arg(format!("-d{seconds}s"))
        .args(["-H", &format!("Authorization: Bearer {token}")])
        .args([
            "-H",
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) load test",
        ])
        .args([
            "-H",
            "Accept: application/json",
            "-H",
            "Accept-Encoding: gzip, deflate",
        ])
        .arg(format!("http://127.0.0.1:{port}/api/v1/items?page=1"))
        .output()
        .map_err(|error| io::Error::other(format!("wrk: {error}; apt-get install wrk")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(io::Error::other(format!("the load met errors:\n{text}")));
    }
    let number = |line: &str, at: usize| line.split_whitespace().nth(at).map(str::to_owned);
    let rate = text
        .lines()
        .find(|line| line.contains("Requests/sec"))
        .and_then(|l| number(l, 1));
    let count = text
        .lines()
        .find(|line| line.contains("requests in"))
        .and_then(|l| number(l, 0));
    match (
        rate.and_then(|r| r.parse().ok()),
        count.and_then(|c| c.parse().ok()),
    ) {
        (Some(rate), Some(count)) => Ok((rate, count)),
        _ => Err(io::Error::other(format!("wrk said:\n{text}"))),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "nanoseconds and counts of seconds fit a double"
)]
fn measure(options: &Options, process: &Process, port: u16, token: &str) -> io::Result<Round> {
    let before = process.cpu_ns()?;
    let (per_second, count) = load(options, port, token, options.seconds)?;
    let spent = process.cpu_ns()? - before;
    Ok(Round {
        per_second,
        micros: spent as f64 / 1000.0 / count as f64,
    })
}

fn median(rounds: &mut [Round], key: impl Fn(&Round) -> f64) -> (f64, f64, f64) {
    rounds.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let at = |index: usize| rounds.get(index).map_or(0.0, &key);
    (
        at(0),
        at(rounds.len() / 2),
        at(rounds.len().saturating_sub(1)),
    )
}

fn report(mut floor: Vec<Round>, mut ours: Vec<Round>) {
    let (_, floor_us, _) = median(&mut floor, |round| round.micros);
    println!("| | µs CPU/request: median (min–max) | × floor | requests/s |");
    println!("|---|---|---|---|");
    for (name, rounds) in [("raw TCP relay", &mut floor), ("gateway", &mut ours)] {
        let (low, mid, high) = median(rounds, |round| round.micros);
        let (_, rate, _) = median(rounds, |round| round.per_second);
        let ratio = mid / floor_us;
        println!("| {name} | {mid:.2} ({low:.2}–{high:.2}) | {ratio:.2} | {rate:.0} |");
    }
}
