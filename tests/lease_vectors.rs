//! The vectors G1 to G23, M1 and M2 of LIMITS.md in Redis mode, with leases ahead switched off, and those that hold with them switched
//! on: the real script on a real server, an injected clock and a network without delay. Not random, and not M3 and M4
//! (`lease_property.rs`). Invariant: the table is that of memory mode.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod limit_support;
mod redis_support;
#[path = "limit_support/stories.rs"]
#[allow(dead_code, reason = "its stage is that of memory mode")]
mod stories;

use std::collections::HashMap;
use std::sync::Arc;

use dbpower_gateway::limit::{
    Core, Exchange, Info, IpKey, Key, Letter, Node, OnOutage, OrgKey, Outcome, Permit, Refusal,
    Reply, Reset, SCRIPT, Settings, Verdict, Wish,
};
use limit_support::{Limits, MINUTE, MS, SECOND, Who, limits};
use redis_support::Server;
use stories::{BLOCK, STORIES, Step, both, ip_only, org_only};

/// Vectors that LIMITS.md promises with leases on as well.
const WITH_LEASES: [&str; 8] = ["G1", "G2", "G3", "G4", "G5", "G6", "G11", "G15"];

/// One node of one core, and its store.
struct Shared {
    node: Arc<Node>,
    core: Core,
    exchange: Exchange<u32>,
    redis: redis::Connection,
    answers: HashMap<u32, Verdict>,
    limits: Limits,
    version: u64,
    now: u64,
}

impl Shared {
    /// Alone on an empty store.
    fn new(server: &Server, limits: Limits, start: u64) -> Self {
        let mut redis = server.connect();
        let _: () = redis::cmd("FLUSHALL").query(&mut redis).unwrap();
        Self::joined(server, "node", limits.settings(1, false), start)
    }

    /// One of several.
    fn joined(server: &Server, site: &str, settings: Settings, start: u64) -> Self {
        let redis = server.connect();
        let node = Node::leased(settings);
        let mut exchange = Exchange::new(Arc::clone(&node), site, OnOutage::Closed, 1);
        exchange.put_back();
        let limits = Limits {
            rpm: settings.rpm,
            burst: settings.burst,
            block_ms: settings.block_ms,
        };
        let mut shared = Self {
            core: Core::new(Arc::clone(&node), 0),
            node,
            exchange,
            redis,
            answers: HashMap::new(),
            limits,
            version: 0,
            now: start,
        };
        shared.put_limits(limits.rpm);
        shared
    }

    fn put_limits(&mut self, rpm: u32) {
        self.version += 1;
        self.limits.rpm = rpm;
        let Limits {
            burst, block_ms, ..
        } = self.limits;
        self.node.put_limits(self.version, rpm, burst, block_ms);
    }

    /// Calls and replies, at this very moment, until nothing more comes of them.
    fn settle(&mut self) {
        loop {
            let calls = self.exchange.calls(self.now, 512);
            if calls.is_empty() {
                break;
            }
            for call in calls {
                let mut command = redis::cmd("EVAL");
                command
                    .arg(SCRIPT)
                    .arg(1)
                    .arg(&*call.key)
                    .arg(&call.arguments);
                command.arg(1_800_000_000_000 + self.now / MS);
                let values: Vec<redis::Value> = command.query(&mut self.redis).unwrap();
                let (mut numbers, mut epoch) = (Vec::new(), String::new());
                for value in values {
                    if let redis::Value::Int(number) = value {
                        numbers.push(number);
                    } else {
                        epoch = redis::from_redis_value(value).unwrap();
                    }
                }
                let reply = Reply::read(&numbers, &epoch).expect("a reply");
                self.exchange.reply(call.id, &reply, self.now);
            }
        }
        self.answers.extend(self.exchange.answers());
    }

    /// What the core has to say to its exchange.
    fn post(&mut self) {
        for letter in self.core.letters() {
            match letter {
                Letter::Fetch(hint) => self.exchange.fetch(hint, self.now),
                Letter::Charge(key, cost) => self.exchange.ask(&key, cost, None, self.now),
            }
        }
        self.settle();
    }

    fn ask(&mut self, who: Who<'_>, cost: u32) -> Result<Permit, Refusal> {
        let verdict = self.judge(who, cost);
        self.post();
        verdict
    }

