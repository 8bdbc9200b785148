//! Builds the wings, wires their mailboxes, starts threads, supervises, drains. Not a wing itself: it decides nothing about
//! requests. Invariants: nothing listens before the configuration, the ports and the descriptors are checked; a worker that dies
//! ends the process with a clear message; draining takes no longer than `DRAIN_TIMEOUT`.

mod signals;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use self::signals::Signals;
use crate::access_log;
use crate::config::{self, Config, LogFormat, Rules, Snapshot, limit_settings};
use crate::control;
use crate::limit;
use crate::mailbox::{CALLS_MAX, LEASES_MAX, LeaseInbox, LeaseOutbox, LimiterHandle, Outbox};
use crate::metrics::{self, Registry, State};
use crate::net;
use crate::presence::{Bounds, Presence};
use crate::tls;
use crate::worker;

/// Descriptors that are not connections: logs, rings, listeners, probes, the operations port.
const DESCRIPTORS_RESERVED: usize = 64;

/// Fewer descriptors than this serve nobody.
const DESCRIPTORS_MIN: usize = 256;

/// Why the gateway did not start, or did not end well.
#[derive(Debug)]
pub enum StartError {
    /// A value is wrong that only building could find.
    Config(String),
    /// A port could not be listened on; the settings that name it.
    Listen(&'static str, SocketAddr, std::io::Error),
    /// Too few descriptors.
    Descriptors(usize),
    /// A thread or a runtime could not be made.
    Thread(std::io::Error),
    /// A worker or the control thread ended by itself.
    Died(&'static str),
    /// In-flight requests outlasted `DRAIN_TIMEOUT`, or a second signal came.
    CutShort(&'static str),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(what) => write!(f, "{what}"),
            Self::Listen(settings, address, error) => {
                write!(f, "cannot listen on {address} ({settings}): {error}")
            }
            Self::Descriptors(count) => write!(
                f,
                "only {count} file descriptors are allowed, at least {DESCRIPTORS_MIN} are needed \
                 (ulimit -n, LimitNOFILE=)"
            ),
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
            Self::Died(which) => write!(f, "{which} ended unexpectedly; the gateway stops"),
            Self::CutShort(why) => write!(f, "{why}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Runs the gateway until it is told to stop and has drained.
///
/// # Errors
/// It could not start, or did not end well; the text is one line for the operator.
pub fn run(config: Config) -> Result<(), StartError> {
    let config = Arc::new(config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    // Before anything else: a signal that comes during the start must not end it undrained.
    let signals = {
        let _within = runtime.enter();
        Signals::listen().map_err(StartError::Thread)?
    };
    let descriptors = net::descriptors_raised();
    if descriptors < DESCRIPTORS_MIN {
        return Err(StartError::Descriptors(descriptors));
    }
    let diagnostics =
        control::diagnostics::start(config.log, net::clock::unix_ms).map_err(StartError::Thread)?;
    net::bound_panic_messages();
    let started = start(&config, descriptors);
    let done = started.and_then(|running| supervise(running, &runtime, signals));
    diagnostics.finish();
    done
}

/// Everything that runs.
struct Running {
    config: Arc<Config>,
    state: Arc<State>,
    log_writer: control::log_writer::LogWriter,
    end_control: watch::Sender<bool>,
    /// The edge's certificates, when there are any.
    fresh: Option<(tls::Renewal, net::Edge)>,
    /// What `https` services are spoken to with, when there are any.
    services: Option<tls::ServicesRenewal>,
    /// Threads say here that they have ended.
    ended: mpsc::UnboundedReceiver<Thread>,
}

/// Which thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thread {
    Worker,
    Control,
}

/// Says that a thread ended, also when it panics.
struct Obituary(Thread, mpsc::UnboundedSender<Thread>);

impl Drop for Obituary {
    fn drop(&mut self) {
        // Nobody listens any more when the process ends first.
        let _ = self.1.send(self.0);
    }
}

/// What every worker gets a share of.
struct Shared {
    config: Arc<Config>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    limits: Arc<limit::Node>,
    presence: Arc<Presence>,
    metrics: Arc<Registry>,
    state: Arc<State>,
}

fn start(config: &Arc<Config>, descriptors: usize) -> Result<Running, StartError> {
    let rules = Arc::new(Rules::new(Arc::clone(config)).map_err(StartError::Config)?);
    let fresh = certificates(config)?;
    let edge = fresh.as_ref().map(|(_, edge)| Arc::clone(edge));
    let services = rules.services_tls.as_ref().map(|services| {
        let files = config.service_files.clone();
        tls::ServicesRenewal::new(files, |path| std::fs::read(path), Arc::clone(services))
    });
    let (address, listeners) = net::listeners(config.listen, config.workers)
        .map_err(|error| StartError::Listen("GATEWAY_HOST, GATEWAY_PORT", config.listen, error))?;
    let ops = control::bind_ops(config).map_err(|error| {
        let listen = config.ops.map_or(config.listen, |ops| ops.listen);
        StartError::Listen("OPS_HOST, OPS_PORT", listen, error)
    })?;
    let driver = net::detect();
    announce(config, &rules, address, driver);
    let shared = shared(config, rules, descriptors);
    shared.state.put_driver(told(driver));
    let format = match config.log.format {
        LogFormat::Text => access_log::Format::Text,
        LogFormat::Json => access_log::Format::Json,
    };
    let (logs, drain, stop) = access_log::channel(config.workers, format);
    let log_writer = control::log_writer::start_writer(drain, stop, std::io::stdout())
        .map_err(StartError::Thread)?;
    let (say_ended, ended) = mpsc::unbounded_channel();
    let (end_control, shutdown) = watch::channel(false);
    let (outbox, inbox) = mpsc::channel(CALLS_MAX);
    let (leases, lease_inbox) = mpsc::channel(LEASES_MAX);
    let wiring = wiring(&shared, (inbox, lease_inbox), ops, shutdown);
    let obituary = Obituary(Thread::Control, say_ended.clone());
    thread("control", obituary, None, move || control::run(wiring))?;
    start_workers(
        &shared,
        (listeners, logs),
        (&outbox, &leases),
        (driver, edge),
        &say_ended,
    )?;
    shared.state.mark_listening();
    tracing::info!(%address, "ready to accept connections");
    let (state, config) = (shared.state, shared.config);
    Ok(Running {
        config,
        state,
        log_writer,
        end_control,
        fresh,
        services,
        ended,
    })
}

/// The tables that cross threads, empty.
fn shared(config: &Arc<Config>, rules: Arc<Rules>, descriptors: usize) -> Shared {
    let names: Vec<String> = config.services.iter().map(|s| s.name.clone()).collect();
    let prefixes: Vec<String> = config
        .routes
        .iter()
        .map(|rule| rule.prefix.clone())
        .collect();
    let addresses = config
        .services
        .iter()
        .map(crate::config::Service::literal_addresses);
    Shared {
        config: Arc::clone(config),
        limits: if config.redis.enabled {
            limit::Node::leased(limit_settings(config))
        } else {
            limit::Node::new(limit_settings(config))
        },
        presence: Arc::new(Presence::new(presence_bounds(config, descriptors))),
        metrics: Arc::new(Registry::new(config.workers, &prefixes, &names)),
        state: Arc::new(State::new(config.services.len())),
        snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::new(
            rules,
            addresses.collect(),
        ))),
    }
}

/// What clients are spoken to with, when they speak TLS.
fn certificates(config: &Config) -> Result<Option<(tls::Renewal, net::Edge)>, StartError> {
    let Some(files) = config.tls.clone() else {
        return Ok(None);
    };
    match tls::Renewal::start(files, |path| std::fs::read(path)) {
        Ok((renewal, first)) => Ok(Some((renewal, Arc::new(ArcSwap::from_pointee(first))))),
        // They were fine a moment ago, when the configuration was checked.
        Err(troubles) => {
            let first = troubles.into_iter().next();
            let text = first.map(|trouble| format!("{}: {}", trouble.setting, trouble.what));
            Err(StartError::Config(text.unwrap_or_default()))
        }
    }
}

/// How many may be here at once. Nine tenths of the descriptors are for clients unless the operator says otherwise.
fn presence_bounds(config: &Config, descriptors: usize) -> Bounds {
    let config::Bounds {
        connections_max,
        connections_per_address_max,
        in_flight_per_organization_max,
        ..
    } = config.bounds;
    Bounds {
        connections_max: connections_max
            .unwrap_or(descriptors.saturating_sub(DESCRIPTORS_RESERVED) * 9 / 10),
        per_address_max: connections_per_address_max,
        per_organization_max: in_flight_per_organization_max,
    }
}

/// The driver as health and metrics name it.
fn told(driver: net::Driver) -> metrics::Driver {
    match driver {
        net::Driver::IoUring(_) => metrics::Driver::IoUring,
        net::Driver::Epoll => metrics::Driver::Epoll,
    }
}

/// What the operator should see once.
fn announce(config: &Config, rules: &Rules, address: SocketAddr, driver: net::Driver) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        %address,
        workers = config.workers,
        "DBPower API gateway starts"
    );
    match driver {
        net::Driver::IoUring(_) => tracing::info!("driver: {}", driver.describe()),
        net::Driver::Epoll => tracing::warn!("driver: {}", driver.describe()),
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let name = |service: usize| {
        config
            .services
            .get(service)
            .map_or_else(String::new, |service| service.name.clone())
    };
    for line in rules.routes.describe(name) {
        tracing::info!("route: {line}");
    }
}

fn wiring(
    shared: &Shared,
    (inbox, leases): (crate::mailbox::Inbox, LeaseInbox),
    ops: Option<std::net::TcpListener>,
    shutdown: watch::Receiver<bool>,
) -> control::Wiring {
    let snapshot = Arc::clone(&shared.snapshot);
    control::Wiring {
        config: Arc::clone(&shared.config),
        services_tls: snapshot.load().rules.services_tls.clone(),
        inbox,
        limits: Arc::new(LimitsOfNode(Arc::clone(&shared.limits))),
        store: store(shared, leases),
        metrics: Arc::clone(&shared.metrics),
        state: Arc::clone(&shared.state),
        publish: Box::new(move |addresses| {
            let rules = Arc::clone(&snapshot.load().rules);
            snapshot.store(Arc::new(Snapshot { rules, addresses }));
        }),
        ops,
        clock_ns: net::clock::now_ns,
        start_unix_ms: net::clock::unix_ms(),
        diagnostics_dropped: control::diagnostics::dropped,
        shutdown,
    }
}

/// What the exchange with Redis is given, if there is one.
fn store(shared: &Shared, inbox: LeaseInbox) -> Option<control::Store> {
    let config = &shared.config;
    config.redis.enabled.then(|| control::Store {
        node: Arc::clone(&shared.limits),
        inbox,
        url: config.redis.url.clone(),
        ca_file: config.redis.ca.clone(),
        cluster: config.redis.cluster,
        timeout: config.redis.timeout,
        policy: config.limits.on_outage,
        nodes_min: config.limits.nodes,
    })
}

/// The workers' way to it. The exchange answers within `REDIS_TIMEOUT` of a call's sending, which may wait for a call of the same key
/// that is under way; some ms more for the threads between.
fn limiter(config: &Config, leases: &LeaseOutbox) -> Option<LimiterHandle> {
    const THREADS_MS: u64 = 20;
    let call_ms = u64::try_from(config.redis.timeout.as_millis()).unwrap_or(u64::MAX);
    config.redis.enabled.then(|| LimiterHandle {
        outbox: leases.clone(),
        policy: config.limits.on_outage,
        wait_ms: call_ms.saturating_mul(2).saturating_add(THREADS_MS),
    })
}

fn start_workers(
    shared: &Shared,
    ends: (Vec<std::net::TcpListener>, Vec<access_log::CoreLog>),
    (outbox, leases): (&Outbox, &LeaseOutbox),
    (driver, edge): (net::Driver, Option<net::Edge>),
    say_ended: &mpsc::UnboundedSender<Thread>,
) -> Result<(), StartError> {
    let cpus = net::usable_cpus();
    let config = &shared.config;
    // With fewer workers than CPUs the scheduler knows better where there is room.
    let pinned = cpus.len() == shared.config.workers;
    for (index, (listener, log)) in ends.0.into_iter().zip(ends.1).enumerate() {
        let setup = worker::Setup {
            index,
            snapshot: Arc::clone(&shared.snapshot),
            limits: Arc::clone(&shared.limits),
            metrics: Arc::clone(&shared.metrics),
            state: Arc::clone(&shared.state),
            outbox: outbox.clone(),
            leases: limiter(config, leases),
            log: Some(log),
            presence: Arc::clone(&shared.presence),
        };
        let edge = edge.clone();
        let cpu = cpus.get(index).copied().filter(|_| pinned);
        let obituary = Obituary(Thread::Worker, say_ended.clone());
        let name = format!("worker-{index}");
        thread(&name, obituary, cpu, move || {
            worker::work(driver, listener, edge, setup)
        })?;
    }
    Ok(())
}

fn thread(
    name: &str,
    obituary: Obituary,
    cpu: Option<usize>,
    body: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> Result<(), StartError> {
    let label = name.to_owned();
    let started = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _obituary = obituary;
            if let Some(cpu) = cpu {
                net::pin_to_core(cpu);
            }
            if let Err(error) = body() {
                tracing::error!(%error, "{label} cannot run");
            }
        });
    started.map(drop).map_err(StartError::Thread)
}

/// Waits for a signal, drains, and ends the threads in order.
fn supervise(
    running: Running,
    runtime: &tokio::runtime::Runtime,
    signals: Signals,
) -> Result<(), StartError> {
    let Running {
        config,
        state,
        log_writer,
        end_control,
        fresh,
        services,
        mut ended,
    } = running;
    let Signals { mut end, hangup } = signals;
    let done = runtime.block_on(async {
        tokio::select! {
            () = tls::watch(fresh, services, hangup, net::clock::unix_ms) => {}
            () = end.received() => {}
            thread = ended.recv() => return Err(StartError::Died(label(thread))),
        }
        tracing::info!(limit_s = config.timeouts.drain.as_secs_f64(), "draining");
        state.mark_draining();
        tokio::select! {
            drained = workers_end(&mut ended, config.workers) => drained,
            () = tokio::time::sleep(config.timeouts.drain) => {
                Err(StartError::CutShort("requests were still in flight after DRAIN_TIMEOUT"))
            }
            () = end.received() => {
                Err(StartError::CutShort("ended at once by a second signal"))
            }
        }
    });
    // The control thread answers until the last worker has ended, so that readiness is told all along.
    let _ = end_control.send(true);
    tracing::info!("stopped");
    log_writer.finish();
    done
}

fn label(thread: Option<Thread>) -> &'static str {
    match thread {
        Some(Thread::Control) => "the control thread",
        Some(Thread::Worker) | None => "a worker thread",
    }
}

