//! Rate limits end to end: numbers on the wire, both workers together, organization and IP, blocks, client addresses. Not the
//! arithmetic (the limiter's own vectors do that with an injected clock) and not resets. Invariant: no test depends on how
//! fast it runs: limits of one per minute, or another try with fresh keys when refill got in between.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "refill is real time here, so the tests must know how much of it has passed"
)]

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::limits::{burst, check_refusal, scarce, statuses};
use support::{Answer, Token, gateway, token, until, upstream};

/// Runs `act` with fresh keys until it took less than half a second, so that less than one token came back meanwhile.
fn quickly<T>(mut act: impl FnMut([u8; 4], Token) -> T) -> T {
    for attempt in 1..30 {
        let start = Instant::now();
        let done = act([127, 0, 7, attempt], token().org(1000 + u32::from(attempt)));
        if start.elapsed() < Duration::from_millis(500) {
            return done;
        }
    }
    panic!("this machine is too busy for a burst of requests within half a second");
}

#[test]
fn forty_five_quick_requests_show_45_100_55() {
    let up = upstream();
    let gw = gateway().backend(&up).start();
    let (answers, info) = quickly(|source, token| {
        let answers = burst(&gw, source, &gw.get("/api/v1/x").bearer(&token), 45);
        (answers, gw.info_from(source, &token))
    });
    for (sent, answer) in answers.iter().enumerate() {
        assert_eq!(
            (answer.status, answer.number("x-ratelimit-limit")),
            (200, 100)
        );
        assert_eq!(answer.number("x-ratelimit-remaining"), 99 - sent as u64);
        assert_eq!(
            (
                answer.field("retry-after"),
                answer.field("x-ratelimit-reset")
            ),
            (None, None)
        );
    }
    for part in ["organization", "ip"] {
        let part = &info[part];
        assert_eq!(
            (&part["current_count"], &part["limit"], &part["remaining"]),
            (&json!(45), &json!(100), &json!(55))
        );
    }
}

#[test]
fn the_request_after_limit_and_burst_is_429_and_blocks() {
    let up = upstream();
    let gw = gateway().backend(&up).start();
    let (answers, info) = quickly(|source, token| {
        let answers = burst(&gw, source, &gw.get("/api/v1/x").bearer(&token), 123);
        (answers, gw.info_from(source, &token))
    });
    assert!(answers[..120].iter().all(|answer| answer.status == 200));
    assert_eq!(
        (
            answers[99].number("x-ratelimit-remaining"),
            answers[119].number("x-ratelimit-remaining")
        ),
        (0, 0)
    );
    for answer in &answers[120..] {
        assert_eq!(
            check_refusal(answer, 100),
            60,
            "a fresh block of 60 s, rounded up"
        );
    }
    assert_eq!(
        (&info["ip"]["current_count"], &info["ip"]["remaining"]),
        (&json!(120), &json!(0))
    );
    assert!(
        up.requests().len().is_multiple_of(120),
        "refused requests go nowhere"
    );
}

#[test]
fn without_a_block_retry_after_is_the_time_to_the_next_token() {
    let up = upstream();
    let gw = scarce(3, 0).backend(&up).start();
    let answers = burst(
        &gw,
        [127, 0, 0, 1],
        &gw.get("/api/v1/x").bearer(&token().org(1)),
        4,
    );
    assert_eq!(statuses(&answers), [200, 200, 200, 429]);
    assert!((1..=60).contains(&check_refusal(&answers[3], 1)));
}

#[test]
fn the_limit_holds_over_all_workers_together() {
    for block in [0, 60] {
        let up = upstream();
        let gw = scarce(200, block)
            .backend(&up)
            .env("RATE_LIMIT_PER_IP", "false")
            .start();
        let ask = gw.get("/api/v1/x").bearer(&token().org(1));
        let start = Instant::now();
        let one_client = || {
            statuses(&burst(&gw, [127, 0, 0, 1], &ask, 25))
                .iter()
                .filter(|&&s| s == 200)
                .count()
        };
        let mut admitted: usize = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..16).map(|_| scope.spawn(one_client)).collect();
            clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .sum()
        });
        // Tokens that lay in another core's slice at the end come back when it settles.
        let mut refused_in_a_row = 0;
        while refused_in_a_row < 5 {
            let ok = ask.send().status == 200;
            admitted += usize::from(ok);
            refused_in_a_row = if ok { 0 } else { refused_in_a_row + 1 };
            support::pause(Duration::from_millis(30));
        }
        let refilled = usize::try_from(start.elapsed().as_secs() / 60).unwrap();
        assert!(
            (200..=200 + refilled).contains(&admitted),
            "block {block}: {admitted} admitted"
        );
        assert_eq!(up.requests().len(), admitted);
    }
}

