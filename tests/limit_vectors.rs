//! The test vectors G1 to G22 of LIMITS.md, word by word, on a node without Redis and with an injected clock: first on one core
//! without slices, then those that must hold unchanged with slices, on one core and over four; and what a full table keeps. Not
//! the guarantee itself (`limit_exact.rs`), not a flood (`limit_flood.rs`). Invariant: every number of a vector stands in LIMITS.md.
//!
//! Mistakes planted in a copy of the limiter that fail here: refill without the cap of C, a slot evicted while it is blocked or lent,
//! a token not given back, a block that is prolonged or survives a reset, a peek that starts no block, a lower limit that takes
//! nothing, slices that hold one token more or settle by half.
#![allow(clippy::panic, reason = "a test may fail loudly")]

mod limit_support;
#[path = "limit_support/stories.rs"]
mod stories;

use std::net::{IpAddr, Ipv6Addr};

use dbpower_gateway::limit::{Info, Key, Policy, Refusal, Settings};
use limit_support::{MINUTE, MS, SECOND, TICK, Who, World, limits};
use stories::{BLOCK, STORIES, address, both, ip_only, org_only, stage, warm};

/// Vectors that LIMITS.md promises with leases on as well.
const WITH_SLICES: [&str; 8] = ["G1", "G2", "G3", "G4", "G5", "G6", "G11", "G15"];

#[test]
fn every_vector_holds_without_slices() {
    for story in &STORIES {
        for who in [org_only(), ip_only(), both()] {
            for (cores, start) in [(1, 0), (1, 77 * MINUTE + 123), (4, SECOND)] {
                let mut stage = stage(story, who, cores, false, start);
                for (vector, at_ms, steps) in story.rows {
                    stage.world.now = start + at_ms * MS;
                    for (nth, step) in steps.iter().enumerate() {
                        let at =
                            format!("{vector} step {nth} ({}) {who:?} {cores} cores", story.name);
                        // Without slices it makes no difference how many cores ask.
                        stage.play(step, &at);
                    }
                }
            }
        }
    }
}

#[test]
fn with_slices_the_same_on_one_core_and_in_sum_over_four() {
    for story in &STORIES {
        for (cores, hot) in [(1, false), (1, true), (4, false), (4, true)] {
            for who in [org_only(), ip_only(), both()] {
                let mut stage = stage(story, who, cores, true, MINUTE);
                if hot {
                    warm(&mut stage);
                }
                let (start, slices_before) = (stage.world.now, stage.world.served_from_slices());
                let rows = story
                    .rows
                    .iter()
                    .filter(|(vector, _, _)| WITH_SLICES.contains(vector));
                for (vector, at_ms, steps) in rows.clone() {
                    assert_eq!(*at_ms, 0);
                    for (nth, step) in steps.iter().enumerate() {
                        let at = format!(
                            "{vector} step {nth} ({}) {who:?} {cores} cores hot {hot}",
                            story.name
                        );
                        stage.play(step, &at);
                    }
                }
                let took = stage.world.now - start;
                assert!(
                    took < 600 * MS,
                    "{}: a token came back after {took} ns of ticks",
                    story.name
                );
                if hot && rows.clone().next().is_some() {
                    let slices = stage.world.served_from_slices() - slices_before;
                    assert!(slices > 0, "the warmed key was never served from a slice");
                }
            }
        }
    }
}

#[test]
fn g17_a_burst_of_100_within_two_seconds_of_every_minute_is_served() {
    let limits = limits(100, 20, BLOCK);
    for slices in [false, true] {
        let mut world = World::new(limits.settings(1, slices), 0);
        for minute in 0..4 {
            for nth in 0..100 {
                world.now = minute * MINUTE + nth * TICK;
                if slices {
                    world.cores[0].tick(world.now);
                }
                let verdict = world.take(0, org_only(), 1);
                assert!(
                    verdict.is_ok(),
                    "minute {minute}, request {nth}: {verdict:?}"
                );
            }
        }
    }
}

#[test]
fn g18_fifteen_percent_too_much_is_first_refused_when_the_burst_is_used_up() {
    let mut world = World::new(limits(100, 20, 0).settings(1, false), 0);
    let refused = (0..2_000).find(|nth| {
        world.now = nth * MINUTE / 115;
        world.take(0, org_only(), 1).is_err()
    });
    let at_s = refused.map(|nth| nth * 60 / 115);
    assert!(
        at_s.is_some_and(|s| (470..480).contains(&s)),
        "first 429 at {at_s:?} s"
    );
}

