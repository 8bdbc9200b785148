//! Which key is charged: policies switched off, public paths, failed identification, clients behind proxies. Not the numbers
//! (see `e2e_limits`). Invariant: limits of one per minute, so that refill plays no part.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use serde_json::json;
use support::limits::{burst, check_refusal, scarce, statuses};
use support::{token, upstream};

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
