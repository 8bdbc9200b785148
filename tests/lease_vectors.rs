//! The vectors G1 to G22 of LIMITS.md in Redis mode with leases ahead switched off: one node, the real script on a real server, an
//! injected clock and a network without delay. Not several nodes (`lease_property.rs`). Invariant: the table is that of memory mode.
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
    Core, Exchange, Info, IpKey, Key, Node, OnOutage, OrgKey, Outcome, Permit, Refusal, Reply,
    SCRIPT, Verdict,
};
use limit_support::{Limits, MINUTE, MS, SECOND, Who, limits};
use redis_support::Server;
use stories::{BLOCK, STORIES, Step, both, ip_only, org_only};

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
    fn new(server: &Server, limits: Limits, start: u64) -> Self {
        let mut redis = server.connect();
        let _: () = redis::cmd("FLUSHALL").query(&mut redis).unwrap();
        let node = Node::leased(limits.settings(1, false));
        let mut exchange = Exchange::new(Arc::clone(&node), "node", OnOutage::Closed, 1);
        exchange.put_back();
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

    fn ask(&mut self, who: Who<'_>, cost: u32) -> Result<Permit, Refusal> {
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
                    self.exchange.reset(&key, 4, self.now);
                    self.settle();
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
