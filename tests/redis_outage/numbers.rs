//! `X-RateLimit-*` and `/rate-limit/info` in each kind of outage, with each policy, for keys that Redis has told of and for new ones.

use std::time::{Duration, Instant};

use redis_support::free_port;
use support::limits::burst;
use support::{Answer, gateway, token, upstream};

use super::*;

/// How Redis fails.
#[derive(Clone, Copy, Debug)]
enum Outage {
    Refused,
    Stopped,
    Readonly,
    Misconf,
    Busy,
    Noperm,
    WrongPassword,
}

const OUTAGES: [Outage; 7] = [
    Outage::Refused,
    Outage::Stopped,
    Outage::Readonly,
    Outage::Misconf,
    Outage::Busy,
    Outage::Noperm,
    Outage::WrongPassword,
];

const ALL: [&str; 4] = ["~*", "&*", "+@all", "-@dangerous"];

impl Outage {
    fn begin(self, server: &mut Server) {
        match self {
            Self::Refused => server.kill(),
            Self::Stopped => server.signal("STOP"),
            Self::Readonly => {
                let port = free_port().to_string();
                server.tell(&["REPLICAOF", "127.0.0.1", &port]);
            }
            Self::Misconf => {
                // The dump's name is a directory's: it cannot be saved.
                server.tell(&["CONFIG", "SET", "save", "3600 1"]);
                server.tell(&["BGSAVE"]);
                let mut redis = server.connect();
                until("the save has failed", || {
                    let info: String = redis::cmd("INFO").query(&mut redis).unwrap();
                    info.contains("rdb_last_bgsave_status:err")
                });
            }
            Self::Busy => {
                server.tell(&["CONFIG", "SET", "lua-time-limit", "10"]);
                let mut redis = server.connect();
                std::thread::spawn(move || {
                    let mut endless = redis::cmd("EVAL");
                    let _: Result<(), _> =
                        endless.arg("while true do end").arg(0).query(&mut redis);
                });
            }
            // It may still say that it lives, and agree on limits.
            Self::Noperm => server.tell(&[
                "ACL",
                "SETUSER",
                "gate",
                "resetkeys",
                "~rl:nodes",
                "~rl:cfg",
            ]),
            Self::WrongPassword => {
                server.tell(&["ACL", "SETUSER", "gate", "resetpass", ">another"]);
                server.tell(&["CLIENT", "KILL", "USER", "gate"]);
            }
        }
    }

    /// So that the server can be stopped.
    fn end(self, server: &Server) {
        match self {
            Self::Stopped => server.signal("CONT"),
            Self::Refused
            | Self::Readonly
            | Self::Misconf
            | Self::Busy
            | Self::Noperm
            | Self::WrongPassword => {}
        }
    }
}

const WHO: [u8; 4] = [127, 0, 12, 1];

fn ask(gw: &Gateway, org: u32, count: usize) -> Vec<Answer> {
    let request = gw.get("/api/v1/x").bearer(&token().org(org));
    burst(gw, WHO, &request, count)
}

/// Tokens that have come back since, and one that may be on its way.
fn back(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap() / 600 + 1
}

/// Each shows one less than the one before, but for what has come back: 100 tokens a minute.
fn count_down(answers: &[Answer], first: u64, since: Instant, what: &str) {
    let shown: Vec<u64> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
            assert_eq!(answer.number("x-ratelimit-limit"), 100);
            answer.number("x-ratelimit-remaining")
        })
        .collect();
    let back = back(since);
    for (nth, number) in shown.iter().enumerate() {
        let exact = first - nth as u64;
        assert!(
            (exact..=exact + back).contains(number) && *number <= 99,
            "{what}: {shown:?}, {back} came back"
        );
    }
}

