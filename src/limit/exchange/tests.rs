//! What an exchange promises whatever the store says: bounded calls, bounded waiting, resets that are not lost, and tokens that come
//! back from nowhere. Replies are written down here. Not the script (`tests/redis_script.rs`), not random (`tests/lease_property.rs`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]
use std::net::IpAddr;

mod away;

use std::collections::HashMap;

use super::*;
use crate::limit::{Core, IpKey, OrgKey, Outcome, Settings};

const MS: u64 = 1_000_000;
const SETTINGS: Settings = Settings {
    rpm: 6_000,
    burst: 0,
    block_ms: 0,
    per_org: true,
    per_ip: true,
    keys_max: 100_000,
    cores: 1,
    slices: true,
};

fn exchange(policy: OnOutage, keys_max: usize) -> Exchange<u32> {
    let node = Node::leased(Settings {
        keys_max,
        ..SETTINGS
    });
    node.put_limits(1, SETTINGS.rpm, SETTINGS.burst, SETTINGS.block_ms);
    let mut exchange = Exchange::new(node, "site", policy, 1);
    exchange.put_back();
    exchange
}

fn org(n: u32) -> Key {
    Key::Org(n.to_string().as_str().into())
}

/// An ordinary reply: so much granted and kept, out of a bucket that is half full, for ten seconds.
fn granted(grant: i64, kept: i64) -> Reply {
    let (level, lease_ms, rpm) = (3_000 * 60_000, 10_000, i64::from(SETTINGS.rpm));
    let numbers = [
        0, grant, kept, lease_ms, level, grant, 0, 0, 1, rpm, 0, 60_000, 0,
    ];
    Reply::read(&numbers, "epoch").unwrap()
}

/// ARGV 19.
fn is_reset(call: &Call) -> bool {
    call.arguments[18] != "0"
}

/// As `granted`, with another status and another time in `soon`.
fn said(status: i64, soon_ms: i64, block_ms: i64) -> Reply {
    let rpm = i64::from(SETTINGS.rpm);
    let numbers = [
        status, 0, 0, 100, 0, 0, soon_ms, block_ms, 1, rpm, 0, 60_000, 0,
    ];
    Reply::read(&numbers, "5-1").unwrap()
}

#[test]
fn calls_under_way_are_bounded_and_debts_do_not_make_a_request_wait() {
    let mut exchange = exchange(OnOutage::Share, 100_000);
    exchange.put_away(1, MS);
    for n in 0..2_000 {
        exchange.ask(&org(n), 1, Some(n), 2 * MS);
    }
    assert_eq!(exchange.answers().len(), 2_000);
    assert!(exchange.calls(3 * MS, 512).is_empty(), "nobody is there");
    exchange.put_back();
    let (mut flying, mut paid, mut now) = (Vec::new(), 0, 4 * MS);
    for round in 0..20 {
        let cold = org(10_000 + round);
        exchange.ask(&cold, 1, Some(1), now);
        let calls = exchange.calls(now, 512);
        assert!(calls.iter().any(|call| *call.key == *cold.store_name()));
        paid += calls.iter().filter(|call| call.arguments[5] != "0").count();
        flying.extend(calls);
        assert!(flying.len() <= 512, "{} under way", flying.len());
        now += MS;
        // Half of the replies come at once.
        for call in flying.split_off(flying.len() / 2) {
            exchange.reply(call.id, &granted(1, 0), now);
        }
    }
    assert_eq!(paid, 2_000, "each debt is said once");
}

#[test]
fn whoever_would_wait_too_long_for_a_call_is_judged_without_one() {
    let mut exchange = exchange(OnOutage::Closed, 100_000);
    for n in 0..600 {
        exchange.ask(&org(n), 1, Some(n), MS);
    }
    let calls = exchange.calls(MS, 512);
    assert_eq!(calls.len(), 512);
    exchange.reply(calls[0].id, &granted(1, 0), 40 * MS);
    assert_eq!(exchange.answers().len(), 1);
    let more = exchange.calls(40 * MS, 512);
    assert_eq!(more.len(), 1, "one has come back");
    for call in &calls[1..10] {
        exchange.reply(call.id, &granted(1, 0), 60 * MS);
    }
    let _ = exchange.answers();
    let late = exchange.calls(60 * MS, 512);
    assert!(
        late.is_empty(),
        "nobody is left who could still be served in time"
    );
    let answers = exchange.answers();
    assert_eq!(answers.len(), 600 - 513);
    assert!(
        answers
            .iter()
            .all(|(_, verdict)| verdict.tokens().is_none())
    );
}

