//! In steady state a proxied request allocates nothing: a worker runs on a thread whose allocations are counted, in front of a real
//! upstream over real sockets, with a token, both limits and the access log on.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test may fail loudly, and a global allocator cannot be written without unsafe"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use dbpower_gateway::config::{self, Config, Rules, Snapshot, Sources};
use dbpower_gateway::metrics::{Registry, State};
use dbpower_gateway::{access_log, identity, limit, net, presence, worker};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTED.with(Cell::get) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if COUNTED.with(Cell::get) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_UP: usize = 500;
const REQUESTS: usize = 5_000;

/// Allocations of the worker's own ticks (timers of the runtime), not of requests, that the run may contain: the runtime makes a few
/// per tick of 20 ms, and 5,000 requests take well below 5 s on any machine.
const TICKS_MAX: u64 = 1_000;

/// Answers each request on each connection with the same 200.
fn upstream(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while connection.read(&mut buffer).is_ok_and(|count| count > 0) {
                    connection.write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    address
}

fn configured(upstream: SocketAddr) -> Arc<Config> {
    let mut sources = Sources::default();
    let url = format!("http://{upstream}");
    for (name, value) in [
        ("JWT_SECRET_KEY", "a secret of at least thirty-two bytes"),
        ("BACKEND_URL", &url),
        ("AI_ANALYZER_URL", &url),
        ("REDIS_ENABLED", "false"),
        ("RATE_LIMIT_RPM", "1000000"),
        ("GATEWAY_WORKERS", "1"),
    ] {
        sources.environment.push((name.into(), value.into()));
    }
    Arc::new(Config::from_sources(&sources).unwrap().config)
}

/// A worker on a counted thread; its address.
fn worker(config: &Arc<Config>, upstream: SocketAddr) -> SocketAddr {
    let rules = Arc::new(Rules::new(Arc::clone(config)).unwrap());
    let addresses = vec![vec![upstream], vec![upstream]];
    let (mut logs, drain, _stop) = access_log::channel(1, access_log::Format::Text);
    std::thread::spawn(move || {
        while let Some((core, lines)) = drain.next() {
            drain.give_back(core, lines);
        }
    });
    let (outbox, _inbox) = tokio::sync::mpsc::channel(1);
    let names = ["backend".to_owned(), "ai-analyzer".to_owned()];
    let setup = worker::Setup {
        index: 0,
        snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::new(rules, addresses))),
        limits: limit::Node::new(config::limit_settings(config)),
        metrics: Arc::new(Registry::new(1, &names, &names)),
        state: Arc::new(State::new(2)),
        outbox,
        leases: None,
        log: logs.pop(),
        presence: Arc::new(presence::Presence::new(presence::Bounds {
            connections_max: 100,
            per_address_max: 50,
            per_organization_max: 50,
        })),
    };
    let (address, mut listeners) = net::listeners("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    let listener = listeners.pop().unwrap();
    let driver = net::detect();
    std::thread::spawn(move || {
        COUNTED.with(|counted| counted.set(true));
        worker::work(driver, listener, None, setup).unwrap();
    });
    address
}

fn token(config: &Config) -> String {
    let settings = config::identity_settings(&config.auth).unwrap();
    let mut claims = serde_json::Map::new();
    claims.insert("organization_id".into(), 1.into());
    claims.insert("user_id".into(), 123.into());
    claims.insert("exp".into(), (net::clock::unix_ms() / 1000 + 600).into());
    identity::mint(&settings, claims).unwrap()
}

/// One request and its whole answer, of `length` bytes after the head.
fn exchange(connection: &mut TcpStream, request: &str, end: &[u8]) {
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::with_capacity(4096);
    let mut buffer = [0; 4096];
    while !answer.ends_with(end) {
        let count = connection.read(&mut buffer).unwrap();
        assert!(
            count > 0,
            "the worker closed: {}",
            String::from_utf8_lossy(&answer)
        );
        answer.extend_from_slice(&buffer[..count]);
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

fn allocations_of(answer: &'static str, request: impl Fn(&str) -> String, end: &[u8]) -> u64 {
    let upstream = upstream(answer);
    let config = configured(upstream);
    let address = worker(&config, upstream);
    let request = request(&token(&config));
    let mut connection = TcpStream::connect(address).unwrap();
    for _ in 0..WARM_UP {
        exchange(&mut connection, &request, end);
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..REQUESTS {
        exchange(&mut connection, &request, end);
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

// One test, so that no other worker of this process allocates meanwhile.
#[test]
fn a_proxied_request_allocates_nothing() {
    let get = |token: &str| {
        format!(
            "GET /api/v1/items?page=1 HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n\
             Accept: */*\r\nCookie: a=b\r\n\r\n"
        )
    };
    let post = |token: &str| {
        format!(
            "POST /analyzer/analyze HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n\
             Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )
    };
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVary: Accept\r\n\r\nhello";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let counted = [
        (
            "GET, answered with a length",
            allocations_of(length, get, b"hello"),
        ),
        (
            "chunked POST, answered chunked",
            allocations_of(chunked, post, b"0\r\n\r\n"),
        ),
    ];
    for (what, count) in counted {
        println!("{what}: {count} allocations for {REQUESTS} requests");
        assert!(
            count < TICKS_MAX,
            "{what}: {count} allocations for {REQUESTS} requests"
        );
    }
}