#[test]
fn with_share_they_count_down_in_every_kind_of_outage() {
    let up = upstream();
    for outage in OUTAGES {
        let mut server = Server::with(&["--dbfilename", "dump"]);
        let url = user(&server, "gate", &ALL);
        // Not before it has looked for its dump.
        std::fs::create_dir(server.path("dump")).unwrap();
        let plan = gateway().backend(&up).env("RATE_LIMIT_BLOCK_DURATION", 0);
        let gw = on(plan, &url).start();
        shows(&gw, true);
        let since = Instant::now();
        count_down(&ask(&gw, 1, 5), 99, since, "Redis is there");
        outage.begin(&mut server);
        // Warm: the address as well.
        count_down(&ask(&gw, 1, 10), 94, since, &format!("{outage:?}, warm"));
        let until_away = Instant::now();
        while gw.get("/health").send().json()["redis"] == json!(true) {
            // A busy key needs no Redis; a new one finds out.
            assert!(until_away.elapsed() < Duration::from_secs(10), "{outage:?}");
            let _ = ask(&gw, 3, 1);
        }
        let from = [127, 0, 12, 2];
        let cold = Instant::now();
        let request = gw.get("/api/v1/x").bearer(&token().org(2));
        count_down(
            &burst(&gw, from, &request, 10),
            99,
            cold,
            &format!("{outage:?}, cold"),
        );
        let info = gw.info_from(from, &token().org(2));
        for part in ["organization", "ip"] {
            let used = info[part]["current_count"].as_u64().unwrap();
            let back = back(cold);
            assert!(used <= 10 && used + back >= 10, "{outage:?}: {info}");
            assert_eq!(info[part]["remaining"], json!(100 - used), "{outage:?}");
        }
        outage.end(&server);
    }
}

#[test]
fn with_share_a_node_of_three_tells_its_own_part() {
    let up = upstream();
    let server = Server::absent(free_port());
    let plan = gateway().backend(&up).env("RATE_LIMIT_NODES", 3);
    let gw = on(plan, &server.url()).start();
    let since = Instant::now();
    // 40 of 120 tokens, of which 6 are its part of the burst.
    count_down(&ask(&gw, 1, 10), 33, since, "a third");
    let info = gw.info_from(WHO, &token().org(1));
    let used = info["organization"]["current_count"].as_u64().unwrap();
    assert!((9..=10).contains(&used), "{info}");
}

#[test]
fn with_open_they_are_left_out_and_with_closed_requests_are_refused() {
    let up = upstream();
    for policy in ["open", "closed"] {
        let server = Server::absent(free_port());
        let plan = gateway().backend(&up).env("RATE_LIMIT_ON_OUTAGE", policy);
        let gw = on(plan, &server.url()).start();
        for answer in ask(&gw, 1, 10) {
            if policy == "open" {
                assert_eq!(answer.status, 200);
                assert_eq!(answer.field("x-ratelimit-limit"), None);
                assert_eq!(answer.field("x-ratelimit-remaining"), None);
            } else {
                support::limits::check_refusal(&answer, 100);
            }
        }
        let info = gw.info_from(WHO, &token().org(1));
        let parts = info.as_object().unwrap().len();
        assert_eq!(parts, if policy == "open" { 0 } else { 2 }, "{info}");
    }
}

#[test]
fn a_store_that_takes_longer_than_its_time_is_away_and_with_more_time_is_not() {
    let up = upstream();
    let server = Server::start();
    let proxy = redis_support::proxy::Proxy::to(server.port);
    proxy.delay(60);
    let plan = gateway()
        .backend(&up)
        .env("RATE_LIMIT_BURST", 0)
        .env("RATE_LIMIT_RPM", 10)
        .env("RATE_LIMIT_BLOCK_DURATION", 600);
    let hasty = on(plan.clone(), &proxy.url()).start();
    hasty.log_line("why", |line| line.contains("no answer within 50 ms"));
    shows(&hasty, false);
    // A call to a Redis that is 60 ms away is granted, and its lease is long enough to be spent.
    let patient = on(plan, &proxy.url()).env("REDIS_TIMEOUT", "0.4").start();
    shows(&patient, true);
    let answers = ask(&patient, 1, 12);
    let served = answers.iter().filter(|answer| answer.status == 200);
    assert!((9..=11).contains(&served.count()));
    assert!(patient.get("/health").send().json()["redis"] == json!(true));
}
