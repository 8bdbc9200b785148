//! What the log says of Redis's coming and going, and of a channel that it refuses.

use std::time::Duration;

use redis_support::free_port;
use support::limits::{burst, scarce};
use support::{gateway, token, upstream};

use super::*;

fn lines(gw: &Gateway, words: &str) -> usize {
    gw.log().lines().filter(|line| line.contains(words)).count()
}

#[test]
fn late_answers_now_and_then_are_one_pair_of_lines_with_a_count() {
    let up = upstream();
    let server = Server::with(&["--enable-debug-command", "yes"]);
    let plan = gateway().backend(&up).env("RATE_LIMIT_RPM", 1_000_000);
    let gw = on(plan, &server.url()).start();
    shows(&gw, true);
    let ask = gw.get("/api/v1/x").bearer(&token().org(1));
    let mut redis = server.connect();
    let lost = || gw.metric("dbpower_leases_total", &["lost"]);
    let mut round = 0;
    // Each time a call is lost, and each time it is back at once.
    while lost() < 12.0 {
        round += 1;
        assert!(round < 100, "{} calls were lost", lost());
        let slow = std::thread::scope(|scope| {
            let slow = scope.spawn(|| {
                let mut sleep = redis::cmd("DEBUG");
                let _: () = sleep.arg("SLEEP").arg("0.08").query(&mut redis).unwrap();
            });
            for org in 0..5 {
                let fresh = gw
                    .get("/api/v1/x")
                    .bearer(&token().org(1_000 * round + org));
                let answers = burst(&gw, [127, 0, 13, 1], &fresh, 1);
                assert_eq!(answers[0].status, 200);
            }
            slow.join()
        });
        assert!(slow.is_ok());
        assert_eq!(ask.send().status, 200);
        shows(&gw, true);
    }
    assert!(lines(&gw, "Redis is away") <= 2, "{}", gw.log());
    assert!(lines(&gw, "Redis is connected") <= 3, "{}", gw.log());
    let said = gw.log_line("how often it was away", |line| {
        line.contains("Redis was away for moments") || line.contains("more=")
    });
    assert!(said.contains("each limit whole"), "{said}");
}

#[test]
fn what_an_outage_means_is_said_in_plain_words() {
    let up = upstream();
    for (policy, nodes, words) in [
        (
            "share",
            "1",
            "limits are held in memory on this gateway alone, each limit whole",
        ),
        ("share", "3", "1/3 of each limit"),
        ("closed", "1", "requests are refused (429)"),
        ("open", "1", "nothing is limited"),
    ] {
        let server = Server::absent(free_port());
        let plan = gateway()
            .backend(&up)
            .env("RATE_LIMIT_ON_OUTAGE", policy)
            .env("RATE_LIMIT_NODES", nodes);
        let gw = on(plan, &server.url()).start();
        let line = gw.log_line("what it means", |line| line.contains("Redis is away"));
        for part in [words, "until Redis answers again", "REDIS_ENABLED=false"] {
            assert!(line.contains(part), "{part}: {line}");
        }
        // It is tried ten times a second.
        support::pause(Duration::from_millis(500));
        assert_eq!(lines(&gw, "Redis is away"), 1);
    }
}

#[test]
fn a_channel_that_is_refused_is_one_warning_that_names_the_rule() {
    let up = upstream();
    let server = Server::start();
    let keys = ["~rl:*", "+@all"];
    let deaf = user(
        &server,
        "deaf",
        &[keys[0], keys[1], "&rl:ctl", "-subscribe"],
    );
    let mute = user(&server, "mute", &[keys[0], keys[1], "&rl:ctl", "-publish"]);
    let both = user(&server, "both", &[keys[0], keys[1], "resetchannels"]);
    for (url, refused) in [
        (deaf, &["+subscribe"][..]),
        (mute, &["+publish"]),
        (both, &["+subscribe", "+publish"]),
    ] {
        let gw = on(scarce(10, 600).backend(&up), &url).start();
        shows(&gw, true);
        for rule in refused {
            let line = gw.log_line("the rule", |line| line.contains(rule));
            assert!(line.contains("&rl:ctl") && line.contains("WARN"), "{line}");
        }
        // Several more attempts are made.
        support::pause(Duration::from_millis(2_500));
        for rule in ["+subscribe", "+publish"] {
            let expected = usize::from(refused.contains(&rule));
            assert_eq!(lines(&gw, rule), expected, "{}", gw.log());
        }
        assert!(!gw.log().contains("s3cr3t"));
        assert_eq!(gw.get("/health").send().json()["redis"], json!(true));
    }
}

#[test]
fn what_redis_says_names_the_setting_that_mends_it() {
    let up = upstream();
    let locked = Server::with(&["--requirepass", "p@ss#word"]);
    let cluster = Server::with(&["--cluster-enabled", "yes"]);
    let alone = Server::start();
    let at = |server: &Server, user: &str| format!("redis://{user}127.0.0.1:{}/0", server.port);
    for (url, in_cluster, hint) in [
        (at(&locked, ""), "false", "redis://:password@host"),
        (at(&locked, ":p@ss@"), "false", "percent-encoded"),
        (at(&cluster, ""), "false", "REDIS_CLUSTER=true"),
        (at(&alone, ""), "true", "REDIS_CLUSTER=false"),
    ] {
        let plan = on(gateway().backend(&up), &url).env("REDIS_CLUSTER", in_cluster);
        let gw = plan.start();
        let line = gw.log_line("the hint", |line| {
            line.contains("Redis is away") && line.contains(hint)
        });
        assert!(!line.contains("p@ss"), "{line}");
    }
}
