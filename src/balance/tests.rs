//! Stories of endpoints and breakers on an invented clock: each is a list of steps and what must be seen after each.
//! Not here: sockets (tests/e2e_endpoints.rs has them).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::HashMap;

use super::Outcome::{Answered, Failed, Nothing, Slow};
use super::*;

fn at(endpoint: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], endpoint))
}

const SETTINGS: Settings = Settings {
    failures_max: 3,
    open_ms: 2_000,
};

fn balancer(endpoints: &[(u16, bool)]) -> Balancer {
    let mut balancer = Balancer::new(SETTINGS, 7);
    balancer.update(
        endpoints
            .iter()
            .map(|(endpoint, healthy)| (at(*endpoint), *healthy)),
    );
    balancer
}

/// How often each endpoint is picked out of a thousand times, nothing being under way.
fn shares(balancer: &mut Balancer, tried: &[u16], now_ms: u64) -> HashMap<u16, u32> {
    let tried: Vec<SocketAddr> = tried.iter().map(|endpoint| at(*endpoint)).collect();
    let mut shares = HashMap::new();
    for _ in 0..1_000 {
        if let Some((address, _load)) = balancer.pick(&tried, now_ms) {
            *shares.entry(address.port()).or_default() += 1;
        }
    }
    shares
}

fn picked(balancer: &mut Balancer, tried: &[u16], now_ms: u64) -> Vec<u16> {
    let mut picked: Vec<u16> = shares(balancer, tried, now_ms).into_keys().collect();
    picked.sort_unstable();
    picked
}

