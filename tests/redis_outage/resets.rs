//! An admin's reset through several gateways: nobody undoes it, however late a node hears of it; while Redis is away it is refused and
//! changes nothing.

use std::time::{Duration, Instant};

use redis_support::proxy::Proxy;
use serde_json::Value;
use steady::{Watched, steady};
use support::limits::{burst, check_refusal, scarce, statuses};
use support::{Answer, Token, Upstream, token, upstream};

use super::*;

const SOURCE: [u8; 4] = [127, 0, 14, 1];
/// The reset's block is lifted within 5 s; the rest is room for a busy machine.
const LIFTED_MAX: Duration = Duration::from_secs(8);

fn plan(up: &Upstream, url: &str) -> Plan {
    on(scarce(10, 600).backend(up), url)
}

fn ask(gw: &Gateway) -> Answer {
    let request = gw.get("/api/v1/x").bearer(&token().org(7));
    burst(gw, SOURCE, &request, 1).remove(0)
}

/// Both keys of the request are blocked, and both gateways know.
fn block(gateways: &[Gateway]) {
    let request = gateways[0].get("/api/v1/x").bearer(&token().org(7));
    let _ = burst(&gateways[0], SOURCE, &request, 11);
    for gw in gateways {
        until("the block is known", || {
            let answer = ask(gw);
            answer.status == 429 && answer.number("retry-after") > 500
        });
    }
}

fn reset(gw: &Gateway, body: &Value, who: &Token) -> Answer {
    let request = gw.post("/admin/rate-limit/reset").json(body);
    request.from([127, 0, 14, 9]).bearer(who).send()
}

fn super_admin() -> Token {
    token().org(9).role("super_admin")
}

/// What lifts both blocks.
fn bodies(all: bool) -> Vec<Value> {
    match all {
        true => vec![json!({"all": true})],
        false => vec![
            json!({"organization_id": 7}),
            json!({"ip_address": "127.0.14.1"}),
        ],
    }
}

/// After a reset at the first of them: each admits within 5 s, and goes on to.
fn all_admit(gateways: &[Gateway], since: Instant) {
    assert_eq!(ask(&gateways[0]).status, 200, "the one that was asked");
    // By now a full key would be gone from the store, and with it whatever says that it was reset.
    support::pause(Duration::from_millis(1_500));
    for gw in &gateways[1..] {
        until("the block is lifted here, too", || ask(gw).status == 200);
        assert!(since.elapsed() < LIFTED_MAX, "{:?}", since.elapsed());
    }
    for gw in gateways {
        assert_eq!(ask(gw).status, 200, "nobody has undone it");
    }
}

#[test]
fn a_node_that_missed_the_message_does_not_undo_it() {
    let up = upstream();
    // How the message is missed: the connection is cut just then, the channel is not allowed, a NAT has forgotten the connection.
    for missed in ["killed", "refused", "forgotten"] {
        for all in [false, true] {
            steady(|| {
                let server = Server::start();
                let proxy = Proxy::to(server.port);
                let url = match missed {
                    "refused" => user(&server, "deaf", &["~rl:*", "+@all", "resetchannels"]),
                    "forgotten" => proxy.url(),
                    _ => server.url(),
                };
                let gateways = Watched(vec![
                    plan(&up, &server.url()).start(),
                    plan(&up, &url).start(),
                ]);
                gateways.iter().for_each(|gw| shows(gw, true));
                block(&gateways);
                proxy.forget(true);
                if missed == "killed" {
                    server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]);
                }
                let since = Instant::now();
                for body in bodies(all) {
                    let answer = reset(&gateways[0], &body, &super_admin());
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
                all_admit(&gateways, since);
            });
        }
    }
}

#[test]
fn a_node_that_nobody_asks_for_seconds_admits_the_first_request() {
    steady(|| {
        let up = upstream();
        let server = Server::start();
        let deaf = user(&server, "deaf", &["~rl:*", "+@all", "resetchannels"]);
        let gateways = Watched(vec![
            plan(&up, &server.url()).start(),
            plan(&up, &deaf).start(),
        ]);
        gateways.iter().for_each(|gw| shows(gw, true));
        block(&gateways);
        for body in bodies(false) {
            assert_eq!(reset(&gateways[0], &body, &super_admin()).status, 200);
        }
        support::pause(Duration::from_millis(5_100));
        assert_eq!(
            statuses(&[ask(&gateways[1]), ask(&gateways[0])]),
            [200, 200]
        );
    });
}

#[test]
fn a_dead_second_connection_is_noticed_and_made_anew() {
    let up = upstream();
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let gw = plan(&up, &proxy.url()).start();
    shows(&gw, true);
    until("it listens", || proxy.subscribed() >= 1);
    proxy.forget(true);
    let before = proxy.subscribed();
    until("it listens again", || proxy.subscribed() > before);
    proxy.forget(false);
    // What is told from now on arrives.
    let other = plan(&up, &server.url()).env("RATE_LIMIT_RPM", 50).start();
    shows(&other, true);
    until("the limits are known", || {
        ask(&gw).number("x-ratelimit-limit") == 50
    });
    assert_eq!(gw.get("/health").send().json()["redis"], json!(true));
}

