//! The gateway as a child process: clean environment, own working directory, logs in files. Not in-process: what a test sees
//! is what an operator sees. Invariant: the process ends with its handle, and a panic in its log fails the test.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Answer, Ask, Wire};
use super::token::{SECRET, Token};
use super::upstream::Upstream;
use super::{PATIENCE, eventually};

/// A gateway that is not started yet.
#[derive(Debug, Clone)]
pub struct Plan {
    env: BTreeMap<String, String>,
    files: Vec<(String, Vec<u8>)>,
    folders: Vec<String>,
    args: Vec<String>,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    pub port: u16,
    pub ops_port: u16,
    /// Its port speaks TLS, so that its readiness is asked for elsewhere.
    encrypted: bool,
    child: Child,
    dir: TempDir,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// The test environment's defaults: both services refuse until one is given.
pub fn gateway() -> Plan {
    let plan = Plan {
        env: BTreeMap::new(),
        files: Vec::new(),
        folders: Vec::new(),
        args: Vec::new(),
    };
    plan.env("GATEWAY_HOST", "127.0.0.1")
        .env("GATEWAY_WORKERS", "2")
        .env("JWT_SECRET_KEY", SECRET)
        .env("REDIS_ENABLED", "false")
        .env("BACKEND_URL", "http://127.0.0.1:1")
        .env("AI_ANALYZER_URL", "http://127.0.0.1:1")
}

/// A port outside the kernel's range for outgoing connections, so that no connection of a parallel test takes it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 1000) as u16 * 20;
    for _ in 0..4000 {
        let port = 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

impl Plan {
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    pub fn without_env(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    pub fn backend(self, up: &Upstream) -> Self {
        self.env("BACKEND_URL", up.url())
    }

    /// The analyzer's service URL has a path of its own.
    pub fn analyzer(self, up: &Upstream, base_path: &str) -> Self {
        self.env("AI_ANALYZER_URL", format!("{}{base_path}", up.url()))
    }

    /// For tests that are not about limits and ask a lot.
    pub fn unlimited(self) -> Self {
        self.env("RATE_LIMIT_PER_ORG", "false")
            .env("RATE_LIMIT_PER_IP", "false")
    }

    /// A file in the working directory.
    pub fn file(self, name: &str, text: impl ToString) -> Self {
        self.file_bytes(name, text.to_string().as_bytes())
    }

    /// A file that need not be text.
    pub fn file_bytes(mut self, name: &str, bytes: &[u8]) -> Self {
        self.files.push((name.to_owned(), bytes.to_vec()));
        self
    }

    /// An empty folder in the working directory.
    pub fn folder(mut self, name: &str) -> Self {
        self.folders.push(name.to_owned());
        self
    }

    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    pub fn args(self, args: &[&str]) -> Self {
        args.iter().fold(self, |plan, arg| plan.arg(arg))
    }

    /// Starts it and waits until it is ready. A port that somebody else took meanwhile means another try.
    pub fn start(&self) -> Gateway {
        for _ in 0..3 {
            let mut gateway = self.spawn();
            if gateway.wait_ready() {
                return gateway;
            }
            let log = gateway.log();
            assert!(
                log.contains("in use") || log.contains("taken"),
                "the gateway did not start:\n{log}"
            );
        }
        panic!("no port stayed free");
    }

    /// Starts it and waits for nothing.
    pub fn spawn(&self) -> Gateway {
        let (port, ops_port) = (free_port(), free_port());
        let mut plan = self.clone();
        plan.env
            .entry("GATEWAY_PORT".to_owned())
            .or_insert(port.to_string());
        plan.env
            .entry("OPS_PORT".to_owned())
            .or_insert(ops_port.to_string());
        let dir = tempfile::tempdir().expect("a temporary directory");
        // A test that sets a port to something else has no use for the number.
        let number = |name: &str| plan.env[name].parse().unwrap_or(0);
        let (port, ops_port) = (number("GATEWAY_PORT"), number("OPS_PORT"));
        let child = plan
            .command(dir.path())
            .spawn()
            .expect("the gateway's binary");
        Gateway {
            port,
            ops_port,
            encrypted: plan.env.contains_key("TLS_CERT"),
            child,
            dir,
        }
    }

    /// Runs it to its end, for commands and for configurations that must not start.
    pub fn run(&self) -> Ended {
        let mut gateway = self.spawn();
        let status = gateway.wait_exit();
        Ended {
            status,
            stdout: gateway.stdout(),
            stderr: gateway.stderr(),
        }
    }

    fn command(&self, dir: &Path) -> Command {
        let work = dir.join("work");
        fs::create_dir(&work).expect("a working directory");
        for name in &self.folders {
            fs::create_dir(work.join(name)).expect("a folder in the working directory");
        }
        for (name, text) in &self.files {
            fs::write(work.join(name), text).expect("a file in the working directory");
        }
        let log = |name| File::create(dir.join(name)).expect("a log file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_dbpower-gateway"));
        command
            .current_dir(&work)
            .args(&self.args)
            .env_clear()
            .envs(&self.env);
        command
            .stdin(Stdio::null())
            .stdout(log("stdout"))
            .stderr(log("stderr"));
        if let Ok(forced) = std::env::var("MONOIO_FORCE_LEGACY_DRIVER")
            && !self.env.contains_key("MONOIO_FORCE_LEGACY_DRIVER")
        {
            command.env("MONOIO_FORCE_LEGACY_DRIVER", forced);
        }
        command
    }
}

impl Gateway {
    fn wait_ready(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.child.try_wait().expect("a child").is_some() {
                return false;
            }
            let port = if self.encrypted {
                self.ops_port
            } else {
                self.port
            };
            if ready(port) {
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the gateway was not ready in time:\n{}", self.log());
    }

    pub fn ask(&self, method: &str, target: &str) -> Ask {
        Ask::new(self.port, method, target)
    }

    pub fn get(&self, target: &str) -> Ask {
        self.ask("GET", target)
    }

    pub fn post(&self, target: &str) -> Ask {
        self.ask("POST", target)
    }

    /// A request to the operations port.
    pub fn ops(&self, target: &str) -> Answer {
        Ask::new(self.ops_port, "GET", target).send()
    }

    pub fn metrics(&self) -> String {
        self.ops("/metrics").text()
    }

    /// Sum over all series of a metric whose labels contain every one of these texts.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics();
        let of_metric = text.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
                && labels.iter().all(|label| line.contains(label))
        });
        of_metric
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// A raw connection.
    pub fn wire(&self) -> Wire {
        Wire::to(self.port)
    }

    /// A raw connection from another loopback address.
    pub fn wire_from(&self, source: [u8; 4]) -> Wire {
        Wire::from(source, self.port)
    }

    /// `/rate-limit/info` as this caller sees it.
    pub fn info(&self, token: &Token) -> Value {
        self.info_from([127, 0, 0, 1], token)
    }

    pub fn info_from(&self, source: [u8; 4], token: &Token) -> Value {
        let answer = self
            .get("/rate-limit/info")
            .from(source)
            .bearer(token)
            .send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// A file in its working directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("work").join(name)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("the process is ours");
    }

    /// Waits for the end of the process.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the process to end", || child.try_wait().expect("a child"))
    }