#[test]
fn good_ones_come_before_ill_ones_and_ill_ones_before_none() {
    /// Endpoints and whether they are healthy, those already tried, those that are picked.
    type Row = (&'static [(u16, bool)], &'static [u16], &'static [u16]);
    let table: &[Row] = &[
        (&[], &[], &[]),
        (&[(1, true)], &[], &[1]),
        (&[(1, true)], &[1], &[]),
        (&[(1, true), (2, true), (3, true)], &[], &[1, 2, 3]),
        (&[(1, true), (2, false), (3, true)], &[], &[1, 3]),
        (&[(1, true), (2, false), (3, true)], &[1], &[3]),
        (&[(1, true), (2, false), (3, true)], &[1, 3], &[2]),
        (&[(1, false), (2, false)], &[], &[1, 2]),
    ];
    for (endpoints, tried, expected) in table {
        let mut balancer = balancer(endpoints);
        assert_eq!(
            picked(&mut balancer, tried, 0),
            *expected,
            "{endpoints:?} {tried:?}"
        );
    }
}

#[test]
fn the_load_is_shared_and_the_less_loaded_of_two_is_taken() {
    let mut balancer = balancer(&[(1, true), (2, true), (3, true)]);
    let even = shares(&mut balancer, &[], 0);
    assert!(
        even.values().all(|count| (250..420).contains(count)),
        "{even:?}"
    );
    let mut under_way = HashMap::<u16, Vec<Load>>::new();
    for _ in 0..300 {
        let (address, load) = balancer.pick(&[], 0).unwrap();
        under_way.entry(address.port()).or_default().push(load);
    }
    let counts: Vec<usize> = under_way.values().map(Vec::len).collect();
    assert!(
        counts.iter().all(|count| (90..=110).contains(count)),
        "{counts:?}"
    );
    // With two endpoints both are always looked at.
    drop(under_way.remove(&1));
    under_way.remove(&2).unwrap();
    assert_eq!(picked(&mut balancer, &[3], 0), [1, 2]);
    let (first, _busy) = balancer.pick(&[at(3)], 0).unwrap();
    let other = if first == at(1) { 2 } else { 1 };
    assert_eq!(picked(&mut balancer, &[3], 0), [other]);
}

/// Endpoint, outcome, when, and what it changes.
type Report = (u16, Outcome, u64, Option<Change>);

fn ejected(for_ms: u64) -> Option<Change> {
    Some(Change::Ejected { for_ms })
}

fn check_reports(name: &str, endpoints: &[(u16, bool)], reports: &[Report]) -> Balancer {
    let mut balancer = balancer(endpoints);
    for (step, (endpoint, outcome, now_ms, expected)) in reports.iter().enumerate() {
        let change = balancer.report(at(*endpoint), *outcome, *now_ms);
        assert_eq!(change, *expected, "{name}, step {step}");
    }
    balancer
}

const TWO: &[(u16, bool)] = &[(1, true), (2, true)];

/// Four failures that change nothing.
fn four(endpoint: u16, outcome: Outcome) -> Vec<Report> {
    vec![(endpoint, outcome, 0, None); 4]
}

#[test]
fn five_failures_in_a_row_eject_and_each_time_for_longer() {
    let mut story = four(1, Failed);
    story.push((1, Failed, 0, ejected(1_000)));
    // Requests that were under way then.
    story.push((1, Failed, 500, None));
    // On probation.
    for (now_ms, for_ms) in [
        (1_000, 2_000),
        (3_000, 4_000),
        (7_000, 8_000),
        (15_000, 16_000),
        (31_000, 30_000),
        (61_000, 30_000),
    ] {
        story.push((1, Failed, now_ms, ejected(for_ms)));
    }
    story.push((1, Answered, 91_000, Some(Change::Returned)));
    story.extend(vec![(1, Failed, 91_000, None); 4]);
    story.push((1, Failed, 91_000, ejected(1_000)));
    let mut balancer = check_reports("back-off", TWO, &story);
    assert_eq!(balancer.ejected(91_999), 1);
    assert_eq!(picked(&mut balancer, &[], 91_999), [2]);
    assert_eq!(picked(&mut balancer, &[2], 91_999), [1], "better than none");
    assert_eq!(balancer.ejected(92_000), 0);
    assert_eq!(picked(&mut balancer, &[], 92_000), [1, 2]);
}

#[test]
fn what_is_no_failure_and_who_is_not_ejected() {
    let mut interrupted = four(1, Failed);
    interrupted.push((1, Answered, 0, None));
    interrupted.extend(four(1, Failed));
    check_reports("an answer starts anew", TWO, &interrupted);
    let mut other = four(1, Failed);
    other.push((2, Failed, 0, None));
    check_reports("each has its own count", TWO, &other);
    let mut neutral = four(1, Failed);
    neutral.extend([(1, Nothing, 0, None), (1, Slow, 0, None)]);
    neutral.push((1, Failed, 0, ejected(1_000)));
    check_reports("says nothing", TWO, &neutral);
    let mut slow = four(1, Slow);
    slow.push((1, Slow, 0, ejected(1_000)));
    check_reports("slow and ill", &[(1, false), (2, true)], &slow);
    let alone = vec![(1, Failed, 0, None); 20];
    let balancer = check_reports("the only one", &[(1, true)], &alone);
    assert_eq!(balancer.ejected(0), 0);
    let mut last = four(1, Failed);
    last.push((1, Failed, 0, ejected(1_000)));
    last.extend(vec![(2, Failed, 0, None); 20]);
    // When the first one is back, the other may go.
    last.push((2, Failed, 1_000, ejected(1_000)));
    check_reports("the last one stays", TWO, &last);
    check_reports("unknown", TWO, &[(9, Failed, 0, None)]);
}

#[test]
fn what_is_known_of_an_address_survives_a_new_set() {
    let mut balancer = balancer(TWO);
    for _ in 0..5 {
        balancer.report(at(1), Failed, 0);
    }
    balancer.update([(at(3), true), (at(2), false), (at(1), true)].into_iter());
    assert_eq!((balancer.len(), balancer.ejected(0)), (3, 1));
    assert_eq!(picked(&mut balancer, &[], 0), [3]);
    assert_eq!(picked(&mut balancer, &[], 1_000), [1, 3]);
    balancer.update([(at(2), true)].into_iter());
    assert_eq!(picked(&mut balancer, &[], 0), [2]);
    balancer.update([(at(1), true), (at(2), true)].into_iter());
    assert_eq!(balancer.ejected(0), 0, "it left and came anew");
}

/// When a request comes, whether it passes, and what comes of it: the change.
#[derive(Clone, Copy)]
enum Step {
    /// Passes, and ends at once like this.
    Ends(u64, Outcome, Option<Change>),
    /// Passes, and has not ended yet.
    Hangs(u64),
    /// The one that hangs ends.
    HungEnds(u64, Outcome, Option<Change>),
    /// Is refused with this `Retry-After`.
    Refused(u64, u32),
}

use Step::{Ends, Hangs, HungEnds, Refused};

const OPENED: Option<Change> = Some(Change::Opened { for_ms: 2_000 });
const CLOSED: Option<Change> = Some(Change::Closed);

fn check_breaker(name: &str, settings: Settings, steps: &[Step]) {
    let mut balancer = Balancer::new(settings, 7);
    balancer.update([(at(1), true)].into_iter());
    let mut hung = None;
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Ends(now_ms, outcome, change) => {
                let pass = balancer.admit(now_ms);
                let pass = pass.unwrap_or_else(|_| panic!("{name}, step {number}: refused"));
                let settled = balancer.settle(pass, Some(at(1)), outcome, now_ms);
                assert_eq!(settled, change, "{name}, step {number}");
            }
            Hangs(now_ms) => hung = Some(balancer.admit(now_ms).unwrap()),
            HungEnds(now_ms, outcome, change) => {
                let settled = balancer.settle(hung.unwrap(), Some(at(1)), outcome, now_ms);
                assert_eq!(settled, change, "{name}, step {number}");
            }
            Refused(now_ms, retry_after_s) => {
                assert_eq!(
                    balancer.admit(now_ms),
                    Err(retry_after_s),
                    "{name}, step {number}"
                );
            }
        }
    }
}