#[test]
fn one_organization_from_many_addresses_has_one_limit() {
    let up = upstream();
    let gw = scarce(10, 60).backend(&up).start();
    let ask = gw.get("/api/v1/x").bearer(&token().org("acme"));
    let answers: Vec<Answer> = (1..=12)
        .map(|n| ask.clone().from([127, 0, 1, n]).send())
        .collect();
    assert_eq!(statuses(&answers[..10]), [200; 10]);
    assert_eq!(statuses(&answers[10..]), [429; 2]);
    let other = gw
        .get("/api/v1/x")
        .bearer(&token().org("other"))
        .from([127, 0, 1, 12]);
    assert_eq!(
        other.send().status,
        200,
        "another organization is not concerned"
    );
}

#[test]
fn a_refusal_charges_neither_key() {
    let up = upstream();
    let gw = scarce(5, 0).backend(&up).start();
    let ask = |org: u32| gw.get("/api/v1/x").bearer(&token().org(org));
    assert_eq!(statuses(&burst(&gw, [127, 0, 2, 1], &ask(1), 5)), [200; 5]);
    assert_eq!(
        statuses(&burst(&gw, [127, 0, 2, 2], &ask(1), 3)),
        [429; 3],
        "the organization is at its limit"
    );
    let count = |source, org: u32, part: &str| {
        gw.info_from(source, &token().org(org))[part]["current_count"].clone()
    };
    until("the fresh address to be uncharged", || {
        count([127, 0, 2, 2], 1, "ip") == 0
    });
    assert_eq!(
        statuses(&burst(&gw, [127, 0, 2, 1], &ask(2), 3)),
        [429; 3],
        "the address is at its limit"
    );
    until("the fresh organization to be uncharged", || {
        count([127, 0, 2, 1], 2, "organization") == 0
    });
    assert_eq!(
        statuses(&burst(&gw, [127, 0, 2, 2], &ask(2), 5)),
        [200; 5],
        "both are whole still"
    );
}

#[test]
fn headers_speak_of_the_key_with_less_remaining() {
    let up = upstream();
    let gw = gateway().backend(&up).env("RATE_LIMIT_BURST", 0).start();
    let remaining = quickly(|source, token| {
        let other = [127, 0, 8, source[3]];
        let ask = gw.get("/api/v1/x").bearer(&token);
        burst(&gw, source, &ask, 10);
        let org_binds = ask
            .clone()
            .from(other)
            .send()
            .number("x-ratelimit-remaining");
        let anonymous = gw.get("/api/v1/auth/login");
        let ip_alone = anonymous.from(other).send().number("x-ratelimit-remaining");
        (org_binds, ip_alone)
    });
    assert_eq!(remaining, (89, 98));
}

#[test]
fn a_block_lasts_its_time_and_is_not_prolonged() {
    let up = upstream();
    let gw = gateway()
        .backend(&up)
        .env("RATE_LIMIT_RPM", 60)
        .env("RATE_LIMIT_BURST", 0);
    let gw = gw.env("RATE_LIMIT_BLOCK_DURATION", 3).start();
    let ask = gw.get("/api/v1/x").bearer(&token().org(1));
    let mut wire = gw.wire();
    let mut before = Instant::now();
    let refusal = loop {
        before = Instant::now().max(before);
        let answer = ask.on(&mut wire);
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(check_refusal(&refusal, 60), 3);
    until("the block to end under constant requests", || {
        ask.send().status == 200
    });
    assert!(
        before.elapsed() >= Duration::from_secs(3),
        "tokens came back earlier, the block stood"
    );
    let left = gw.info(&token().org(1))["organization"]["remaining"]
        .as_u64()
        .unwrap();
    assert!(left >= 1, "tokens refilled during the block: {left}");
}

#[test]
fn limiter_decisions_are_counted() {
    let up = upstream();
    let gw = scarce(3, 60).backend(&up).start();
    burst(
        &gw,
        [127, 0, 0, 1],
        &gw.get("/api/v1/x").bearer(&token().org(1)),
        5,
    );
    until("the decisions in the metrics", || {
        let count = |outcome: &str| {
            gw.metric(
                "dbpower_limit_decisions_total",
                &["policy=\"organization\"", outcome],
            )
        };
        count("outcome=\"admitted\"") >= 3.0
    });
    assert_eq!(gw.metric("dbpower_panics_total", &[]), 0.0);
}
