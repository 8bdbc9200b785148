//! The command line's tasks: demo, tokens, healthcheck, checking and printing the configuration. Not serving. Invariant: exit
//! codes are 0 done, 1 failed, 2 misused, 78 misconfigured, and no output shows a secret.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::process::Command;

use support::{Ended, Gateway, SECRET, gateway, token, until, upstream};

/// Runs one printed line as a person would who pastes it.
fn paste(line: &str) -> (bool, String) {
    let output = Command::new("sh")
        .args(["-c", line])
        .output()
        .expect("a shell");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

fn demo() -> Gateway {
    let plan = gateway()
        .without_env("JWT_SECRET_KEY")
        .without_env("BACKEND_URL")
        .without_env("AI_ANALYZER_URL");
    let gw = plan.without_env("REDIS_ENABLED").arg("demo").start();
    until("the demo's lines", || commands(&gw).len() >= 6);
    gw
}

fn commands(gw: &Gateway) -> Vec<String> {
    let lines = gw.stdout();
    lines
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("curl "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_demos_lines_work_when_pasted() {
    let gw = demo();
    let base = format!("127.0.0.1:{}", gw.port);
    let lines = commands(&gw);
    for line in &lines {
        assert!(
            line.contains(&base),
            "complete in itself, and with the port that was asked for: {line}"
        );
        let (done, output) = paste(line);
        assert!(done && !output.is_empty(), "{line}\n{output}");
        assert!(!output.contains("HTTP/1.1 5"), "{line}\n{output}");
    }
    let outputs: Vec<String> = lines.iter().map(|line| line.to_lowercase()).collect();
    for part in [
        "/health",
        "/api/v1/auth/login",
        "/analyzer/",
        "/rate-limit/info",
        "slow",
        "events",
    ] {
        assert!(
            outputs.iter().any(|line| line.contains(part)),
            "a line for {part}"
        );
    }
    let stdout = gw.stdout();
    let (done, output) = paste(
        stdout
            .lines()
            .find(|line| line.contains("/admin/rate-limit/reset"))
            .expect("a reset"),
    );
    assert!(
        done && output.contains("Rate limits reset successfully"),
        "{output}"
    );
}

#[test]
fn the_demos_services_answer_through_the_gateway() {
    let gw = demo();
    let health = gw.get("/health").send().json();
    assert_eq!(
        (health["status"].as_str(), health["redis"].as_bool()),
        (Some("healthy"), Some(false))
    );
    let login = gw
        .post("/api/v1/auth/login")
        .field("Content-Type", "application/json");
    let login = login
        .body(r#"{"email":"you@example.com","password":"x"}"#)
        .send();
    assert_eq!(login.status, 200, "{}", login.text());
    assert_eq!(
        gw.get("/api/v1/x").bearer(&token()).send().status,
        401,
        "its secret is its own"
    );
}

#[test]
fn a_minted_token_is_accepted_and_why_says_whom_it_names() {
    let up = upstream();
    let gw = gateway().backend(&up).start();
    let mint = |args: &[&str]| gateway().args(&["token", "mint"]).args(args).run();
    let minted = mint(&[
        "--org",
        "7",
        "--user",
        "alice",
        "--role",
        "admin",
        "--claim",
        "tier=\"gold\"",
    ]);
    assert_eq!(minted.code(), Some(0), "{}", minted.stderr);
    let text = minted.stdout.trim();
    assert_eq!(gw.get("/api/v1/x").bearer_text(text).send().status, 200);
    let seen = up.only();
    let found = ["x-organization-id", "x-user-id", "x-user-role"].map(|name| seen.field(name));
    assert_eq!(found, [Some("7"), Some("alice"), Some("admin")]);
    let why = gateway().args(&["token", "why", text]).run();
    assert_eq!(why.code(), Some(0), "{}", why.stderr);
    assert!(
        why.stdout.contains("alice") && why.stdout.contains('7'),
        "{}",
        why.stdout
    );
}

#[test]
fn why_says_why_a_token_would_be_refused() {
    let why = |text: &str| gateway().args(&["token", "why", text]).run();
    let said = |ended: &Ended| (ended.stdout.clone() + &ended.stderr).to_lowercase();
    for (what, text, word) in [
        ("expired", token().expires_in(-60).mint(), "expired"),
        ("forged", token().forged().mint(), "signature"),
        (
            "an audience",
            token().claim("aud", "x").mint(),
            "jwt_audience",
        ),
        ("no exp", token().without("exp").mint(), "exp"),
        ("nonsense", "abc".to_owned(), "token"),
    ] {
        let ended = why(&text);
        assert_eq!(ended.code(), Some(1), "{what}");
        assert!(said(&ended).contains(word), "{what}: {}", said(&ended));
        assert!(!said(&ended).contains(&SECRET.to_lowercase()));
    }
}

#[test]
fn healthcheck_tells_a_live_gateway_from_none() {
    let gw = gateway().start();
    let check = |port: u16| gateway().env("GATEWAY_PORT", port).arg("healthcheck").run();
    let alive = check(gw.port);
    assert_eq!(alive.code(), Some(0), "{}", alive.stderr);
    let dead = check(support::closed_port());
    assert_eq!(
        (dead.code(), dead.stderr.lines().count()),
        (Some(1), 1),
        "{}",
        dead.stderr
    );
}

#[test]
fn print_config_shows_everything_but_secrets() {
    let plan = gateway()
        .env("REDIS_URL", "redis://user:hunter2@redis:6379/0")
        .env("RATE_LIMIT_RPM", 77);
    let ended = plan.arg("--print-config").run();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let all = ended.stdout.clone() + &ended.stderr;
    assert!(!all.contains(SECRET) && !all.contains("hunter2"), "{all}");
    assert!(
        ended
            .stdout
            .lines()
            .any(|line| line.starts_with("RATE_LIMIT_RPM=77")),
        "{}",
        ended.stdout
    );
    for name in [
        "GATEWAY_HOST",
        "GATEWAY_WORKERS",
        "BACKEND_URL",
        "CORS_ORIGINS",
        "LOG_REQUESTS",
        "JWT_SECRET_KEY",
    ] {
        assert!(ended.stdout.contains(name), "{name}");
    }
}

#[test]
fn the_seeds_defaults_hold() {
    let ended = gateway()
        .without_env("GATEWAY_HOST")
        .without_env("GATEWAY_WORKERS")
        .without_env("BACKEND_URL")
        .without_env("AI_ANALYZER_URL")
        .without_env("REDIS_ENABLED")
        .env("GATEWAY_PORT", "")
        .env("OPS_PORT", "")
        .arg("--print-config")
        .run();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let defaults = [
        "GATEWAY_HOST=0.0.0.0",
        "GATEWAY_PORT=8000",
        "GATEWAY_WORKERS=4",
        "BACKEND_URL=http://backend:8000",
        "AI_ANALYZER_URL=http://ai-analyzer:8001",
        "REDIS_URL=redis://redis:6379/0",
        "REDIS_ENABLED=true",
        "RATE_LIMIT_RPM=100",
        "RATE_LIMIT_BURST=20",
        "RATE_LIMIT_PER_ORG=true",
        "RATE_LIMIT_PER_IP=true",
        "RATE_LIMIT_BLOCK_DURATION=60",
        "REQUIRE_AUTHENTICATION=true",
        "JWT_ALGORITHM=HS256",
        "CORS_ORIGINS=*",
        "LOG_LEVEL=INFO",
        "LOG_REQUESTS=true",
    ];
    for default in defaults {
        let said = |line: &str| line.split_whitespace().next() == Some(default);
        assert!(
            ended.stdout.lines().any(said),
            "{default} in\n{}",
            ended.stdout
        );
    }
}

#[test]
fn check_config_starts_nothing() {
    let good = gateway().arg("--check-config").run();
    assert_eq!(good.code(), Some(0), "{}", good.stderr);
    let bad = gateway()
        .env("RATE_LIMIT_RPM", "many")
        .arg("--check-config")
        .run();
    assert_eq!(bad.code(), Some(78));
    assert!(
        bad.stderr.contains("RATE_LIMIT_RPM") && bad.stderr.contains("many"),
        "{}",
        bad.stderr
    );
}

#[test]
fn version_help_and_misuse() {
    let run = |args: &[&str]| gateway().args(args).run();
    assert!(run(&["--version"]).stdout.contains("1.0.0"));
    let help = run(&["--help"]);
    assert_eq!(help.code(), Some(0));
    for word in [
        "serve",
        "demo",
        "token",
        "healthcheck",
        "RATE_LIMIT_RPM",
        "--check-config",
        "--print-config",
    ] {
        assert!(help.stdout.contains(word), "{word}");
    }
    assert!(!help.stdout.contains(SECRET));
    let misused = run(&["--no-such-flag"]);
    assert_eq!(misused.code(), Some(2));
    assert!(misused.stderr.contains("--no-such-flag"));
}
