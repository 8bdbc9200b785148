//! What the gateway writes: the seed's two lines, JSON, levels, warnings. Not metrics. Invariant: one request can neither
//! forge nor break a line, and no secret is ever written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use serde_json::Value;
use support::{Gateway, Plan, SECRET, gateway, token, upstream};

/// `2024-01-15 10:30:00 - INFO - ` cut off, its shape checked; what follows is returned.
fn after_stamp<'a>(line: &'a str, level: &str) -> &'a str {
    let (stamp, rest) = line
        .split_at_checked(19)
        .unwrap_or_else(|| panic!("{line}"));
    let shape: String = stamp
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00 00:00:00", "{line}");
    rest.strip_prefix(&format!(" - {level} - "))
        .unwrap_or_else(|| panic!("{line}"))
}

/// Makes sure that everything written before has arrived: the writer keeps order.
fn flush(gw: &Gateway) {
    assert_eq!(gw.get("/api/v1/marker").bearer(&token()).send().status, 200);
    gw.log_line("the marker", |line| line.contains("/api/v1/marker - 200"));
}

/// Lines of several workers come in the order in which their buffers are written; here the order within one is looked at.
fn one_worker() -> Plan {
    gateway().env("GATEWAY_WORKERS", "1")
}

#[test]
fn a_request_is_the_seeds_two_lines() {
    let up = upstream();
    let gw = one_worker().backend(&up).analyzer(&up, "").start();
    assert_eq!(
        gw.post("/analyzer/analyze")
            .bearer(&token().org(1).user(123))
            .body("x")
            .send()
            .status,
        200
    );
    flush(&gw);
    let log = gw.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("/analyzer/analyze"))
        .collect();
    let lines: Vec<&str> = lines
        .into_iter()
        .filter(|line| line.contains("POST"))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(
        after_stamp(lines[0], "INFO"),
        "POST /analyzer/analyze | Org: 1 | User: 123"
    );
    let second = after_stamp(lines[1], "INFO");
    let time = second
        .strip_prefix("POST /analyzer/analyze - 200 (")
        .and_then(|rest| rest.strip_suffix("ms)"));
    let (whole, part) = time
        .and_then(|time| time.split_once('.'))
        .unwrap_or_else(|| panic!("{second}"));
    assert!(
        whole.parse::<u64>().is_ok() && part.len() == 2 && part.parse::<u64>().is_ok(),
        "{second}"
    );
}

#[test]
fn refused_requests_are_logged_with_their_status() {
    let up = upstream();
    let gw = one_worker().backend(&up).start();
    gw.get("/api/v1/secret-place").send();
    gw.get("/nowhere")
        .bearer(&token().org("acme").user("bob"))
        .send();
    flush(&gw);
    gw.log_line("the 401", |line| {
        line.contains("GET /api/v1/secret-place - 401 (")
    });
    gw.log_line("the 404", |line| line.contains("GET /nowhere - 404 ("));
    gw.log_line("who it was", |line| {
        line.ends_with("GET /nowhere | Org: acme | User: bob")
    });
}

#[test]
fn json_lines_are_json_objects() {
    let up = upstream();
    let gw = one_worker().backend(&up).env("LOG_FORMAT", "json").start();
    assert_eq!(
        gw.get("/api/v1/json")
            .bearer(&token().org(1).user("a\"b\\c"))
            .send()
            .status,
        200
    );
    gw.get("/api/v1/refused").send();
    gw.log_line("the 401", |line| {
        line.contains("/api/v1/refused") && line.contains("401")
    });
    let log = gw.log();
    let of_request: Vec<Value> = log
        .lines()
        .filter(|line| line.contains("/api/v1/"))
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let done = of_request
        .iter()
        .find(|line| line.to_string().contains("/api/v1/json") && line.to_string().contains("200"));
    let done = done.unwrap_or_else(|| panic!("{log}")).to_string();
    assert!(done.contains("GET"), "{done}");
    for line in log.lines().filter(|line| !line.is_empty()) {
        assert!(
            serde_json::from_str::<Value>(line).is_ok(),
            "every line is JSON, also at start: {line}"
        );
    }
}

#[test]
fn nothing_a_client_sends_breaks_a_line() {
    let up = upstream();
    let gw = one_worker().backend(&up).start();
    let attacks = [
        "GET /api/v1/a%0a2024-01-15%20-%20INFO%20-%20forged HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\x1b[31mred HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\x07 / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX-Request-ID: a\x1b[2J\r\n\r\n",
    ];
    for attack in attacks {
        let answer = gw.wire().send(attack).answer();
        assert!(matches!(answer.status, 400 | 401), "{attack:?}");
    }
    flush(&gw);
    for log in [gw.stdout(), gw.stderr()] {
        assert!(!log.chars().any(|c| c.is_control() && c != '\n'), "{log:?}");
        assert!(
            !log.lines()
                .any(|line| line.contains("forged") && line.starts_with("2024-01-15")),
            "{log}"
        );
    }
}

