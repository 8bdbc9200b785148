//! What happens to requests when Redis or a gateway fails: each fault with a real server. Not ordinary traffic (`redis_nodes.rs`).
//! Invariant of every test: no answer is a 5xx and none takes longer than the bounded wait, with room for a busy machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a request's wait is bounded, so the tests must know how long it took"
)]

mod redis_support;
mod support;

use std::time::{Duration, Instant};

use redis_support::{Server, free_port};
use rustix::process::Signal;
use serde_json::json;
use support::limits::scarce;
use support::{Gateway, Plan, Upstream, pause, token, until, upstream};

/// A request waits 50 ms for Redis, perhaps behind a call that is under way; the rest is room for a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A gateway on `server`, and its service.
struct Stage {
    up: Upstream,
    server: Server,
}

impl Stage {
    fn new() -> Self {
        Self::on(Server::start())
    }

    fn on(server: Server) -> Self {
        Self {
            up: upstream(),
            server,
        }
    }

    fn plan(&self, capacity: u32) -> Plan {
        scarce(capacity, 0)
            .backend(&self.up)
            .env("REDIS_ENABLED", "true")
            .env("REDIS_URL", self.server.url())
    }
}

fn shows(gw: &Gateway, redis: bool) {
    let limits = if redis { "shared" } else { "share" };
    until("/health shows the change", || {
        let health = gw.get("/health").send().json();
        health["redis"] == json!(redis) && health["limits"] == json!(limits)
    });
}

/// The status of one request, which must come soon and be no 5xx.
fn ask_from(gw: &Gateway, source: [u8; 4], org: u32) -> u16 {
    let start = Instant::now();
    let ask = gw.get("/api/v1/x").from(source);
    let answer = ask.bearer(&token().org(org)).send();
    let took = start.elapsed();
    assert!(took < ANSWER_MAX, "a request took {took:?}");
    assert!(matches!(answer.status, 200 | 429), "{}", answer.text());
    answer.status
}

fn ask(gw: &Gateway, org: u32) -> u16 {
    ask_from(gw, [127, 0, 10, u8::try_from(org).unwrap()], org)
}

fn admitted(gw: &Gateway, org: u32, count: usize) -> usize {
    (0..count).filter(|_| ask(gw, org) == 200).count()
}

#[test]
fn absent_at_start_and_coming_later() {
    let mut stage = Stage::on(Server::absent(free_port()));
    let gw = stage.plan(10).env("RATE_LIMIT_NODES", 2).start();
    // The share of two nodes.
    assert_eq!(admitted(&gw, 1, 12), 5);
    shows(&gw, false);
    gw.log_line("why Redis is away", |line| line.contains("Redis is away"));
    stage.server.run();
    shows(&gw, true);
    gw.log_line("that it is there", |line| {
        line.contains("Redis is connected")
    });
    // What was admitted meanwhile is deducted.
    until("the debt is paid", || {
        let mut redis = stage.server.connect();
        let level: Option<u64> = redis::cmd("HGET")
            .arg("rl:{o:1}")
            .arg("level")
            .query(&mut redis)
            .unwrap();
        level.is_some_and(|level| level <= 5 * 60_000 + 60_000)
    });
    let more = admitted(&gw, 1, 12);
    assert!((4..=6).contains(&more), "{more}");
}

#[test]
fn killed_and_restarted_empty() {
    let mut stage = Stage::new();
    let gw = stage.plan(40).start();
    shows(&gw, true);
    let before = admitted(&gw, 1, 30);
    assert_eq!(before, 30);
    stage.server.kill();
    shows(&gw, false);
    let during = admitted(&gw, 1, 30);
    stage.server.run();
    shows(&gw, true);
    let after = admitted(&gw, 1, 60);
    // The node remembers what it was told: at most one bucket over all, and a token or two of refill.
    let all = before + during + after;
    assert!((36..=42).contains(&all), "{before} {during} {after}");
}

#[test]
fn paused_for_three_seconds() {
    let stage = Stage::new();
    let gw = stage.plan(1_000).start();
    shows(&gw, true);
    assert_eq!(admitted(&gw, 1, 20), 20);
    stage.server.signal("STOP");
    let until_ns = Instant::now() + Duration::from_secs(3);
    let (mut asked, mut org) = (0, 2);
    while Instant::now() < until_ns {
        // New keys too: those are cold.
        ask(&gw, 1);
        ask(&gw, org);
        org = 2 + (org - 1) % 200;
        asked += 1;
    }
    assert!(asked > 20, "{asked} requests in three seconds");
    shows(&gw, false);
    stage.server.signal("CONT");
    shows(&gw, true);
    assert_eq!(ask(&gw, 250), 200);
}

#[test]
fn flushed_while_in_use() {
    let stage = Stage::new();
    let gw = stage.plan(40).start();
    shows(&gw, true);
    let mut count = admitted(&gw, 1, 30);
    let mut redis = stage.server.connect();
    let _: () = redis::cmd("FLUSHALL").query(&mut redis).unwrap();
    count += admitted(&gw, 1, 60);
    assert!((36..=42).contains(&count), "{count} of 40");
    assert_eq!(gw.get("/health").send().json()["redis"], json!(true));
}

