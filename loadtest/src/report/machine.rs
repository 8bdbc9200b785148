//! Where and on what a run was made. Not secret, not complete: what a reader needs to judge figures.

use std::fs;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use dbpower_gateway::net::{self, clock};
use serde::{Deserialize, Serialize};

use crate::target::Cores;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub date: String,
    /// Of the repository that the harness was run in.
    pub commit: String,
    pub processor: String,
    pub cores: usize,
    pub kernel: String,
    pub driver: String,
    /// Load average of the minute before: above a few tenths, others were at work.
    pub load_before: String,
    pub placement: String,
}

impl Machine {
    pub(crate) fn this(cores: &Cores) -> Self {
        let now = UNIX_EPOCH + Duration::from_millis(clock::unix_ms());
        let load = first_line("/proc/loadavg");
        Self {
            date: httpdate::fmt_http_date(now),
            commit: commit(),
            processor: processor(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            driver: net::detect().name().to_owned(),
            load_before: load.split(' ').next().unwrap_or("").to_owned(),
            placement: format!(
                "target on core {}, origin on core {}, generator on core {}",
                cores.target, cores.origin, cores.generator
            ),
        }
    }
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("").to_owned()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line
        .and_then(|line| line.split_once(':'))
        .map(|(_, name)| name.trim());
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".into();
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])
        .is_some_and(|text| !text.is_empty());
    commit + if changed { " with changes" } else { "" }
}
