//! What a run found, and its files: JSON for programs, Markdown and HTML for people. Not the measuring. Invariant: tables and pictures
//! are made from what stands in the JSON alone, so that an old run can be drawn anew.

mod html;
mod lines;
mod machine;
mod markdown;
mod svg;
mod targets;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::measure::Round;
use crate::target::Cores;
pub(crate) use lines::{Line, lines};
pub(crate) use machine::Machine;
pub(crate) use markdown::{table, targets_table};

/// A run of the harness.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// `gateway`, `peers` or `floor`.
    pub kind: String,
    pub machine: Machine,
    pub rounds: usize,
    pub seconds: f64,
    /// The gateway's limits were shared through a Redis, where a row does not say otherwise.
    #[serde(default)]
    pub redis: bool,
    pub scenarios: Vec<ScenarioResult>,
    pub absent: Vec<Absent>,
}

/// What was not measured, and the command that would change that.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Absent {
    pub name: String,
    pub install: String,
}

impl Absent {
    pub(crate) fn new(name: &str, install: &str) -> Self {
        Self {
            name: name.into(),
            install: install.into(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScenarioResult {
    pub name: String,
    pub title: String,
    pub connections: usize,
    pub targets: Vec<TargetResult>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TargetResult {
    pub name: String,
    pub title: String,
    /// Resident bytes before the first request.
    pub memory_at_rest: u64,
    /// Connections of the load.
    #[serde(default)]
    pub connections: usize,
    pub rounds: Vec<Round>,
}

/// The middle of several rounds and how far they lie apart.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Spread {
    pub low: f64,
    pub middle: f64,
    pub high: f64,
}

impl TargetResult {
    pub(crate) fn new(name: &str, title: &str, memory_at_rest: u64, connections: usize) -> Self {
        Self {
            name: name.into(),
            title: title.into(),
            memory_at_rest,
            connections,
            rounds: Vec::new(),
        }
    }

    pub(crate) fn spread(&self, figure: impl Fn(&Round) -> f64) -> Spread {
        let mut all: Vec<f64> = self.rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        let at = |index: usize| all.get(index).copied().unwrap_or(0.0);
        Spread {
            low: at(0),
            // Of an even number the upper one: a figure that was measured, not a mean.
            middle: at(all.len() / 2),
            high: at(all.len().saturating_sub(1)),
        }
    }

    pub(crate) fn cpu(&self) -> Spread {
        self.spread(|round| round.cpu_us_per_request)
    }

    /// Microseconds at a place of [`crate::generator::QUANTILES`].
    pub(crate) fn latency(&self, place: usize) -> f64 {
        self.spread(|round| round.outcome.latency_us.get(place).copied().unwrap_or(0.0))
            .middle
    }

    #[allow(clippy::cast_precision_loss, reason = "memory fits a double")]
    pub(crate) fn memory(&self) -> f64 {
        self.spread(|round| round.memory as f64).high
    }

    /// Bytes that a connection costs, on a process that was started for this scenario.
    #[allow(clippy::cast_precision_loss, reason = "memory fits a double")]
    pub(crate) fn memory_per_connection(&self) -> f64 {
        (self.memory() - self.memory_at_rest as f64).max(0.0) / self.connections.max(1) as f64
    }

    pub(crate) fn failed(&self) -> u64 {
        self.rounds.iter().map(|round| round.outcome.failed()).sum()
    }
}

impl Report {
    pub(crate) fn new(kind: &str, rounds: usize, seconds: f64, cores: &Cores) -> Self {
        Self {
            kind: kind.into(),
            machine: Machine::this(cores),
            rounds,
            seconds,
            ..Self::default()
        }
    }

    /// Writes `KIND.json`, `KIND.md` and `KIND.html` and says where.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let place = |ending: &str| folder.join(format!("{}.{ending}", self.kind));
        fs::write(place("json"), serde_json::to_string_pretty(self)? + "\n")?;
        self.write_readable(folder)?;
        for ending in ["json", "md", "html"] {
            println!("{}", place(ending).display());
        }
        Ok(())
    }

    fn write_readable(&self, folder: &Path) -> io::Result<()> {
        let place = |ending: &str| folder.join(format!("{}.{ending}", self.kind));
        fs::write(place("md"), markdown::page(self))?;
        fs::write(place("html"), html::page(self))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Render {
    /// The JSON of a run; the others are written beside it.
    json: PathBuf,
}

/// Draws an old run anew.
pub(crate) fn render(options: &Render) -> io::Result<()> {
    let report: Report = serde_json::from_str(&fs::read_to_string(&options.json)?)?;
    let folder = options.json.parent().unwrap_or(Path::new("."));
    report.write_readable(folder)
}
