//! What a decision of the limiter costs: from a slice, at the node's bucket, on one thread and on two, and for keys never seen.
//! Not a test: nothing here asserts a time. Invariant: the clock is injected and moves on, so buckets never run dry by standing still.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark may fail loudly, and its macros write undocumented functions"
)]

use std::cell::Cell;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use dbpower_gateway::limit::{
    Core, Exchange, IpKey, Key, Node, OnOutage, OrgKey, Outcome, Permit, Refusal, Reply, Settings,
};

/// So many that the bucket never refuses at 100 ns per request.
const RPM: u32 = 16_000_000;
const KEYS: u32 = 10_000;

fn settings(slices: bool) -> Settings {
    Settings {
        rpm: RPM,
        burst: 0,
        block_ms: 0,
        per_org: true,
        per_ip: true,
        keys_max: 1 << 16,
        cores: 2,
        slices,
    }
}

fn ip(n: u32) -> IpKey {
    IpAddr::V4(Ipv4Addr::from_bits(n)).into()
}

/// A clock that goes on by `step` ns per look.
fn clock(now: &Cell<u64>, step: u64) -> impl Fn() -> u64 {
    move || {
        now.set(now.get() + step);
        now.get()
    }
}

fn limit(c: &mut Criterion) {
    let mut group = c.benchmark_group("limit");
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    for (name, slices) in [("slice", true), ("node", false)] {
        let mut core = Core::new(Node::new(settings(slices)), 0);
        let now = Cell::new(1);
        let clock = clock(&now, 4_000);
        let org = OrgKey::new("1");
        group.bench_function(format!("{name}, one key"), |b| {
            b.iter(|| core.take(black_box(Some(org)), None, 1, &clock));
        });
        group.bench_function(format!("{name}, peek and both keys"), |b| {
            b.iter(|| {
                let _ = core.peek_ip(black_box(ip(1)), 1, &clock);
                core.take(Some(org), Some(ip(1)), 1, &clock)
            });
        });
        two_threads(&mut group, name, slices);
        let mut leased = Leased::new(slices);
        group.bench_function(format!("{name} of a lease, one key"), |b| {
            b.iter(|| leased.take());
        });
    }
    let mut core = Core::new(Node::new(settings(true)), 0);
    let now = Cell::new(1);
    let clock = clock(&now, 1_000);
    let mut turn = (0..KEYS).cycle();
    group.bench_function("many keys", |b| {
        b.iter(|| core.take(None, turn.next().map(ip), 1, &clock));
    });
    let mut unseen = KEYS..u32::MAX;
    group.bench_function("keys never seen", |b| {
        b.iter(|| core.take(None, unseen.next().map(ip), 1, &clock));
    });
    group.finish();
}

/// One core of a node in lease mode, and a store that grants as much as a slot can hold, for a day.
struct Leased {
    core: Core,
    exchange: Exchange<u32>,
    reply: Reply,
    now: Cell<u64>,
}

impl Leased {
    fn new(slices: bool) -> Self {
        let node = Node::leased(settings(slices));
        node.put_limits(1, RPM, 0, 0);
        let mut exchange = Exchange::new(Arc::clone(&node), "site", OnOutage::Closed, 1);
        exchange.put_back();
        let grant = i64::from(RPM / 2);
        let numbers = [
            0,
            grant,
            0,
            86_400_000,
            0,
            grant,
            0,
            0,
            1,
            i64::from(RPM),
            0,
            60_000,
            0,
        ];
        Self {
            core: Core::new(node, 0),
            exchange,
            reply: Reply::read(&numbers, "epoch").unwrap(),
            now: Cell::new(1),
        }
    }

    fn take(&mut self) -> Result<Permit, Refusal> {
        let clock = clock(&self.now, 4_000);
        let org = black_box(Some(OrgKey::new("1")));
        let claim = match self.core.request(org, None, 1, &clock)? {
            Outcome::Permit(permit) => return Ok(permit),
            Outcome::Ask(claim) => claim,
        };
        // Once in eight million.
        let now = self.now.get();
        self.exchange.ask(&Key::Org("1".into()), 1, Some(1), now);
        for call in self.exchange.calls(now, 1) {
            self.exchange.reply(call.id, &self.reply, now);
        }
        let verdict = self.exchange.answers().pop().map(|(_, verdict)| verdict);
        match self.core.conclude(claim, None, verdict, &clock)? {
            Outcome::Permit(permit) => Ok(permit),
            Outcome::Ask(_) => unreachable!("the only key was charged"),
        }
    }
}

/// The same key from another core at the same time.
fn two_threads(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    slices: bool,
) {
    let node = Node::new(settings(slices));
    let ended = AtomicBool::new(false);
    let take = |core: &mut Core, now: &Cell<u64>| {
        core.take(
            black_box(Some(OrgKey::new("1"))),
            None,
            1,
            &clock(now, 8_000),
        )
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut core = Core::new(Arc::clone(&node), 1);
            let now = Cell::new(1);
            while !ended.load(Ordering::Relaxed) {
                let _ = take(&mut core, &now);
            }
        });
        let mut core = Core::new(Arc::clone(&node), 0);
        let now = Cell::new(1);
        group.bench_function(format!("{name}, one key, two threads"), |b| {
            b.iter(|| take(&mut core, &now));
        });
        ended.store(true, Ordering::Relaxed);
    });
}

criterion_group!(benches, limit);
criterion_main!(benches);