    fn judge(&mut self, who: Who<'_>, cost: u32) -> Result<Permit, Refusal> {
        let now = self.now;
        let (org, ip) = (who.org.map(OrgKey::new), who.ip.map(IpKey::from));
        let mut outcome = self.core.request(org, ip, cost, &|| now)?;
        loop {
            let claim = match outcome {
                Outcome::Permit(permit) => return Ok(permit),
                Outcome::Ask(claim) => claim,
            };
            for (place, key) in [(1, claim.ip()), (2, claim.organization())] {
                if let Some(key) = key {
                    self.exchange.ask(&key, cost, Some(place), now);
                }
            }
            self.settle();
            let (ip, org) = (self.answers.remove(&1), self.answers.remove(&2));
            outcome = self.core.conclude(claim, ip, org, &|| now)?;
        }
    }

    fn info(&mut self, key: &Key) -> Info {
        // The endpoint waits for longer than a slice lasts.
        self.core.tick(self.now);
        self.exchange.watch(key, 3, self.now);
        self.settle();
        let told = self.answers.remove(&3).expect("an answer");
        self.node.info_of(told.tokens().expect("a level"))
    }

    fn play(&mut self, who: Who<'_>, cost: u32, step: &Step, at: &str) {
        match *step {
            Step::Pass(count, remaining) => {
                let mut shown = None;
                for nth in 1..=count {
                    let permit = self.ask(who, cost);
                    let permit =
                        permit.unwrap_or_else(|refusal| panic!("{at}: {nth}: {refusal:?}"));
                    shown = permit.numbers();
                }
                assert_eq!(shown, Some((self.limits.rpm, remaining)), "{at}");
            }
            Step::Refuse(count, retry_after_s) => {
                for _ in 0..count {
                    let refusal = self.ask(who, cost).expect_err(at);
                    let found = (refusal.limit, refusal.retry_after_s);
                    assert_eq!(found, (self.limits.rpm, retry_after_s), "{at}");
                }
            }
            Step::Info(current_count, remaining) => {
                for key in who.keys() {
                    let info = self.info(&key);
                    let found = (info.current_count, info.remaining);
                    assert_eq!(found, (current_count, remaining), "{at}");
                }
            }
            Step::Limit(rpm) => self.put_limits(rpm),
            Step::Reset => {
                for key in who.keys() {
                    self.exchange.reset(&key, Wish::default(), 4, self.now);
                    self.settle();
                    let done = self.answers.remove(&4).and_then(Verdict::reset);
                    assert_eq!(done, Some(Reset::Done), "{at}");
                }
            }
        }
    }
}

#[test]
fn every_vector_holds_as_in_memory() {
    let server = Server::start();
    for story in &STORIES {
        for who in [org_only(), ip_only(), both()] {
            let start = 77 * MINUTE;
            let mut shared = Shared::new(&server, story.limits, start);
            for (vector, at_ms, steps) in story.rows {
                shared.now = start + at_ms * MS;
                for (nth, step) in steps.iter().enumerate() {
                    let at = format!("{vector} step {nth} ({}) {who:?}", story.name);
                    shared.play(who, story.cost, step, &at);
                }
            }
        }
    }
}

#[test]
fn g17_and_g18_bursts_every_minute_and_fifteen_percent_too_much() {
    let server = Server::start();
    let mut shared = Shared::new(&server, limits(100, 20, BLOCK), SECOND);
    for minute in 0..4 {
        for nth in 0..100 {
            shared.now = SECOND + minute * MINUTE + nth * 20 * MS;
            assert!(
                shared.ask(org_only(), 1).is_ok(),
                "minute {minute}, request {nth}"
            );
        }
    }
    let mut shared = Shared::new(&server, limits(100, 20, 0), SECOND);
    let refused = (0..2_000).find(|nth| {
        shared.now = SECOND + nth * MINUTE / 115;
        shared.ask(org_only(), 1).is_err()
    });
    let at_s = refused.map(|nth| nth * 60 / 115);
    assert!(at_s.is_some_and(|s| (470..480).contains(&s)), "{at_s:?}");
}

#[test]
fn g21_whoever_refuses_the_other_key_loses_one_token_at_most() {
    let server = Server::start();
    for (exhausted, fresh) in [(org_only(), ip_only()), (ip_only(), org_only())] {
        let mut shared = Shared::new(&server, limits(100, 20, BLOCK), SECOND);
        while shared.ask(exhausted, 1).is_ok() {}
        for _ in 0..5 {
            let refusal = shared
                .ask(both(), 1)
                .expect_err("one of the two is at its limit");
            assert_eq!(refusal.retry_after_s, 60);
        }
        assert!(shared.info(&fresh.keys()[0]).current_count <= 1);
    }
}