#[test]
fn new_limits_are_known_with_the_next_reply_or_heartbeat_without_the_message() {
    steady(|| {
        let up = upstream();
        let server = Server::start();
        let deaf = user(&server, "deaf", &["~rl:*", "+@all", "resetchannels"]);
        let gateways = Watched(vec![plan(&up, &deaf).start()]);
        shows(&gateways[0], true);
        let limit = |org: u32| {
            let request = gateways[0].get("/api/v1/x").bearer(&token().org(org));
            let source = [127, 0, 14, 20 + u8::try_from(org).unwrap()];
            burst(&gateways[0], source, &request, 1)[0].number("x-ratelimit-limit")
        };
        assert_eq!(limit(1), 1);
        let newer = Watched(vec![
            plan(&up, &server.url()).env("RATE_LIMIT_RPM", 50).start(),
        ]);
        shows(&newer[0], true);
        // A new organization's first reply says it, for the next request at the latest.
        let _ = limit(2);
        assert_eq!(limit(3), 50, "{}", gateways[0].log());
        // Without any traffic.
        let newest = plan(&up, &server.url()).env("RATE_LIMIT_RPM", 70).start();
        shows(&newest, true);
        support::pause(Duration::from_millis(1_500));
        assert_eq!(limit(3), 70, "no call was made for this");
    });
}

#[test]
fn while_redis_is_away_it_is_503_and_changes_nothing() {
    let up = upstream();
    for all in [false, true] {
        for noticed in [false, true] {
            steady(|| {
                let server = Server::start();
                let gateways = Watched(vec![
                    plan(&up, &server.url()).start(),
                    plan(&up, &server.url()).start(),
                ]);
                gateways.iter().for_each(|gw| shows(gw, true));
                block(&gateways);
                server.signal("STOP");
                if noticed {
                    until("a request finds out", || {
                        let fresh = gateways[0].get("/api/v1/x").bearer(&token().org(1));
                        let _ = burst(&gateways[0], [127, 0, 14, 2], &fresh, 1);
                        gateways[0].get("/health").send().json()["redis"] == json!(false)
                    });
                }
                for body in bodies(all) {
                    let answer = reset(&gateways[0], &body, &super_admin());
                    assert_eq!(answer.status, 503, "{}", answer.text());
                    let told = answer.json()["message"].as_str().unwrap().to_owned();
                    assert!(told.contains("store_away") && told.contains("nothing was reset"));
                    assert_eq!(answer.number("retry-after"), 1);
                }
                let own = token().org(7).role("org_admin");
                let answer = reset(&gateways[0], &json!({"organization_id": 7}), &own);
                assert_eq!(answer.status, 503, "{}", answer.text());
                assert!(check_refusal(&ask(&gateways[0]), 1) > 500, "at once");
                server.signal("CONT");
                for gw in gateways.iter() {
                    shows(gw, true);
                }
                // Whatever lay in the server's sockets has been read by now: it answers commands that came later.
                support::pause(Duration::from_millis(300));
                for gw in gateways.iter() {
                    assert!(check_refusal(&ask(gw), 1) > 500, "afterwards");
                }
                // And a reset that is made now is made.
                for body in bodies(all) {
                    assert_eq!(reset(&gateways[0], &body, &super_admin()).status, 200);
                }
                assert_eq!(ask(&gateways[0]).status, 200);
            });
        }
    }
}

#[test]
fn info_right_after_a_reset_shows_nothing_used() {
    let up = upstream();
    let server = Server::start();
    for shared in [true, false] {
        steady(|| {
            let fast = support::gateway()
                .backend(&up)
                .env("RATE_LIMIT_RPM", if shared { 1_000_000 } else { 600 });
            let fast = match shared {
                true => on(fast, &server.url()),
                false => fast,
            };
            let gateways = Watched(vec![fast.start()]);
            let gw = &gateways[0];
            if shared {
                shows(gw, true);
            }
            let member = token().org(7);
            for round in 0..5 {
                // Busy enough for tokens to be leased and taken in slices.
                let request = gw.get("/api/v1/x").bearer(&member);
                let _ = burst(gw, SOURCE, &request, 60);
                let answer = reset(gw, &json!({"organization_id": 7}), &super_admin());
                assert_eq!(answer.status, 200);
                let info = gw.info_from(SOURCE, &member);
                let used = &info["organization"]["current_count"];
                assert_eq!(used, &json!(0), "round {round}, shared {shared}");
            }
        });
    }
}

#[test]
fn an_org_admin_resets_its_own_organization_once_a_minute_on_all_nodes_and_pays_for_it() {
    steady(|| {
        let up = upstream();
        let server = Server::start();
        let gateways = Watched(vec![
            plan(&up, &server.url()).start(),
            plan(&up, &server.url()).start(),
        ]);
        gateways.iter().for_each(|gw| shows(gw, true));
        let own = token().org(7).role("org_admin");
        let body = json!({"organization_id": 7});
        let first = reset(&gateways[0], &body, &own);
        assert_eq!(first.status, 200, "{}", first.text());
        assert_eq!(first.number("x-ratelimit-limit"), 1);
        for gw in gateways.iter() {
            let second = reset(gw, &body, &own);
            assert_eq!(second.status, 429);
            let left = second.number("retry-after");
            assert!((50..=60).contains(&left), "{left}");
            let told = second.json();
            assert_eq!(told["retry_after"], json!(left));
            assert!(told["message"].as_str().unwrap().contains("reset_too_soon"));
        }
        // Whoever stands above may.
        assert_eq!(reset(&gateways[1], &body, &super_admin()).status, 200);
        let info = gateways[0].info_from([127, 0, 14, 9], &own);
        assert_eq!(
            info["ip"]["current_count"],
            json!(3),
            "one for each attempt"
        );
    });
}
