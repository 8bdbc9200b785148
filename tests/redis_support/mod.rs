//! A Redis server of a test's own, on a port of its own, ended with the test. Not a mock: the server that operators run.
//! Invariant: nothing outlives the test, and no two tests share a server.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test file compiles this module for itself and uses its own part"
)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a test may fail loudly"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a server is a part of the outside world: it is polled, with a clock and sleeps"
)]

pub(crate) mod call;
pub(crate) mod checked;
pub(crate) mod fleet;
pub(crate) mod member;
pub(crate) mod proxy;
pub(crate) mod weather;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a server to answer.
const START_MAX: Duration = Duration::from_secs(20);

/// A running `redis-server`.
pub(crate) struct Server {
    child: Option<Child>,
    directory: tempfile::TempDir,
    pub(crate) port: u16,
    arguments: Vec<String>,
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

impl Server {
    /// An empty server.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// An empty server with more arguments.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        Self::on(free_port(), arguments)
    }

    /// As `with`, on a port of one's choice.
    pub(crate) fn on(port: u16, arguments: &[&str]) -> Self {
        let mut server = Self::absent(port);
        server.arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        server.run();
        server
    }

    /// None yet; `run` starts it.
    pub(crate) fn absent(port: u16) -> Self {
        Self {
            child: None,
            directory: tempfile::tempdir().expect("a directory"),
            port,
            arguments: Vec::new(),
        }
    }

    /// Starts it (again), empty, on the same port.
    pub(crate) fn run(&mut self) {
        self.kill();
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.directory.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server (package redis-server) is needed");
        self.child = Some(child);
        let until = Instant::now() + START_MAX;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("it runs");
        let sent = Command::new("kill")
            .args([format!("-{name}"), child.id().to_string()])
            .status()
            .expect("kill");
        assert!(sent.success());
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// A file or a directory of its own.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// A command whose answer is of no interest.
    pub(crate) fn tell(&self, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let _: redis::Value = command.query(&mut self.connect()).expect("it does as told");
    }

    /// A blocking connection for the test itself.
    pub(crate) fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).expect("a URL");
        client.get_connection().expect("a connection")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A record of a site in the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseOf {
    pub(crate) out: u64,
    pub(crate) ends_ms: u64,
}

/// The records of a bucket, also of leases that have ended since the last call.
pub(crate) fn leases(redis: &mut redis::Connection, key: &str) -> Vec<LeaseOf> {
    let mut command = redis::cmd("HGETALL");
    let fields: Vec<(String, String)> = command.arg(key).query(redis).expect("a hash");
    let records = fields.iter().filter(|(name, _)| name.starts_with("s:"));
    let lease = |(_, record): &(String, String)| {
        let mut parts = record.split(':').skip(1);
        let out = parts.next()?.parse().ok()?;
        let ends_ms = parts.next()?.parse().ok()?;
        Some(LeaseOf { out, ends_ms })
    };
    records.filter_map(lease).collect()
}
