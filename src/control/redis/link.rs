//! A connection to Redis or to a Redis Cluster, and what is said on it. Not when (`task`). Invariants: nothing that is logged holds
//! the URL's user or password; a call is sent once, for its script is repeated safely only under a new number.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, RedisResult, Value};

use crate::config::Secret;
use crate::limit::{self, Call, CallId, Reply};

/// A request waits no longer for the store.
pub(super) const CALL_MAX: Duration = Duration::from_millis(50);
/// Connecting, TLS and authentication included.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Buckets that one write resets: others' calls wait behind it for a few ms.
const RESETS_MAX: usize = 100;

const HEARTBEAT: &str = include_str!("heartbeat.lua");
const LIMITS: &str = include_str!("limits.lua");
const NODES_KEY: &str = "rl:nodes";
const LIMITS_KEY: &str = "rl:cfg";
/// Resets, reports and new limits are told here.
pub(super) const CHANNEL: &str = "rl:ctl";

/// Why the store cannot be used, in words without secrets.
pub(super) type Reason = String;

/// Where the store is.
#[derive(Clone)]
pub(super) struct Address {
    client: Client,
    cluster: Option<Arc<redis::cluster::ClusterClient>>,
}

/// An open connection; clones share it.
#[derive(Clone)]
pub(super) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What became of a call.
pub(super) enum Answer {
    Reply(CallId, Reply),
    Failed(Reason),
}

impl Address {
    /// Reads the URL. The error names no part of it.
    pub(super) fn new(url: &Secret, cluster: bool) -> Result<Self, Reason> {
        // TLS needs one provider for the process; another part may have set the same one before.
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let _ = provider.install_default();
        let info = url.reveal().into_connection_info().map_err(reason)?;
        let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
        let info = info.set_tcp_settings(tcp);
        let cluster = if cluster {
            let builder = redis::cluster::ClusterClient::builder([info.clone()])
                .connection_timeout(CONNECT_MAX)
                .response_timeout(CONNECT_MAX)
                .retries(1);
            Some(Arc::new(builder.build().map_err(reason)?))
        } else {
            None
        };
        let client = Client::open(info).map_err(reason)?;
        Ok(Self { client, cluster })
    }

    /// Connects and writes once, so that a link that is given back can do its work.
    pub(super) async fn reach(&self, site: &str) -> Result<(Link, u32), Reason> {
        let connect = async {
            let link = match &self.cluster {
                Some(cluster) => Link::Cluster(cluster.get_async_connection().await?),
                None => {
                    let config = AsyncConnectionConfig::new()
                        .set_connection_timeout(Some(CONNECT_MAX))
                        .set_response_timeout(Some(CONNECT_MAX));
                    let client = &self.client;
                    Link::Single(
                        client
                            .get_multiplexed_async_connection_with_config(&config)
                            .await?,
                    )
                }
            };
            RedisResult::Ok(link)
        };
        let link = within(CONNECT_MAX, connect).await?;
        let nodes = link.clone().heartbeat(site).await?;
        Ok((link, nodes))
    }

    /// The second connection: what is told to all nodes.
    pub(super) async fn listen(&self) -> Result<redis::aio::PubSub, Reason> {
        let listen = async {
            let mut channel = self.client.get_async_pubsub().await?;
            channel.subscribe(CHANNEL).await?;
            RedisResult::Ok(channel)
        };
        within(CONNECT_MAX, listen).await
    }
}

impl Link {
    /// Sends calls and gives what became of each.
    pub(super) async fn run(self, calls: Vec<Call>, sha: &str) -> Vec<Answer> {
        let ids: Vec<CallId> = calls.iter().map(|call| call.id).collect();
        let sent = match self {
            Self::Single(connection) => within(CALL_MAX, pipeline(connection, &calls, sha)).await,
            Self::Cluster(connection) => within(CALL_MAX, singly(connection, calls, sha)).await,
        };
        match sent {
            Ok(values) => ids
                .into_iter()
                .zip(values)
                .map(|(id, value)| match value.map_err(reason).and_then(read) {
                    Ok(reply) => Answer::Reply(id, reply),
                    Err(why) => Answer::Failed(why),
                })
                .collect(),
            Err(why) => vec![Answer::Failed(why)],
        }
    }

    /// Says that this site lives; gives the number of those that do.
    pub(super) async fn heartbeat(self, site: &str) -> Result<u32, Reason> {
        let mut command = redis::cmd("EVAL");
        command.arg(HEARTBEAT).arg(1).arg(NODES_KEY).arg(site);
        self.value(&command).await
    }

