//! The room's own checks of slots, table, slices and memory. Not the vectors of the specification: those are in `tests/`.
//! Invariant: the time is a number that the test sets.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may fail loudly"
)]
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::limits::{Limits, SECOND_NS};
use super::slot::{Id, Slot, Take, Verdict};
use super::*;

fn settings(keys_max: usize, slices: bool) -> Settings {
    Settings {
        rpm: 100,
        burst: 20,
        block_ms: 60_000,
        per_org: true,
        per_ip: true,
        keys_max,
        cores: 1,
        slices,
    }
}

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(n).into()
}

fn ask(core: &mut Core, n: u32, now: u64) -> Result<(), u32> {
    let verdict = core.take(None, Some(address(n).into()), 1, &|| now);
    verdict.map(|_| ()).map_err(|refusal| refusal.retry_after_s)
}

const ID: Id = Id {
    owner: 9,
    generation: 0,
};

#[test]
fn a_slot_that_refill_fills_forgets_the_fraction() {
    let limits = Limits::new(60, 0, 0, 1);
    let slot = Slot::of(ID.owner, limits.capacity);
    let take = |cost, now| matches!(slot.take(ID, cost, |_| 0, &limits, now), Take::Taken { .. });
    assert!(take(60, 0));
    // 60.9 s later it is full, and has been for a while: the 0.9 s are lost.
    assert!(take(60, 60 * SECOND_NS + 900_000_000));
    assert!(!take(1, 61 * SECOND_NS));
    assert!(take(1, 61 * SECOND_NS + 900_000_000));
}

#[test]
fn lent_tokens_leave_no_room_and_start_no_block() {
    let limits = Limits::new(10, 0, 1_000, 1);
    let slot = Slot::of(ID.owner, limits.capacity);
    let taken = slot.take(ID, 1, |rest| rest, &limits, 0);
    assert!(matches!(taken, Take::Taken { lend: 9, .. }));
    assert_eq!(slot.refuse(ID, 1, &limits, 0), Verdict::Refused(1));
    assert_eq!(slot.block_left(ID, 0), None);
    // One minute brings what was spent and not what is lent.
    assert_eq!(slot.tokens(ID, &limits, 60 * SECOND_NS), Some(10));
    slot.settle(ID, 9, 0);
    assert_eq!(slot.refuse(ID, 1, &limits, 0), Verdict::Refused(1));
    assert_eq!(slot.block_left(ID, 0), Some(1));
    assert_eq!(slot.block_left(ID, SECOND_NS), None);
}

#[test]
fn a_slot_is_evicted_only_when_nothing_is_lost() {
    let limits = Limits::new(60, 0, 60_000, 1);
    let slot = Slot::of(ID.owner, limits.capacity);
    let _ = slot.take(ID, 59, |_| 1, &limits, 0);
    assert!(slot.evict(&limits, u64::MAX - 1).is_none(), "lent");
    slot.settle(ID, 1, 0);
    assert_eq!(slot.refuse(ID, 1, &limits, 0), Verdict::Refused(60));
    assert!(slot.evict(&limits, 60 * SECOND_NS - 1).is_none(), "blocked");
    let (old, generation) = slot.evict(&limits, 60 * SECOND_NS).unwrap();
    assert_eq!((old, generation), (ID, 1));
    assert!(
        slot.evict(&limits, 60 * SECOND_NS).is_none(),
        "being evicted"
    );
    slot.publish(8, generation, limits.capacity, 0);
    assert_eq!(slot.take(ID, 1, |_| 0, &limits, 0), Take::Gone);
    assert_eq!(slot.block_left(ID, 0), None);
}

#[test]
fn a_flood_stays_in_its_memory_and_frees_no_blocked_key() {
    let node = Node::new(settings(1000, true));
    let mut core = Core::new(Arc::clone(&node), 0);
    while ask(&mut core, 0, 0).is_ok() {}
    // 300,000 addresses within three seconds: far more than may share the overflow buckets.
    for n in 1..300_000 {
        let _ = ask(&mut core, n, u64::from(n) * 10_000);
    }
    assert_eq!(node.keys(), 1000);
    assert!(core.counters().overflow > 0 && core.counters().cached_refusal > 0);
    assert_eq!(ask(&mut core, 0, 59 * SECOND_NS), Err(1));
    // Three minutes later all buckets are full again, and new keys take the slots of old ones.
    let later = 200 * SECOND_NS;
    for n in 0..1000 {
        assert_eq!(ask(&mut core, 1_000_000 + n, later), Ok(()), "{n}");
    }
    assert_eq!(node.keys(), 1000);
    assert_eq!(
        node.info(&Key::Ip(address(1_000_999)), later).current_count,
        1
    );
}

#[test]
fn a_hot_key_is_served_from_slices_and_counted_after_the_tick() {
    let mut settings = settings(16, true);
    settings.rpm = 100_000;
    let node = Node::new(settings);
    let mut core = Core::new(Arc::clone(&node), 0);
    let key = Key::Ip(address(1));
    for n in 1..=5_000_u32 {
        let permit = core.take(None, Some(address(1).into()), 1, &|| 0).unwrap();
        assert_eq!(permit.numbers().unwrap().1, (100_020 - n - 20).min(100_000));
    }
    assert!(core.counters().slice > 4_000, "{:?}", core.counters());
    core.tick(0);
    assert_eq!(node.info(&key, 0).current_count, 5_000);
}

/// Few slots, many keys and two threads that ask for the same keys in the same order. Each round starts with every bucket full
/// again, so that slots change hands while both bring in the same key; then the clock stands still, and C is all that a key may have.
#[test]
fn no_key_gets_two_buckets_however_slots_change_hands() {
    const KEYS: u32 = 48;
    const ROUNDS: u32 = 2_000;
    let mut settings = settings(32, true);
    (settings.rpm, settings.burst, settings.block_ms) = (6, 0, 0);
    settings.cores = 2;
    let node = Node::new(settings);
    let none = || (0..KEYS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
    let admitted: Vec<Vec<AtomicU64>> = (0..ROUNDS).map(|_| none()).collect();
    let arrived = AtomicU64::new(0);
    let shared = AtomicU64::new(0);
    let run = |core: usize| {
        let mut core = Core::new(Arc::clone(&node), core);
        for (round, counts) in (0..ROUNDS).zip(&admitted) {
            arrived.fetch_add(1, Ordering::AcqRel);
            while arrived.load(Ordering::Acquire) < 2 * (u64::from(round) + 1) {
                std::thread::yield_now();
            }
            let now = u64::from(round) * 120 * SECOND_NS;
            for n in 0..KEYS * 8 {
                let key = (n / 8 + round * 5) % KEYS;
                let passed = u64::from(ask(&mut core, key, now).is_ok());
                counts[key as usize].fetch_add(passed, Ordering::Relaxed);
            }
            core.tick(now);
        }
        shared.fetch_add(core.counters().overflow, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run(0));
        run(1);
    });
    let counts = admitted.iter().flatten();
    let most = counts.map(|count| count.load(Ordering::Relaxed)).max();
    assert_eq!(most, Some(6));
    assert!(shared.into_inner() > 0, "the table was never full");
}

#[test]
fn the_bound_of_memory_is_the_sum_of_its_parts() {
    let default = Settings {
        cores: 2,
        ..settings(262_144, true)
    };
    let bytes = Node::memory_bytes_max(&default);
    assert!((40 << 20..64 << 20).contains(&bytes), "{bytes}");
    assert!(Node::memory_bytes_max(&settings(1, true)) < 4 << 20);
}