#[test]
fn as_many_wait_as_may_and_no_more() {
    let mut exchange = exchange(OnOutage::Closed, 100);
    for n in 0..u32::try_from(WAITING_MAX).unwrap() {
        exchange.ask(&org(n), 1, Some(n), MS);
    }
    assert!(exchange.answers().is_empty());
    for n in 0..3 {
        exchange.ask(&org(1_000_000 + n), 1, Some(n), MS);
        assert_eq!(exchange.answers().len(), 1, "as if the store were away");
    }
    assert_eq!(exchange.keys(), WAITING_MAX);
    exchange.put_away(1, 2 * MS);
    assert_eq!(exchange.answers().len(), WAITING_MAX, "nobody is forgotten");
    assert!(exchange.keys() <= 100, "keys without a place are forgotten");
}

#[test]
fn a_reset_is_made_while_the_store_answers_or_not_at_all() {
    let mut exchange = exchange(OnOutage::Share, 100);
    let wish = Wish {
        until_ms: 77,
        gap_ms: 5,
    };
    exchange.reset(&org(1), wish, 7, MS);
    exchange.reset(&org(1), Wish::default(), 8, MS);
    let call = exchange.calls(MS, 512).remove(0);
    assert_eq!(call.arguments[18], "0:77:5");
    assert_eq!((&*call.arguments[2], &*call.arguments[5]), ("0", "0"));
    // One call each: the first is not what the second asked for.
    exchange.reply(call.id, &said(4, 4_000, 0), 2 * MS);
    let answers = exchange.answers();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].1.reset(), Some(Reset::TooSoon(4_000)));
    let call = exchange.calls(2 * MS, 512).remove(0);
    assert_eq!(call.arguments[18], "0:0:0");
    exchange.reply(call.id, &granted(0, 0), 3 * MS);
    assert_eq!(exchange.answers(), [(8, Verdict::of_reset(Reset::Done))]);
    // Under way when the store goes away, queued then, and asked for afterwards.
    exchange.reset(&org(1), wish, 1, 4 * MS);
    exchange.reset(&org(1), wish, 2, 4 * MS);
    assert_eq!(exchange.calls(4 * MS, 512).len(), 1);
    exchange.put_away(1, 60 * MS);
    exchange.reset(&org(1), wish, 3, 61 * MS);
    let told: HashMap<u32, Option<Reset>> = exchange
        .answers()
        .into_iter()
        .map(|(place, verdict)| (place, verdict.reset()))
        .collect();
    assert_eq!(told[&1], Some(Reset::Unanswered));
    assert_eq!(told[&2], Some(Reset::Away));
    assert_eq!(told[&3], Some(Reset::Away));
    exchange.put_back();
    assert!(
        exchange.calls(80 * MS, 512).is_empty(),
        "nothing comes after"
    );
}

#[test]
fn a_reset_that_came_too_late_lets_those_who_waited_with_it_ask_again() {
    let mut exchange = exchange(OnOutage::Closed, 100);
    exchange.ask(&org(1), 1, Some(1), MS);
    exchange.reset(&org(1), Wish::default(), 2, MS);
    let call = exchange.calls(MS, 512).remove(0);
    exchange.reply(call.id, &said(4, 0, 0), 2 * MS);
    assert_eq!(exchange.answers(), [(2, Verdict::of_reset(Reset::TooLate))]);
    let call = exchange.calls(2 * MS, 512).remove(0);
    assert!(!is_reset(&call));
    exchange.reply(call.id, &granted(1, 0), 3 * MS);
    assert_eq!(exchange.answers()[0].0, 1);
}

#[test]
fn a_reset_elsewhere_outranks_the_reply_to_a_call_that_was_under_way() {
    for all in [false, true] {
        let mut exchange = exchange(OnOutage::Closed, 100);
        exchange.ask(&org(1), 1, Some(1), MS);
        let call = exchange.calls(MS, 512).remove(0);
        if all {
            assert!(exchange.put_all_reset(1_000));
            assert!(!exchange.put_all_reset(999), "known");
        } else {
            exchange.reset_elsewhere(&org(1).store_name());
        }
        // Blocked, it says; that was before.
        exchange.reply(call.id, &said(1, 600_000, 600_000), 2 * MS);
        assert!(exchange.answers().is_empty());
        let call = exchange.calls(2 * MS, 512).remove(0);
        assert_eq!(call.arguments[2], "0", "nothing is declared");
        assert_eq!(call.arguments[19], if all { "1000" } else { "0" });
        exchange.reply(call.id, &granted(1, 0), 3 * MS);
        assert!(exchange.answers()[0].1.tokens().is_some());
    }
}

