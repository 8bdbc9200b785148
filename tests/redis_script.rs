//! The vectors S1 to S20 of LIMITS.md, and those parts of G and M that are decided in the script, against a real Redis server
//! with an injected clock. Not the exchange of a gateway (`redis_node.rs`). Invariant: every number of a vector stands in LIMITS.md.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod redis_support;
#[path = "redis_script/resets.rs"]
mod resets;

use redis_support::Server;
use redis_support::call::{Call, Limits, Reply, UNIT};

const BLOCKING: Limits = Limits {
    version: 1,
    rpm: 100,
    burst: 20,
    block_ms: 60_000,
};
const PLAIN: Limits = Limits {
    block_ms: 0,
    ..BLOCKING
};

/// An admin's reset.
const RESET: Option<(u64, u64, u64)> = Some((0, 0, 0));

/// One key on a server, and a clock.
struct Bench {
    connection: redis::Connection,
    _server: Server,
    key: String,
    keys: u32,
    now: u64,
    start: u64,
    seq: u64,
    limits: Limits,
}

impl Bench {
    fn new() -> Self {
        let server = Server::start();
        Self {
            connection: server.connect(),
            _server: server,
            key: String::new(),
            keys: 0,
            now: 0,
            start: 0,
            seq: 0,
            limits: BLOCKING,
        }
    }

    /// A key that nobody has used.
    fn fresh(&mut self, limits: Limits) {
        self.keys += 1;
        self.key = format!("rl:{{o:{}}}", self.keys);
        self.start = 1_800_000_000_000 + u64::from(self.keys) * 1_000_000;
        self.now = self.start;
        self.limits = limits;
    }

    fn at(&mut self, ms: u64) {
        self.now = self.start + ms;
    }

    fn call(&mut self, site: &str, fill: impl FnOnce(&mut Call)) -> Reply {
        self.seq += 1;
        let mut call = Call::new(&self.key, site, self.seq, self.limits, self.now);
        fill(&mut call);
        call.run(&mut self.connection)
    }

    /// One request at a node that holds nothing: status and grant.
    fn ask(&mut self, site: &str, waiting: u64) -> (u64, u64) {
        let reply = self.call(site, |call| call.waiting = waiting);
        (reply.status, reply.grant)
    }

    fn level(&mut self) -> u64 {
        self.call("probe", |_| {}).level / UNIT
    }
}

/// grant, level in tokens, out.
fn check(at: &str, reply: &Reply, expected: (u64, u64, u64)) {
    let found = (reply.grant, reply.level / UNIT, reply.out);
    assert_eq!(found, expected, "{at}: {reply:?}");
}

#[test]
fn s1_to_s4_a_lease_is_told_repeated_reported_and_ends() {
    let mut bench = Bench::new();
    bench.fresh(BLOCKING);
    let first = |call: &mut Call| {
        (call.seq, call.waiting, call.want, call.tau) = (1, 3, 20, 2_000);
    };
    let granted = bench.call("a", first);
    check("S1", &granted, (23, 97, 23));
    assert_eq!((granted.status, granted.lease), (0, 2_000));
    bench.at(5);
    let repeated = bench.call("a", first);
    check("S1 again", &repeated, (0, 97, 23));
    assert_eq!(repeated.status, 2);
    let next = bench.call("b", |call| (call.seq, call.waiting) = (1, 1));
    check("S2", &next, (1, 96, 24));
    let told = bench.call("a", |call| (call.seq, call.held, call.ret) = (2, 5, 4));
    check("S3", &told, (0, 100, 6));
    assert_eq!(told.kept, 5);
    bench.at(30_000);
    check("S4", &bench.call("c", |_| {}), (0, 120, 0));
}

#[test]
fn s5_refill_stops_where_level_and_leases_fill_the_bucket() {
    let mut bench = Bench::new();
    bench.fresh(BLOCKING);
    let lease = bench.call("a", |call| {
        (call.waiting, call.want, call.tau) = (1, 120, 10_000);
    });
    check("0 s", &lease, (60, 60, 60));
    bench.at(9_900);
    check("9.9 s", &bench.call("b", |_| {}), (0, 60, 60));
    bench.at(10_600);
    check("10.6 s", &bench.call("b", |_| {}), (0, 61, 0));
}

