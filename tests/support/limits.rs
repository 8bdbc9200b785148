//! What the tests of limits share: scarce limits, bursts of requests, what every 429 says. Not the limits' arithmetic. Invariant:
//! a burst is sent one request after the other, so its answers' order is that of the decisions.

use serde_json::json;

use super::{Answer, Ask, Gateway, Plan, gateway};

/// C tokens and practically no refill: one a minute.
pub fn scarce(capacity: u32, block_seconds: u32) -> Plan {
    let plan = gateway()
        .env("RATE_LIMIT_RPM", 1)
        .env("RATE_LIMIT_BURST", capacity - 1);
    plan.env("RATE_LIMIT_BLOCK_DURATION", block_seconds)
}

/// The same request over and over on one connection, as long as it lasts.
pub fn burst(gw: &Gateway, source: [u8; 4], ask: &Ask, count: usize) -> Vec<Answer> {
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

pub fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

/// What LIMITS.md says of every 429.
pub fn check_refusal(answer: &Answer, limit: u64) -> u64 {
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
