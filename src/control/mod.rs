//! The cold wing: one thread with a tokio runtime that answers the gateway's own endpoints, probes upstreams and looks up
//! names. Not on a proxied request's way. Invariant: workers reach it by their mailbox alone; it reaches them by `publish`
//! and the shared tables.

mod answer;
mod api;
mod caller;
pub mod diagnostics;
mod health;
mod inbox;
mod limits;
pub mod log_writer;
mod openapi;
mod ops;
mod pages;
mod probe;
mod redis;
mod reset;
mod reset_gap;
mod resolve;
#[cfg(test)]
mod tests;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{Address, Config};
use crate::mailbox::Inbox;
use crate::metrics::{Registry, State};
use crate::tls::Services;

pub use limits::{LimitInfo, LimitsView};
pub use ops::bind_ops;
pub use redis::Store;

/// Lookups of names that may run at once: tokio asks the system's resolver on threads of its own.
const LOOKUP_THREADS_MAX: usize = 8;

/// Takes the addresses of all services with their probes' verdicts, in the configuration's order, whenever one of them changed.
/// A service whose names were never found has none.
pub type Publish = Box<dyn FnMut(Vec<Vec<Address>>) + Send>;

/// What the control thread is given.
pub struct Wiring {
    /// The checked configuration.
    pub config: Arc<Config>,
    /// What `https` services are spoken to with, as the workers have it.
    pub services_tls: Option<Arc<Services>>,
    /// The workers' calls.
    pub inbox: Inbox,
    /// The limiter, to be read and reset.
    pub limits: Arc<dyn LimitsView>,
    /// The exchange with Redis; None: limits are this process's own.
    pub store: Option<Store>,
    /// The workers' counters.
    pub metrics: Arc<Registry>,
    /// The process's state; health and `probed` are written here.
    pub state: Arc<State>,
    /// Where new addresses go.
    pub publish: Publish,
    /// The operations port, bound by `bind_ops`.
    pub ops: Option<TcpListener>,
    /// Monotonic nanoseconds, the clock that the limiter runs on.
    pub clock_ns: fn() -> u64,
    /// Unix time of the process's start in milliseconds.
    pub start_unix_ms: u64,
    /// Diagnostic lines dropped so far.
    pub diagnostics_dropped: fn() -> u64,
    /// Turns true (or is dropped) when the thread is to end. Until then it answers, also while the gateway drains.
    pub shutdown: watch::Receiver<bool>,
}

/// Runs the control thread until it is told to end.
///
/// # Errors
/// When the runtime cannot be built (no descriptor left) or the operations listener cannot be taken over.
pub fn run(wiring: Wiring) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(LOOKUP_THREADS_MAX)
        .build()?;
    let done = runtime.block_on(serve(wiring));
    // A lookup that hangs must not hold up the process's end.
    runtime.shutdown_background();
    done
}

async fn serve(wiring: Wiring) -> io::Result<()> {
    let Wiring {
        config,
        services_tls,
        inbox,
        limits,
        store,
        metrics,
        state,
        publish,
        ops,
        clock_ns,
        start_unix_ms,
        diagnostics_dropped,
        mut shutdown,
    } = wiring;
    let store = store.map(|store| redis::start(store, Arc::clone(&state), clock_ns));
    let api = Arc::new(api::Api {
        config: Arc::clone(&config),
        state: Arc::clone(&state),
        limits,
        store,
        metrics,
        clock_ns,
        start_unix_ms,
        diagnostics_dropped,
        infos: tokio::sync::Semaphore::new(limits::INFOS_MAX),
        reset_gap: reset_gap::ResetGap::default(),
        openapi: std::sync::OnceLock::new(),
    });
    let routers = api::routers(&api);
    let names = resolve::start(&config.services, publish);
    if let Some(listener) = ops {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::spawn(ops::serve(listener, routers.ops));
    }
    tokio::spawn(inbox::serve(inbox, routers.public, names.again.clone()));
    let probed = (config, services_tls);
    let probes = probe::run(probed, state, names, clock_ns, probe::PACE);
    tokio::spawn(probes);
    // An error says that the other end is gone, which is the same wish.
    let _ = shutdown.wait_for(|end| *end).await;
    Ok(())
}