#[test]
fn no_request_is_refused_by_a_block_that_was_told_five_seconds_ago() {
    for policy in [OnOutage::Closed, OnOutage::Share] {
        let mut exchange = exchange(policy, 100);
        let mut core = Core::new(Arc::clone(&exchange.node), 0);
        exchange.ask(&org(1), 1, Some(1), MS);
        let call = exchange.calls(MS, 512).remove(0);
        exchange.reply(call.id, &said(1, 600_000, 600_000), 2 * MS);
        let _ = exchange.answers();
        // True: it asks; false: it is refused at once.
        let mut asks = |exchange: &mut Exchange<u32>, now: u64| {
            let outcome = core.request(Some(OrgKey::new("1")), None, 1, &|| now);
            let Ok(Outcome::Ask(claim)) = outcome else {
                assert!(outcome.is_err(), "blocked");
                return false;
            };
            exchange.ask(&claim.organization().unwrap(), 1, Some(2), now);
            true
        };
        assert!(!asks(&mut exchange, 3_900 * MS));
        // The control thread asks by itself, as long as there is demand.
        let call = exchange.calls(4_003 * MS, 512).remove(0);
        exchange.reply(call.id, &said(1, 596_000, 596_000), 4_004 * MS);
        assert!(!asks(&mut exchange, 8_000 * MS));
        exchange.put_away(1, 8_000 * MS);
        // The store is away: a known block is kept, and a core is told so now and then.
        assert!(asks(&mut exchange, 9_000 * MS));
        assert_eq!(exchange.answers()[0].1.seconds(), Some(592));
        assert!(!asks(&mut exchange, 9_249 * MS));
        assert!(asks(&mut exchange, 9_251 * MS));
        let _ = exchange.answers();
        exchange.put_back();
        // It has asked for nothing for long: the first request waits for a call, those beside it are refused meanwhile.
        assert!(asks(&mut exchange, 20_000 * MS));
        let call = exchange.calls(20_000 * MS, 512).remove(0);
        assert!(asks(&mut exchange, 20_001 * MS));
        assert!(!asks(&mut exchange, 20_002 * MS));
        exchange.reply(call.id, &granted(1, 0), 20_003 * MS);
        let answers = exchange.answers();
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[0].1.seconds(), Some(581));
        assert!(answers[1].1.tokens().is_some());
    }
}

/// A core with a lease of 1,000 tokens of an address, so busy that it takes slices.
struct Busy {
    exchange: Exchange<u32>,
    core: Core,
    address: IpAddr,
    spent: u32,
}

impl Busy {
    fn new() -> Self {
        let exchange = exchange(OnOutage::Closed, 100);
        let core = Core::new(Arc::clone(&exchange.node), 0);
        let address = IpAddr::from([192, 0, 2, 1]);
        let mut busy = Self {
            exchange,
            core,
            address,
            spent: 0,
        };
        busy.exchange.ask(&Key::Ip(address), 1, Some(1), MS);
        busy.reply(&granted(1_001, 0), 2 * MS);
        busy.spend(40, 3 * MS);
        busy.fill_slice(3 * MS);
        busy
    }

    /// Until a slice has just been filled.
    fn fill_slice(&mut self, now: u64) {
        while self.held(now).all == self.held(now).pool {
            self.spend(1, now);
        }
    }

    fn reply(&mut self, reply: &Reply, now: u64) {
        let call = self.exchange.calls(now, 1).remove(0);
        self.exchange.reply(call.id, reply, now);
        let _ = self.exchange.answers();
    }

    fn spend(&mut self, count: u32, now: u64) {
        for _ in 0..count {
            let passed = self
                .core
                .request(None, Some(IpKey::from(self.address)), 1, &|| now);
            assert!(matches!(passed, Ok(Outcome::Permit(_))));
        }
        self.spent += count;
    }

    fn held(&self, now: u64) -> crate::limit::slot::Held {
        let (_, hash) = self.exchange.node.hasher.key(&Key::Ip(self.address));
        let place = self.exchange.node.table.find_leased(hash).unwrap();
        self.exchange.node.table.slot(place).held(now)
    }
}

#[test]
fn what_a_late_core_settles_after_its_lease_was_lost_does_not_come_back() {
    let mut busy = Busy::new();
    // The store's lease has ended before this call came: nothing is kept, five are granted anew.
    busy.exchange.report(&Key::Ip(busy.address).store_name());
    busy.reply(&granted(5, 0), 4 * MS);
    assert_eq!(busy.held(4 * MS).pool, 5);
    busy.core.tick(5 * MS);
    assert_eq!(busy.held(5 * MS).all, 5);
}

