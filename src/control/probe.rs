//! Asks every upstream for its health in the background. Not a breaker: requests are forwarded whatever a probe found.
//! Invariant: a probe ends within its limit, and a change of health is one line with its reason.

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::resolve::{self, Book};
use crate::config::{Config, Service};
use crate::metrics::State;

/// Time between two probes of a service.
const EVERY: Duration = Duration::from_secs(5);

/// How long a probe may take, connect included.
const LIMIT: Duration = Duration::from_secs(2);

/// Why a service is not healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    NoAddress,
    Connect(std::io::ErrorKind),
    TooSlow,
    Broken,
    Status(u16),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => write!(f, "its name has no address"),
            Self::Connect(kind) => write!(f, "cannot connect: {kind}"),
            Self::TooSlow => write!(f, "no answer within {} s", LIMIT.as_secs()),
            Self::Broken => write!(f, "the answer is not HTTP or broke off"),
            Self::Status(status) => write!(f, "it answered {status}"),
        }
    }
}

/// Probes every service for ever. Marks the state as probed when each was probed once.
pub(super) async fn run(
    config: Arc<Config>,
    state: Arc<State>,
    mut book: watch::Receiver<Book>,
    clock_ns: fn() -> u64,
) {
    resolve::first_known(&mut book).await;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = vec![Known::default(); config.services.len()];
    loop {
        ticks.tick().await;
        let mut probes = JoinSet::new();
        for (index, service) in config.services.iter().enumerate() {
            let addresses = book.borrow().get(index).cloned().flatten();
            let (service, begun) = (service.clone(), clock_ns());
            probes.spawn(async move {
                let verdict = probe(&service, &addresses.unwrap_or_default()).await;
                (index, verdict, clock_ns().saturating_sub(begun))
            });
        }
        while let Some(probed) = probes.join_next().await {
            let Ok((index, verdict, took_ns)) = probed else {
                continue;
            };
            record(&state, index, verdict, took_ns);
            if let (Some(known), Some(service)) = (known.get_mut(index), config.services.get(index))
            {
                known.say(&service.name, verdict);
            }
        }
        state.mark_probed();
    }
}

fn record(state: &State, index: usize, verdict: Result<(), Trouble>, took_ns: u64) {
    let Some(service) = state.service(index) else {
        return;
    };
    match verdict {
        Ok(()) => service.put_healthy(took_ns),
        Err(_) => service.put_unhealthy(),
    }
}

/// The last verdict about a service; `None` before the first.
#[derive(Debug, Clone, Copy, Default)]
struct Known(Option<Result<(), Trouble>>);

impl Known {
    /// Says a change, once. Another reason for being unhealthy is a change too.
    fn say(&mut self, service: &str, verdict: Result<(), Trouble>) {
        if self.0.replace(verdict) == Some(verdict) {
            return;
        }
        match verdict {
            Ok(()) => tracing::info!(service, "the service is healthy"),
            Err(reason) => tracing::warn!(service, %reason, "the service is unhealthy"),
        }
    }
}

async fn probe(service: &Service, addresses: &[SocketAddr]) -> Result<(), Trouble> {
    timeout(LIMIT, ask(service, addresses))
        .await
        .unwrap_or(Err(Trouble::TooSlow))
}

async fn ask(service: &Service, addresses: &[SocketAddr]) -> Result<(), Trouble> {
    let stream = connect(addresses).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Trouble::Broken)?;
    let request = http::Request::get(service.health_path.as_str())
        .header(HOST, &service.authority)
        .header(USER_AGENT, "dbpower-gateway")
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Trouble::Broken)?;
    // Only the head matters: when it is there, both ends are dropped and the body is never read.
    let mut answer = pin!(sender.send_request(request));
    let answered = tokio::select! {
        answered = &mut answer => answered,
        // A connection that ends has handed over what there was.
        _ = connection => answer.await,
    };
    let status = answered.map_err(|_| Trouble::Broken)?.status();
    if status.is_success() {
        Ok(())
    } else {
        Err(Trouble::Status(status.as_u16()))
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Trouble> {
    let mut trouble = Trouble::NoAddress;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => trouble = Trouble::Connect(error.kind()),
        }
    }
    Err(trouble)
}
