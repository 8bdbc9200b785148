//! The slot's atomics under many schedules (shuttle): workers that take, fill slices and settle, against the control thread that
//! grants, withdraws, closes, ends and hands over. Not the exchange. Invariant of every schedule: no token is spent that was not
//! granted, none is spent twice, and nobody is charged for a stranger.
//!
//! `cargo test --lib --features shuttle limit::slot::model`; a failing schedule is printed and can be replayed.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use shuttle::sync::Arc;
use shuttle::thread;

use super::{Id, Slot, Take};

const SCHEDULES: usize = 3_000;
const ALICE: u64 = 7;
const BOB: u64 = 9;
const LATER: u64 = 1_000_000_000;

fn slot_of(owner: u64, tokens: u32) -> Arc<Slot> {
    let slot = Arc::new(Slot::free());
    slot.hand_over(owner, 1);
    slot.grant(tokens, LATER, 0);
    slot
}

/// Takes `times` tokens one by one, every other time with a slice of two, of which one is spent; tokens spent.
fn work(slot: &Slot, id: Id, times: u32) -> u32 {
    let mut spent = 0;
    for nth in 0..times {
        let wish = if nth % 2 == 0 { 2 } else { 0 };
        if let (Take::Taken { lend, .. }, _) = slot.take_leased(id, 1, |rest, _| wish.min(rest), 2)
        {
            spent += 1;
            if lend > 0 {
                // One of the slice is spent before it settles, whatever has become of the slot.
                spent += 1;
                slot.settle(id, lend, lend - 1);
            }
        }
    }
    spent
}

#[test]
fn what_is_spent_given_back_and_left_is_what_was_granted() {
    let body = || {
        let slot = slot_of(ALICE, 6);
        let id = slot.id().unwrap();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let slot = Arc::clone(&slot);
                thread::spawn(move || work(&slot, id, 3))
            })
            .collect();
        // A grant, a close, and another grant.
        slot.grant(3, LATER, 0);
        let drained = slot.drain();
        slot.grant(2, LATER, 0);
        let spent: u32 = workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum();
        let left = slot.held(2);
        assert_eq!(left.all, left.pool, "every slice has settled");
        assert_eq!(spent + drained.pool + left.pool, 6 + 3 + 2);
    };
    shuttle::check_random(body, SCHEDULES);
}

#[test]
fn a_lease_that_ended_gives_nothing_to_the_next() {
    let body = || {
        let slot = slot_of(ALICE, 6);
        let id = slot.id().unwrap();
        let worker = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || work(&slot, id, 4))
        };
        // What is left is spent for the store; a slice of this lease that settles later must add nothing.
        slot.end();
        slot.grant(5, LATER, 0);
        let spent = worker.join().unwrap();
        let held = slot.held(2);
        assert!(spent <= 6);
        assert_eq!(held.all, 5, "the worker knows the old lease only");
    };
    shuttle::check_random(body, SCHEDULES);
}

#[test]
fn held_is_never_below_what_can_still_be_spent() {
    let body = || {
        let slot = slot_of(ALICE, 6);
        let id = slot.id().unwrap();
        let worker = {
            let slot = Arc::clone(&slot);
            // One take that fills a slice: two are spent at most, and a report without the slice would miss two more.
            thread::spawn(move || work(&slot, id, 1))
        };
        let told = slot.held(2).all;
        let spent = worker.join().unwrap();
        assert!(told + spent >= 6, "told {told}, spent {spent}");
        assert_eq!(slot.held(2).all + spent, 6);
    };
    shuttle::check_random(body, SCHEDULES);
}

#[test]
fn a_slot_that_changes_hands_charges_no_stranger() {
    let body = || {
        let slot = slot_of(ALICE, 4);
        let alice = slot.id().unwrap();
        let worker = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                let spent = work(&slot, alice, 4);
                (spent, slot.block_left(alice, 2))
            })
        };
        slot.hand_over(BOB, 2);
        slot.grant(5, LATER, 0);
        slot.block(LATER);
        let (spent, blocked) = worker.join().unwrap();
        assert!(spent <= 4);
        assert_eq!(slot.held(2).all, 5, "all of it is Bob's");
        assert!(blocked.is_none(), "Bob's block is not Alice's");
    };
    shuttle::check_random(body, SCHEDULES);
}

#[test]
fn what_the_store_took_back_does_not_return_with_a_slice() {
    let body = || {
        let slot = slot_of(ALICE, 6);
        let id = slot.id().unwrap();
        let worker = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || work(&slot, id, 3))
        };
        // The store counts none of the six as ours any more, and grants five.
        slot.withdraw(6);
        slot.grant(5, LATER, 0);
        let spent = worker.join().unwrap();
        let held = slot.held(2).all;
        assert!(held <= 5, "{held} held, {spent} spent");
    };
    shuttle::check_random(body, SCHEDULES);
}
