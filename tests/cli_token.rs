//! `token mint` and `token why` as somebody at a terminal sees them. Not about what makes a token valid (the identity room).
//! Invariant: each run has an environment and a working directory of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Exit code, standard output, standard error.
fn run(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> (i32, String, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(env!("CARGO_BIN_EXE_dbpower-gateway"))
        .arg("token")
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // A run that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn mint(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let (code, out, err) = run(&[&["mint"], arguments].concat(), environment, "");
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out.lines().count(), 1);
    out
}

#[test]
fn a_minted_token_is_accepted_and_says_what_was_asked() {
    let environment = [
        ("JWT_SECRET_KEY", SECRET),
        ("JWT_ALGORITHM", "HS384"),
        ("JWT_AUDIENCE", "api,other"),
        ("JWT_ORGANIZATION_CLAIMS", "org,organization_id"),
        ("BACKEND_URL", "not needed and wrong"),
    ];
    let arguments = [
        "--org",
        "1",
        "--user",
        "u-7",
        "--role",
        "admin",
        "--claim",
        "depth=[1]",
        "--claim",
        "note=a=b",
    ];
    let token = mint(&arguments, &environment);
    for (argument, input) in [(token.trim(), ""), ("-", token.as_str())] {
        let (code, out, err) = run(&["why", argument], &environment, input);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        for part in [
            "\"alg\":\"HS384\"",
            "\"org\":1",
            "\"user_id\":\"u-7\"",
            "\"depth\":[1]",
            "\"note\":\"a=b\"",
            "accepted",
        ] {
            assert!(out.contains(part), "{out}");
        }
    }
}

#[test]
fn a_refused_token_is_explained_and_fails() {
    let environment = [("JWT_SECRET_KEY", SECRET)];
    let expired = mint(&["--org", "1", "--expires-in", "-60"], &environment);
    let foreign = mint(
        &[
            "--org",
            "1",
            "--secret",
            "another secret of thirty-two bytes!",
        ],
        &[],
    );
    let endless = mint(&["--claim", "exp=\"never\""], &environment);
    for (token, reason) in [
        (expired.as_str(), "Token has expired"),
        (&foreign, "signature"),
        (&endless, "exp"),
        ("rubbish", "refused"),
        ("", "refused"),
    ] {
        let (code, out, err) = run(&["why", "-"], &environment, token);
        assert_eq!((code, err.as_str()), (1, ""), "{out}");
        assert!(out.contains(reason), "{out}");
        assert!(!out.contains(SECRET));
    }
}

#[test]
fn a_missing_secret_is_a_configuration_problem_and_a_wrong_claim_misuse() {
    for environment in [&[][..], &[("REQUIRE_AUTHENTICATION", "false")]] {
        for arguments in [&["mint"][..], &["why", "x"]] {
            let (code, out, err) = run(arguments, environment, "");
            assert_eq!((code, out.as_str()), (78, ""));
            assert!(err.contains("JWT_SECRET_KEY is not set"), "{err}");
            assert_eq!(err.lines().count(), 1);
        }
    }
    let (code, _, err) = run(&["mint", "--secret", SECRET, "--claim", "x"], &[], "");
    assert_eq!(code, 2);
    assert!(err.contains("expected NAME=VALUE"), "{err}");
}