#[test]
fn g21_whoever_refuses_the_other_key_is_not_charged() {
    // Without a block, with one that starts now, and with one already known.
    for (block_ms, asked_before) in [(0, 0), (BLOCK, 0), (BLOCK, 1)] {
        let limits = limits(100, 20, block_ms);
        let cases = [
            (org_only(), ip_only(), Policy::Organization),
            (ip_only(), org_only(), Policy::Ip),
        ];
        for (exhausted, fresh, policy) in cases {
            for slices in [false, true] {
                let mut world = World::new(limits.settings(1, slices), 0);
                for _ in 0..120 + asked_before {
                    let _ = world.take(0, exhausted, 1);
                }
                for _ in 0..30 {
                    assert!(world.take(0, fresh, 1).is_ok());
                }
                for _ in 0..5 {
                    let retry_after_s = if block_ms > 0 { 60 } else { 1 };
                    let refusal = world.take(0, both(), 1).err();
                    assert_eq!(
                        refusal,
                        Some(Refusal {
                            policy,
                            limit: 100,
                            retry_after_s
                        })
                    );
                }
                // A slice counts when it settles.
                world.tick();
                let info = world.info(&fresh.keys()[0]);
                assert_eq!(
                    info,
                    Info {
                        current_count: 30,
                        limit: 100,
                        remaining: 70
                    },
                    "{fresh:?}"
                );
            }
        }
    }
}