#[test]
fn connections_killed_and_scripts_flushed() {
    let stage = Stage::new();
    let gw = stage.plan(1_000).start();
    shows(&gw, true);
    let mut redis = stage.server.connect();
    for round in 0..5 {
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut redis).unwrap();
        for org in 1..10 {
            assert_eq!(ask(&gw, org), 200, "round {round}");
        }
        for kind in ["normal", "pubsub"] {
            let _: i64 = redis::cmd("CLIENT")
                .arg("KILL")
                .arg("TYPE")
                .arg(kind)
                .arg("SKIPME")
                .arg("yes")
                .query(&mut redis)
                .unwrap();
        }
        for org in 1..10 {
            assert_eq!(ask(&gw, org), 200, "round {round}");
        }
        shows(&gw, true);
    }
}

#[test]
fn a_read_only_replica_is_no_store() {
    let mut stage = Stage::new();
    let primary = Server::start();
    stage.server = Server::with(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let gw = stage.plan(10).start();
    gw.log_line("the reason", |line| line.contains("READONLY"));
    assert_eq!(admitted(&gw, 1, 12), 10);
    shows(&gw, false);
    // Promoted, it does.
    let mut redis = stage.server.connect();
    let _: () = redis::cmd("REPLICAOF")
        .arg("NO")
        .arg("ONE")
        .query(&mut redis)
        .unwrap();
    shows(&gw, true);
    assert!(admitted(&gw, 1, 12) <= 1);
}

#[test]
fn a_wrong_password_is_told_and_never_shown() {
    let stage = Stage::on(Server::with(&["--requirepass", "the-right-one"]));
    let url = format!(
        "redis://someuser:the-wrong-one@127.0.0.1:{}/0",
        stage.server.port
    );
    let gw = stage.plan(10).env("REDIS_URL", url).start();
    gw.log_line("the reason", |line| {
        line.contains("Redis is away") && line.contains("authentication failed")
    });
    assert_eq!(admitted(&gw, 1, 12), 10);
    shows(&gw, false);
    let log = gw.log();
    assert!(
        !log.contains("the-wrong-one") && !log.contains("someuser"),
        "{log}"
    );
}

#[test]
fn an_acl_user_with_its_own_password_works() {
    let stage = Stage::new();
    let mut redis = stage.server.connect();
    let _: () = redis::cmd("ACL")
        .arg(&[
            "SETUSER", "gate", "on", ">s3cr3t", "~rl:*", "&rl:ctl", "+@all",
        ])
        .query(&mut redis)
        .unwrap();
    let url = format!("redis://gate:s3cr3t@127.0.0.1:{}/0", stage.server.port);
    let gw = stage.plan(10).env("REDIS_URL", url).start();
    shows(&gw, true);
    assert_eq!(admitted(&gw, 1, 12), 10);
    assert!(!gw.log().contains("s3cr3t"));
}

#[test]
fn out_of_memory_without_eviction() {
    let stage = Stage::new();
    let gw = stage.plan(10).start();
    shows(&gw, true);
    assert_eq!(ask(&gw, 1), 200);
    let mut redis = stage.server.connect();
    let mut set = |name: &str, value: &str| {
        let _: () = redis::cmd("CONFIG")
            .arg("SET")
            .arg(name)
            .arg(value)
            .query(&mut redis)
            .unwrap();
    };
    set("maxmemory-policy", "noeviction");
    set("maxmemory", "1");
    assert!(admitted(&gw, 2, 12) <= 10);
    gw.log_line("the reason", |line| line.contains("OOM"));
    shows(&gw, false);
    set("maxmemory", "0");
    shows(&gw, true);
    assert_eq!(ask(&gw, 3), 200);
}

#[test]
fn closed_refuses_and_open_admits_while_it_is_away() {
    for (policy, expected) in [("closed", 0), ("open", 60)] {
        let stage = Stage::on(Server::absent(free_port()));
        let gw = stage.plan(20).env("RATE_LIMIT_ON_OUTAGE", policy).start();
        assert_eq!(admitted(&gw, 1, 60), expected, "{policy}");
    }
}

#[test]
fn a_node_killed_with_tokens_in_hand() {
    let stage = Stage::new();
    let plan = stage.plan(60);
    let (victim, other) = (plan.start(), plan.start());
    shows(&victim, true);
    shows(&other, true);
    let mut count = admitted(&victim, 1, 20);
    victim.signal(Signal::KILL);
    drop(victim);
    count += admitted(&other, 1, 60);
    // What the victim held is gone until its lease ends, 20 s at most; nothing is admitted twice.
    assert!((30..=61).contains(&count), "{count}");
}

#[test]
fn a_node_paused_for_longer_than_its_lease() {
    let stage = Stage::new();
    let plan = stage.plan(60);
    let (sleeper, other) = (plan.start(), plan.start());
    shows(&sleeper, true);
    shows(&other, true);
    let mut count = admitted(&sleeper, 1, 20);
    sleeper.signal(Signal::STOP);
    let mut redis = stage.server.connect();
    until("its lease has ended", || {
        count += admitted(&other, 1, 1);
        let fields: std::collections::BTreeMap<String, String> = redis::cmd("HGETALL")
            .arg("rl:{o:1}")
            .query(&mut redis)
            .unwrap();
        let live = fields
            .iter()
            .filter(|(name, value)| name.starts_with("s:") && !value.contains(":0:"));
        let refused = ask(&other, 1) == 429;
        if !refused {
            count += 1;
        } else {
            pause(Duration::from_millis(100));
        }
        refused && live.count() <= 1
    });
    sleeper.signal(Signal::CONT);
    count += admitted(&sleeper, 1, 60);
    assert!(count <= 62, "{count}");
}