#[test]
fn a_token_goes_back_into_the_very_slice_it_came_from_and_into_no_other() {
    for settles in [false, true] {
        let mut busy = Busy::new();
        let who = (OrgKey::new("cold"), IpKey::from(busy.address));
        let asked = busy
            .core
            .request(Some(who.0), Some(who.1), 1, &|| 4 * MS)
            .unwrap();
        let Outcome::Ask(claim) = asked else {
            panic!("the organization is not known here");
        };
        assert!(claim.ip().is_none(), "the address was charged");
        if settles {
            busy.core.tick(5 * MS);
            busy.fill_slice(5 * MS);
            busy.spend(1, 5 * MS);
        }
        let refused = Verdict(Told::Refused(1));
        let concluded = busy.core.conclude(claim, None, Some(refused), &|| 6 * MS);
        assert!(concluded.is_err());
        busy.core.tick(7 * MS);
        // With its slice the token has left, and may have been reported as spent.
        let lost = u32::from(settles);
        assert_eq!(busy.held(7 * MS).all, 1_000 - busy.spent - lost);
    }
}

#[test]
fn a_cold_request_asks_for_both_of_its_keys_at_once() {
    let mut exchange = exchange(OnOutage::Closed, 100);
    let mut core = Core::new(Arc::clone(&exchange.node), 0);
    let ip = IpKey::from(IpAddr::from([192, 0, 2, 1]));
    let asked = core.request(Some(OrgKey::new("1")), Some(ip), 1, &|| MS);
    let Ok(Outcome::Ask(claim)) = asked else {
        panic!("nothing is known here");
    };
    for (place, key) in [claim.ip(), claim.organization()].into_iter().enumerate() {
        let place = u32::try_from(place).unwrap();
        exchange.ask(&key.expect("both are asked for"), 1, Some(place), MS);
    }
    // One pipeline, so the two waits are one.
    assert_eq!(exchange.calls(MS, 512).len(), 2);
}

/// `key` is asked for while other calls, as many as may be, are under way for too long: what it is told, and whether that left something
/// to be said to the store.
fn judged_unasked(
    exchange: &mut Exchange<u32>,
    key: &Key,
    others: u32,
    now: u64,
) -> (Verdict, Vec<Call>) {
    for n in others..others + 2 {
        exchange.ask(&org(n), 1, Some(n), now);
    }
    let calls = exchange.calls(now, 2);
    assert_eq!(calls.len(), 2);
    exchange.ask(key, 1, Some(0), now);
    let late = now + 60 * MS;
    for call in calls {
        exchange.reply(call.id, &granted(1, 0), late);
    }
    let _ = exchange.answers();
    let left = exchange.calls(late, 2);
    let mut answers = exchange.answers();
    assert_eq!(answers.len(), 1);
    (answers.remove(0).1, left)
}

#[test]
fn a_request_that_a_busy_store_is_not_asked_for_gets_this_nodes_share_of_what_is_known_then() {
    let mut exchange = exchange(OnOutage::Share, 100);
    exchange.put_nodes(3);
    let key = org(1);
    let (verdict, mut debts) = judged_unasked(&mut exchange, &key, 10, MS);
    // Of a bucket that nobody knows; the store is there, so what is told is what all nodes together would have left.
    assert_eq!(verdict.tokens(), Some((SETTINGS.rpm / 3 - 1) * 3));
    let debt = debts.remove(0);
    assert_eq!((&*debt.key, &*debt.arguments[5]), (&*key.store_name(), "1"));
    exchange.reply(debt.id, &granted(0, 0), 70 * MS);
    // Half of it is left, the store has said since.
    let (verdict, _) = judged_unasked(&mut exchange, &key, 20, 80 * MS);
    let left = verdict.tokens().unwrap();
    assert!((2_900..3_100).contains(&left), "{left} left");
}

#[test]
fn a_key_that_was_refused_without_a_call_leaves_nothing_to_be_done() {
    let mut exchange = exchange(OnOutage::Closed, 100);
    for round in 0..50 {
        let now = (1 + 100 * round) * MS;
        let (verdict, left) = judged_unasked(&mut exchange, &org(1), 10, now);
        assert_eq!(verdict.tokens(), None);
        assert!(left.is_empty() && exchange.later.is_empty());
    }
}
