//! Three other ways of holding a limit on several nodes, for comparison: one Redis call per request, counters that are synchronized
//! from time to time, and a fixed split. Small nodes, a thread each, on real time and with a real Redis. Not gateways: they speak no
//! HTTP, which is to their advantage. Invariant: they get the arrivals that the gateways got, and are judged by the same checker.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use dbpower_gateway::net::clock::now_ns;

use super::bucket::{Bucket, Limit};
use super::{Arrival, Seen, Verdict};
use crate::process::wait;

/// One call per request decides: the bucket is in Redis, as gateways with a shared limit commonly do it.
const PER_REQUEST: &str = include_str!("per_request.lua");
/// What a node let pass since the last time goes in, the level of all comes out.
const SYNC: &str = include_str!("sync.lua");
const MINUTE_MS: u32 = 60_000;

/// A way of doing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    PerRequest,
    /// Local buckets, brought together every so many ms.
    Sync(u64),
    /// Each node has an even part.
    Split,
}

/// What a way did with the arrivals.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub seen: Vec<Seen>,
    /// Redis commands.
    pub calls: u64,
    /// How long requests waited for Redis, in ns; those that did not wait are not in it.
    pub waits: Vec<u64>,
}

/// All nodes of one way, from `start` (ns on the clock) on. `prefix` keeps its keys apart.
pub(super) fn run(
    way: Way,
    arrivals: &[Arrival],
    nodes: usize,
    limit: Limit,
    (redis, prefix): (u16, &str),
    start: u64,
) -> io::Result<Done> {
    let parts = std::thread::scope(|scope| {
        let node = |node: usize| {
            let own = arrivals.iter().filter(move |arrival| arrival.node == node);
            let own: Vec<Arrival> = own.copied().collect();
            scope.spawn(move || Node::new(way, limit, nodes, (redis, prefix), start)?.run(&own))
        };
        let threads: Vec<_> = (0..nodes).map(node).collect();
        let joined = threads.into_iter().map(|thread| {
            let lost = |_| Err(io::Error::other("a node of the comparison panicked"));
            thread.join().unwrap_or_else(lost)
        });
        joined.collect::<io::Result<Vec<Done>>>()
    })?;
    Ok(parts.into_iter().fold(Done::default(), |mut sum, part| {
        sum.seen.extend(part.seen);
        sum.calls += part.calls;
        sum.waits.extend(part.waits);
        sum
    }))
}

/// What a node that synchronizes knows of a key.
struct Known {
    /// What all had at the last exchange, less what passed here since.
    bucket: Bucket,
    passed: u32,
    refused: bool,
    /// Asked for since the last exchange.
    busy: bool,
}

struct Node<'a> {
    way: Way,
    limit: Limit,
    nodes: u32,
    redis: Option<(redis::Connection, String)>,
    prefix: &'a str,
    start: u64,
    shares: HashMap<u32, Bucket>,
    known: HashMap<u32, Known>,
    synced: u64,
    done: Done,
}