#[test]
fn with_leases_ahead_the_named_ones_hold_unchanged_on_one_node() {
    let server = Server::start();
    for story in &STORIES {
        for who in [org_only(), ip_only(), both()] {
            let start = 77 * MINUTE;
            let mut redis = server.connect();
            let _: () = redis::cmd("FLUSHALL").query(&mut redis).unwrap();
            let settings = story.limits.settings(1, true);
            let mut shared = Shared::joined(&server, "node", settings, start);
            let mut rows = story.rows.iter();
            while let Some((vector, _, steps)) =
                rows.next().filter(|row| WITH_LEASES.contains(&row.0))
            {
                for (nth, step) in steps.iter().enumerate() {
                    let at = format!("{vector} step {nth} ({}) {who:?}", story.name);
                    shared.play(who, story.cost, step, &at);
                }
            }
            if story.rows[0].0 == "G1" {
                // What the vectors are about: far fewer calls than requests, and tokens taken from slices.
                let keys = who.keys().len() as u64;
                let calls = shared.exchange.traffic().calls;
                assert!(calls < 60 * keys, "{calls} calls");
                assert!(shared.core.counters().slice > 0);
            }
        }
    }
}

#[test]
fn g14_with_leases_ahead_a_slow_client_sees_98_or_99() {
    let server = Server::start();
    let settings = limits(100, 20, 0).settings(1, true);
    let mut shared = Shared::joined(&server, "node", settings, MINUTE);
    for at in [0, 10, 20, 30, 40] {
        shared.now = MINUTE + at * SECOND;
        shared.settle();
        let numbers = shared.ask(org_only(), 1).expect("served").numbers();
        assert!(
            matches!(numbers, Some((100, 98 | 99))),
            "{numbers:?} at {at} s"
        );
    }
}

/// Three nodes, leases off.
fn trio(server: &Server, block_ms: u64) -> [Shared; 3] {
    let settings = limits(100, 20, block_ms).settings(1, false);
    ["a", "b", "c"].map(|site| Shared::joined(server, site, settings, MINUTE))
}

#[test]
fn m1_and_m2_three_nodes_admit_one_bucket_and_share_one_block() {
    let server = Server::start();
    let mut nodes = trio(&server, BLOCK);
    for nth in 0..120 {
        let passed = nodes[nth % 3].ask(org_only(), 1);
        assert!(passed.is_ok(), "M1, request {nth}: {passed:?}");
    }
    for (nth, at_ms) in [(0, 1), (1, 1), (2, 100)] {
        nodes[nth].now = MINUTE + at_ms * MS;
        let refused = nodes[nth].ask(org_only(), 1).map_err(|r| r.retry_after_s);
        assert_eq!(refused.err(), Some(60), "M2 on node {nth}");
    }
    // One block for all: it ends 60 s after the first refusal, also at the node that asked last.
    nodes[2].now = MINUTE + MINUTE;
    assert!(nodes[2].ask(org_only(), 1).is_err());
    nodes[2].now += MS;
    let numbers = nodes[2].ask(org_only(), 1).map(|permit| permit.numbers());
    assert_eq!(numbers, Ok(Some((100, 79))));
}

#[test]
fn g22_a_reset_at_one_node_is_known_to_the_others_by_a_message() {
    let server = Server::start();
    for all in [false, true] {
        let mut nodes = trio(&server, BLOCK);
        let mut redis = server.connect();
        let _: () = redis::cmd("FLUSHALL").query(&mut redis).unwrap();
        while nodes[0].ask(org_only(), 1).is_ok() {}
        for node in &mut nodes {
            assert!(node.ask(org_only(), 1).is_err());
            node.now += SECOND;
        }
        let [a, b, c] = &mut nodes;
        let keys = org_only().keys();
        let all_ms = 1_800_000_000_000 + a.now / MS;
        if all {
            a.exchange.put_all_reset(all_ms);
        } else {
            a.exchange.reset(&keys[0], Wish::default(), 9, a.now);
            a.settle();
            let done = a.answers.remove(&9).and_then(Verdict::reset);
            assert_eq!(done, Some(Reset::Done));
        }
        for (node, remaining) in [(b, 99), (c, 98)] {
            node.now += 100 * MS;
            assert!(node.ask(org_only(), 1).is_err(), "not told yet");
            if all {
                node.exchange.put_all_reset(all_ms);
            } else {
                node.exchange.reset_elsewhere(&keys[0].store_name());
            }
            let numbers = node.ask(org_only(), 1).map(|permit| permit.numbers());
            assert_eq!(numbers, Ok(Some((100, remaining))));
        }
    }
}

