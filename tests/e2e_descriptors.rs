//! Descriptors: too few of them end the start with one clear line; the soft limit is raised to the hard one; when they run out, what
//! idles is given up, what finds none is told so, and all is well again afterwards. Invariant: none is lost on the way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::process::{Command, Output};
use std::sync::mpsc::channel;

use rustix::net::{RecvFlags, recv};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use support::{Gateway, OK, Plan, Upstream, Wire, eventually, gateway, until, upstream};

const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n\r\n";

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

fn plan(up: &Upstream) -> Plan {
    gateway()
        .backend(up)
        .analyzer(up, "")
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .env("MAX_CONNECTIONS", 10_000)
        .env("GATEWAY_WORKERS", 1)
        // Probes need descriptors, too.
        .env("OPS_PORT", 0)
}

fn has_answer(wire: &mut Wire) -> bool {
    let mut byte = [0_u8; 1];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    recv(wire.reader().stream(), &mut byte, flags).is_ok()
}

/// The gateway's open descriptors, in order.
fn open(gw: &Gateway) -> Vec<u64> {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", gw.pid())).unwrap();
    let names = entries.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let mut numbers: Vec<u64> = names.map(|name| name.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

fn held_by(gw: &Gateway) -> usize {
    open(gw).len()
}

/// Leaves the running gateway this many descriptors; how many it has without any client.
fn starve(gw: &Gateway, spare: usize) -> usize {
    let mut fewest = usize::MAX;
    // The harness's own look at readiness, a probe under way: gone in a moment.
    for _ in 0..40 {
        fewest = fewest.min(held_by(gw));
        support::pause(std::time::Duration::from_millis(5));
    }
    leave(gw, spare);
    fewest
}

/// The limit is one of numbers, and there are holes between those that are open.
fn leave(gw: &Gateway, spare: usize) {
    let taken = open(gw);
    let mut unused = (0..).filter(|number| !taken.contains(number));
    let limit = Rlimit {
        current: unused.nth(spare),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    let pid = Pid::from_raw(i32::try_from(gw.pid()).unwrap());
    prlimit(pid, Resource::Nofile, limit).unwrap();
}

#[test]
fn idle_connections_make_room_when_descriptors_run_out() {
    let up = upstream();
    let gw = plan(&up).start();
    let before = starve(&gw, 8);
    let mut idle: Vec<Wire> = Vec::new();
    for number in 0..40 {
        if number == 20 {
            // The first half is parked by now, the second comes faster than connections are parked.
            support::pause(std::time::Duration::from_millis(600));
        }
        let mut wire = gw.wire();
        assert_eq!(wire.send(GET).answer().status, 200, "number {number}");
        idle.push(wire);
    }
    assert!(idle[0].closed());
    drop(idle);
    until("every descriptor to be back", || held_by(&gw) <= before + 2);
}

#[test]
fn without_a_descriptor_for_its_service_a_request_is_503_and_the_gateway_recovers() {
    let (go, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let up = upstream().script(move |exchange| {
        let _ = wait.lock().unwrap().recv_timeout(support::PATIENCE);
        exchange.answer(OK)
    });
    let gw = plan(&up).start();
    let before = starve(&gw, 9);
    // Each busy client has two: when there is one left, a client is let in and its service cannot be reached.
    let mut busy: Vec<Wire> = Vec::new();
    let refused = eventually("a request without a descriptor", || {
        let mut wire = gw.wire();
        wire.send(GET);
        let known = busy.len();
        let (start, mut given) = (std::time::Instant::now(), false);
        let answer = eventually("an answer or an exchange", || {
            if up.requests().len() > known {
                return Some(None);
            }
            // Not even a client could be let in: one descriptor is what that takes.
            if !given && start.elapsed() > std::time::Duration::from_secs(1) {
                leave(&gw, 1);
                given = true;
            }
            has_answer(&mut wire).then(|| Some(wire.answer()))
        });
        if answer.is_none() {
            busy.push(wire);
        }
        answer
    });
    assert_eq!(refused.status, 503);
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("no file descriptor left"), "{message}");
    assert!(busy.len() >= 3, "{}", busy.len());
    // More than the kernel may hand out wait in its queue and are served when there is room.
    let mut waiting: Vec<Wire> = (0..6).map(|_| gw.wire()).collect();
    for wire in &mut waiting {
        wire.send(GET);
    }
    drop(go);
    assert!(busy.iter_mut().all(|wire| wire.answer().status == 200));
    drop(busy);
    for wire in &mut waiting {
        let status = wire.answer().status;
        assert!(status == 200 || status == 503, "{status}");
    }
    drop(waiting);
    for _ in 0..20 {
        assert_eq!(gw.wire().send(GET).answer().status, 200);
    }
    until("every descriptor to be back", || held_by(&gw) <= before + 2);
    assert!(gw.log().contains("no file descriptor left"));
}
