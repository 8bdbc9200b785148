//! Several gateways and one Redis, end to end: what is admitted over all of them, blocks, resets, info, health. Not faults
//! (`redis_faults.rs`), not the script's arithmetic (`redis_script.rs`). Invariant: limits of one per minute where a count is exact,
//! so that no test depends on how fast it runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod redis_support;
#[path = "redis_support/steady.rs"]
mod steady;
mod support;

use redis_support::Server;
use serde_json::json;
use steady::{Watched, steady};
use support::limits::{burst, check_refusal, scarce, statuses};
use support::{Answer, Gateway, Plan, Upstream, token, until, upstream};

const SOURCE: [u8; 4] = [127, 0, 9, 1];

/// A gateway's plan on that server.
fn shared(plan: Plan, up: &Upstream, server: &Server) -> Plan {
    plan.backend(up)
        .env("REDIS_ENABLED", "true")
        .env("REDIS_URL", server.url())
}

fn connected(gw: &Gateway) {
    until("Redis is connected", || {
        gw.get("/health").send().json()["redis"] == json!(true)
    });
}

fn nodes(plan: &Plan, count: usize) -> Watched {
    let nodes = Watched((0..count).map(|_| plan.start()).collect());
    nodes.iter().for_each(connected);
    nodes
}

fn admitted(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 200).count()
}

#[test]
fn one_node_shows_the_same_numbers_as_in_memory() {
    steady(|| {
        let (up, server) = (upstream(), Server::start());
        let plan = shared(scarce(120, 60), &up, &server);
        let nodes = nodes(&plan, 1);
        let gw = &nodes[0];
        let token = token().org(1);
        let answers = burst(gw, SOURCE, &gw.get("/api/v1/x").bearer(&token), 122);
        assert_eq!(statuses(&answers[..120]), vec![200; 120]);
        for answer in &answers[120..] {
            assert!((59..=60).contains(&check_refusal(answer, 1)));
        }
        // The burst is not promised.
        assert_eq!(answers[0].number("x-ratelimit-remaining"), 0);
        let info = gw.info_from(SOURCE, &token);
        for part in ["organization", "ip"] {
            assert_eq!(info[part]["current_count"], json!(120), "{info}");
        }
    });
}

#[test]
fn numbers_count_down_one_by_one() {
    steady(|| {
        let (up, server) = (upstream(), Server::start());
        let plan = support::gateway()
            .env("RATE_LIMIT_RPM", 1_000)
            .env("RATE_LIMIT_BURST", 0)
            .env("RATE_LIMIT_BLOCK_DURATION", 60);
        let nodes = nodes(&shared(plan, &up, &server), 1);
        let gw = &nodes[0];
        let answers = burst(gw, SOURCE, &gw.get("/api/v1/x").bearer(&token().org(1)), 50);
        let mut last = 1_000;
        for answer in answers {
            let remaining = answer.number("x-ratelimit-remaining");
            // 16 tokens come back in a second, and a report may be a moment late.
            assert!(remaining <= last + 16, "{remaining} after {last}");
            last = remaining;
        }
        assert!((930..=990).contains(&last), "{last}");
    });
}

#[test]
fn three_nodes_together_admit_one_bucket() {
    steady(|| {
        let (up, server) = (upstream(), Server::start());
        let plan = shared(scarce(120, 0), &up, &server);
        let nodes = nodes(&plan, 3);
        let token = token().org(1);
        let mut count = 0;
        for round in 0..60 {
            let gw = &nodes[round % 3];
            let source = [127, 0, 9, 2 + u8::try_from(round % 3).unwrap()];
            count += admitted(&burst(gw, source, &gw.get("/api/v1/x").bearer(&token), 5));
        }
        // One token comes back per minute; what is leased to a node at the end may stay there.
        assert!((112..=122).contains(&count), "{count}");
    });
}

