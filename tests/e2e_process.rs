//! The process: signals, draining, what a wrong start says. Not the command line's small tasks (see `e2e_command_line`).
//! Invariant: an operator learns from one line what is wrong, and no request under way is lost to a restart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use rustix::process::Signal;
use support::{Gateway, Next, OK, Plan, SECRET, Upstream, gateway, timed, token, until, upstream};

const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n\r\n";

fn plan(up: &Upstream) -> Plan {
    gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
}

/// An upstream that answers when told to, or when the sender is dropped.
fn held() -> (Upstream, Sender<()>) {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let up = upstream().script(move |exchange| {
        let _ = wait.lock().unwrap().recv_timeout(support::PATIENCE);
        exchange.answer(OK)
    });
    (up, go)
}

fn wait_draining(gw: &Gateway) {
    until("readiness to be taken back", || {
        gw.ops("/readyz").status == 503
    });
}

#[test]
fn an_idle_gateway_is_gone_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let up = upstream();
        let mut gw = plan(&up).start();
        let mut idle = gw.wire();
        assert_eq!(idle.send(GET).answer().status, 200);
        let mut silent = gw.wire();
        gw.signal(signal);
        let (status, took) = timed(|| gw.wait_exit());
        assert_eq!(status.code(), Some(0));
        assert!(
            took < Duration::from_secs(5),
            "idle connections keep nobody waiting: {took:?}"
        );
        assert!(idle.closed() && silent.closed());
    }
}

#[test]
fn a_request_under_way_finishes_and_says_close() {
    let (up, go) = held();
    let mut gw = plan(&up).start();
    let mut wire = gw.wire();
    wire.send(GET);
    up.wait_requests(1);
    gw.signal(Signal::TERM);
    wait_draining(&gw);
    assert_eq!(gw.ops("/livez").status, 200, "it lives while it drains");
    assert!(gw.running());
    drop(go);
    let answer = wire.answer();
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.says_close()),
        (200, "ok", true)
    );
    assert!(wire.closed());
    assert_eq!(gw.wait_exit().code(), Some(0));
}

#[test]
fn a_draining_gateway_takes_no_new_work() {
    let (up, go) = held();
    let mut gw = plan(&up).start();
    let mut under_way = gw.wire();
    under_way.send(GET);
    up.wait_requests(1);
    gw.signal(Signal::TERM);
    wait_draining(&gw);
    until("new connections to be refused or sent away", || {
        let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, gw.port)) else {
            return true;
        };
        let mut reader = support::Reader::new(stream);
        reader.send(GET);
        reader
            .head()
            .map_or(true, |(head, _)| head.first.contains(" 503 "))
    });
    assert_eq!(up.requests().len(), 1);
    drop(go);
    assert_eq!(under_way.answer().status, 200);
    assert_eq!(gw.wait_exit().code(), Some(0));
}

#[test]
fn a_stream_under_way_is_cut_off_when_the_drain_time_is_over() {
    let (up, _go) = held();
    let mut gw = plan(&up).env("DRAIN_TIMEOUT", "0.5").start();
    let mut wire = gw.wire();
    wire.send(GET);
    up.wait_requests(1);
    gw.signal(Signal::TERM);
    let (_, took) = timed(|| gw.wait_exit());
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(wire.try_answer("GET").is_err() || wire.closed());
}

#[test]
fn a_second_signal_ends_it_now() {
    let (up, _go) = held();
    let mut gw = plan(&up).start();
    let mut wire = gw.wire();
    wire.send(GET);
    up.wait_requests(1);
    gw.signal(Signal::TERM);
    wait_draining(&gw);
    gw.signal(Signal::TERM);
    let (_, took) = timed(|| gw.wait_exit());
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn draining_says_close_on_pipelined_and_reused_connections() {
    let (up, go) = held();
    let mut gw = plan(&up).start();
    let mut wire = gw.wire();
    wire.send(GET.repeat(3));
    up.wait_requests(1);
    gw.signal(Signal::TERM);
    wait_draining(&gw);
    drop(go);
    let mut answered = 0;
    while let Ok(answer) = wire.try_answer("GET") {
        answered += 1;
        assert_eq!(answer.status, 200);
        if answer.says_close() {
            break;
        }
    }
    assert!(
        answered >= 1 && wire.closed(),
        "the connection ends with an answer that says so"
    );
    assert_eq!(gw.wait_exit().code(), Some(0));
}

#[test]
fn a_taken_port_is_one_clear_line_and_no_start() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    for name in ["GATEWAY_PORT", "OPS_PORT"] {
        let ended = gateway().env(name, port).run();
        assert_ne!(ended.code(), Some(0));
        let said: Vec<&str> = ended
            .stderr
            .lines()
            .filter(|line| line.contains(&port.to_string()))
            .collect();
        assert!(!said.is_empty(), "{name}: {}", ended.stderr);
        assert!(!(ended.stderr + &ended.stdout).contains("panicked"));
    }
}

