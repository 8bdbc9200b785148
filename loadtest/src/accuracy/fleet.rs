//! A Redis and several gateways on it, and what they tell of themselves. Not the load. Invariant: counts are read from the gateways'
//! own `/metrics` and, for comparison, from Redis.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use dbpower_gateway::net::clock;

use super::bucket::Limit;
use crate::process::{Output, Process, free_port, wait};
use crate::scenario::{Behind, Setting};
use crate::session::start_redis;
use crate::target::{Setup, TARGETS, Tools, in_path};

const READY_MS_MAX: u64 = 10_000;
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What the gateways are started with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    pub tools: &'a Tools,
    pub origin_port: u16,
    pub nodes: usize,
    pub workers: usize,
    pub limit: Limit,
    /// Addresses are limited too: off where the judgement is about one key per request.
    pub per_ip: bool,
    pub shared: bool,
    /// Of the gateways, and of Redis.
    pub cores: (Option<usize>, Option<usize>),
}

/// Running processes, ended when dropped: the gateways before their Redis.
pub(super) struct Fleet {
    pub gateways: Vec<Process>,
    pub addresses: Vec<SocketAddr>,
    ops: Vec<u16>,
    redis: Option<(Process, u16)>,
}

/// What has been counted so far, over all gateways.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// Calls of the lease script, as the gateways count them.
    pub calls: f64,
    /// The same as Redis counts them.
    pub redis_calls: f64,
    /// Calls without an answer in time: each made its gateway take Redis for away.
    pub lost: f64,
    /// Requests that waited for a call. Others were answered by the control thread without one.
    pub waited_for_calls: f64,
    /// Requests that waited for Redis, by the upper bound of their time in ms; cumulative.
    pub waits: Vec<(f64, f64)>,
}

impl Fleet {
    pub(super) fn start(plan: &Plan<'_>) -> io::Result<Self> {
        let redis = if plan.shared {
            Some(redis(plan.tools, plan.cores.1)?)
        } else {
            None
        };
        let mut fleet = Self {
            gateways: Vec::new(),
            addresses: Vec::new(),
            ops: Vec::new(),
            redis,
        };
        for node in 0..plan.nodes {
            fleet.join(plan, node)?;
        }
        fleet.ready(plan.shared)?;
        Ok(fleet)
    }

    fn join(&mut self, plan: &Plan<'_>, node: usize) -> io::Result<()> {
        let (port, ops) = (free_port()?, free_port()?);
        let setup = Setup {
            tools: plan.tools,
            port,
            origins: vec![plan.origin_port],
            per_minute: plan.limit.per_minute,
            burst: plan.limit.burst,
            setting: Setting {
                logged: false,
                redis: plan.shared,
                workers: plan.workers,
                keys_max: None,
                behind: Behind::Sound,
                anywhere: true,
            },
            named: false,
            certificate: None,
            redis_port: self.redis.as_ref().map(|(_, port)| *port),
            work: plan.tools.work.join(format!("gateway-{node}")),
        };
        std::fs::create_dir_all(&setup.work)?;
        let gateway = TARGETS.iter().find(|target| target.name == "gateway");
        let gateway = gateway.ok_or_else(|| io::Error::other("there is no gateway"))?;
        let mut command = (gateway.command)(&plan.tools.gateway, &setup)?;
        command
            .env("OPS_PORT", ops.to_string())
            .env("RATE_LIMIT_NODES", plan.nodes.to_string())
            .env("RATE_LIMIT_PER_IP", plan.per_ip.to_string())
            .env("RATE_LIMIT_BLOCK_DURATION", plan.limit.block_s.to_string());
        let output = Output::Complaints(&setup.work);
        let process = Process::start(&command, plan.cores.0, port, output)?;
        self.gateways.push(process);
        self.addresses
            .push(SocketAddr::from(([127, 0, 0, 1], port)));
        self.ops.push(ops);
        Ok(())
    }

