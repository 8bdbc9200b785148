//! The load generator: a process of its own that sends at a fixed rate whatever the answers do (open loop), or as fast as answers come
//! (closed loop), and records how long each answer took. Not a client library. Invariant: a request that was due is in the histogram,
//! answered or not, from the moment it was due: a stall cannot hide by keeping requests from being sent.

mod answer;
mod child;
mod connection;
mod drive;
mod record;
mod schedule;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead as _, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU64;

use dbpower_gateway::{config, identity, net};
use serde::{Deserialize, Serialize};

pub(crate) use child::Generator;
pub(crate) use record::{Outcome, QUANTILES};

/// Secret of all tokens of a run; 32 bytes or more, as HS256 wants it.
pub(crate) const SECRET: &str = "load-test-secret-of-at-least-32-bytes";
/// Tokens made for one run; each is some 250 bytes.
const KEYS_MAX: u64 = 500_000;
/// The day after a run its tokens are worth nothing.
const TOKEN_SECONDS: u64 = 86_400;

/// What to send where, and how fast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Load {
    pub address: SocketAddr,
    /// Requests per second; `None`: the next one as soon as a connection is free.
    pub rate: Option<u32>,
    pub connections: usize,
    /// `false`: each request on a connection of its own.
    pub keep_alive: bool,
    /// Seconds before the measurement, on the same connections.
    pub warm_seconds: f64,
    pub seconds: f64,
    pub target: String,
    /// Bytes of each request's body; 0: GET, otherwise POST.
    pub upload_bytes: usize,
    /// Organizations that take turns, a token each.
    pub keys: u64,
    /// The first one's number, so that a second run can be cold again.
    pub first_key: u64,
}

/// A request in the pieces that it is sent from: everything but the token is the same for all.
#[derive(Debug)]
pub(crate) struct Requests {
    before: Vec<u8>,
    tokens: Vec<String>,
    after: Vec<u8>,
    body: Vec<u8>,
}

impl Requests {
    fn new(load: &Load) -> io::Result<Self> {
        let settings = settings()?;
        let expires = net::clock::unix_ms() / 1000 + TOKEN_SECONDS;
        let tokens = (load.first_key..load.first_key + load.keys.clamp(1, KEYS_MAX))
            .map(|key| signed(&settings, key, expires))
            .collect::<io::Result<_>>()?;
        let method = if load.upload_bytes == 0 {
            "GET"
        } else {
            "POST"
        };
        let target = &load.target;
        let before = format!(
            "{method} {target} HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer "
        );
        let mut after = "\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) load test\r\nAccept: application/json\r\n\
             Accept-Encoding: gzip, deflate\r\n"
            .to_owned();
        if load.upload_bytes > 0 {
            after.push_str("Content-Type: application/octet-stream\r\n");
            after.push_str(&format!("Content-Length: {}\r\n", load.upload_bytes));
        }
        if !load.keep_alive {
            after.push_str("Connection: close\r\n");
        }
        after.push_str("\r\n");
        Ok(Self {
            before: before.into_bytes(),
            tokens,
            after: after.into_bytes(),
            body: vec![b'u'; load.upload_bytes],
        })
    }

    /// The pieces of the request that is sent as the `turn`th.
    fn pieces(&self, turn: u64) -> [&[u8]; 4] {
        let turns = u64::try_from(self.tokens.len()).unwrap_or(1).max(1);
        let index = usize::try_from(turn % turns).unwrap_or(0);
        let token = self
            .tokens
            .get(index)
            .map_or(&b""[..], |token| token.as_bytes());
        [&self.before, token, &self.after, &self.body]
    }
}

/// A token of organization `key`, as the backend would make it; `expires` in seconds since 1970.
pub(crate) fn token(key: u64, expires: u64) -> io::Result<String> {
    signed(&settings()?, key, expires)
}

fn signed(settings: &identity::Settings, key: u64, expires: u64) -> io::Result<String> {
    let mut claims = serde_json::Map::new();
    claims.insert("organization_id".into(), key.into());
    claims.insert("user_id".into(), (key + 100).into());
    claims.insert("role".into(), "user".into());
    claims.insert("exp".into(), expires.into());
    identity::mint(settings, claims).map_err(io::Error::other)
}

fn settings() -> io::Result<identity::Settings> {
    let mut sources = config::Sources::default();
    for (name, value) in [("JWT_SECRET_KEY", SECRET), ("REDIS_ENABLED", "false")] {
        sources.environment.push((name.into(), value.into()));
    }
    let problem = || io::Error::other("the settings of the tokens are refused");
    let loaded = config::Config::from_sources(&sources).map_err(|_| problem())?;
    config::identity_settings(&loaded.config.auth).ok_or_else(problem)
}

/// The generator's process: a [`Load`] comes in as a line of JSON; `ready` goes out when the connections are warm; a line starts the
/// measurement; an [`Outcome`] goes out; the end of the input ends it, so that memory can be looked at while connections are open.
pub(crate) fn run() -> io::Result<()> {
    let mut lines = io::stdin().lock().lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    // The kernel may wake a sleeper 50 µs late unless it is asked not to.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let load: Load = serde_json::from_str(&first)?;
    let requests = Requests::new(&load)?;
    let mut drive = drive::Drive::new(&load, &requests)?;
    drive.phase(load.warm_seconds)?;
    tell("ready")?;
    if lines.next().transpose()?.is_none() {
        return Ok(());
    }
    let record = drive.phase(load.seconds)?;
    tell(&serde_json::to_string(&record.outcome())?)?;
    while lines.next().transpose()?.is_some() {}
    Ok(())
}

fn tell(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