#[test]
fn s6_and_s7_no_block_while_another_site_can_admit() {
    let mut bench = Bench::new();
    bench.fresh(BLOCKING);
    assert_eq!(bench.ask("a", 100), (0, 100));
    let ahead = bench.call("b", |call| {
        (call.waiting, call.want, call.tau) = (1, 15, 5_000);
    });
    assert_eq!((ahead.status, ahead.grant), (0, 5), "S6 b: {ahead:?}");
    assert_eq!(bench.ask("c", 16), (3, 15), "S6 c");
    let back = bench.call("b", |call| call.ret = 4);
    check("S7 b", &back, (0, 4, 116 - 1));
    assert_eq!(bench.ask("c", 2), (0, 2), "S7");
    let refused = bench.call("c", |call| call.waiting = 3);
    assert_eq!(
        (refused.status, refused.grant, refused.block),
        (1, 2, 60_000)
    );
}

#[test]
fn s8_a_clock_that_steps_back_pays_nothing_and_ends_nothing() {
    let mut bench = Bench::new();
    bench.fresh(PLAIN);
    bench.at(10_000);
    let lease = bench.call("a", |call| {
        (call.waiting, call.want, call.tau) = (1, 40, 5_000);
    });
    check("before", &lease, (41, 79, 41));
    bench.at(9_000);
    let after = bench.call("b", |call| call.waiting = 1);
    check("stepped back", &after, (1, 78, 42));
    // The lease has its full five seconds left, on the clock as it is now.
    bench.at(13_999);
    let level = bench.call("c", |_| {});
    assert_eq!(level.out, 41, "{level:?}");
    bench.at(14_000);
    assert_eq!(bench.call("c", |_| {}).out, 0);
}

#[test]
fn s9_to_s11_a_lost_key_is_declared_again() {
    let mut bench = Bench::new();
    bench.fresh(BLOCKING);
    let first = bench.call("a", |call| {
        "old".clone_into(&mut call.known);
        (call.held, call.ret, call.waiting) = (4, 2, 1);
        (call.told, call.age) = (30 * UNIT, 6_000);
    });
    check("S9", &first, (1, 41, 5));
    assert_eq!(first.kept, 4);
    let second = bench.call("b", |call| {
        "old".clone_into(&mut call.known);
        (call.held, call.waiting) = (10, 1);
        (call.told, call.age) = (3 * UNIT, 1_200);
    });
    check("S10", &second, (1, 4, 16));
    assert_eq!(second.kept, 10);
    bench.fresh(BLOCKING);
    let blocked = bench.call("a", |call| {
        "old".clone_into(&mut call.known);
        (call.age, call.left, call.waiting) = (15_000, 45_000, 1);
    });
    check("S11", &blocked, (0, 25, 0));
    assert_eq!((blocked.status, blocked.block), (1, 45_000));
}

#[test]
fn s12_what_was_admitted_without_a_lease_is_deducted() {
    let mut bench = Bench::new();
    bench.fresh(BLOCKING);
    assert_eq!(bench.ask("a", 100), (0, 100));
    let owed = bench.call("b", |call| (call.owed, call.waiting) = (15, 1));
    assert_eq!((owed.grant, owed.level / UNIT), (1, 4), "{owed:?}");
}

#[test]
fn s13_a_repeat_changes_nothing_even_when_it_sees_a_lease_end() {
    let mut levels = Vec::new();
    let mut bench = Bench::new();
    for repeat in [false, true] {
        bench.fresh(PLAIN);
        // The caller's own lease outlives that of the other site.
        let mine = |call: &mut Call| {
            (call.seq, call.waiting, call.want, call.tau) = (7, 1, 20, 9_000);
        };
        assert_eq!(bench.call("a", mine).grant, 21);
        let other = bench.call("b", |call| {
            (call.waiting, call.want, call.tau) = (1, 20, 2_000);
        });
        assert_eq!(other.grant, 21);
        bench.at(2_001);
        if repeat {
            assert_eq!(bench.call("a", mine).status, 2);
        }
        bench.at(4_000);
        levels.push(bench.call("c", |_| {}).level);
    }
    assert_eq!(levels[0], levels[1]);
}

