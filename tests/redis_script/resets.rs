//! The vectors S14 to S20 of LIMITS.md: resets and what they outrank. Not their way through a gateway (`tests/redis_outage/resets.rs`).

use super::*;

/// A site that has heard nothing since asks under the epoch it knows, with what it remembers.
fn declare(known: &str, left: u64) -> impl FnOnce(&mut Call) {
    let known = known.to_owned();
    move |call| (call.known, call.left, call.waiting) = (known, left, 1)
}

#[test]
fn s14_and_s15_a_reset_outranks_what_was_declared_before_it() {
    for lost in [false, true] {
        let mut bench = Bench::new();
        bench.fresh(BLOCKING);
        assert_eq!(bench.ask("a", 120), (0, 120));
        let blocked = bench.call("b", |call| call.waiting = 1);
        assert_eq!((blocked.status, blocked.block), (1, 60_000));
        if lost {
            let _: () = redis::cmd("FLUSHALL").query(&mut bench.connection).unwrap();
        }
        bench.at(5_000);
        let reset = bench.call("admin", |call| call.reset = RESET);
        check("reset", &reset, (0, 120, 0));
        assert_ne!(reset.epoch, blocked.epoch, "another life");
        // Nobody has used it since, and it is full: the mark stays for as long as somebody may remember the block.
        let key = bench.key.clone();
        let ttl: u64 = redis::cmd("PTTL")
            .arg(key)
            .query(&mut bench.connection)
            .unwrap();
        assert!((59_000..=61_100).contains(&ttl), "{ttl}");
        bench.at(20_000);
        let late = bench.call("b", declare(&blocked.epoch, 40_000));
        check("S14", &late, (1, 119, 1));
        assert_eq!(
            (late.status, late.block, late.epoch),
            (0, 0, reset.epoch),
            "S14"
        );
        // A block that comes after it is one, and may be declared when it is lost.
        assert_eq!(bench.ask("a", 119), (0, 119));
        let again = bench.call("b", |call| call.waiting = 1);
        assert_eq!((again.status, again.block), (1, 60_000), "S15");
        let _: () = redis::cmd("FLUSHALL").query(&mut bench.connection).unwrap();
        let declared = bench.call("b", declare(&again.epoch, 59_000));
        assert_eq!((declared.status, declared.block), (1, 59_000), "S15");
    }
}

#[test]
fn s16_and_s17_a_reset_of_all_holds_for_each_key_when_it_is_next_used() {
    let mut bench = Bench::new();
    bench.fresh(BLOCKING);
    let all = bench.start + 4_000;
    assert_eq!(bench.ask("a", 121), (1, 120));
    let blocked = bench.call("b", |_| {});
    bench.at(5_000);
    let informed = |call: &mut Call| (call.all, call.waiting) = (all, 1);
    check("S16", &bench.call("a", informed), (1, 119, 1));
    check("S16 again", &bench.call("a", informed), (1, 118, 1));
    // Who has not heard of it cannot bring the block back.
    let late = bench.call("b", declare(&blocked.epoch, 55_000));
    assert_eq!((late.status, late.block), (0, 0), "S16");
    // Where the key is lost it can, and then only until somebody comes who has.
    let _: () = redis::cmd("FLUSHALL").query(&mut bench.connection).unwrap();
    let late = bench.call("b", declare(&blocked.epoch, 55_000));
    assert_eq!((late.status, late.block), (1, 55_000), "S17");
    let fresh = bench.call("c", |call| call.waiting = 1);
    assert_eq!(fresh.status, 1, "S17");
    check("S17", &bench.call("a", informed), (1, 119, 1));
    let late = bench.call("c", declare(&fresh.epoch, 55_000));
    assert_eq!((late.status, late.block), (0, 0), "S17");
    // A server whose clock is behind resets a key once, too.
    bench.fresh(PLAIN);
    let all = bench.now + 500;
    for left in [119, 118] {
        let reply = bench.call("a", |call| (call.all, call.waiting) = (all, 1));
        check("behind", &reply, (1, left, 1));
    }
}

#[test]
fn s18_and_s19_a_reset_that_is_late_or_too_soon_changes_nothing() {
    let mut bench = Bench::new();
    bench.fresh(BLOCKING);
    assert_eq!(bench.ask("a", 121), (1, 120));
    let reset = |bench: &mut Bench, until: u64, gap: u64| {
        let until = if until > 0 { bench.start + until } else { 0 };
        let reply = bench.call("admin", |call| call.reset = Some((0, until, gap)));
        (reply.status, reply.soon, reply.level / UNIT)
    };
    bench.at(1_000);
    assert_eq!(reset(&mut bench, 999, 0), (4, 0, 0), "S18");
    assert_eq!(bench.ask("a", 1).0, 1, "S18: blocked still");
    assert_eq!(reset(&mut bench, 1_000, 60_000), (0, 0, 120), "S19");
    assert_eq!(bench.ask("a", 100), (0, 100));
    bench.at(31_000);
    assert_eq!(reset(&mut bench, 0, 60_000).0, 4, "S19");
    assert_eq!(reset(&mut bench, 0, 60_000).1, 30_000, "S19");
    assert_eq!(
        reset(&mut bench, 0, 0),
        (0, 0, 120),
        "S19: by somebody else"
    );
    bench.at(61_000);
    assert_eq!(reset(&mut bench, 0, 60_000).0, 0, "S19");
}

#[test]
fn s20_a_grant_with_nothing_ahead_lasts_as_long_as_its_caller_may_take() {
    let mut bench = Bench::new();
    for (brief, lease) in [(100, 100), (500, 500)] {
        bench.fresh(PLAIN);
        let reply = bench.call("a", |call| {
            (call.waiting, call.tau, call.brief) = (1, 5_000, brief);
        });
        assert_eq!(reply.lease, lease, "S20");
    }
}
