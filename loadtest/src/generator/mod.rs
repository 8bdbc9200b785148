//! The load generator: a process of its own that sends at a fixed rate whatever the answers do (open loop), or as fast as answers come
//! (closed loop), and records how long each answer took. Not a client library. Invariant: a request that was due is in the histogram,
//! answered or not, from the moment it was due: a stall cannot hide by keeping requests from being sent.

mod answer;
mod child;
mod connection;
mod drive;
mod ready;
mod record;
mod replay;
mod requests;
mod schedule;
#[cfg(test)]
mod tests;
mod transport;

use std::io::{self, BufRead as _, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

pub(crate) use child::Generator;
pub(crate) use record::{Failure, Outcome, QUANTILES};
pub(crate) use replay::{replay, requests_of};
use requests::Requests;
pub(crate) use requests::{admin_token, token};
pub(crate) use transport::{SERVER_NAME, Secure};

/// Secret of all tokens of a run; 32 bytes or more, as HS256 wants it.
pub(crate) const SECRET: &str = "load-test-secret-of-at-least-32-bytes";
/// Before a measurement all addresses are visited in steps of this.
const FILL_SECONDS: f64 = 0.25;
/// A server that takes fewer will not be filled.
const FILL_STEPS_MAX: u32 = 2_400;

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
    /// Tokens of the first organization that take turns, a user each; 0 or 1: one.
    pub users: u64,
    /// Addresses that requests name as their client's, at random; 0: none is named.
    pub addresses: u64,
    /// Whether each of these is visited once before the warm-up.
    pub fill: bool,
    /// TLS, and how.
    pub secure: Option<Secure>,
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
    drive.fill()?;
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