    /// The fleet's limits: version, L, B, D. `own`: this node brings `limits` from its configuration.
    pub(super) async fn limits(
        self,
        limits: (u64, u32, u32, u64),
        own: bool,
    ) -> Result<(u64, u32, u32, u64), Reason> {
        let (version, rpm, burst, block_ms) = limits;
        let mut command = redis::cmd("EVAL");
        command.arg(LIMITS).arg(1).arg(LIMITS_KEY);
        command
            .arg(rpm)
            .arg(burst)
            .arg(block_ms)
            .arg(version)
            .arg(u8::from(own));
        self.value(&command).await
    }

    /// Tells all nodes.
    pub(super) async fn publish(self, text: &str) -> Result<(), Reason> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(CHANNEL).arg(text);
        let _: i64 = self.value(&command).await?;
        Ok(())
    }

    /// Buckets in the store, some at a time: the next cursor (0: done) and their names.
    pub(super) async fn scan(self, cursor: u64) -> Result<(u64, Vec<String>), Reason> {
        let mut command = redis::cmd("SCAN");
        command
            .arg(cursor)
            .arg("MATCH")
            .arg("rl:{*")
            .arg("COUNT")
            .arg(500)
            // A key of another kind under our names would fail its whole batch, again and again.
            .arg("TYPE")
            .arg("hash");
        self.value(&command).await
    }

    /// Fills these buckets and lifts their blocks, for a site that holds nothing.
    pub(super) async fn reset(
        self,
        keys: &[String],
        (site, seq): (&str, u64),
        sha: &str,
        (version, rpm, burst, block_ms): (u64, u32, u32, u64),
    ) -> Result<(), Reason> {
        // A cluster's keys are reset by those who know them.
        let Self::Single(mut connection) = self else {
            return Ok(());
        };
        let command = |name: &str, script: &str, key: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(1).arg(key).arg(site).arg(seq);
            // known, held, ret, owed, waiting, cost, want, tau, told, age, left
            command.arg(&[0, 0, 0, 0, 0, 1, 0, 100, 0, 0, 0]);
            command.arg(version).arg(rpm).arg(burst).arg(60_000);
            command.arg(block_ms).arg(1).arg("");
            command
        };
        for some in keys.chunks(RESETS_MAX) {
            let mut pipe = redis::pipe();
            for (at, key) in some.iter().enumerate() {
                // The first one teaches a server the script that it may have lost.
                pipe.add_command(match at {
                    0 => command("EVAL", limit::SCRIPT, key),
                    _ => command("EVALSHA", sha, key),
                });
            }
            let _: Vec<Value> = within(CALL_MAX, pipe.query_async(&mut connection)).await?;
        }
        Ok(())
    }

    async fn value<T: redis::FromRedisValue>(mut self, command: &Cmd) -> Result<T, Reason> {
        let run = async {
            match &mut self {
                Self::Single(connection) => command.query_async(connection).await,
                Self::Cluster(connection) => command.query_async(connection).await,
            }
        };
        within(CALL_MAX, run).await
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = RedisResult<T>>,
) -> Result<T, Reason> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(reason),
        Err(_) => Err(format!("no answer within {} ms", limit.as_millis())),
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

/// All calls in one write. A server that has lost its scripts gets those calls again with the script's text.
async fn pipeline(
    mut connection: MultiplexedConnection,
    calls: &[Call],
    sha: &str,
) -> RedisResult<Vec<RedisResult<Value>>> {
    let mut pipe = redis::pipe();
    pipe.ignore_errors();
    for call in calls {
        pipe.add_command(eval(call, "EVALSHA", sha));
    }
    let mut values: Vec<RedisResult<Value>> = pipe.query_async(&mut connection).await?;
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
        let second: Vec<RedisResult<Value>> = again.query_async(&mut connection).await?;
        for (at, value) in unknown.into_iter().zip(second) {
            values[at] = value;
        }
    }
    Ok(values)
}

/// A cluster's client refuses pipelines over several slots: the calls go out at once, each by itself.
async fn singly(
    connection: ClusterConnection,
    calls: Vec<Call>,
    sha: &str,
) -> RedisResult<Vec<RedisResult<Value>>> {
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

fn read(value: Value) -> Result<Reply, Reason> {
    let unreadable = || "the script's reply cannot be read".to_owned();
    let Value::Array(values) = value else {
        return Err(unreadable());
    };
    let mut numbers = Vec::with_capacity(values.len());
    let mut epoch = String::new();
    for value in values {
        if let Value::Int(number) = value {
            numbers.push(number);
        } else {
            epoch = redis::from_redis_value(value).map_err(|_| unreadable())?;
        }
    }
    Reply::read(&numbers, &epoch).ok_or_else(unreadable)
}

/// The error's words. The crate names hosts and server messages; an address is known to the operator, a password is in none of them.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn reason(error: redis::RedisError) -> Reason {
    match error.code() {
        Some(code) => format!("{code} {}", error.detail().unwrap_or_default())
            .trim()
            .to_owned(),
        None => error.to_string(),
    }
}
