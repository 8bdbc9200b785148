//! The processes under test: built, started, pinned, read and ended. Not their load.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Builds the gateway when its binary is missing.
pub(crate) fn build(binary: &Path) -> io::Result<()> {
    if binary.exists() {
        return Ok(());
    }
    let built = Command::new("cargo")
        .args(["build", "--release"])
        .status()?;
    if built.success() {
        Ok(())
    } else {
        Err(io::Error::other("cargo build --release failed"))
    }
}

/// Raises this process's descriptor limit, which the processes it starts inherit.
pub(crate) fn raise_descriptors(wanted: u64) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        return Err(io::Error::other(format!(
            "{wanted} descriptors are needed, {:?} are allowed (ulimit -Hn)",
            limit.maximum
        )));
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

/// A process under test, ended when dropped.
pub(crate) struct Process(Child);

impl Process {
    #[allow(
        clippy::disallowed_methods,
        reason = "outside the gateway: this thread serves nobody and waits for another process to listen"
    )]
    pub(crate) fn start(command: &mut Command, core: Option<usize>, port: u16) -> io::Result<Self> {
        let child = command.stdout(Stdio::null()).spawn()?;
        let process = Self(child);
        if let Some(core) = core {
            pin(process.pid(), core)?;
        }
        let patience = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > patience {
                return Err(io::Error::other(format!(
                    "{command:?} did not listen on port {port}"
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let Some(core) = core else {
            return Ok(process);
        };
        // Threads that were started before the pin are pinned too.
        for task in fs::read_dir(format!("/proc/{}/task", process.0.id()))? {
            let id = task?.file_name().to_string_lossy().parse().unwrap_or(0);
            pin(Pid::from_raw(id), core)?;
        }
        Ok(process)
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.0.id()).ok().and_then(Pid::from_raw)
    }

    /// CPU time of all threads, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> io::Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text.split_whitespace().next().unwrap_or("0");
            sum += first.parse::<u64>().unwrap_or(0);
        }
        Ok(sum)
    }
}

impl Process {
    /// A line of `/proc/<pid>/status` in KiB.
    pub(crate) fn status_kib(&self, name: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no {name} in /proc")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pin(pid: Option<Pid>, core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(pid, &set)?;
    Ok(())
}

pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