async fn workers_end(
    ended: &mut mpsc::UnboundedReceiver<Thread>,
    workers: usize,
) -> Result<(), StartError> {
    for _ in 0..workers {
        let thread = ended.recv().await;
        if thread != Some(Thread::Worker) {
            return Err(StartError::Died(label(thread)));
        }
    }
    Ok(())
}

/// The limiter as the control wing sees it.
struct LimitsOfNode(Arc<limit::Node>);

impl control::LimitsView for LimitsOfNode {
    fn organization(&self, id: &str, now_ns: u64) -> control::LimitInfo {
        self.info(&limit::Key::Org(id.into()), now_ns)
    }

    fn address(&self, address: std::net::IpAddr, now_ns: u64) -> control::LimitInfo {
        self.info(&limit::Key::Ip(address), now_ns)
    }

    fn reset_organization(&self, id: &str, now_ns: u64) {
        self.0.reset(&limit::Key::Org(id.into()), now_ns);
    }

    fn reset_address(&self, address: std::net::IpAddr, now_ns: u64) {
        self.0.reset(&limit::Key::Ip(address), now_ns);
    }

    fn reset_all(&self, now_ns: u64) {
        self.0.reset_all(now_ns);
    }

    fn charge_address(
        &self,
        address: std::net::IpAddr,
        now_ns: u64,
    ) -> Result<control::LimitInfo, u32> {
        let key = limit::Key::Ip(address);
        self.0.charge(&key, 1, now_ns).map(control::LimitInfo::from)
    }

    fn keys(&self) -> usize {
        self.0.keys()
    }
}

impl LimitsOfNode {
    fn info(&self, key: &limit::Key, now_ns: u64) -> control::LimitInfo {
        self.0.info(key, now_ns).into()
    }
}
