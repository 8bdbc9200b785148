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

use serde_json::{Value, json};
use support::{Answer, Ask, Gateway, Plan, Token, gateway, token, until, upstream};

/// C tokens and practically no refill: one a minute.
fn scarce(capacity: u32, block_seconds: u32) -> Plan {
    let plan = gateway()
        .env("RATE_LIMIT_RPM", 1)
        .env("RATE_LIMIT_BURST", capacity - 1);
    plan.env("RATE_LIMIT_BLOCK_DURATION", block_seconds)
}

/// The same request over and over on one connection, as long as it lasts.
fn burst(gw: &Gateway, source: [u8; 4], ask: &Ask, count: usize) -> Vec<Answer> {
    let mut wire = gw.wire_from(source);
    let mut answers: Vec<Answer> = Vec::new();
    for _ in 0..count {
        if answers.last().is_some_and(Answer::says_close) {
            wire = gw.wire_from(source);
        }
        answers.push(ask.on(&mut wire));
    }
    answers
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

/// What LIMITS.md says of every 429.
fn check_refusal(answer: &Answer, limit: u64) -> u64 {
    assert_eq!(answer.status, 429, "{}", answer.text());
    let seconds = answer.number("retry-after");
    assert!(seconds >= 1);
    assert_eq!(answer.number("x-ratelimit-reset"), seconds);
    assert_eq!(
        (
            answer.number("x-ratelimit-limit"),
            answer.number("x-ratelimit-remaining")
        ),
        (limit, 0)
    );
    let expected = json!({
        "error": "Rate limit exceeded",
        "message": format!("Too many requests. Please retry after {seconds} seconds."),
        "retry_after": seconds,
    });
    assert_eq!(answer.json(), expected);
    seconds
}

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
        up.requests().len() % 120 == 0,
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
            std::thread::sleep(Duration::from_millis(30));
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
fn unauthorized_requests_charge_the_address_and_end_in_429() {
    let up = upstream();
    let gw = scarce(5, 60).backend(&up).start();
    let home = [127, 0, 0, 1];
    let bad = gw.get("/api/v1/x").bearer(&token().org(1).forged());
    assert_eq!(statuses(&burst(&gw, home, &bad, 3)), [401; 3]);
    let none = gw.get("/api/v1/x");
    assert_eq!(statuses(&burst(&gw, home, &none, 4)), [401, 401, 429, 429]);
    check_refusal(&none.send(), 1);
    let good = gw.get("/api/v1/x").bearer(&token().org(1));
    assert_eq!(
        good.send().status,
        429,
        "the address is blocked whoever comes from it"
    );
    assert_eq!(
        good.from([127, 0, 3, 1]).send().status,
        200,
        "the organization was not charged"
    );
    assert_eq!(
        gw.info_from([127, 0, 3, 2], &token().org(1))["organization"]["current_count"],
        1
    );
}

#[test]
fn public_and_unknown_paths_are_charged_to_the_address() {
    let up = upstream();
    let gw = scarce(4, 60).backend(&up).start();
    let login = gw.post("/api/v1/auth/login").body("{}");
    assert_eq!(
        statuses(&burst(&gw, [127, 0, 3, 1], &login, 6)),
        [200, 200, 200, 200, 429, 429]
    );
    let nowhere = gw.get("/nowhere").bearer(&token());
    assert_eq!(
        statuses(&burst(&gw, [127, 0, 3, 2], &nowhere, 5)),
        [404, 404, 404, 404, 429]
    );
    let documents = gw.get("/openapi.json");
    assert_eq!(
        statuses(&burst(&gw, [127, 0, 3, 3], &documents, 5)),
        [200, 200, 200, 200, 429]
    );
}

#[test]
fn info_is_neither_limited_nor_charged_with_a_valid_token() {
    let up = upstream();
    let gw = scarce(3, 60).backend(&up).start();
    let info = gw.get("/rate-limit/info").bearer(&token().org(1));
    assert_eq!(statuses(&burst(&gw, [127, 0, 0, 1], &info, 10)), [200; 10]);
    let bad = gw.get("/rate-limit/info").bearer(&token().org(1).forged());
    assert_eq!(
        statuses(&burst(&gw, [127, 0, 0, 1], &bad, 5)),
        [401, 401, 401, 429, 429]
    );
    assert_eq!(info.send().status, 200, "from a blocked address too");
}

#[test]
fn each_policy_can_be_switched_off() {
    let up = upstream();
    let token = token().org(1);
    let off = |name: &str| scarce(3, 60).backend(&up).env(name, "false");

    let gw = off("RATE_LIMIT_PER_ORG").start();
    let ask = gw.get("/api/v1/x").bearer(&token);
    assert_eq!(
        statuses(&burst(&gw, [127, 0, 4, 1], &ask, 4)),
        [200, 200, 200, 429]
    );
    assert_eq!(ask.clone().from([127, 0, 4, 2]).send().status, 200);
    let info = gw.info(&token);
    assert!(
        info["organization"].is_null() && info["ip"].is_object(),
        "{info}"
    );

    let gw = off("RATE_LIMIT_PER_IP").start();
    let ask = gw.get("/api/v1/x").bearer(&token);
    assert_eq!(
        statuses(&burst(&gw, [127, 0, 4, 1], &ask, 4)),
        [200, 200, 200, 429]
    );
    let nobody = burst(&gw, [127, 0, 4, 1], &gw.get("/api/v1/x"), 6);
    assert_eq!(statuses(&nobody), [401; 6]);
    let info = gw.info(&token);
    assert!(
        info["ip"].is_null() && info["organization"].is_object(),
        "{info}"
    );

    let gw = off("RATE_LIMIT_PER_IP")
        .env("RATE_LIMIT_PER_ORG", "0")
        .start();
    let answers = burst(&gw, [127, 0, 4, 1], &gw.get("/api/v1/x").bearer(&token), 6);
    assert_eq!(statuses(&answers), [200; 6]);
    assert!(
        answers
            .iter()
            .all(|answer| answer.field("x-ratelimit-limit").is_none()),
        "no limit applied"
    );
    assert_eq!(gw.info(&token), json!({}));
}

#[test]
fn a_token_without_an_organization_is_limited_by_address_alone() {
    let up = upstream();
    let gw = scarce(3, 60).backend(&up).start();
    let ask = gw.get("/api/v1/x").bearer(&token().user(1));
    assert_eq!(
        statuses(&burst(&gw, [127, 0, 5, 1], &ask, 4)),
        [200, 200, 200, 429]
    );
    assert_eq!(
        statuses(&burst(&gw, [127, 0, 5, 2], &ask, 4)),
        [200, 200, 200, 429]
    );
}

#[test]
fn behind_a_trusted_proxy_the_clients_own_address_counts() {
    let up = upstream();
    let gw = scarce(2, 60)
        .backend(&up)
        .env("TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")
        .start();
    let login = |field: &str, value: &str| {
        gw.get("/api/v1/auth/login")
            .field(field, value)
            .send()
            .status
    };
    let three = |field: &str, values: [&str; 3]| values.map(|value| login(field, value));
    let far = "X-Forwarded-For";
    assert_eq!(three(far, ["203.0.113.1"; 3]), [200, 200, 429]);
    assert_eq!(
        three(
            far,
            [
                "1.1.1.1, 203.0.113.2, 10.0.0.1",
                "203.0.113.2",
                "9.9.9.9, 203.0.113.2"
            ]
        ),
        [200, 200, 429]
    );
    assert_eq!(
        three(far, ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:0:9::"]),
        [200, 200, 429],
        "one /64"
    );
    assert_eq!(login(far, "2001:db8:0:1::1"), 200, "another /64");
    assert_eq!(
        three(far, ["203.0.113.3", "::ffff:203.0.113.3", "203.0.113.3"]),
        [200, 200, 429]
    );
    assert_eq!(
        three(
            "Forwarded",
            [
                "for=203.0.113.4",
                "for=\"203.0.113.4:81\"",
                "for=203.0.113.4;proto=https"
            ]
        ),
        [200, 200, 429]
    );
    let info = gw
        .get("/rate-limit/info")
        .bearer(&token())
        .field(far, "203.0.113.1")
        .send()
        .json();
    assert_eq!(info["ip"]["address"], "203.0.113.1");
}

#[test]
fn an_untrusted_peers_claims_about_its_address_count_for_nothing() {
    let up = upstream();
    let gw = scarce(3, 60).backend(&up).start();
    let claim = |n: u32| {
        gw.get("/api/v1/auth/login")
            .field("X-Forwarded-For", &format!("203.0.113.{n}"))
    };
    let answers: Vec<u16> = (0..5)
        .map(|n| claim(n).field("X-Real-IP", "8.8.8.8").send().status)
        .collect();
    assert_eq!(answers, [200, 200, 200, 429, 429]);
    assert_eq!(gw.info(&token())["ip"]["address"], "127.0.0.1");
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
    let _: Value = gw.info(&token());
}
