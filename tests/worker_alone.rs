//! A worker without the rest of the gateway: what it does when the control thread does not answer, and which address of a service it
//! tries. Not what a whole gateway does (the `e2e_*` tests show it). Invariant: nobody waits longer than the worker says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use arc_swap::ArcSwap;
use dbpower_gateway::config::{self, Config, Rules, Snapshot, Sources};
use dbpower_gateway::metrics::{Registry, State};
use dbpower_gateway::{limit, mailbox, net, presence, worker};
use support::{Answer, Ask, blackhole, upstream};

/// A worker on a thread of its own, with these addresses for its services; its port and the unread mailbox.
fn worker(addresses: &[SocketAddr]) -> (u16, mailbox::Inbox) {
    let mut sources = Sources::default();
    for (name, value) in [
        ("REQUIRE_AUTHENTICATION", "false"),
        ("REDIS_ENABLED", "false"),
        ("CONNECT_TIMEOUT", "1"),
        ("GATEWAY_WORKERS", "1"),
    ] {
        sources.environment.push((name.into(), value.into()));
    }
    let config = Arc::new(Config::from_sources(&sources).unwrap().config);
    let rules = Arc::new(Rules::new(Arc::clone(&config)).unwrap());
    let addresses = vec![addresses.to_vec(), addresses.to_vec()];
    let (outbox, inbox) = tokio::sync::mpsc::channel(8);
    let names = ["backend".to_owned(), "ai-analyzer".to_owned()];
    let setup = worker::Setup {
        index: 0,
        snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::new(rules, addresses))),
        limits: limit::Node::new(config::limit_settings(&config)),
        metrics: Arc::new(Registry::new(1, &names, &names)),
        state: Arc::new(State::new(2)),
        outbox,
        leases: None,
        log: None,
        presence: Arc::new(presence::Presence::new(presence::Bounds {
            connections_max: 100,
            per_address_max: 0,
            per_organization_max: 0,
        })),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || worker::work(net::detect(), listener, None, setup).unwrap());
    (port, inbox)
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn ask(port: u16, target: &str) -> Answer {
    Ask::new(port, "GET", target).send()
}

#[test]
fn an_own_endpoint_that_nobody_answers_is_503() {
    let (port, _unread) = worker(&[]);
    let answer = ask(port, "/livez");
    assert_eq!((answer.status, answer.number("Retry-After")), (503, 1));
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("did not answer"), "{message}");
    assert!(!answer.says_close());
}

#[test]
fn an_address_that_does_not_answer_leaves_time_for_the_next() {
    let (hole, up) = (blackhole(), upstream());
    let (port, _unread) = worker(&[at(hole.port), at(up.port())]);
    // Each begins with another address.
    for _ in 0..3 {
        assert_eq!(ask(port, "/api/v1/x").status, 200);
    }
    let (port, _unread) = worker(&[at(hole.port), at(hole.port)]);
    assert_eq!(ask(port, "/api/v1/x").status, 504);
}