    pub fn running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Resident memory now.
    pub fn rss_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// Resident memory at its highest.
    pub fn peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, line: &str) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a live process");
        let found = status.lines().find_map(|l| l.strip_prefix(line));
        found
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .expect("a number of KiB")
    }

    pub fn stdout(&self) -> String {
        read(self.dir.path().join("stdout"))
    }

    pub fn stderr(&self) -> String {
        read(self.dir.path().join("stderr"))
    }

    /// Everything that it has written.
    pub fn log(&self) -> String {
        self.stdout() + &self.stderr()
    }

    /// Waits for a line that `fits`.
    pub fn log_line(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        eventually(&format!("a log line: {what}, in\n{}", self.log()), || {
            self.log()
                .lines()
                .find(|line| fits(line))
                .map(str::to_owned)
        })
    }
}

fn ready(port: u16) -> bool {
    let Ok(stream) = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return false;
    };
    let mut reader = super::Reader::new(stream);
    reader.send("GET /readyz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n");
    reader
        .head()
        .is_ok_and(|(head, _)| head.first.starts_with("HTTP/1.1 200 "))
}

fn read(path: PathBuf) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("a log file")).into_owned()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // By the handle, so that no other process can be meant.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- the gateway's log ---\n{log}");
        } else {
            assert!(!log.contains("panicked at"), "the gateway panicked:\n{log}");
        }
    }
}
