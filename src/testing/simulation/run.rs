//! One run: a worker, its clients and services, and what must hold at every moment and at the end. Not their behaviour.
//! Invariant: a run is a function of its seed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;

use super::client;
use super::plan::{BODY_BYTES_MAX, Faults, Kind, Plan, Visit};
use super::service;
use super::stream::{Simulated, adopt};
use super::wire::{Peer, link};
use super::world::{World, sleep_ms, world};
use crate::config::{self, Config, Rules, Snapshot, Sources};
use crate::mailbox::{Call, Inbox};
use crate::metrics::{Gauges, Registry, State, TextFormat};
use crate::presence::{Bounds, Presence};
use crate::worker::Setup;
use crate::worker::simulated::Worker;
use crate::{identity, limit, net};

/// Buffers that one connection may hold at once: its inbox, the head that goes up, its own fields, its log line, and two each way.
const BUFFERS_PER_CONNECTION_MAX: usize = 9;

/// Time for everything to come to rest after the last client has left: the longest limit is that of an answer.
const REST_MS_MAX: u64 = 12_000;

/// What the peers of a run share.
pub(super) struct Run {
    pub(super) faults: Faults,
    pub(super) token: String,
    plans: RefCell<BTreeMap<u64, Rc<Plan>>>,
    seen: RefCell<BTreeMap<u64, u32>>,
    left: RefCell<BTreeMap<u64, u64>>,
    served: RefCell<BTreeSet<u64>>,
    clients: Cell<usize>,
    accepting: Cell<bool>,
}

impl Run {
    pub(super) fn plan(&self, id: u64) -> Option<Rc<Plan>> {
        self.plans.borrow().get(&id).cloned()
    }

    /// A service has this request's head; says how often that was so.
    pub(super) fn see(&self, id: u64) -> u32 {
        let mut seen = self.seen.borrow_mut();
        let times = seen.entry(id).or_default();
        *times += 1;
        *times
    }

    pub(super) fn leave(&self, id: u64) {
        self.left.borrow_mut().entry(id).or_insert(world().now_ns());
    }

    /// When its client left, if it has.
    pub(super) fn left(&self, id: u64) -> Option<u64> {
        self.left.borrow().get(&id).copied()
    }

    /// This connection has got an answer that is no refusal to serve it.
    pub(super) fn served(&self, link: u64) {
        self.served.borrow_mut().insert(link);
    }
}

/// The settings of every run; short limits, so that a run is short.
const SETTINGS: [(&str, &str); 18] = [
    ("JWT_SECRET_KEY", "a secret of at least thirty-two bytes"),
    ("REDIS_ENABLED", "false"),
    ("RATE_LIMIT_PER_ORG", "false"),
    ("BACKEND_URL", "http://10.0.0.1:8000"),
    ("AI_ANALYZER_URL", "http://10.0.0.2:8001/api/v1"),
    ("PUBLIC_PATHS", "/api/v1/open/*"),
    ("HEAD_TIMEOUT", "2"),
    ("IDLE_TIMEOUT", "4"),
    ("BODY_TIMEOUT", "2"),
    ("CONNECT_TIMEOUT", "0.5"),
    ("RESPONSE_TIMEOUT", "3"),
    ("ANALYZER_RESPONSE_TIMEOUT", "4"),
    ("READ_TIMEOUT", "2"),
    ("WRITE_TIMEOUT", "2"),
    ("RATE_LIMIT_BLOCK_DURATION", "1"),
    ("RATE_LIMIT_BURST", "0"),
    ("GATEWAY_WORKERS", "1"),
    ("RATE_LIMIT_KEYS_MAX", "1024"),
];

