//! A connection to Redis or to a Redis Cluster, and what is said on it. Not when (`task`), nor where it leads (`address`). Invariant: a
//! call is sent once, for its script is repeated safely only under a new number.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, FromRedisValue, RedisResult, Value};

use super::reason::Failure;
use crate::limit::{self, Call, CallId, Reply};

const HEARTBEAT: &str = include_str!("heartbeat.lua");
const FLEET: &str = include_str!("limits.lua");
/// The server's clock, at the shard of a key: a cluster's servers have a clock each.
const CLOCK: &str = "local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000)";
const NODES_KEY: &str = "rl:nodes";
pub(super) const FLEET_KEY: &str = "rl:cfg";
/// Resets, reports and new limits are told here.
pub(super) const CHANNEL: &str = "rl:ctl";

/// An open connection; clones share it.
#[derive(Clone)]
pub(super) struct Link {
    wire: Wire,
    /// A request waits no longer for the store.
    timeout: Duration,
}

#[derive(Clone)]
pub(super) enum Wire {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What all nodes of the fleet agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fleet {
    pub(super) version: u64,
    pub(super) rpm: u32,
    pub(super) burst: u32,
    pub(super) block_ms: u64,
    /// When all keys were reset for the last time, by the store's clock; 0: never.
    pub(super) all_ms: u64,
}

/// What a node brings to the fleet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Brought {
    /// As this node knows it.
    pub(super) fleet: Fleet,
    /// The limits are of its own configuration.
    pub(super) is_own: bool,
    /// All keys are to be reset, until this time of the store.
    pub(super) reset_until_ms: Option<u64>,
}

/// What became of the calls of a tick.
pub(super) struct Answers {
    pub(super) replies: Vec<(CallId, Reply)>,
    /// What the store said of the fleet, if it is a single server: read with the calls.
    pub(super) fleet: Option<Fleet>,
    /// Why some call, or all, failed.
    pub(super) failure: Option<Failure>,
}

impl Link {
    pub(super) fn new(wire: Wire, timeout: Duration) -> Self {
        Self { wire, timeout }
    }

    /// Sends calls and gives what became of each.
    pub(super) async fn run(self, calls: Vec<Call>, sha: &str) -> Answers {
        let ids: Vec<CallId> = calls.iter().map(|call| call.id).collect();
        let sent = match self.wire {
            Wire::Single(connection) => {
                within(self.timeout, pipeline(connection, &calls, sha)).await
            }
            Wire::Cluster(connection) => {
                let values = within(self.timeout, singly(connection, calls, sha)).await;
                values.map(|values| (None, values))
            }
        };
        let mut answers = Answers {
            replies: Vec::with_capacity(ids.len()),
            fleet: None,
            failure: None,
        };
        match sent {
            Ok((fleet, values)) => {
                answers.fleet = fleet;
                for (id, value) in ids.into_iter().zip(values) {
                    match value.map_err(Failure::from).and_then(read) {
                        Ok(reply) => answers.replies.push((id, reply)),
                        Err(failure) => answers.failure = Some(failure),
                    }
                }
            }
            Err(failure) => answers.failure = Some(failure),
        }
        answers
    }

    /// Says that this site lives; gives the number of those that do.
    pub(super) async fn heartbeat(self, site: &str) -> Result<u32, Failure> {
        let mut command = redis::cmd("EVAL");
        command.arg(HEARTBEAT).arg(1).arg(NODES_KEY).arg(site);
        self.value(&command).await
    }

    /// Reads what the fleet agrees on, and tells it what is newer here. The second value: the reset that was asked for was made.
    pub(super) async fn fleet(self, brought: Brought) -> Result<(Fleet, bool), Failure> {
        let known = brought.fleet;
        let mut command = redis::cmd("EVAL");
        command.arg(FLEET).arg(1).arg(FLEET_KEY);
        command.arg(known.rpm).arg(known.burst).arg(known.block_ms);
        command.arg(known.version).arg(u8::from(brought.is_own));
        command.arg(known.all_ms);
        match brought.reset_until_ms {
            Some(until_ms) => command.arg(until_ms),
            None => command.arg(""),
        };
        let (version, rpm, burst, block_ms, all_ms, made): (u64, u32, u32, u64, u64, u8) =
            self.value(&command).await?;
        let fleet = Fleet {
            version,
            rpm,
            burst,
            block_ms,
            all_ms,
        };
        Ok((fleet, made == 1))
    }

    /// The clock of the server that holds this key, in ms.
    pub(super) async fn clock(self, key: &str) -> Result<u64, Failure> {
        let mut command = redis::cmd("EVAL");
        command.arg(CLOCK).arg(1).arg(key);
        self.value(&command).await
    }

    /// Makes a call of a bucket of this site's own, as requests will: what the server or its rules refuse is found out before.
    pub(super) async fn prove(self, site: &str, fleet: Fleet) -> Result<(), Failure> {
        let mut command = redis::cmd("EVAL");
        command.arg(limit::SCRIPT).arg(1);
        command.arg(format!("rl:{{n:{site}}}"));
        // site, seq, known; held, ret, owed, waiting, cost, want, tau, told, age, left
        command.arg(site).arg(1).arg(0);
        command.arg(&[0, 0, 0, 0, 1, 0, 100, 0, 0, 0]);
        command.arg(fleet.version).arg(fleet.rpm).arg(fleet.burst);
        command.arg(60_000).arg(fleet.block_ms);
        // reset, all, brief; the server's own clock
        command.arg(0).arg(0).arg(100).arg("");
        let value: Value = self.value(&command).await?;
        read(value).map(drop)
    }

