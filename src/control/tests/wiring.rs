//! The whole thread by its wiring: mailbox calls, the operations socket, published addresses, and its end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc as std_mpsc;

use tokio::sync::{mpsc, oneshot, watch};

use super::super::{Wiring, bind_ops, run};
use super::*;
use crate::config::{Address, Ops};
use crate::mailbox::{CALLS_MAX, Call, Caller, Outbox, OwnCall};

struct Thread {
    outbox: Outbox,
    ops: SocketAddr,
    state: Arc<State>,
    published: std_mpsc::Receiver<Vec<Vec<Address>>>,
    end: watch::Sender<bool>,
    thread: std::thread::JoinHandle<std::io::Result<()>>,
}

fn start(services: Vec<Service>) -> Thread {
    let mut config = config(services);
    config.ops = Some(Ops {
        listen: ([127, 0, 0, 1], 0).into(),
        explicit: true,
    });
    let ops = bind_ops(&config).unwrap().unwrap();
    let address = ops.local_addr().unwrap();
    let state = Arc::new(State::new(config.services.len()));
    let (outbox, inbox) = mpsc::channel(CALLS_MAX);
    let (sent, published) = std_mpsc::channel();
    let (end, shutdown) = watch::channel(false);
    let wiring = Wiring {
        config: Arc::new(config),
        services_tls: None,
        inbox,
        limits: Arc::new(FixedLimits::default()),
        store: None,
        metrics: Arc::new(Registry::new(1, &[], &[])),
        state: Arc::clone(&state),
        publish: Box::new(move |sets| drop(sent.send(sets))),
        ops: Some(ops),
        clock_ns: || 0,
        start_unix_ms: 0,
        diagnostics_dropped: || 0,
        shutdown,
    };
    Thread {
        outbox,
        ops: address,
        state,
        published,
        end,
        thread: std::thread::spawn(move || run(wiring)),
    }
}

fn own(path: &str, public: bool) -> (Call, oneshot::Receiver<http::Response<Bytes>>) {
    let mut request = Request::get(path).body(Bytes::new()).unwrap();
    request.extensions_mut().insert(Caller {
        address: [192, 0, 2, 1].into(),
        identity: None,
        public,
    });
    let (reply, answer) = oneshot::channel();
    (Call::Own(Box::new(OwnCall { request, reply })), answer)
}

fn over_socket(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn calls_are_answered_by_mailbox_and_by_socket() {
    let thread = start(vec![service("127.0.0.1", 9)]);
    let first = thread.published.recv().unwrap();
    assert_eq!(
        first,
        [vec![Address::from(SocketAddr::from(([127, 0, 0, 1], 9)))]]
    );
    for (path, status) in [
        ("/health", 200),
        ("/livez", 200),
        ("/metrics", 404),
        ("/rate-limit/info", 401),
    ] {
        let (call, answer) = own(path, true);
        thread.outbox.blocking_send(call).unwrap();
        assert_eq!(answer.blocking_recv().unwrap().status(), status, "{path}");
    }
    let (call, gone) = own("/health", true);
    drop(gone);
    thread.outbox.blocking_send(call).unwrap();
    for (path, status) in [
        ("/health", 200),
        ("/metrics", 200),
        ("/rate-limit/info", 401),
        ("/x", 404),
    ] {
        let answer = over_socket(
            thread.ops,
            &format!("GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n"),
        );
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
    }
    let head = over_socket(
        thread.ops,
        "HEAD /livez HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n",
    );
    assert!(
        head.ends_with("\r\n\r\n") && head.contains("content-length: 18"),
        "{head}"
    );
    let wrong = over_socket(thread.ops, "nonsense\r\n\r\n");
    assert!(wrong.starts_with("HTTP/1.1 400"), "{wrong}");
    thread.end.send(true).unwrap();
    thread.thread.join().unwrap().unwrap();
    assert!(
        thread.outbox.is_closed(),
        "nobody waits for an answer that will not come"
    );
}

#[test]
fn an_unreachable_upstream_is_probed_before_readiness() {
    // A port that was free a moment ago refuses.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let thread = start(vec![service("127.0.0.1", port)]);
    thread.state.mark_listening();
    let ready = (0..).map(|_| {
        over_socket(
            thread.ops,
            "GET /readyz HTTP/1.1\r\nHost: o\r\nConnection: close\r\n\r\n",
        )
    });
    // Each turn is a round trip to the thread, which probes meanwhile.
    let last = ready
        .take(100_000)
        .find(|answer| answer.starts_with("HTTP/1.1 200"));
    assert!(last.is_some());
    assert!(!thread.state.healthy(0));
    drop(thread.end);
    thread.thread.join().unwrap().unwrap();
}

#[test]
fn a_taken_operations_port_ends_the_start_only_when_it_was_asked_for() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let mut config = config(vec![]);
    config.ops = None;
    assert!(bind_ops(&config).unwrap().is_none());
    for (explicit, starts) in [(true, false), (false, true)] {
        config.ops = Some(Ops { listen, explicit });
        let bound = bind_ops(&config);
        assert_eq!(bound.is_ok(), starts);
        assert!(!matches!(bound, Ok(Some(_))));
    }
}