#[test]
fn a_second_gateway_does_not_share_the_port_silently() {
    let gw = gateway().start();
    let ended = gateway().env("GATEWAY_PORT", gw.port).run();
    assert_ne!(ended.code(), Some(0));
    assert!(
        ended.stderr.contains(&gw.port.to_string()),
        "{}",
        ended.stderr
    );
    assert!(gw.wire().serves_another());
}

#[test]
fn a_taken_default_operations_port_is_a_warning_only() {
    // Either this test holds 9090 or somebody else does.
    let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, 9090));
    let gw = gateway().env("OPS_PORT", "").start();
    assert!(gw.log().contains("9090"), "{}", gw.log());
    assert!(gw.wire().serves_another());
}

#[test]
fn without_an_operations_port_there_is_none() {
    let gw = gateway().env("OPS_PORT", 0).start();
    assert!(gw.wire().serves_another());
    assert!(!gw.log().contains("9090"));
}

#[test]
fn a_wrong_configuration_names_every_problem_and_starts_nothing() {
    let plan = gateway()
        .without_env("JWT_SECRET_KEY")
        .env("GATEWAY_PORT", "99999")
        .env("RATE_LIMIT_RPM", "0")
        .env("RATE_LIMIT_BURST", "-1")
        .env("LOG_LEVEL", "LOUD")
        .env("BACKEND_URL", "backend:8000")
        .env("REDIS_ENABLED", "maybe")
        .env("JWT_ALGORITHM", "RS256")
        .env("RESPONSE_TIMEOUT", "soon")
        .env("TRUSTED_PROXIES", "10.0.0.0/33");
    let ended = plan.run();
    assert_eq!(ended.code(), Some(78), "{}", ended.stderr);
    let names = [
        "JWT_SECRET_KEY",
        "GATEWAY_PORT",
        "RATE_LIMIT_RPM",
        "RATE_LIMIT_BURST",
        "LOG_LEVEL",
        "BACKEND_URL",
        "REDIS_ENABLED",
        "JWT_ALGORITHM",
        "RESPONSE_TIMEOUT",
        "TRUSTED_PROXIES",
    ];
    for name in names {
        assert!(
            ended.stderr.lines().any(|line| line.contains(name)),
            "{name} in\n{}",
            ended.stderr
        );
    }
    for value in ["99999", "LOUD", "maybe", "soon"] {
        assert!(ended.stderr.contains(value), "the value {value} is named");
    }
    assert!(
        ended.stderr.contains("RATE_LIMIT_PER_ORG"),
        "the way to switch limits off is named"
    );
    assert_eq!(
        ended
            .stderr
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count(),
        names.len(),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_empty_secret_is_no_secret_and_a_short_one_a_warning() {
    let ended = gateway().env("JWT_SECRET_KEY", "").run();
    assert_eq!(ended.code(), Some(78));
    assert!(ended.stderr.contains("JWT_SECRET_KEY"));
    let gw = gateway().env("JWT_SECRET_KEY", "short").start();
    let log = gw.log();
    assert!(
        log.contains("JWT_SECRET_KEY") && log.contains("32"),
        "{log}"
    );
    assert!(
        !log.contains("short\n") && !log.contains("\"short\""),
        "the secret itself is not shown"
    );
}

#[test]
fn flag_beats_environment_beats_dotenv_beats_file() {
    let up = upstream();
    let limit = |plan: Plan| {
        plan.start()
            .get("/api/v1/x")
            .bearer(&token().org(1))
            .send()
            .number("x-ratelimit-limit")
    };
    let plan = gateway()
        .backend(&up)
        .env("GATEWAY_CONFIG", "gateway.toml")
        .file("gateway.toml", "rate_limit_rpm = 2\n");
    assert_eq!(limit(plan.clone()), 2);
    let plan = plan.file(".env", "# a comment\nRATE_LIMIT_RPM=3\n");
    assert_eq!(limit(plan.clone()), 3);
    let plan = plan.env("RATE_LIMIT_RPM", "");
    assert_eq!(limit(plan.clone()), 3, "set but empty is unset");
    let plan = plan.env("RATE_LIMIT_RPM", 4);
    assert_eq!(limit(plan.clone()), 4);
    assert_eq!(limit(plan.args(&["--rate-limit-rpm", "5"])), 5);
}

#[test]
fn a_secret_may_come_from_a_file() {
    let up = upstream();
    let plan = gateway()
        .backend(&up)
        .without_env("JWT_SECRET_KEY")
        .env("JWT_SECRET_KEY_FILE", "secret");
    let gw = plan.clone().file("secret", format!("{SECRET}\n")).start();
    assert_eq!(gw.get("/api/v1/x").bearer(&token()).send().status, 200);
    let ended = plan.run();
    assert_eq!(ended.code(), Some(78));
    assert!(
        ended.stderr.contains("JWT_SECRET_KEY_FILE"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_unreadable_or_malformed_dotenv_is_one_clear_line() {
    let malformed = gateway()
        .file(".env", "LOG_LEVEL=INFO\nthis is no assignment\n")
        .run();
    assert_eq!(malformed.code(), Some(78), "{}", malformed.stderr);
    assert!(
        malformed.stderr.contains(".env") && malformed.stderr.contains('2'),
        "{}",
        malformed.stderr
    );
    // A file that cannot be text; permissions would not stop a test that runs as root.
    let unreadable = gateway().file_bytes(".env", b"LOG_LEVEL=\xff\xfe\n").run();
    assert_eq!(unreadable.code(), Some(78), "{}", unreadable.stderr);
    assert!(unreadable.stderr.contains(".env"), "{}", unreadable.stderr);
    assert_eq!(
        unreadable.stderr.lines().count(),
        1,
        "{}",
        unreadable.stderr
    );
}

#[test]
fn unknown_names_are_told_with_the_nearest_known_one() {
    let gw = gateway()
        .env("RATE_LIMIT_RPMS", 5)
        .env("UNRELATED", 1)
        .start();
    let line = gw.log_line("the unknown variable", |line| {
        line.contains("RATE_LIMIT_RPMS")
    });
    assert!(
        line.replace("RATE_LIMIT_RPMS", "")
            .contains("RATE_LIMIT_RPM"),
        "{line}"
    );
    assert!(!gw.log().contains("UNRELATED"));
    let plan = gateway().env("GATEWAY_CONFIG", "g.toml");
    let ended = plan
        .file(
            "g.toml",
            "log_level = \"INFO\"\n\n[[routes]]\nprefx = \"/x\"\n",
        )
        .run();
    assert_eq!(ended.code(), Some(78));
    let said = &ended.stderr;
    assert!(
        said.contains("g.toml") && said.contains("prefx") && said.contains('4'),
        "file and line: {said}"
    );
}

/// The CPUs that each worker of a gateway may use.
fn cpus_of_workers(workers: &str) -> Vec<String> {
    let up = upstream();
    let gw = plan(&up).env("GATEWAY_WORKERS", workers).start();
    let mut cpus = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", gw.pid())).unwrap() {
        let task = task.unwrap().path();
        let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
        if name.starts_with("worker-") {
            cpus.push(allowed(task.join("status").to_str().unwrap()));
        }
    }
    cpus
}

fn allowed(status: &str) -> String {
    let status = std::fs::read_to_string(status).unwrap();
    let mut lines = status.lines();
    let list = lines.find(|line| line.starts_with("Cpus_allowed_list:"));
    list.unwrap().to_owned()
}

/// Bound, workers cannot meet on one CPU while another is free; fewer of them than CPUs leave the choice to the kernel.
#[test]
fn workers_are_bound_to_a_cpu_each_when_there_is_one_for_each() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    let mut each = cpus_of_workers("auto");
    each.sort();
    each.dedup();
    assert_eq!(each.len(), cpus, "{each:?}");
    if cpus > 1 {
        assert_eq!(cpus_of_workers("1"), [allowed("/proc/self/status")]);
    }
}

#[test]
fn the_epoll_fallback_is_said_aloud_and_shown() {
    let up = upstream();
    let gw = plan(&up).env("MONOIO_FORCE_LEGACY_DRIVER", 1).start();
    assert_eq!(gw.get("/health").send().json()["driver"], "epoll");
    assert!(gw.log().contains("epoll"), "{}", gw.log());
    assert!(gw.metrics().contains("epoll"));
    assert_eq!(
        gw.post("/api/v1/open/x")
            .body("x".repeat(100_000))
            .send()
            .status,
        200
    );
}

#[test]
fn redis_without_an_exchange_is_said_once() {
    let up = upstream();
    let gw = plan(&up)
        .env("REDIS_ENABLED", "true")
        .env("REDIS_URL", "redis://:hunter2@127.0.0.1:1/0")
        .start();
    assert_eq!(
        gw.get("/health").send().json()["redis"],
        false,
        "health tells the truth"
    );
    assert!(
        gw.log().to_lowercase().contains("redis") && !gw.log().contains("hunter2"),
        "{}",
        gw.log()
    );
}

#[test]
fn a_long_stream_does_not_end_with_the_response_time() {
    let up = upstream().script(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for n in 0..8 {
            exchange.chunk(&n.to_string());
            support::pause(Duration::from_millis(100));
        }
        exchange.send("0\r\n\r\n");
        Next::Keep
    });
    let gw = plan(&up)
        .env("RESPONSE_TIMEOUT", "0.3")
        .env("READ_TIMEOUT", "5")
        .start();
    assert_eq!(gw.wire().send(GET).answer().text(), "01234567");
}