#[test]
fn g1_to_g10_one_bucket_blocks_for_a_minute_and_refills_meanwhile() {
    let mut bench = Bench::new();
    bench.fresh(BLOCKING);
    for nth in 1..=120_u64 {
        let reply = bench.call("a", |call| call.waiting = 1);
        // What this site had been granted before is spent: it holds nothing when it calls.
        check(&format!("request {nth}"), &reply, (1, 120 - nth, 1));
    }
    let block = |reply: &Reply| (reply.status, reply.grant, reply.block);
    let refused = bench.call("a", |call| call.waiting = 1);
    assert_eq!(block(&refused), (1, 0, 60_000), "G6");
    bench.at(15_000);
    let refused = bench.call("a", |call| call.waiting = 1);
    assert_eq!(block(&refused), (1, 0, 45_000), "G7");
    assert_eq!(refused.level / UNIT, 25, "{refused:?}");
    bench.at(59_001);
    assert_eq!(
        block(&bench.call("a", |call| call.waiting = 1)),
        (1, 0, 999)
    );
    bench.at(60_000);
    assert_eq!(bench.ask("a", 1), (0, 1), "G9");
    let before = bench.level();
    let refused = bench.call("a", |call| call.waiting = 100);
    assert_eq!(block(&refused), (1, before, 60_000), "G10");
}

#[test]
fn g12_g13_and_g16_without_blocks_a_refusal_says_when() {
    let mut bench = Bench::new();
    bench.fresh(PLAIN);
    assert_eq!(bench.ask("a", 120), (0, 120), "G11");
    assert_eq!(bench.ask("a", 1), (0, 0), "G11");
    let soon = |bench: &mut Bench, cost| {
        let reply = bench.call("a", |call| (call.waiting, call.cost) = (cost, cost));
        (reply.grant, reply.soon)
    };
    bench.at(599);
    assert_eq!(soon(&mut bench, 1).0, 0);
    bench.at(600);
    assert_eq!(soon(&mut bench, 1).0, 1);
    assert_eq!(soon(&mut bench, 1).0, 0);
    let six = Limits {
        rpm: 6,
        burst: 0,
        ..PLAIN
    };
    bench.fresh(six);
    assert_eq!(bench.ask("a", 6), (0, 6));
    for (at, expected) in [
        (0, (0, 10_000)),
        (3_500, (0, 6_500)),
        (9_999, (0, 1)),
        (10_000, (1, 10_000)),
    ] {
        bench.at(at);
        assert_eq!(soon(&mut bench, 1), expected, "G13 at {at}");
    }
    bench.fresh(PLAIN);
    let reply = bench.call("a", |call| (call.waiting, call.cost) = (125, 5));
    assert_eq!(reply.grant, 120, "a grant is a multiple of the cost");
    assert_eq!(bench.ask("a", 0), (0, 0));
    bench.at(2_900);
    let reply = bench.call("a", |call| (call.waiting, call.cost) = (5, 5));
    assert_eq!((reply.status, reply.grant), (0, 0), "G16");
    bench.at(3_000);
    let reply = bench.call("a", |call| (call.waiting, call.cost) = (5, 5));
    assert_eq!(reply.grant, 5);
}

#[test]
fn g19_and_g20_the_newest_limits_win_and_move_the_level() {
    let mut bench = Bench::new();
    bench.fresh(BLOCKING);
    let old = bench.limits;
    assert_eq!(bench.ask("a", 90), (0, 90));
    bench.limits = Limits {
        version: 2,
        rpm: 200,
        ..old
    };
    let raised = bench.call("a", |call| call.waiting = 1);
    assert_eq!((raised.grant, raised.level / UNIT), (1, 129), "G19");
    // A node that lags behind is told, and cannot bring old limits back.
    let newest = std::mem::replace(&mut bench.limits, old);
    let lagging = bench.call("b", |_| {});
    assert_eq!((lagging.version, lagging.level / UNIT), (2, 129));
    bench.limits = Limits {
        version: 3,
        rpm: 50,
        ..newest
    };
    let lowered = bench.call("a", |call| call.waiting = 1);
    assert_eq!((lowered.status, lowered.block), (1, 60_000), "G20");
    assert_eq!(lowered.level, 0);
}