#[test]
fn g22_every_core_sees_a_reset_at_its_next_request() {
    for all in [false, true] {
        for slices in [false, true] {
            for first in 0..4 {
                let mut world = World::new(limits(100, 20, BLOCK).settings(4, slices), 0);
                for nth in 0..160 {
                    let _ = world.take(nth % 4, both(), 1);
                }
                world.tick();
                world.tick();
                // What was left in slices is back in the pool now; without a fill in between this ends in the block.
                while world.take(0, both(), 1).is_ok() {}
                for core in 0..4 {
                    let refusal = world.take(core, both(), 1).err();
                    let retry_after_s = refusal.map(|refusal| refusal.retry_after_s);
                    assert_eq!(retry_after_s, Some(60), "core {core}");
                }
                world.now = 5 * SECOND;
                for key in both().keys() {
                    if all {
                        world.node.reset_all(world.now);
                    } else {
                        world.node.reset(&key, world.now);
                    }
                }
                world.now += 100 * MS;
                for nth in 0..4 {
                    let numbers = world
                        .take((first + nth) % 4, both(), 1)
                        .map(|permit| permit.numbers());
                    let remaining = 99 - u32::try_from(nth).unwrap_or(0);
                    assert_eq!(
                        numbers,
                        Ok(Some((100, remaining))),
                        "all {all}, slices {slices}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_smaller_remaining_is_shown_and_switched_off_keys_do_not_count() {
    let text = |settings, org_before, ip_before| {
        let mut world = World::new(settings, 0);
        for (who, count) in [(org_only(), org_before), (ip_only(), ip_before)] {
            for _ in 0..count {
                assert!(world.take(0, who, 1).is_ok());
            }
        }
        let Ok(permit) = world.take(0, both(), 1) else {
            panic!("refused")
        };
        let mut out = b"before: 1\r\n".to_vec();
        permit.write_fields(&mut out);
        // A slice counts when it settles.
        world.tick();
        let counts: Vec<u32> = both()
            .keys()
            .iter()
            .map(|key| world.info(key).current_count)
            .collect();
        (
            String::from_utf8_lossy(&out).into_owned(),
            permit.numbers(),
            counts,
        )
    };
    let fields = |remaining: u32| {
        let text = format!(
            "before: 1\r\nX-RateLimit-Limit: 100\r\nX-RateLimit-Remaining: {remaining}\r\n"
        );
        (text, Some((100, remaining)))
    };
    for slices in [false, true] {
        let settings = limits(100, 20, BLOCK).settings(1, slices);
        // per_org, per_ip, asked before, what is shown, what is counted
        let table = [
            (true, true, (0, 0), fields(99), vec![1, 1]),
            (true, true, (40, 7), fields(59), vec![41, 8]),
            (true, true, (7, 40), fields(59), vec![8, 41]),
            (true, true, (110, 0), fields(0), vec![111, 1]),
            (false, true, (40, 7), fields(92), vec![0, 8]),
            (true, false, (7, 40), fields(92), vec![8, 0]),
            (
                false,
                false,
                (40, 40),
                ("before: 1\r\n".to_owned(), None),
                vec![0, 0],
            ),
        ];
        for (per_org, per_ip, before, shown, counted) in table {
            let settings = Settings {
                per_org,
                per_ip,
                ..settings
            };
            let (text, numbers, counts) = text(settings, before.0, before.1);
            assert_eq!((text, numbers), shown, "{settings:?} {before:?}");
            assert_eq!(counts, counted, "{settings:?} {before:?}");
        }
    }
}

#[test]
fn an_address_is_one_key_per_ipv6_network_and_per_ipv4_host_however_written() {
    // asked as, looked up as, the same key?
    let table = [
        ("192.0.2.7", "192.0.2.7", true),
        ("192.0.2.7", "192.0.2.8", false),
        ("192.0.2.7", "::ffff:192.0.2.7", true),
        ("::ffff:192.0.2.7", "192.0.2.7", true),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.8", false),
        ("192.0.2.7", "::192.0.2.7", false),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ("2001:db8:0:1::1", "2001:db8:1:1::1", false),
        ("::1", "::", true),
    ];
    for (asked, looked_up, same) in table {
        let mut world = World::new(limits(100, 20, BLOCK).settings(1, false), 0);
        assert!(
            world
                .take(
                    0,
                    Who {
                        org: None,
                        ip: Some(address(asked))
                    },
                    3
                )
                .is_ok()
        );
        let count = world.info(&Key::Ip(address(looked_up))).current_count;
        assert_eq!(count, if same { 3 } else { 0 }, "{asked} and {looked_up}");
        assert_eq!(
            world.info(&Key::Org(asked.into())).current_count,
            0,
            "an organization named {asked}"
        );
    }
}

#[test]
fn a_peek_takes_nothing_but_blocks_and_a_charge_takes() {
    let ip = address("198.51.100.1");
    let key = Key::Ip(ip);
    let mut world = World::new(limits(100, 20, BLOCK).settings(2, false), 0);
    for core in [0, 1, 0] {
        assert_eq!(world.peek(core, ip, 120), Ok(()));
    }
    assert_eq!(
        world.info(&key),
        Info {
            current_count: 0,
            limit: 100,
            remaining: 100
        }
    );
    for nth in 0..115 {
        world.charge(nth % 2, ip, 1);
    }
    assert_eq!(
        world.info(&key),
        Info {
            current_count: 115,
            limit: 100,
            remaining: 0
        }
    );
    assert_eq!(world.peek(0, ip, 5), Ok(()));
    let refusal = Refusal {
        policy: Policy::Ip,
        limit: 100,
        retry_after_s: 60,
    };
    assert_eq!(world.peek(0, ip, 6), Err(refusal));
    // The peek has started the block, so five tokens help nobody now, on no core and by no way.
    let who = Who {
        org: Some("acme"),
        ip: Some(ip),
    };
    for core in [0, 1] {
        assert!(world.peek(core, ip, 1).is_err());
        assert!(world.take(core, who, 1).is_err());
    }
    assert_eq!(world.info(&Key::Org("acme".into())).current_count, 0);
    world.now = 60 * SECOND;
    assert_eq!(world.peek(1, ip, 105), Ok(()));
    let mut off = World::new(
        Settings {
            per_ip: false,
            ..limits(1, 0, 0).settings(1, false)
        },
        0,
    );
    for _ in 0..10 {
        off.charge(0, ip, 1);
        assert_eq!(off.peek(0, ip, 1), Ok(()));
    }
}

/// An address that nobody asks from again.
fn stranger_ip(n: u64) -> Option<IpAddr> {
    Some(Ipv6Addr::from(u128::from(n) << 64).into())
}

#[test]
fn a_block_outlives_a_full_bucket_and_a_full_table() {
    // The block lasts ten minutes, the bucket is full after 72 seconds: it has to stay all the same.
    for slices in [false, true] {
        let limits = limits(100, 20, 600_000);
        let settings = Settings {
            keys_max: 8,
            ..limits.settings(2, slices)
        };
        let mut world = World::new(settings, 0);
        let blocked = Who {
            org: Some("1"),
            ip: None,
        };
        for nth in 0..=limits.capacity() {
            assert_eq!(world.take(0, blocked, 1).is_ok(), nth < limits.capacity());
        }
        for second in 1..600 {
            world.now = second * SECOND;
            for stranger in 0..10 {
                let address = stranger_ip(second * 10 + stranger);
                let _ = world.take(
                    1,
                    Who {
                        org: None,
                        ip: address,
                    },
                    1,
                );
            }
            let refusal = world.take(usize::from(second % 2 == 0), blocked, 1).err();
            let left = refusal.map(|refusal| u64::from(refusal.retry_after_s));
            assert_eq!(left, Some(600 - second), "after {second} s");
        }
        world.now = 600 * SECOND;
        assert!(world.take(0, blocked, 100).is_ok(), "the block is over");
    }
}

#[test]
fn a_bucket_with_tokens_in_a_slice_is_not_evicted() {
    let limits = limits(60_000, 0, 0);
    let settings = Settings {
        keys_max: 1,
        ..limits.settings(2, true)
    };
    let mut world = World::new(settings, 0);
    let key = Who {
        org: Some("1"),
        ip: None,
    };
    // A millisecond brings a token, so the bucket is full all the time. The last of these requests has filled a slice.
    let mut at_node = 0;
    for nth in 0..200 {
        world.now += MS;
        assert!(world.take(0, key, 1).is_ok());
        let node = world.cores[0].counters().node;
        if nth > 100 && node > at_node {
            break;
        }
        at_node = node;
    }
    // A stranger comes to the full table and goes; whatever slot it got would be free again soon.
    world.now += MS;
    assert!(
        world
            .take(
                1,
                Who {
                    org: None,
                    ip: stranger_ip(1)
                },
                1
            )
            .is_ok()
    );
    world.now += 2 * MS;
    let mut served = 0;
    for (core, cost) in [(1, 1_000), (1, 1), (0, 1)] {
        let before = served;
        while world.take(core, key, cost).is_ok() {
            served += u64::from(cost);
        }
        assert!(
            served > before,
            "nothing for cost {cost} on core {core}: no slice to speak of"
        );
    }
    assert_eq!(
        served,
        limits.capacity(),
        "all that there is, at one moment"
    );
}