impl<'a> Node<'a> {
    fn new(
        way: Way,
        limit: Limit,
        nodes: usize,
        (port, prefix): (u16, &'a str),
        start: u64,
    ) -> io::Result<Self> {
        let redis = match way {
            Way::PerRequest => Some(connect(port, PER_REQUEST)?),
            Way::Sync(_) => Some(connect(port, SYNC)?),
            Way::Split => None,
        };
        Ok(Self {
            way,
            limit,
            nodes: u32::try_from(nodes).unwrap_or(1),
            redis,
            prefix,
            start,
            shares: HashMap::new(),
            known: HashMap::new(),
            synced: 0,
            done: Done::default(),
        })
    }

    fn run(mut self, arrivals: &[Arrival]) -> io::Result<Done> {
        for &arrival in arrivals {
            self.rest_until(arrival.at)?;
            let sent = self.now();
            let admitted = match self.way {
                Way::PerRequest => self.ask(arrival.key)?,
                Way::Sync(_) => self.count(arrival.key, sent),
                Way::Split => self.split(arrival.key, sent),
            };
            let answered = self.now();
            if self.way == Way::PerRequest {
                self.done.waits.push(answered - sent);
            }
            let verdict = if admitted {
                Verdict::Admitted
            } else {
                Verdict::Refused
            };
            self.done.seen.push(Seen {
                arrival,
                sent,
                answered,
                verdict,
            });
        }
        Ok(self.done)
    }

    fn now(&self) -> u64 {
        now_ns().saturating_sub(self.start)
    }

    /// Waits for an arrival's moment; meanwhile exchanges are due.
    fn rest_until(&mut self, at: u64) -> io::Result<()> {
        loop {
            let now = self.now();
            let mut until = at;
            if let Way::Sync(every_ms) = self.way {
                let next = self.synced + every_ms * 1_000_000;
                if next <= now {
                    self.synced = now;
                    self.sync()?;
                    continue;
                }
                until = until.min(next);
            }
            if now_ns() < self.start || until > now {
                let from_start = self.start.saturating_sub(now_ns());
                wait(Duration::from_nanos(from_start + until.saturating_sub(now)));
            } else {
                return Ok(());
            }
        }
    }

    fn ask(&mut self, key: u32) -> io::Result<bool> {
        let Some((connection, sha)) = &mut self.redis else {
            return Ok(false);
        };
        self.done.calls += 1;
        let mut command = redis::cmd("EVALSHA");
        command
            .arg(&*sha)
            .arg(1)
            .arg(format!("{}:{key}", self.prefix));
        command.arg(self.limit.per_minute).arg(MINUTE_MS);
        command.arg(self.limit.capacity()).arg(self.limit.block_s);
        let passed: u8 = command.query(connection).map_err(io::Error::other)?;
        Ok(passed == 1)
    }

    fn split(&mut self, key: u32, now: u64) -> bool {
        let fresh = || Bucket::share(self.limit, self.nodes);
        self.shares.entry(key).or_insert_with(fresh).take(now)
    }

    /// Decided by what is known here; a key that is new here is believed to be full.
    fn count(&mut self, key: u32, now: u64) -> bool {
        let limit = self.limit;
        let known = self.known.entry(key).or_insert_with(|| Known {
            bucket: Bucket::new(limit),
            passed: 0,
            refused: false,
            busy: false,
        });
        let passes = known.bucket.take(now);
        known.busy = true;
        known.passed += u32::from(passes);
        known.refused |= !passes;
        passes
    }

    /// Brings what has passed here, and learns what all have left: one pipeline over the keys that were busy.
    fn sync(&mut self) -> io::Result<()> {
        let Some((connection, sha)) = &mut self.redis else {
            return Ok(());
        };
        let mut pipeline = redis::pipe();
        let mut keys: Vec<u32> = Vec::new();
        for (&key, known) in self.known.iter().filter(|(_, known)| known.busy) {
            pipeline.cmd("EVALSHA").arg(&*sha).arg(1);
            pipeline
                .arg(format!("{}:{key}", self.prefix))
                .arg(self.limit.per_minute)
                .arg(MINUTE_MS)
                .arg(self.limit.capacity())
                .arg(self.limit.block_s)
                .arg(known.passed)
                .arg(u8::from(known.refused));
            keys.push(key);
        }
        if keys.is_empty() {
            return Ok(());
        }
        self.done.calls += u64::try_from(keys.len()).unwrap_or(0);
        let told: Vec<(i64, u64)> = pipeline.query(connection).map_err(io::Error::other)?;
        let now = now_ns().saturating_sub(self.start);
        for (key, (milli_tokens, blocked_ms)) in keys.into_iter().zip(told) {
            let known = Known {
                bucket: Bucket::told(self.limit, milli_tokens, now, blocked_ms),
                passed: 0,
                refused: false,
                busy: false,
            };
            self.known.insert(key, known);
        }
        Ok(())
    }
}

fn connect(port: u16, script: &str) -> io::Result<(redis::Connection, String)> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/0"));
    let client = client.map_err(io::Error::other)?;
    let mut connection = client.get_connection().map_err(io::Error::other)?;
    let mut load = redis::cmd("SCRIPT");
    let sha = load.arg("LOAD").arg(script).query(&mut connection);
    Ok((connection, sha.map_err(io::Error::other)?))
}
