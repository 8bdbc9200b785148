//! Descriptors: too few of them end the start with one clear line; the soft limit is raised to the hard one. Not what happens when
//! they run out under load.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::process::{Command, Output};

/// Runs the gateway under a limit that cannot be raised; it is ended by force where it starts after all.
fn under(limits: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_dbpower-gateway");
    Command::new("sh")
        .args(["-c", &format!("{limits} && exec timeout 5 {binary}")])
        .current_dir(directory.path())
        .env_remove("MONOIO_FORCE_LEGACY_DRIVER")
        .env("JWT_SECRET_KEY", "a secret of at least thirty-two bytes")
        .env("REDIS_ENABLED", "false")
        .env("GATEWAY_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", "0")
        .env("OPS_PORT", "0")
        .output()
        .unwrap()
}

#[test]
fn too_few_descriptors_are_one_clear_line() {
    let output = under("ulimit -n 100");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("100 file descriptors"), "{told}");
    assert!(told.contains("ulimit -n"), "{told}");
}

#[test]
fn a_low_soft_limit_is_raised_to_the_hard_one() {
    let output = under("ulimit -Sn 100 && ulimit -Hn 4096");
    let told = String::from_utf8_lossy(&output.stderr);
    // `timeout` ends a gateway that runs with 124.
    assert_eq!(output.status.code(), Some(124), "{told}");
    assert!(told.contains("ready to accept connections"), "{told}");
}
