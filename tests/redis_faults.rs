//! What happens to requests when Redis or a gateway fails: each fault with a real server. Not ordinary traffic (`redis_nodes.rs`).
//! Invariant of every test: no answer is a 5xx and none takes longer than the bounded wait, with room for a busy machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may fail loudly"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a request's wait is bounded, so the tests must know how long it took"
)]

mod redis_support;
#[path = "redis_support/steady.rs"]
mod steady;
mod support;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use redis_support::call::{Call, Limits, UNIT};
use redis_support::{Server, free_port};
use rustix::process::Signal;
use serde_json::json;
use steady::{Watched, steady};
use support::limits::scarce;
use support::{Gateway, Plan, Upstream, token, until, upstream};

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

/// Hardly any request has waited for longer than 0.1 s, by the gateway's own count: a call's 50 ms, perhaps behind one that was under
/// way, and room for a busy machine. To be said at the end of each fault.
fn waits_were_short(gw: &Gateway) {
    let waits = |labels: &[&str]| gw.metric("dbpower_limit_wait_seconds_bucket", labels);
    let (all, short) = (waits(&["+Inf"]), waits(&["le=\"0.1\""]));
    assert!(
        all > 0.0 && (all - short) * 20.0 <= all.max(20.0),
        "{short} of {all}"
    );
}

fn admitted(gw: &Gateway, org: u32, count: usize) -> usize {
    (0..count).filter(|_| ask(gw, org) == 200).count()
}

#[test]
fn absent_at_start_and_coming_later() {
    steady(|| {
        let mut stage = Stage::on(Server::absent(free_port()));
        let gws = Watched(vec![stage.plan(10).env("RATE_LIMIT_NODES", 2).start()]);
        let gw = &gws[0];
        // The share of two nodes.
        assert_eq!(admitted(gw, 1, 12), 5);
        shows(gw, false);
        gw.log_line("why Redis is away", |line| line.contains("Redis is away"));
        stage.server.run();
        shows(gw, true);
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
        let more = admitted(gw, 1, 12);
        assert!((4..=6).contains(&more), "{more}");
        waits_were_short(gw);
    });
}

#[test]
fn killed_and_restarted_empty() {
    steady(|| {
        let mut stage = Stage::new();
        let gws = Watched(vec![stage.plan(40).start()]);
        let gw = &gws[0];
        shows(gw, true);
        let before = admitted(gw, 1, 30);
        assert_eq!(before, 30);
        stage.server.kill();
        shows(gw, false);
        let during = admitted(gw, 1, 30);
        stage.server.run();
        shows(gw, true);
        let after = admitted(gw, 1, 60);
        // The node remembers what it was told: at most one bucket over all, and a token or two of refill. What it had in hand is
        // spent if its lease has ended meanwhile.
        let all = before + during + after;
        assert!((30..=42).contains(&all), "{before} {during} {after}");
        waits_were_short(gw);
    });
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
    waits_were_short(&gw);
}

#[test]
fn flushed_while_in_use() {
    steady(|| {
        let stage = Stage::new();
        let gws = Watched(vec![stage.plan(40).start()]);
        let gw = &gws[0];
        shows(gw, true);
        let mut count = admitted(gw, 1, 30);
        let mut redis = stage.server.connect();
        let _: () = redis::cmd("FLUSHALL").query(&mut redis).unwrap();
        count += admitted(gw, 1, 60);
        assert!((36..=42).contains(&count), "{count} of 40");
        assert_eq!(gw.get("/health").send().json()["redis"], json!(true));
        waits_were_short(gw);
    });
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
    waits_were_short(&gw);
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
    waits_were_short(&gw);
}

#[test]
fn a_wrong_password_is_told_and_never_shown() {
    let stage = Stage::on(Server::with(&["--requirepass", "the-right-one"]));
    let url = format!(
        "redis://someuser:the-wrong-one@127.0.0.1:{}/0",
        stage.server.port
    );
    let gw = stage.plan(10).env("REDIS_URL", &url).start();
    gw.log_line("the reason", |line| {
        line.contains("Redis is away") && line.contains("authentication failed")
    });
    assert_eq!(admitted(&gw, 1, 12), 10);
    shows(&gw, false);
    // A cluster's client has errors of its own.
    let of_cluster = stage.plan(10).env("REDIS_URL", &url);
    let of_cluster = of_cluster.env("REDIS_CLUSTER", "true").start();
    of_cluster.log_line("the reason", |line| line.contains("Redis is away"));
    assert_eq!(admitted(&of_cluster, 2, 12), 10);
    for log in [gw.log(), of_cluster.log()] {
        let secrets = ["the-wrong-one", "someuser", "the-right-one"];
        assert!(secrets.iter().all(|secret| !log.contains(secret)), "{log}");
    }
    waits_were_short(&gw);
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
    waits_were_short(&gw);
}

