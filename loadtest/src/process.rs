//! Processes under test: started on one core, accounted as the kernel does it, ended by their id. Invariant: none outlives the
//! harness, however that ends: each asks the kernel for a signal when its parent dies.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dbpower_gateway::net::{self, clock};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_setaffinity};

/// How long a process may take to listen: the slowest peer imports its framework first.
const START_MS_MAX: u64 = 20_000;
/// How long it may take to end after a SIGTERM, before it is killed.
const END_MS_MAX: u64 = 3_000;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    /// Core to stay on; unset: any.
    #[arg(long)]
    core: Option<usize>,
    /// Program and arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    words: Vec<String>,
}

/// Becomes another program that is pinned from its first instruction and ends with its parent.
pub(crate) fn exec(options: &Exec) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    if let Some(core) = options.core {
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set)?;
    }
    net::descriptors_raised();
    let Some((program, arguments)) = options.words.split_first() else {
        return Err(io::Error::other("no program was named"));
    };
    // On success this does not return.
    let error = Command::new(program).args(arguments).exec();
    Err(io::Error::new(error.kind(), format!("{program}: {error}")))
}

/// `command`, to be run through [`exec`] on `core`, with no more of this process's environment than programs need.
#[allow(
    clippy::disallowed_methods,
    reason = "outside the gateway: settings of whoever starts the harness must not reach what it measures"
)]
pub(crate) fn pinned(command: &Command, core: Option<usize>) -> io::Result<Command> {
    let mut outer = Command::new(std::env::current_exe()?);
    outer.env_clear().arg("exec");
    if let Some(core) = core {
        outer.args(["--core", &core.to_string()]);
    }
    outer
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args());
    for name in ["PATH", "HOME", "MONOIO_FORCE_LEGACY_DRIVER"] {
        if let Some(value) = std::env::var_os(name) {
            outer.env(name, value);
        }
    }
    outer.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    Ok(outer)
}

/// Builds the gateway when its binary is missing.
pub(crate) fn build(binary: &Path) -> io::Result<()> {
    if binary.exists() {
        return Ok(());
    }
    let built = Command::new("cargo")
        .args(["build", "--release"])
        .status()?;
    if built.success() {
        return Ok(());
    }
    Err(io::Error::other("cargo build --release failed"))
}

/// Raises this process's descriptor limit.
pub(crate) fn raise_descriptors(wanted: usize) -> io::Result<()> {
    let allowed = net::descriptors_raised();
    if allowed >= wanted {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{wanted} descriptors are needed, {allowed} are allowed (ulimit -Hn)"
    )))
}

/// Where what a process says goes: nowhere, or into files of a folder.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Output<'a> {
    /// Nowhere; complaints go where the harness's go.
    Dropped,
    /// Complaints into a file of this folder.
    Complaints(&'a Path),
    /// Standard output as well, as an access log would.
    All(&'a Path),
}

/// A process under test, ended when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// What it writes to standard error, shown when it does not start.
    log: PathBuf,
}

impl Process {
    /// Starts `command` on `core` and waits until it listens on `port`.
    pub(crate) fn start(
        command: &Command,
        core: Option<usize>,
        port: u16,
        output: Output<'_>,
    ) -> io::Result<Self> {
        let mut outer = pinned(command, core)?;
        outer.stdin(Stdio::null()).stdout(Stdio::null());
        let mut log = PathBuf::new();
        if let Output::Complaints(folder) | Output::All(folder) = output {
            fs::create_dir_all(folder)?;
            log = folder.join("stderr.log");
            outer.stderr(fs::File::create(&log)?);
        }
        if let Output::All(folder) = output {
            outer.stdout(fs::File::create(folder.join("stdout.log"))?);
        }
        let mut process = Self {
            child: outer.spawn()?,
            log,
        };
        let patience = clock::now_ms() + START_MS_MAX;
        while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_err() {
            let ended = process.child.try_wait()?;
            if ended.is_some() || clock::now_ms() > patience {
                let said = fs::read_to_string(&process.log).unwrap_or_default();
                let shown = format!("{command:?}");
                return Err(io::Error::other(format!(
                    "{shown} does not listen on port {port}:\n{said}"
                )));
            }
            wait(LOOK_AGAIN);
        }
        Ok(process)
    }

    /// It and its descendants: a master and its worker are one gateway.
    fn family(&self) -> Vec<u32> {
        let mut family = vec![self.child.id()];
        let mut at = 0;
        while let Some(&id) = family.get(at) {
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
            let ids = children.unwrap_or_default();
            family.extend(
                ids.split_whitespace()
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
            at += 1;
        }
        family
    }

    /// CPU time of all threads in nanoseconds, as the scheduler counts it.
    pub(crate) fn cpu_ns(&self) -> u64 {
        let mut sum = 0;
        for id in self.family() {
            let Ok(tasks) = fs::read_dir(format!("/proc/{id}/task")) else {
                continue;
            };
            for task in tasks.flatten() {
                let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                let first = text.split_whitespace().next().unwrap_or("0");
                sum += first.parse::<u64>().unwrap_or(0);
            }
        }
        sum
    }

    /// Resident memory in bytes, shared pages counted by share.
    pub(crate) fn memory(&self) -> u64 {
        let mut kilobytes = 0;
        for id in self.family() {
            let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup"));
            let text = rollup.unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with("Pss:"));
            let number = line.and_then(|line| line.split_whitespace().nth(1));
            kilobytes += number.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        kilobytes * 1024
    }

    /// A line of `/proc/<pid>/status` in KiB.
    pub(crate) fn status_kib(&self, name: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no {name} in /proc")))
    }

    /// What it wrote to standard error.
    pub(crate) fn complaints(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            // It may have ended by itself.
            let _ = kill_process(id, Signal::TERM);
        }
        let patience = clock::now_ms() + END_MS_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && clock::now_ms() < patience {
            wait(LOOK_AGAIN);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets this thread rest.
#[allow(
    clippy::disallowed_methods,
    reason = "outside the gateway: this thread serves nobody"
)]
pub(crate) fn wait(pause: Duration) {
    std::thread::sleep(pause);
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
