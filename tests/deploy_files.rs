//! The files that deploy the gateway, read and held against what the gateway knows: variables, ports, paths, exit codes. Not a
//! deployment: nothing is started but the binary's own `--help`. Invariant: what a file names exists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    reason = "a test may fail loudly, and a table is as long as its cases"
)]

#[path = "deploy_files/read.rs"]
mod read;
#[path = "deploy_files/sandbox.rs"]
mod sandbox;
#[path = "deploy_files/stack.rs"]
mod stack;

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// DRAIN_TIMEOUT's default: whoever stops the gateway waits longer.
const DRAIN_S: i64 = 25;

/// The predecessor's variables and those that these files rely on; `.env.example` adds the rest.
const VARIABLES: &str = "GATEWAY_HOST GATEWAY_PORT GATEWAY_WORKERS BACKEND_URL AI_ANALYZER_URL REDIS_URL REDIS_ENABLED RATE_LIMIT_RPM \
    RATE_LIMIT_BURST RATE_LIMIT_PER_ORG RATE_LIMIT_PER_IP RATE_LIMIT_BLOCK_DURATION REQUIRE_AUTHENTICATION \
    JWT_SECRET_KEY JWT_ALGORITHM CORS_ORIGINS LOG_LEVEL LOG_REQUESTS LOG_FORMAT PUBLIC_PATHS OPS_HOST OPS_PORT \
    TRUSTED_PROXIES";

/// Fails for a variable that the gateway would not read. `NAME_FILE` is `NAME` from a file.
fn assert_known<'a>(names: impl IntoIterator<Item = &'a str>) {
    let mut known: BTreeSet<String> = VARIABLES.split(' ').map(str::to_owned).collect();
    if let Ok(example) = std::fs::read_to_string(read::path(".env.example")) {
        known = example
            .lines()
            .filter_map(|line| line.trim_start_matches(['#', ' ']).split_once('='))
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in VARIABLES.split(' ') {
            assert!(known.contains(name), ".env.example leaves out {name}");
        }
    }
    for name in names {
        let base = name.strip_suffix("_FILE").unwrap_or(name);
        assert!(known.contains(base), "no such variable: {name}");
    }
}

/// The command line is one that the binary takes; `--help` at its end keeps it from doing anything.
fn assert_command(arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_dbpower-gateway"))
        .args(arguments)
        .arg("--help")
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
}

fn texts(list: &Value) -> Vec<&str> {
    let items = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    items.iter().map(|item| item.as_str().unwrap()).collect()
}