#[test]
fn closed_refuses_and_open_admits_while_it_is_away() {
    for (policy, expected) in [("closed", 0), ("open", 60)] {
        let stage = Stage::on(Server::absent(free_port()));
        let gw = stage.plan(20).env("RATE_LIMIT_ON_OUTAGE", policy).start();
        assert_eq!(admitted(&gw, 1, 60), expected, "{policy}");
    }
}

/// What a probe that holds nothing is told of a bucket: its level in tokens, and what is out.
fn told(server: &Server, key: &str) -> (u64, u64) {
    let limits = Limits {
        version: 0,
        rpm: 1,
        burst: 0,
        block_ms: 0,
    };
    let site = "probe";
    let mut call = Call::new(key, site, 1, limits, 0);
    call.seq = u64::try_from(START.elapsed().as_nanos()).unwrap();
    let reply = call.run(&mut server.connect());
    (reply.level / UNIT, reply.out)
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Tokens that a gateway has been granted of one key and has not spent, by its own counts.
fn in_hand(gw: &Gateway, spent: usize) -> usize {
    let granted = gw.metric("dbpower_leases_total", &["granted"]) as usize;
    granted.saturating_sub(spent)
}

#[test]
fn a_node_killed_with_tokens_in_hand() {
    let stage = Stage::new();
    // Ten tokens a second come back, so that one sees what may.
    let plan = stage
        .plan(1)
        .env("RATE_LIMIT_RPM", 600)
        .env("RATE_LIMIT_BURST", 0)
        .env("RATE_LIMIT_PER_IP", "false");
    let (victim, other) = (plan.start(), plan.start());
    shows(&victim, true);
    shows(&other, true);
    let spent = admitted(&victim, 1, 40);
    assert_eq!(spent, 40);
    let lost = in_hand(&victim, spent);
    assert!(lost > 10, "only {lost} in hand");
    victim.signal(Signal::KILL);
    drop(victim);
    let key = "rl:{o:1}";
    let (level, out) = told(&stage.server, key);
    assert!(level + out <= 600 && out > 0, "{level} and {out} out");
    // While the lease lasts the bucket has no room for them. Then they refill: 20 s at most, and some seconds.
    until("the lease has ended and the bucket is full", || {
        ask(&other, 2);
        told(&stage.server, key) == (600, 0)
    });
    assert_eq!(admitted(&other, 1, 20), 20);
    waits_were_short(&other);
}

#[test]
fn a_node_paused_for_longer_than_its_lease() {
    let stage = Stage::new();
    // Closed: a share of the limit is none of a lease.
    let plan = stage
        .plan(60)
        .env("RATE_LIMIT_PER_IP", "false")
        .env("RATE_LIMIT_ON_OUTAGE", "closed");
    let (sleeper, other) = (plan.start(), plan.start());
    shows(&sleeper, true);
    shows(&other, true);
    let spent = admitted(&sleeper, 1, 20);
    assert_eq!(spent, 20);
    let held = in_hand(&sleeper, spent);
    assert!(held > 5, "only {held} in hand: nothing could be misspent");
    sleeper.signal(Signal::STOP);
    let more = admitted(&other, 1, 60);
    assert!(spent + more + held <= 61, "{spent} + {more} + {held} of 60");
    until("its lease has ended", || {
        assert!(matches!(ask(&other, 1), 200 | 429));
        told(&stage.server, "rl:{o:1}").1 == 0
    });
    // Requests lie ready, so that workers meet them on waking, before anything has tidied up: the tokens are still in its memory.
    let asks = sleeper.get("/api/v1/x").bearer(&token().org(1));
    let mut wires: Vec<_> = (0..held).map(|_| sleeper.wire()).collect();
    for wire in &mut wires {
        wire.send(asks.bytes());
    }
    sleeper.signal(Signal::CONT);
    let statuses: Vec<u16> = wires.iter_mut().map(|wire| wire.answer().status).collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)));
    // One or two tokens have come back meanwhile.
    let late = statuses.iter().filter(|status| **status == 200).count();
    assert!(late <= 2, "{late} of {held} were spent after their lease");
    waits_were_short(&other);
}

#[test]
fn a_gateway_that_stood_still_while_a_request_waited() {
    let stage = Stage::new();
    let gw = stage.plan(60).start();
    shows(&gw, true);
    for org in 1..=10 {
        stage.server.signal("STOP");
        let status = std::thread::scope(|scope| {
            let asked = scope.spawn(|| ask(&gw, org));
            // Long enough for the question to be put, mostly; too short for Redis to be found away.
            support::pause(Duration::from_millis(15));
            gw.signal(Signal::STOP);
            stage.server.signal("CONT");
            support::pause(Duration::from_millis(250));
            gw.signal(Signal::CONT);
            asked.join().unwrap()
        });
        // The reply has been there since long before anybody could look.
        assert_eq!(status, 200, "{org}");
    }
}