/// Opens it at `now_ms`.
fn opening(now_ms: u64) -> [Step; 3] {
    [
        Ends(now_ms, Failed, None),
        Ends(now_ms, Failed, None),
        Ends(now_ms, Failed, OPENED),
    ]
}

#[test]
fn the_breaker_opens_is_tried_and_closes() {
    let mut steps = opening(0).to_vec();
    steps.extend([
        Refused(0, 2),
        Refused(999, 2),
        Refused(1_000, 1),
        Refused(1_999, 1),
        Ends(2_000, Failed, None),
        Refused(2_001, 2),
        Hangs(4_000),
        Refused(4_001, 2),
        HungEnds(4_500, Answered, CLOSED),
        Ends(4_500, Failed, None),
        Ends(4_500, Failed, None),
        Ends(4_500, Answered, None),
    ]);
    steps.extend(opening(4_500));
    check_breaker("there and back", SETTINGS, &steps);
}

#[test]
fn failures_far_apart_or_between_answers_do_not_open_it() {
    let rare: Vec<Step> = (0..20).map(|n| Ends(n * 5_001, Failed, None)).collect();
    check_breaker("one in five seconds", SETTINGS, &rare);
    let mixed: Vec<Step> = (0..20)
        .map(|n| Ends(n, if n % 3 == 2 { Answered } else { Failed }, None))
        .collect();
    check_breaker("every third is answered", SETTINGS, &mixed);
    let slow: Vec<Step> = (0..20).map(|n| Ends(n, Slow, None)).collect();
    check_breaker("slow, and the probe is content", SETTINGS, &slow);
    let off = Settings {
        failures_max: 0,
        ..SETTINGS
    };
    let many: Vec<Step> = (0..100).map(|n| Ends(n, Failed, None)).collect();
    check_breaker("off", off, &many);
}

#[test]
fn a_trial_that_comes_to_nothing_holds_nobody_up() {
    let mut left = opening(0).to_vec();
    left.extend([
        Hangs(2_000),
        Refused(2_000, 2),
        HungEnds(2_100, Nothing, None),
        Ends(2_100, Answered, CLOSED),
    ]);
    check_breaker("its client left", SETTINGS, &left);
    let mut lost = opening(0).to_vec();
    lost.extend([
        Hangs(2_000),
        Refused(3_999, 1),
        Ends(4_000, Answered, CLOSED),
    ]);
    check_breaker("it never ends", SETTINGS, &lost);
    let mut late = vec![Hangs(0)];
    late.extend(opening(0));
    late.extend([HungEnds(10, Answered, CLOSED), Ends(10, Failed, None)]);
    check_breaker("an answer from before", SETTINGS, &late);
    let mut stale = vec![Hangs(0)];
    stale.extend(opening(0));
    stale.extend([HungEnds(500, Failed, None), Refused(1_999, 1)]);
    check_breaker("a failure from before prolongs nothing", SETTINGS, &stale);
}

#[test]
fn a_service_that_is_slow_and_ill_is_left_alone() {
    let mut balancer = balancer(&[(1, false)]);
    for step in 0..3 {
        let pass = balancer.admit(0).unwrap();
        let change = balancer.settle(pass, Some(at(1)), Slow, 0);
        assert_eq!(change, if step == 2 { OPENED } else { None });
    }
    assert!(balancer.is_open());
}
