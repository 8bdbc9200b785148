//! Ways to a Redis: TLS, and a cluster of three masters. Not faults, not limits. Invariant: real servers, each test its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod redis_support;
#[path = "redis_support/steady.rs"]
mod steady;
mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use redis_support::{Server, free_port};
use serde_json::json;
use steady::{Watched, steady};
use support::limits::{burst, scarce};
use support::{Gateway, token, until, upstream};

fn connected(gw: &Gateway) {
    until("Redis is connected", || {
        gw.get("/health").send().json()["redis"] == json!(true)
    });
}

fn admitted(gw: &Gateway, org: u32, count: usize) -> usize {
    let source = [127, 0, 11, u8::try_from(org).unwrap()];
    let ask = gw.get("/api/v1/x").bearer(&token().org(org));
    let answers = burst(gw, source, &ask, count);
    answers.iter().filter(|answer| answer.status == 200).count()
}

/// A port that is free, as is the cluster's own one 10,000 above. Both below the kernel's range for outgoing connections, which would
/// take it now and then.
fn cluster_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let port = 12_000 + free_port() % 10_000;
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

#[test]
fn a_cluster_of_three_masters_holds_the_limits() {
    steady(|| {
        let up = upstream();
        let mut servers: Vec<Server> = Vec::new();
        while servers.len() < 3 {
            servers.push(Server::on(cluster_port(), &["--cluster-enabled", "yes"]));
        }
        let nodes: Vec<String> = servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port))
            .collect();
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&nodes)
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .output()
            .expect("redis-cli");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stdout)
        );
        let plan = scarce(10, 600)
            .backend(&up)
            .env("REDIS_ENABLED", "true")
            .env("REDIS_CLUSTER", "true")
            .env("REDIS_URL", servers[0].url());
        let gateways = Watched(vec![plan.start(), plan.start()]);
        gateways.iter().for_each(connected);
        for org in 0..12 {
            let count: usize = gateways.iter().map(|gw| admitted(gw, org, 12)).sum();
            assert!((9..=10).contains(&count), "{count}");
        }
        // Keys on every master, so calls went to each.
        for server in &servers {
            let keys: u64 = redis::cmd("DBSIZE").query(&mut server.connect()).unwrap();
            assert!(keys > 0);
        }
        let admin = token().org(99).role("super_admin");
        let ask = gateways[0]
            .post("/admin/rate-limit/reset")
            .json(&json!({"all": true}));
        assert_eq!(ask.bearer(&admin).send().status, 200);
        for org in 0..12 {
            until("each can go on", || admitted(&gateways[1], org, 1) == 1);
        }
    });
}

fn openssl(directory: &Path, arguments: &str) {
    let done = Command::new("openssl")
        .current_dir(directory)
        .args(arguments.split(' '))
        .output()
        .expect("openssl");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn tls_with_a_trusted_certificate_only() {
    let up = upstream();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    openssl(
        at,
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=ca",
    );
    openssl(
        at,
        "req -newkey rsa:2048 -nodes -keyout key -out csr -subj /CN=localhost",
    );
    std::fs::write(
        at.join("ext"),
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    openssl(
        at,
        "x509 -req -in csr -CA ca.crt -CAkey ca.key -CAcreateserial -out crt -days 2 -extfile ext",
    );
    let file = |name: &str| at.join(name).to_str().unwrap().to_owned();
    let tls_port = free_port();
    let (port, crt, key, ca) = (
        tls_port.to_string(),
        file("crt"),
        file("key"),
        file("ca.crt"),
    );
    let _server = Server::with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &crt,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ]);
    let plan = scarce(10, 0)
        .backend(&up)
        .env("REDIS_ENABLED", "true")
        .env("REDIS_URL", format!("rediss://localhost:{tls_port}/0"));
    let trusting = plan.clone().env("SSL_CERT_FILE", &ca).start();
    connected(&trusting);
    assert_eq!(admitted(&trusting, 1, 12), 10);
    let stranger = plan.clone().start();
    stranger.log_line("why not", |line| {
        line.contains("Redis is away") && line.contains("REDIS_CA")
    });
    for scheme in ["rediss", "valkeys"] {
        let url = format!("{scheme}://localhost:{tls_port}/0");
        let told = plan.clone().env("REDIS_URL", url).env("REDIS_CA", &ca);
        connected(&told.start());
    }
    // The file is read again for each connection.
    let renewed = file("renewed.crt");
    std::fs::copy(file("crt"), &renewed).unwrap();
    let waiting = plan.env("REDIS_CA", &renewed).start();
    waiting.log_line("why not", |line| {
        line.contains("Redis is away") && line.contains("certificate")
    });
    std::fs::copy(&ca, &renewed).unwrap();
    connected(&waiting);
    for scheme in ["redis", "valkey"] {
        let server = Server::start();
        let url = format!("{scheme}://127.0.0.1:{}/0", server.port);
        let plan = scarce(10, 0).backend(&up).env("REDIS_ENABLED", "true");
        connected(&plan.env("REDIS_URL", url).start());
    }
}
