//! `POST /admin/rate-limit/reset` end to end: who may, what it takes, what it does. Not the limits themselves. Invariant: a
//! reset is in force before its answer arrives, on every worker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use serde_json::{Value, json};
use support::{Answer, Gateway, Token, gateway, token, upstream};

/// Three tokens per key and practically no refill; the fourth request blocks for a minute.
fn scarce(up: &support::Upstream) -> Gateway {
    let plan = gateway()
        .backend(up)
        .env("RATE_LIMIT_RPM", 1)
        .env("RATE_LIMIT_BURST", 2);
    plan.env("RATE_LIMIT_BLOCK_DURATION", 60).start()
}

fn exhaust(gw: &Gateway, source: [u8; 4], token: &Token) {
    let ask = gw.get("/api/v1/x").from(source).bearer(token);
    let statuses: Vec<u16> = (0..4).map(|_| ask.send().status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
}

fn reset(gw: &Gateway, admin: &Token, body: &Value) -> Answer {
    gw.post("/admin/rate-limit/reset")
        .from([127, 0, 0, 99])
        .bearer(admin)
        .json(body)
        .send()
}

#[test]
fn an_organizations_limit_and_block_are_lifted() {
    let up = upstream();
    let gw = scarce(&up);
    exhaust(&gw, [127, 0, 1, 1], &token().org(1));
    let ask = gw.get("/api/v1/x").bearer(&token().org(1));
    assert_eq!(ask.clone().from([127, 0, 1, 2]).send().status, 429);
    let answer = reset(&gw, &token().role("admin"), &json!({"organization_id": 1}));
    assert_eq!(
        (answer.status, answer.json()["status"].as_str()),
        (200, Some("success")),
        "{}",
        answer.text()
    );
    // New connections land on either worker: the reset holds on both.
    for n in 0..3 {
        assert_eq!(ask.clone().from([127, 0, 1, 10 + n]).send().status, 200);
    }
    assert_eq!(
        ask.clone().from([127, 0, 1, 20]).send().status,
        429,
        "a full bucket, not more"
    );
    assert_eq!(
        ask.from([127, 0, 1, 1]).send().status,
        429,
        "the address was not reset"
    );
}

#[test]
fn an_addresss_limit_and_block_are_lifted() {
    let up = upstream();
    let gw = scarce(&up);
    exhaust(&gw, [127, 0, 1, 1], &token().user(1));
    exhaust(&gw, [127, 0, 1, 2], &token().user(1));
    let answer = reset(
        &gw,
        &token().role("admin"),
        &json!({"ip_address": "127.0.1.1"}),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ask = gw.get("/api/v1/x").bearer(&token().user(1));
    for _ in 0..3 {
        assert_eq!(ask.clone().from([127, 0, 1, 1]).send().status, 200);
    }
    assert_eq!(
        ask.from([127, 0, 1, 2]).send().status,
        429,
        "the other one was not reset"
    );
    assert_eq!(
        gw.info_from([127, 0, 1, 1], &token())["ip"]["current_count"],
        3
    );
}

#[test]
fn all_is_for_super_admins() {
    let up = upstream();
    let gw = scarce(&up);
    exhaust(&gw, [127, 0, 1, 1], &token().org(1));
    exhaust(&gw, [127, 0, 1, 2], &token().org(2));
    assert_eq!(
        reset(&gw, &token().role("admin"), &json!({"all": true})).status,
        403
    );
    let answer = reset(&gw, &token().role("super_admin"), &json!({"all": true}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    for n in [1, 2] {
        let ask = gw
            .get("/api/v1/x")
            .from([127, 0, 1, n])
            .bearer(&token().org(u32::from(n)));
        assert_eq!(ask.send().status, 200);
    }
}

#[test]
fn an_org_admin_resets_its_own_organization_only() {
    let up = upstream();
    let gw = scarce(&up);
    let admin = token().org(1).role("org_admin");
    for (body, status) in [
        (json!({"organization_id": 1}), 200),
        (json!({"organization_id": 2}), 403),
        (json!({"ip_address": "127.0.0.1"}), 403),
        (json!({"all": true}), 403),
    ] {
        let answer = reset(&gw, &admin, &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    let homeless = token().role("org_admin");
    assert_eq!(
        reset(&gw, &homeless, &json!({"organization_id": 1})).status,
        403
    );
}

#[test]
fn any_other_shape_is_400_and_resets_nothing() {
    let up = upstream();
    let gw = scarce(&up);
    exhaust(&gw, [127, 0, 1, 1], &token().org(1));
    let bodies = [
        "",
        "{}",
        "[]",
        "null",
        "1",
        "{",
        "organization_id=1",
        r#"{"organization_id":null}"#,
        r#"{"organization_id":1.5}"#,
        r#"{"organization_id":[1]}"#,
        r#"{"organization_id":1,"ip_address":"127.0.1.1"}"#,
        r#"{"organization_id":1,"extra":1}"#,
        r#"{"ip_address":"somewhere"}"#,
        r#"{"ip_address":1}"#,
        r#"{"all":false}"#,
        r#"{"all":"true"}"#,
        r#"{"org":1}"#,
        r#"{"organization_id":1} trailing"#,
    ];
    for body in bodies {
        let ask = gw
            .post("/admin/rate-limit/reset")
            .from([127, 0, 0, 99])
            .bearer(&token().role("super_admin"));
        let answer = ask
            .field("Content-Type", "application/json")
            .body(body)
            .send();
        assert_eq!(answer.status, 400, "{body:?}: {}", answer.text());
        assert!(answer.json()["message"].is_string());
    }
    let bodiless = gw
        .post("/admin/rate-limit/reset")
        .bearer(&token().role("admin"))
        .send();
    assert_eq!(bodiless.status, 400);
    let ask = gw
        .get("/api/v1/x")
        .from([127, 0, 1, 50])
        .bearer(&token().org(1));
    assert_eq!(ask.send().status, 429, "the organization is blocked still");
}

#[test]
fn an_admin_behind_a_blocked_address_can_reset_it() {
    let up = upstream();
    let gw = scarce(&up);
    let here = [127, 0, 1, 1];
    exhaust(&gw, here, &token().user(1));
    let ask = |token: &Token| {
        let ask = gw.post("/admin/rate-limit/reset").from(here).bearer(token);
        ask.json(&json!({"ip_address": "127.0.1.1"})).send().status
    };
    assert_eq!(
        ask(&token().role("admin").forged()),
        429,
        "a forged token does not get past the block"
    );
    assert_eq!(
        ask(&token().role("user")),
        403,
        "a valid one is judged by its role"
    );
    assert_eq!(ask(&token().role("admin")), 200);
    assert_eq!(
        gw.get("/api/v1/x")
            .from(here)
            .bearer(&token().user(1))
            .send()
            .status,
        200
    );
}

#[test]
fn a_large_or_chunked_body_is_handled() {
    let up = upstream();
    let gw = scarce(&up);
    let bearer = token().role("admin").mint();
    let head = format!(
        "POST /admin/rate-limit/reset HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {bearer}\r\n"
    );
    let chunked =
        "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"organ\r\n12\r\nization_id\": 1   }\r\n0\r\n\r\n";
    let answer = gw.wire().send(format!("{head}{chunked}")).answer();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let length = 100 * 1024;
    let mut wire = gw.wire();
    wire.send(format!("{head}Content-Length: {length}\r\n\r\n"))
        .send(vec![b' '; length]);
    assert_eq!(wire.answer().status, 413);
    let mut wire = gw.wire();
    wire.send(format!(
        "{head}Expect: 100-continue\r\nContent-Length: 22\r\n\r\n"
    ));
    assert_eq!(wire.head().0, 100);
    let answer = wire.send("{\"organization_id\": 1}").answer();
    assert_eq!(answer.status, 200, "{}", answer.text());
}