#[test]
fn without_request_lines_warnings_remain() {
    let up = upstream();
    let gw = one_worker()
        .backend(&up)
        .env("LOG_REQUESTS", "false")
        .start();
    let ok = gw.get("/api/v1/quiet").bearer(&token()).send();
    assert!(
        ok.field("x-response-time").is_some(),
        "the field is not a log line"
    );
    gw.get("/api/v1/also-quiet").send();
    assert_eq!(gw.get("/analyzer/down").bearer(&token()).send().status, 502);
    let line = gw.log_line("one WARNING of our own 5xx", |line| {
        line.contains("WARNING") && (line.contains("ai-analyzer") || line.contains("analyzer"))
    });
    assert!(!line.contains("panicked"));
    let log = gw.log();
    assert!(!log.contains("quiet"), "{log}");
}

#[test]
fn levels_filter_and_are_read_in_any_case() {
    let up = upstream();
    for (level, info, warning) in [
        ("info", true, true),
        ("WARN", false, true),
        ("Error", false, false),
        ("DEBUG", true, true),
    ] {
        let gw = one_worker().backend(&up).env("LOG_LEVEL", level).start();
        assert_eq!(gw.get("/api/v1/fine").bearer(&token()).send().status, 200);
        assert_eq!(gw.get("/analyzer/down").bearer(&token()).send().status, 502);
        let warned = |line: &str| line.contains("- WARNING -") && line.contains("analyzer");
        if warning {
            gw.log_line("the warning", warned);
        }
        if info {
            gw.log_line("the access line", |line| {
                line.contains("GET /analyzer/down - 502")
            });
        }
        // Whatever is written for these two requests is written in order with them: a third one, then look.
        gw.get("/api/v1/fine").bearer(&token()).send();
        let log = gw.log();
        assert_eq!(log.contains("GET /api/v1/fine"), info, "{level}: {log}");
        assert_eq!(log.lines().any(warned), warning, "{level}: {log}");
    }
}

#[test]
fn a_fault_of_a_service_is_one_warning_with_its_name_and_no_secret() {
    let up = upstream().answers("nonsense\r\n\r\n");
    let gw = one_worker().backend(&up).env("LOG_LEVEL", "DEBUG").start();
    let token = token().org(1).user(2);
    assert_eq!(gw.get("/api/v1/broken").bearer(&token).send().status, 502);
    gw.log_line("the access line", |line| {
        line.contains("GET /api/v1/broken - 502")
    });
    let log = gw.log();
    let warnings = log
        .lines()
        .filter(|line| line.contains("- WARNING -") && line.contains("backend"))
        .count();
    assert_eq!(warnings, 1, "{log}");
    assert!(
        !log.contains(&token.mint()) && !log.contains(SECRET),
        "{log}"
    );
}

#[test]
fn bytes_are_those_of_the_bodies_also_of_our_own_answers() {
    let up = upstream();
    let gw = one_worker().backend(&up).env("LOG_FORMAT", "json").start();
    let admin = token().org(1).user(2).role("admin");
    let reset = gw
        .post("/admin/rate-limit/reset")
        .bearer(&admin)
        .json(&serde_json::json!({"organization_id": 1}));
    let asks = [
        ("/livez?a", gw.get("/livez?a"), 0),
        ("/none", gw.get("/none").bearer(&admin), 0),
        (
            "/admin/rate-limit/reset",
            reset,
            "{\"organization_id\":1}".len(),
        ),
    ];
    for (path, ask, bytes_in) in asks {
        let answer = ask.send();
        let id = answer.must("X-Request-ID").to_owned();
        let line = gw.log_line(path, |line| line.contains(&id));
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["bytes_out"], answer.body.len(), "{line}");
        assert_eq!(line["bytes_in"], bytes_in, "{line}");
    }
}

#[test]
fn a_warning_without_a_detail_has_none() {
    let gw = one_worker().start();
    let token = token().org(1).user(2);
    assert_eq!(gw.get("/api/v1/x").bearer(&token).send().status, 502);
    let line = gw.log_line("the warning", |line| {
        line.contains("refused the connection")
    });
    assert!(!line.contains("detail"), "{line}");
}
