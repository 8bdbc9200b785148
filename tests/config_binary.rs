//! The binary itself: exit codes, the stream each text goes to, `.env` and TOML files on disk, the health check. Not about single
//! values. Invariant: each run has an environment and a working directory of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

struct Run {
    code: i32,
    out: String,
    err: String,
}

fn run(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_dbpower-gateway"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(directory)
        .output()
        .expect("the binary runs");
    Run {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn empty() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn check_config_says_valid_or_names_every_problem() {
    let directory = empty();
    let valid = run(
        directory.path(),
        &["--check-config"],
        &[("JWT_SECRET_KEY", SECRET)],
    );
    assert_eq!(
        (valid.code, valid.out.as_str(), valid.err.as_str()),
        (0, "configuration is valid\n", "")
    );
    let environment = [
        ("RATE_LIMIT_RPM", "0"),
        ("BACKEND_URL", "ftp://b"),
        ("LOG_LEVEL", "loud"),
    ];
    for arguments in [
        &["--check-config"][..],
        &["--print-config"],
        &["serve"],
        &[],
        &["serve", "--check-config"],
    ] {
        let wrong = run(directory.path(), arguments, &environment);
        assert_eq!((wrong.code, wrong.out.as_str()), (78, ""), "{arguments:?}");
        let lines: Vec<&str> = wrong.err.lines().collect();
        assert_eq!(lines.len(), 4, "{}", wrong.err);
        for variable in [
            "RATE_LIMIT_RPM=0",
            "BACKEND_URL=ftp://b",
            "LOG_LEVEL=loud",
            "JWT_SECRET_KEY is not set",
        ] {
            assert!(wrong.err.contains(variable), "{}", wrong.err);
        }
    }
}

#[test]
fn a_short_secret_is_valid_and_warned_of() {
    let short = run(
        empty().path(),
        &["--check-config"],
        &[("JWT_SECRET_KEY", "short")],
    );
    assert_eq!(short.code, 0);
    assert_eq!(
        short.err,
        "warning: JWT_SECRET_KEY has 5 bytes: fewer than 32 can be guessed\n"
    );
}

#[test]
fn dotenv_in_the_working_directory() {
    let directory = empty();
    let file = directory.path().join(".env");
    std::fs::write(&file, format!("JWT_SECRET_KEY={SECRET}\nGATEWAY_PORT=81\n")).unwrap();
    let printed = run(directory.path(), &["--print-config"], &[]);
    assert_eq!(printed.code, 0, "{}", printed.err);
    assert!(printed.out.contains("# .env line 2"), "{}", printed.out);
    assert!(!printed.out.contains(SECRET));
    std::fs::write(&file, "GATEWAY_PORT=81\nhunter2\n").unwrap();
    let malformed = run(directory.path(), &["--check-config"], &[]);
    assert_eq!(
        (malformed.code, malformed.err.as_str()),
        (78, "configuration: .env line 2: expected NAME=value\n")
    );
    std::fs::write(&file, b"GATEWAY_PORT=81\n\xff\n").unwrap();
    let binary = run(directory.path(), &["--check-config"], &[]);
    assert_eq!(
        (binary.code, binary.err.as_str()),
        (78, "configuration: .env line 2: not UTF-8 text\n")
    );
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let unreadable = run(directory.path(), &["--check-config"], &[]);
    assert_eq!(unreadable.code, 78);
    let folder = directory.path().canonicalize().unwrap();
    let line = format!(".env in {} cannot be read: ", folder.display());
    assert!(
        unreadable
            .err
            .starts_with(&format!("configuration: {line}")),
        "{}",
        unreadable.err
    );
    // What it may have said is not missing.
    let needless = run(
        directory.path(),
        &["--check-config"],
        &[("JWT_SECRET_KEY", SECRET)],
    );
    assert_eq!(needless.code, 0);
    assert!(
        needless.err.starts_with(&format!("warning: {line}")),
        "{}",
        needless.err
    );
}

#[test]
fn the_toml_file_may_be_named_in_three_ways() {
    let directory = empty();
    std::fs::write(
        directory.path().join("g.toml"),
        format!("jwt_secret_key = '{SECRET}'\ngateway_port = 81"),
    )
    .unwrap();
    let port = "GATEWAY_PORT=81                              # g.toml line 2";
    for (arguments, environment) in [
        (&["--print-config", "--config", "g.toml"][..], &[][..]),
        (&["--print-config"], &[("GATEWAY_CONFIG", "g.toml")]),
    ] {
        let printed = run(directory.path(), arguments, environment);
        assert!(printed.out.contains(port), "{}{}", printed.out, printed.err);
    }
    std::fs::write(directory.path().join(".env"), "GATEWAY_CONFIG=g.toml").unwrap();
    assert!(
        run(directory.path(), &["--print-config"], &[])
            .out
            .contains(port)
    );
    let missing = run(
        directory.path(),
        &["--check-config", "--config", "none.toml"],
        &[],
    );
    assert_eq!(missing.code, 78);
    let begin = "configuration: GATEWAY_CONFIG=none.toml (flag --config): cannot be read: ";
    assert!(
        missing.err.starts_with(begin) && missing.err.lines().count() == 1,
        "{}",
        missing.err
    );
}

#[test]
fn settings_are_flags_before_and_after_a_subcommand() {
    let directory = empty();
    for arguments in [
        ["--print-config", "--gateway-port", "82", "serve"],
        ["serve", "--gateway-port", "82", "--print-config"],
    ] {
        let printed = run(
            directory.path(),
            &arguments,
            &[("JWT_SECRET_KEY", SECRET), ("GATEWAY_PORT", "83")],
        );
        assert!(
            printed.out.contains("# flag --gateway-port"),
            "{}{}",
            printed.out,
            printed.err
        );
        assert!(printed.out.contains("GATEWAY_PORT=82 "));
    }
}

#[test]
fn misuse_help_and_version() {
    let directory = empty();
    let misused = run(directory.path(), &["--bogus"], &[]);
    assert_eq!((misused.code, misused.out.as_str()), (2, ""));
    assert_eq!(run(directory.path(), &["token"], &[]).code, 2);
    let version = run(directory.path(), &["--version"], &[]);
    let expected = format!("dbpower-gateway {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((version.code, version.out), (0, expected));
    let help = run(
        directory.path(),
        &["--help"],
        &[
            ("JWT_SECRET_KEY", "hunter2"),
            ("REDIS_URL", "redis://:hunter2@r"),
        ],
    );
    assert_eq!(help.code, 0);
    for row in dbpower_gateway::config::table() {
        assert!(
            help.out.contains(&format!("--{} ", row.flag)),
            "--{}",
            row.flag
        );
        assert!(
            help.out.contains(&format!("[env: {}", row.variable)),
            "{}",
            row.variable
        );
    }
    assert!(!help.out.contains("hunter2"));
}

/// Answers one connection with this text and returns its port.
fn answer_once(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let count = stream.read(&mut request).unwrap();
        assert!(request[..count].starts_with(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:"));
        if answer.is_empty() {
            // Held open without a word until the checker leaves.
            let _ = stream.read(&mut request);
        }
        stream.write_all(answer.as_bytes()).unwrap();
    });
    port
}

#[test]
fn healthcheck_needs_only_host_and_port() {
    let directory = empty();
    let check = |port: &str| {
        run(
            directory.path(),
            &["healthcheck"],
            &[("GATEWAY_PORT", port), ("BACKEND_URL", "wrong")],
        )
    };
    let healthy = check(&answer_once("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(
        (healthy.code, healthy.out.as_str(), healthy.err.as_str()),
        (0, "", "")
    );
    for (answer, why) in [
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "answered 503"),
        ("SSH-2.0-x\r\n", "the answer is not HTTP"),
        ("", "no answer within 2 s"),
    ] {
        let unhealthy = check(&answer_once(answer));
        assert_eq!(unhealthy.code, 1);
        assert!(
            unhealthy.err.contains(why) && unhealthy.err.lines().count() == 1,
            "{}",
            unhealthy.err
        );
    }
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    assert!(check(&closed).err.contains("Connection refused"));
    let wrong = check("x");
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.starts_with("GATEWAY_PORT=x"), "{}", wrong.err);
}

#[test]
fn a_demo_that_cannot_run_says_so_in_one_line() {
    let directory = empty();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (gateway, operations) in [(port.as_str(), ""), ("0", port.as_str())] {
        let environment = [
            ("GATEWAY_HOST", "127.0.0.1"),
            ("GATEWAY_PORT", gateway),
            ("OPS_PORT", operations),
        ];
        let demo = run(directory.path(), &["demo"], &environment);
        assert_eq!((demo.code, demo.out.as_str()), (1, ""));
        let begin = format!("cannot listen on 127.0.0.1:{port}: ");
        assert!(
            demo.err.starts_with(&begin) && demo.err.lines().count() == 1,
            "{}",
            demo.err
        );
    }
    let address = format!("127.0.0.1:{port}");
    let service = run(
        directory.path(),
        &["demo", "backend", "--listen", &address],
        &[],
    );
    assert_eq!(service.code, 1);
    assert!(
        service.err.starts_with(&format!("backend on {address}: ")),
        "{}",
        service.err
    );
    assert_eq!(run(directory.path(), &["demo", "frontend"], &[]).code, 2);
    assert_eq!(
        run(directory.path(), &["demo", "--gateway-port", "x"], &[]).code,
        78
    );
}