#[test]
fn g22_a_reset_fills_and_lifts_the_block() {
    let mut bench = Bench::new();
    bench.fresh(BLOCKING);
    assert_eq!(bench.ask("a", 121), (1, 120));
    bench.at(5_000);
    let reset = bench.call("admin", |call| call.reset = RESET);
    assert_eq!(
        (reset.status, reset.block, reset.level / UNIT),
        (0, 0, 120),
        "{reset:?}"
    );
    bench.at(5_100);
    let after = bench.call("b", |call| call.waiting = 1);
    check("G22", &after, (1, 119, 1));
    // What somebody still holds stays counted.
    bench.fresh(BLOCKING);
    let lease = bench.call("a", |call| {
        (call.waiting, call.want, call.tau) = (1, 30, 9_000);
    });
    assert_eq!(lease.out, 31);
    let reset = bench.call("admin", |call| call.reset = RESET);
    assert_eq!((reset.level / UNIT, reset.out), (89, 31));
}

#[test]
fn m1_and_m2_three_nodes_share_one_bucket_and_one_block() {
    let mut bench = Bench::new();
    bench.fresh(BLOCKING);
    for nth in 0..120 {
        let site = ["a", "b", "c"][nth % 3];
        assert_eq!(bench.ask(site, 1), (0, 1), "request {nth}");
    }
    for (at, site, left) in [(1, "a", 60_000), (1, "b", 60_000), (100, "c", 59_901)] {
        bench.at(at);
        let reply = bench.call(site, |call| call.waiting = 1);
        assert_eq!(
            (reply.status, reply.grant, reply.block),
            (1, 0, left),
            "{site}"
        );
    }
}

#[test]
fn a_key_lives_until_it_would_be_full() {
    let mut bench = Bench::new();
    bench.fresh(BLOCKING);
    let ttl = |bench: &mut Bench| -> u64 {
        let key = bench.key.clone();
        redis::cmd("PTTL")
            .arg(key)
            .query(&mut bench.connection)
            .unwrap()
    };
    assert_eq!(bench.ask("a", 120), (0, 120));
    // 100 ms of lease, 72 s to fill, 1 s to spare.
    assert!((72_000..=73_100).contains(&ttl(&mut bench)));
    assert_eq!(bench.ask("a", 1), (1, 0));
    assert!((132_000..=133_000).contains(&ttl(&mut bench)));
}

/// Microseconds of the server per call with so many sites on the key.
fn cost_of_a_call(sites: usize) -> f64 {
    let mut bench = Bench::new();
    bench.fresh(PLAIN);
    let _: () = redis::cmd("CONFIG")
        .arg("RESETSTAT")
        .query(&mut bench.connection)
        .unwrap();
    for nth in 0..1_000 {
        let reply = bench.call(&format!("{:016x}", nth % sites), |call| {
            (call.want, call.tau) = (1, 20_000);
        });
        assert_eq!(reply.status, 0);
    }
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query(&mut bench.connection)
        .unwrap();
    let line = stats.lines().find(|line| line.starts_with("cmdstat_eval:"));
    let of_call = line.and_then(|line| {
        line.split(',')
            .find_map(|s| s.strip_prefix("usec_per_call="))
    });
    of_call.unwrap().parse().unwrap()
}

#[test]
fn a_call_is_cheap_for_the_server_also_with_many_sites() {
    let (one, many) = (cost_of_a_call(1), cost_of_a_call(16));
    println!("{one} us per call with one site, {many} us with 16 (aim: 60)");
    // Twenty times the aim: what a busy machine may add, and not what a loop over loops would.
    assert!(one < 1_200.0 && many < 1_200.0);
}