fn keys(map: &Value) -> Vec<&str> {
    map.as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn the_image_is_small_unprivileged_and_builds_from_what_is_here() {
    let instructions = read::dockerfile("Dockerfile");
    let all = |wanted: &str| -> Vec<&str> {
        let found = instructions.iter().filter(|(name, _)| name == wanted);
        found.map(|(_, rest)| rest.as_str()).collect()
    };
    let stages = all("FROM");
    assert_eq!(stages.len(), 2, "one stage builds, one runs");
    assert!(
        stages[0].starts_with("rust:") && stages[0].ends_with(" AS build"),
        "{stages:?}"
    );
    assert!(
        stages[0].contains("bookworm") && stages[1].contains("bookworm"),
        "one C library for both"
    );
    let user = all("USER")[0]
        .split(':')
        .next()
        .unwrap()
        .parse::<u32>()
        .unwrap();
    assert_ne!(user, 0);
    assert!(all("HEALTHCHECK")[0].ends_with(r#"CMD ["dbpower-gateway", "healthcheck"]"#));
    assert_eq!(all("EXPOSE"), ["8000 9090"]);
    assert_eq!(all("ENTRYPOINT"), [r#"["dbpower-gateway"]"#]);
    assert_known(
        all("ENV")
            .iter()
            .map(|rest| rest.split('=').next().unwrap()),
    );
    let mut copied = Vec::new();
    for rest in all("COPY")
        .into_iter()
        .filter(|rest| !rest.starts_with("--from"))
    {
        let mut sources: Vec<&str> = rest.split_whitespace().collect();
        sources.pop();
        for source in sources {
            assert!(read::path(source).exists(), "COPY {source}");
            copied.push(source);
        }
    }
    let manifest: toml::Table = toml::from_str(&read::text("Cargo.toml")).unwrap();
    for member in manifest["workspace"]["members"].as_array().unwrap() {
        let name = match member.as_str().unwrap() {
            "." => "Cargo.toml".to_owned(),
            member => format!("{member}/Cargo.toml"),
        };
        assert!(
            copied.contains(&name.as_str()),
            "the layer of dependencies needs {name}"
        );
    }
    assert_targets_exist(all("RUN")[0]);
    let ignored = read::text(".dockerignore");
    for name in ["target/", ".git/", ".env"] {
        assert!(ignored.lines().any(|line| line == name), "{name}");
    }
}

/// Runs the Dockerfile's making of empty targets, up to the build, in an empty folder: cargo has to take the manifest there.
fn assert_targets_exist(run: &str) {
    let making = run.split("&& cargo build").next().unwrap();
    let folder = std::env::temp_dir().join(format!("dbpower-image-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("loadtest")).unwrap();
    for name in ["Cargo.toml", "Cargo.lock", "loadtest/Cargo.toml"] {
        std::fs::copy(read::path(name), folder.join(name)).unwrap();
    }
    let script = format!(
        "{making} && {} metadata --locked --offline --no-deps --format-version 1",
        env!("CARGO")
    );
    let output = Command::new("bash")
        .args(["-ec", &script])
        .current_dir(&folder)
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
}

#[test]
fn the_runners_are_scripts_that_stop_at_the_first_failure() {
    use std::os::unix::fs::PermissionsExt;

    for name in ["tests/run", ".ci/run"] {
        let script = read::text(name);
        assert!(script.starts_with("#!/usr/bin/env bash\n"), "{name}");
        assert!(script.contains("\nset -euo pipefail\n"), "{name}");
        let mode = std::fs::metadata(read::path(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o111, 0o111, "{name} is executable");
        assert_shell(&script);
    }
    let commands = read::text(".ci/run");
    let commands: Vec<&str> = commands
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(
        commands,
        [
            "set -euo pipefail",
            r#"exec "$(dirname "$0")/../tests/run""#
        ]
    );
}

#[test]
fn the_readme_names_what_exists() {
    let readme = read::text("README.md");
    for marker in [
        "<!-- configuration table -->",
        "<!-- end of configuration table -->",
        "<!-- bench:head -->",
        "<!-- bench:peers -->",
        "<!-- bench:accuracy -->",
    ] {
        assert_eq!(readme.matches(marker).count(), 1, "{marker}");
    }
    for (_, rest) in readme
        .match_indices("](")
        .map(|(at, _)| readme.split_at(at + 2))
    {
        let target = rest.split(')').next().unwrap();
        let file = target.split('#').next().unwrap();
        assert!(
            target.starts_with("http") || file.is_empty() || read::path(file).exists(),
            "{target}"
        );
    }
    for block in read::fenced("README.md", "sh") {
        assert_shell(&block);
        for line in block.lines() {
            let Some(arguments) = line.strip_prefix("dbpower-gateway ") else {
                continue;
            };
            let arguments: Vec<&str> = arguments
                .split(" #")
                .next()
                .unwrap()
                .split_whitespace()
                .collect();
            assert_command(&arguments);
        }
    }
}

fn assert_shell(script: &str) {
    let output = Command::new("bash")
        .args(["-n", "-c", script])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{script}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `30s` in the notation of compose and systemd.
fn seconds(text: &str) -> i64 {
    text.strip_suffix('s').unwrap().parse().unwrap()
}