#[test]
fn g22_a_node_that_missed_the_message_neither_keeps_the_block_nor_brings_it_back() {
    let server = Server::start();
    for all in [false, true] {
        let mut nodes = trio(&server, 10 * BLOCK);
        let mut redis = server.connect();
        let _: () = redis::cmd("FLUSHALL").query(&mut redis).unwrap();
        while nodes[0].ask(org_only(), 1).is_ok() {}
        for node in &mut nodes {
            assert!(node.ask(org_only(), 1).is_err());
            node.now += SECOND;
        }
        let [a, b, c] = &mut nodes;
        let keys = org_only().keys();
        let all_ms = 1_800_000_000_000 + a.now / MS;
        if all {
            // The other two learn of it by their heartbeats, one of them late.
            a.exchange.put_all_reset(all_ms);
            assert!(a.ask(org_only(), 1).is_ok());
        } else {
            a.exchange.reset(&keys[0], Wish::default(), 9, a.now);
            a.settle();
        }
        // Long enough for a full bucket's key to be gone, were it not for the reset of this one.
        b.now += 20 * SECOND;
        if all {
            // Before its heartbeat it may bring back what the store has forgotten. Not for longer.
            let _ = b.ask(org_only(), 1);
            b.now += MS;
            b.exchange.put_all_reset(all_ms);
        }
        assert!(b.ask(org_only(), 1).is_ok(), "it asks, and is told");
        a.now = b.now + MS;
        assert!(a.ask(org_only(), 1).is_ok(), "nothing was undone");
        c.now = a.now + 300 * SECOND;
        if all {
            c.exchange.put_all_reset(all_ms);
        }
        assert!(c.ask(org_only(), 1).is_ok());
        for node in [a, b] {
            node.now = c.now + MS;
            assert!(node.ask(org_only(), 1).is_ok());
        }
    }
}

#[test]
fn g23_without_a_store_each_of_three_nodes_does_as_the_policy_says() {
    for (policy, passes) in [
        (OnOutage::Share, 40),
        (OnOutage::Closed, 0),
        (OnOutage::Open, 60),
    ] {
        for _ in 0..3 {
            let node = Node::leased(limits(100, 20, 0).settings(1, true));
            let mut core = Core::new(Arc::clone(&node), 0);
            let mut exchange: Exchange<u32> = Exchange::new(node, "node", policy, 3);
            let now = MINUTE;
            let mut passed = 0;
            for _ in 0..60 {
                let outcome = core.request(Some(OrgKey::new("new")), None, 1, &|| now);
                let outcome = outcome.and_then(|outcome| match outcome {
                    Outcome::Ask(claim) => {
                        let key = claim.organization().expect("it is asked for");
                        exchange.ask(&key, 1, Some(1), now);
                        let (_, verdict) = exchange.answers().remove(0);
                        core.conclude(claim, None, Some(verdict), &|| now)
                    }
                    permit @ Outcome::Permit(_) => Ok(permit),
                });
                match outcome {
                    Ok(_) => passed += 1,
                    Err(refusal) => assert!(refusal.retry_after_s >= 1),
                }
            }
            assert_eq!(passed, passes, "{policy:?}");
        }
    }
}

#[test]
fn while_calls_are_paced_a_core_refuses_by_itself() {
    let server = Server::start();
    let mut shared = Shared::new(&server, limits(600, 0, 0), SECOND);
    let who = org_only();
    for nth in 1..=600 {
        assert!(shared.ask(who, 1).is_ok(), "{nth}");
    }
    // A token comes every 100 ms, and is there for whoever comes then; from the second refusal on calls are 250 ms apart.
    assert!(shared.ask(who, 1).is_err());
    shared.now += 100 * MS;
    assert!(shared.ask(who, 1).is_ok());
    assert!(shared.ask(who, 1).is_err());
    let called = shared.exchange.traffic().calls;
    shared.now += 249 * MS;
    assert!(shared.ask(who, 1).is_err());
    assert_eq!(shared.exchange.traffic().calls, called);
    shared.now += MS;
    assert!(shared.ask(who, 1).is_ok());
    let (now, org) = (shared.now, who.org.map(OrgKey::new));
    let outcome = shared.core.request(org, None, 1, &|| now);
    assert!(outcome.is_err(), "the control thread would be asked");
    shared.now += 250 * MS;
    assert!(shared.ask(who, 1).is_ok());
}