    /// Tells all nodes.
    pub(super) async fn publish(self, text: &str) -> Result<(), Failure> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(CHANNEL).arg(text);
        let _: i64 = self.value(&command).await?;
        Ok(())
    }

    async fn value<T: FromRedisValue>(self, command: &Cmd) -> Result<T, Failure> {
        let run = async {
            match self.wire {
                Wire::Single(mut connection) => command.query_async(&mut connection).await,
                Wire::Cluster(mut connection) => command.query_async(&mut connection).await,
            }
        };
        within(self.timeout, run).await
    }
}

pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = RedisResult<T>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(Failure::from),
        Err(_) => Err(Failure::late(limit)),
    }
}

fn eval(call: &Call, command: &str, script: &str) -> Cmd {
    let mut evaluated = redis::cmd(command);
    evaluated.arg(script).arg(1).arg(&*call.key);
    for argument in &call.arguments {
        evaluated.arg(argument);
    }
    // The clock of tests stays empty: the server's own is believed.
    evaluated.arg("");
    evaluated
}

fn is_unknown(value: &RedisResult<Value>) -> bool {
    value
        .as_ref()
        .is_err_and(|error| error.code() == Some("NOSCRIPT"))
}

type Values = Vec<RedisResult<Value>>;

/// All calls in one write, after a look at what the fleet agrees on: a node that missed a message learns it with its next reply. A server
/// that has lost its scripts gets those calls again with the script's text.
async fn pipeline(
    mut connection: MultiplexedConnection,
    calls: &[Call],
    sha: &str,
) -> RedisResult<(Option<Fleet>, Values)> {
    let mut pipe = redis::pipe();
    pipe.ignore_errors();
    pipe.cmd("HMGET").arg(FLEET_KEY);
    pipe.arg(&["ver", "L", "B", "D", "all"]);
    for call in calls {
        pipe.add_command(eval(call, "EVALSHA", sha));
    }
    let mut values: Values = pipe.query_async(&mut connection).await?;
    let fleet = match values.is_empty() {
        true => None,
        false => fleet_of(values.remove(0)),
    };
    let mut again = redis::pipe();
    again.ignore_errors();
    let mut unknown = Vec::new();
    for (at, (value, call)) in values.iter().zip(calls).enumerate() {
        if is_unknown(value) {
            // The first one teaches the server the script, the others follow in the same write.
            again.add_command(match unknown.is_empty() {
                true => eval(call, "EVAL", limit::SCRIPT),
                false => eval(call, "EVALSHA", sha),
            });
            unknown.push(at);
        }
    }
    if !unknown.is_empty() {
        let second: Values = again.query_async(&mut connection).await?;
        for (at, value) in unknown.into_iter().zip(second) {
            values[at] = value;
        }
    }
    Ok((fleet, values))
}

/// None: the server has lost it; the next heartbeat tells it again.
fn fleet_of(value: RedisResult<Value>) -> Option<Fleet> {
    let numbers: Vec<Option<u64>> = redis::from_redis_value(value.ok()?).ok()?;
    let number = |at: usize| numbers.get(at).copied().flatten();
    let small = |at: usize| number(at).and_then(|n| u32::try_from(n).ok());
    Some(Fleet {
        version: number(0)?,
        rpm: small(1)?,
        burst: small(2)?,
        block_ms: number(3)?,
        all_ms: number(4).unwrap_or(0),
    })
}

/// A cluster's client refuses pipelines over several slots: the calls go out at once, each by itself.
async fn singly(connection: ClusterConnection, calls: Vec<Call>, sha: &str) -> RedisResult<Values> {
    let sha: Arc<str> = sha.into();
    let tasks: Vec<_> = calls
        .into_iter()
        .map(|call| {
            let (mut connection, sha) = (connection.clone(), Arc::clone(&sha));
            tokio::spawn(async move {
                let known = eval(&call, "EVALSHA", &sha);
                let value = known.query_async(&mut connection).await;
                if is_unknown(&value) {
                    let again = eval(&call, "EVAL", limit::SCRIPT);
                    return again.query_async(&mut connection).await;
                }
                value
            })
        })
        .collect();
    let mut values = Vec::with_capacity(tasks.len());
    for task in tasks {
        let ended = |_| redis::RedisError::from((redis::ErrorKind::Client, "the call was ended"));
        values.push(task.await.map_err(ended)?);
    }
    Ok(values)
}

fn read(value: Value) -> Result<Reply, Failure> {
    let Value::Array(values) = value else {
        return Err(Failure::unreadable());
    };
    let mut numbers = Vec::with_capacity(values.len());
    let mut epoch = String::new();
    for value in values {
        if let Value::Int(number) = value {
            numbers.push(number);
        } else {
            epoch = redis::from_redis_value(value).map_err(|_| Failure::unreadable())?;
        }
    }
    Reply::read(&numbers, &epoch).ok_or_else(Failure::unreadable)
}