/// The rules of these settings. Kept: making them costs as much as a run.
pub(super) fn configured(more: &[(&'static str, String)]) -> Arc<Rules> {
    type Kept = BTreeMap<Vec<(&'static str, String)>, Arc<Rules>>;
    static KEPT: Mutex<Kept> = Mutex::new(BTreeMap::new());
    let mut kept = KEPT.lock().expect("no panic here");
    let make = || Arc::new(Rules::new(config(more)).expect("valid rules"));
    Arc::clone(kept.entry(more.to_vec()).or_insert_with(make))
}

fn config(more: &[(&'static str, String)]) -> Arc<Config> {
    let mut sources = Sources::default();
    let set = SETTINGS
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    let replaced = |name: &str| more.iter().any(|(other, _)| *other == name);
    for (name, value) in set
        .filter(|(name, _)| !replaced(name))
        .chain(more.iter().cloned())
    {
        sources.environment.push((name.into(), value.into()));
    }
    Arc::new(
        Config::from_sources(&sources)
            .expect("valid settings")
            .config,
    )
}

/// A token that is good for ever; made once, because signing is the only slow thing here.
pub(super) fn token(config: &Config) -> String {
    static TOKEN: OnceLock<String> = OnceLock::new();
    let mint = || {
        let settings = config::identity_settings(&config.auth).expect("a secret");
        let claims = [
            ("organization_id", 1),
            ("user_id", 7),
            ("exp", 4_000_000_000_u64),
        ];
        let claims = claims.map(|(name, value)| (name.to_owned(), value.into()));
        identity::mint(&settings, claims.into_iter().collect()).expect("a token")
    };
    TOKEN.get_or_init(mint).clone()
}

/// A worker without clients.
pub(super) struct Stage {
    pub(super) worker: Worker<Simulated>,
    pub(super) metrics: Arc<Registry>,
    pub(super) state: Arc<State>,
}

impl Stage {
    /// Builds a worker, and a control thread's stand-in that answers its letters.
    pub(super) fn new(rules: &Arc<Rules>, connections_max: usize) -> Self {
        let config = &rules.config;
        let names = |service: &config::Service| service.name.clone();
        let services: Vec<String> = config.services.iter().map(names).collect();
        let prefixes: Vec<String> = config
            .routes
            .iter()
            .map(|rule| rule.prefix.clone())
            .collect();
        let addresses = config
            .services
            .iter()
            .map(config::Service::literal_addresses);
        let snapshot = Snapshot::new(Arc::clone(rules), addresses.collect());
        let metrics = Arc::new(Registry::new(1, &prefixes, &services));
        let state = Arc::new(State::new(services.len()));
        let (outbox, letters) = tokio::sync::mpsc::channel(16);
        world().spawn_servant(answer_letters(letters));
        let worker = Worker::new(Setup {
            index: 0,
            snapshot: Arc::new(arc_swap::ArcSwap::from_pointee(snapshot)),
            limits: limit::Node::new(config::limit_settings(config)),
            metrics: Arc::clone(&metrics),
            state: Arc::clone(&state),
            outbox,
            leases: None,
            log: None,
            presence: Arc::new(Presence::new(Bounds {
                connections_max,
                per_address_max: 0,
                per_organization_max: 0,
            })),
        });
        let waking = worker.clone();
        world().spawn_servant(async move { waking.wake_parked().await });
        Self {
            worker,
            metrics,
            state,
        }
    }

    /// A number of `/metrics`; absent is 0.
    pub(super) fn number(&self, name: &str) -> u64 {
        let gauges = Gauges {
            keys: 0,
            version: "0",
            start_unix_ms: 0,
            diagnostics_dropped: 0,
            state: &self.state,
        };
        let text = self.metrics.encode(&gauges, TextFormat::OpenMetrics);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

async fn answer_letters(mut letters: Inbox) {
    while let Some(call) = letters.recv().await {
        if let Call::Own(call) = call {
            sleep_ms(world().dice(|dice| dice.below(40))).await;
            // A client that has left meanwhile is no fault.
            let _ = call
                .reply
                .send(http::Response::new(Bytes::from_static(b"{}")));
        }
    }
}

/// Runs a seed: its trace, or what went wrong.
pub(super) fn run(seed: u64) -> Result<u64, String> {
    let buffers = net::counted::alive();
    let world = World::begin(seed);
    let faults = world.dice(Faults::new);
    let rpm = if faults.limit > 0 {
        faults.limit
    } else {
        1_000_000
    };
    let rules = configured(&[
        ("RATE_LIMIT_RPM", rpm.to_string()),
        ("MAX_BODY_BYTES", BODY_BYTES_MAX.to_string()),
    ]);
    let run = Rc::new(Run {
        token: token(&rules.config),
        plans: RefCell::default(),
        seen: RefCell::default(),
        left: RefCell::default(),
        served: RefCell::default(),
        clients: Cell::new(0),
        accepting: Cell::new(true),
        faults,
    });
    let stage = Rc::new(Stage::new(&rules, run.faults.connections_max));
    let listening = Rc::clone(&run);
    world.listen(Rc::new(move |_: SocketAddr| service::accept(&listening)));
    let (keeping, accepting) = (stage.worker.clone(), Rc::clone(&run));
    world.spawn("the worker's clock", async move {
        keeping.keep_time(|| accepting.accepting.set(false)).await
    });
    let mut first_id = 1;
    for _ in 0..world.dice(|dice| dice.between(1, 10)) {
        let visit = world.dice(|dice| Visit::new(first_id, &run.faults, dice));
        first_id += visit.plans.len() as u64;
        run.clients.set(run.clients.get() + 1);
        let name = format!("a client: {visit:?}");
        world.spawn(name, arrive(Rc::clone(&run), visit, stage.worker.clone()));
    }
    world.spawn(
        "the director",
        direct(Rc::clone(&run), Rc::clone(&stage), buffers),
    );
    let ended = world.run().and_then(|()| at_rest(&run, &stage, buffers));
    let faults = run.faults.clone();
    world.end();
    ended
        .map(|()| world.trace())
        .map_err(|why| format!("{why}\nfaults: {faults:?}"))
}

/// A client comes, and goes.
async fn arrive(run: Rc<Run>, visit: Visit, worker: Worker<Simulated>) {
    sleep_ms(visit.begins_ms).await;
    if run.accepting.get() {
        for plan in &visit.plans {
            let plan = Rc::new(plan.clone());
            run.plans.borrow_mut().insert(plan.id, plan);
        }
        let (theirs, ours) = link(visit.rooms, visit.latency_us);
        let (reader, writer) = adopt(ours);
        let link = theirs.link;
        let peer = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        world().spawn("a connection", async move {
            worker.connection(reader, writer, peer).await
        });
        client::visit(Rc::clone(&run), visit, Peer(theirs)).await;
        run.served.borrow_mut().remove(&link);
    }
    run.clients.set(run.clients.get() - 1);
}

/// Watches over the run, lets it come to rest when all clients are gone, and drains it.
async fn direct(run: Rc<Run>, stage: Rc<Stage>, buffers: usize) {
    let began_ms = world().now_ms();
    let mut rested_ms = 0;
    while run.clients.get() > 0 || stage.worker.connections() > 0 {
        sleep_ms(10).await;
        let drains = run
            .faults
            .drains_at_ms
            .is_some_and(|ms| began_ms + ms <= world().now_ms());
        if drains {
            stage.state.mark_draining();
        }
        if let Err(why) = within_bounds(&run, &stage, buffers) {
            world().fail(why);
        }
        if run.clients.get() == 0 {
            rested_ms += 10;
            if rested_ms > REST_MS_MAX {
                return world().fail("a connection outlives its client and every limit");
            }
        }
    }
    stage.state.mark_draining();
}

/// What must hold at every moment.
fn within_bounds(run: &Run, stage: &Stage, buffers: usize) -> Result<(), String> {
    let unfired = world().sweep.unfired();
    let served = run.served.borrow();
    let served = unfired.iter().filter(|link| served.contains(link)).count();
    if served > run.faults.connections_max {
        return Err(format!("{served} connections are served at once"));
    }
    let (alive, shelved) = (net::counted::alive() - buffers, stage.worker.shelved());
    let used = alive - shelved;
    if used > stage.worker.connections() * BUFFERS_PER_CONNECTION_MAX {
        let connections = stage.worker.connections();
        return Err(format!("{used} buffers for {connections} connections"));
    }
    Ok(())
}

/// What must hold when the worker has drained.
fn at_rest(run: &Run, stage: &Stage, buffers: usize) -> Result<(), String> {
    let counts = [
        ("connections", stage.worker.connections()),
        ("connections under the sweep", world().sweep.connections()),
        ("pooled connections", stage.worker.pooled()),
        (
            "panics",
            usize::try_from(stage.metrics.panics()).unwrap_or(usize::MAX),
        ),
        (
            "open connections in the metrics",
            usize::try_from(stage.metrics.connections_active()).unwrap_or(usize::MAX),
        ),
        (
            "requests under way in the metrics",
            usize::try_from(stage.number("dbpower_requests_active")).unwrap_or(usize::MAX),
        ),
        (
            "buffers that did not come back",
            net::counted::alive() - buffers - stage.worker.shelved(),
        ),
    ];
    for (what, count) in counts {
        if count > 0 {
            return Err(format!("at the end: {count} {what}"));
        }
    }
    let limit = run.faults.limit;
    let counted = |id: &u64| {
        run.plan(*id)
            .is_some_and(|plan| matches!(plan.kind, Kind::Forward))
    };
    let admitted = run.seen.borrow().keys().filter(|id| counted(id)).count() as u64;
    // C + L*t/W, with a run's time rounded up.
    if limit > 0 && admitted > limit + limit * 30 / 60 + 1 {
        return Err(format!(
            "{admitted} requests were admitted at {limit} a minute"
        ));
    }
    Ok(())
}

/// A worker and one client, who does `play` with its end of the connection and the connection's number, and begins the drain.
pub(super) fn story<F: Future<Output = ()> + 'static>(
    play: impl FnOnce(Peer, u64, Rc<Stage>) -> F,
) -> Rc<Stage> {
    let begun = World::begin(1);
    let stage = Rc::new(Stage::new(&configured(&[]), 10));
    let (keeping, serving) = (stage.worker.clone(), stage.worker.clone());
    begun.spawn("the worker's clock", async move {
        keeping.keep_time(|| ()).await;
    });
    let (theirs, ours) = link((4_096, 4_096), 0);
    let playing = play(Peer(theirs), ours.link, Rc::clone(&stage));
    begun.spawn("a connection", async move {
        let (reader, writer) = adopt(ours);
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        serving.connection(reader, writer, address).await;
    });
    begun.spawn("the client", playing);
    let ended = begun.run();
    begun.end();
    assert_eq!(ended, Ok(()));
    stage
}