    /// Waits until every gateway has its Redis.
    fn ready(&self, shared: bool) -> io::Result<()> {
        let patience = clock::now_ms() + READY_MS_MAX;
        for (process, address) in self.gateways.iter().zip(&self.addresses) {
            loop {
                let health = ask(*address, "GET", "/health", None, "")?;
                let told: String = health.split_whitespace().collect();
                if !shared || told.contains("\"redis\":true") {
                    break;
                }
                if clock::now_ms() > patience {
                    let said = process.complaints();
                    return Err(io::Error::other(format!("no Redis:\n{health}\n{said}")));
                }
                wait(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    pub(super) fn counts(&self) -> io::Result<Counts> {
        let mut counts = Counts::default();
        for &port in &self.ops {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            counts.read(&ask(address, "GET", "/metrics", None, "")?);
        }
        if let Some((_, port)) = &self.redis {
            counts.redis_calls = script_calls(*port)?;
        }
        Ok(counts)
    }
}

impl Counts {
    /// Adds one gateway's text.
    pub(super) fn read(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let value: f64 = value.trim().parse().unwrap_or(0.0);
            match name {
                "dbpower_leases_total{event=\"calls\"}" => self.calls += value,
                "dbpower_leases_total{event=\"lost\"}" => self.lost += value,
                "dbpower_leases_total{event=\"waited\"}" => self.waited_for_calls += value,
                _ => {}
            }
            let bucket = name.strip_prefix("dbpower_limit_wait_seconds_bucket{le=\"");
            if let Some(bound) = bucket.and_then(|rest| rest.strip_suffix("\"}")) {
                let seconds: f64 = bound.parse().unwrap_or(f64::INFINITY);
                self.add_waits(seconds * 1_000.0, value);
            }
        }
    }

    fn add_waits(&mut self, ms: f64, count: f64) {
        match self.waits.iter_mut().find(|(bound, _)| *bound == ms) {
            Some((_, sum)) => *sum += count,
            None => self.waits.push((ms, count)),
        }
    }

    /// What has come since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let earlier = |ms: f64| {
            let found = before.waits.iter().find(|(bound, _)| *bound == ms);
            found.map_or(0.0, |(_, count)| *count)
        };
        let waits = self.waits.iter();
        Self {
            calls: self.calls - before.calls,
            redis_calls: self.redis_calls - before.redis_calls,
            lost: self.lost - before.lost,
            waited_for_calls: self.waited_for_calls - before.waited_for_calls,
            waits: waits
                .map(|&(ms, count)| (ms, count - earlier(ms)))
                .collect(),
        }
    }

    pub(super) fn waited(&self) -> f64 {
        self.waits.last().map_or(0.0, |(_, count)| *count)
    }

    /// The bound in ms below which this part of the waits stayed; 0 without any.
    pub(super) fn wait_ms(&self, part: f64) -> f64 {
        let enough = self.waited() * part;
        let found = self.waits.iter().find(|(_, count)| *count >= enough);
        found.filter(|_| enough > 0.0).map_or(0.0, |(ms, _)| *ms)
    }
}

/// A Redis of its own.
pub(super) fn redis(tools: &Tools, core: Option<usize>) -> io::Result<(Process, u16)> {
    let missing = || io::Error::other("redis-server: apt-get install redis-server");
    let program = in_path("redis-server").ok_or_else(missing)?;
    start_redis(&program, core, &tools.work.join("redis"))
}

/// Calls of scripts by their digest, as `INFO commandstats` has them. Heartbeats and the agreement on limits come as whole scripts.
fn script_calls(port: u16) -> io::Result<f64> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/0"));
    let mut connection = client
        .and_then(|client| client.get_connection())
        .map_err(io::Error::other)?;
    let text: String = redis::cmd("INFO")
        .arg("commandstats")
        .query(&mut connection)
        .map_err(io::Error::other)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let number = line.and_then(|rest| rest.split(',').next()?.parse().ok());
    Ok(number.unwrap_or(0.0))
}

/// One request on a connection of its own; the whole answer.
pub(super) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_nodelay(true)?;
    let token = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{token}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