#[test]
fn a_block_and_a_reset_reach_every_node() {
    steady(|| {
        let (up, server) = (upstream(), Server::start());
        let plan = shared(scarce(10, 600), &up, &server);
        let nodes = nodes(&plan, 2);
        let member = token().org(7);
        let ask =
            |gw: &Gateway, count| burst(gw, SOURCE, &gw.get("/api/v1/x").bearer(&member), count);
        let count: usize = (0..12).map(|nth| admitted(&ask(&nodes[nth % 2], 1))).sum();
        assert!((9..=10).contains(&count), "{count}");
        // Leases end within 0.1 s when nothing is ahead; then the block stands for all.
        for gw in nodes.iter() {
            until("the block is known", || {
                let answers = ask(gw, 1);
                answers[0].status == 429 && answers[0].number("retry-after") > 500
            });
        }
        let admin = token().org(7).role("super_admin");
        for body in [
            json!({"organization_id": 7}),
            json!({"ip_address": "127.0.9.1"}),
        ] {
            let answer = nodes[0]
                .post("/admin/rate-limit/reset")
                .json(&body)
                .bearer(&admin)
                .send();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        // The node that was asked knows it before it answers; the other one by a message.
        assert_eq!(statuses(&ask(&nodes[0], 1)), [200]);
        until("the other node hears of it", || {
            statuses(&ask(&nodes[1], 1)) == [200]
        });
    });
}

#[test]
fn all_keys_are_reset_at_once() {
    steady(|| {
        let (up, server) = (upstream(), Server::start());
        let plan = shared(scarce(5, 600), &up, &server);
        let nodes = nodes(&plan, 1);
        let gw = &nodes[0];
        let ask = |org: u32, count| {
            let source = [127, 0, 9, 10 + u8::try_from(org).unwrap()];
            admitted(&burst(
                gw,
                source,
                &gw.get("/api/v1/x").bearer(&token().org(org)),
                count,
            ))
        };
        for org in 0..4 {
            assert_eq!(ask(org, 7), 5);
        }
        let admin = token().org(9).role("super_admin");
        let answer = gw
            .post("/admin/rate-limit/reset")
            .json(&json!({"all": true}))
            .bearer(&admin)
            .send();
        assert_eq!(answer.status, 200);
        for org in 0..4 {
            until("each can go on", || ask(org, 1) == 1);
        }
    });
}

#[test]
fn a_wrong_token_is_charged_to_its_address() {
    steady(|| {
        let (up, server) = (upstream(), Server::start());
        let plan = shared(scarce(5, 600), &up, &server);
        let nodes = nodes(&plan, 1);
        let gw = &nodes[0];
        let source = [127, 0, 9, 30];
        until(
            "the address is refused before its token is looked at",
            || {
                let answers = burst(
                    gw,
                    source,
                    &gw.get("/api/v1/x").field("Authorization", "Bearer x"),
                    1,
                );
                assert!(matches!(answers[0].status, 401 | 429));
                answers[0].status == 429
            },
        );
        let seen = burst(
            gw,
            [127, 0, 9, 31],
            &gw.get("/api/v1/x").field("Authorization", "Bearer x"),
            3,
        );
        assert_eq!(statuses(&seen), [401; 3]);
    });
}

#[test]
fn a_busy_key_costs_hardly_a_call_per_hundred_requests() {
    steady(|| {
        let (up, server) = (upstream(), Server::start());
        let plan = support::gateway()
            .env("RATE_LIMIT_RPM", 1_000_000)
            .env("RATE_LIMIT_BURST", 0)
            .env("LOG_REQUESTS", "false");
        let nodes = nodes(&shared(plan, &up, &server), 1);
        let gw = &nodes[0];
        let ask = gw.get("/api/v1/x").bearer(&token().org(1));
        let calls = || gw.metric("dbpower_leases_total", &["calls"]);
        assert_eq!(statuses(&burst(gw, SOURCE, &ask, 1_000)), [200; 1_000]);
        let before = calls();
        assert_eq!(statuses(&burst(gw, SOURCE, &ask, 4_000)), [200; 4_000]);
        // Two keys are charged by each request.
        let per_hundred = (calls() - before) / 80.0;
        assert!(per_hundred <= 2.0, "{per_hundred} calls per hundred");
    });
}

#[test]
fn a_node_that_starts_with_other_limits_brings_them_to_all() {
    steady(|| {
        let (up, server) = (upstream(), Server::start());
        let plan = shared(scarce(10, 0), &up, &server);
        let old = nodes(&plan, 1);
        let ask = old[0].get("/api/v1/x").bearer(&token().org(1));
        assert_eq!(ask.send().number("x-ratelimit-limit"), 1);
        let new = nodes(&plan.clone().env("RATE_LIMIT_RPM", 50), 1);
        until("the older node has heard of them", || {
            ask.send().number("x-ratelimit-limit") == 50
        });
        // One that starts later with the same values changes nothing.
        let same = nodes(&plan.env("RATE_LIMIT_RPM", 50), 1);
        for gw in [&old[0], &new[0], &same[0]] {
            let answer = gw.get("/api/v1/x").bearer(&token().org(2)).send();
            assert_eq!(answer.number("x-ratelimit-limit"), 50);
        }
        let version: u64 = redis::cmd("HGET")
            .arg("rl:cfg")
            .arg("ver")
            .query(&mut server.connect())
            .unwrap();
        assert_eq!(version, 2);
    });
}

#[test]
fn callers_of_info_for_one_key_share_one_report() {
    steady(|| {
        let (up, server) = (upstream(), Server::start());
        let plan = shared(scarce(10, 0), &up, &server).env("RATE_LIMIT_PER_IP", "false");
        let nodes = nodes(&plan, 1);
        let gw = &nodes[0];
        let member = token().org(1);
        assert_eq!(
            statuses(&burst(gw, SOURCE, &gw.get("/api/v1/x").bearer(&member), 3)),
            [200; 3]
        );
        let mut redis = server.connect();
        let mut channel = redis.as_pubsub();
        channel.subscribe("rl:ctl").unwrap();
        let ask = gw.get("/rate-limit/info").bearer(&member);
        let mut wires: Vec<_> = (0..100).map(|_| gw.wire_from(SOURCE)).collect();
        for wire in &mut wires {
            wire.send(ask.bytes());
        }
        for wire in &mut wires {
            let answer = wire.answer();
            assert_eq!(answer.status, 200);
            assert_eq!(answer.json()["organization"]["current_count"], json!(3));
        }
        // An exchange takes 25 ms, and sending all of this some ms.
        let end = gw
            .post("/admin/rate-limit/reset")
            .json(&json!({"organization_id": 1}));
        assert_eq!(end.bearer(&token().org(1).role("admin")).send().status, 200);
        let mut reports = 0;
        loop {
            let text: String = channel.get_message().unwrap().get_payload().unwrap();
            if text.starts_with("reset") {
                break;
            }
            assert_eq!(text, "report rl:{o:1}");
            reports += 1;
        }
        assert!(
            (1..=50).contains(&reports),
            "{reports} reports for 100 callers"
        );
    });
}

#[test]
fn the_metrics_say_at_which_level_keys_were_judged_and_how_long_requests_waited() {
    steady(|| {
        let (up, server) = (upstream(), Server::start());
        let plan = support::gateway()
            .env("RATE_LIMIT_RPM", 1_000)
            .env("RATE_LIMIT_BURST", 0)
            .env("RATE_LIMIT_PER_IP", "false")
            .env("RATE_LIMIT_BLOCK_DURATION", 60);
        let nodes = nodes(&shared(plan, &up, &server), 1);
        let gw = &nodes[0];
        let ask = gw.get("/api/v1/x").bearer(&token().org(1));
        let answers = burst(gw, SOURCE, &ask, 1_200);
        assert_eq!(answers.last().map(|answer| answer.status), Some(429));
        let count = |level: &str| gw.metric("dbpower_limit_levels_total", &[level]);
        let all = ["slice", "node", "waited", "cached_refusal"];
        // Each worker tells its counts every 20 ms.
        until("every request was counted", || {
            all.iter().map(|level| count(level)).sum::<f64>() >= 1_200.0
        });
        assert!(
            all.iter().all(|level| count(level) > 0.0),
            "{}",
            gw.metrics()
        );
        let waits = gw.metric("dbpower_limit_wait_seconds_count", &[]);
        assert_eq!(waits, count("waited"));
        let said = |event: &str| gw.metric("dbpower_leases_total", &[event]);
        // Some who asked found that tokens had come meanwhile.
        assert!(said("waited") <= waits);
        let served = answers.iter().filter(|answer| answer.status == 200).count();
        let used = said("granted") - said("returned") - said("expired");
        assert!(used >= served as f64, "{used} of {served}");
        assert!(said("calls") < 120.0, "a tenth of the requests at most");
    });
}
