//! A run of the harness: which scenarios, which targets; then the reports. Not the measuring of one scenario (`rows`). Invariant: a
//! target that does not do the work is not measured, and the report says why.

mod rows;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use indicatif::{ProgressBar, ProgressStyle};

use crate::process::{Output, Process, free_port};
use crate::report::{self, Absent, Report};
use crate::scenario::{SCENARIOS, Scenario};
use crate::target::{self, Certificate, Cores, TARGETS, Target, Tools};
use rows::Session;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// One short round of each scenario.
    #[arg(long)]
    quick: bool,
    /// Rounds; medians count.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each measurement.
    #[arg(long)]
    seconds: Option<f64>,
    /// Only scenarios whose name contains this; may be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// Only these targets, by name; may be repeated.
    #[arg(long)]
    target: Vec<String>,
    /// The gateway's binary; unset: the release binary of this repository, built if need be.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Folder of the reports.
    #[arg(long, default_value = "target/loadtest")]
    out: PathBuf,
}

impl Options {
    fn rounds(&self) -> usize {
        self.rounds
            .unwrap_or(if self.quick { 1 } else { 3 })
            .clamp(1, 50)
    }

    fn seconds(&self) -> f64 {
        // Loads are bounded in time.
        self.seconds
            .unwrap_or(if self.quick { 0.7 } else { 2.5 })
            .clamp(0.2, 60.0)
    }

    fn warm_seconds(&self) -> f64 {
        if self.quick { 0.2 } else { 0.7 }
    }

    /// A whole name is that scenario alone, a part of names all that have it.
    fn chosen(&self, scenario: &Scenario) -> bool {
        let whole = |part: &String| SCENARIOS.iter().any(|any| any.name == part);
        let asked = |part: &String| {
            scenario.name == part || (!whole(part) && scenario.name.contains(part.as_str()))
        };
        self.only.is_empty() || self.only.iter().any(asked)
    }
}

/// The gateway and its floor in every scenario.
pub(crate) fn gateway(options: &Options) -> io::Result<()> {
    run(options, "gateway", &["gateway", "relay"])
}

/// Everything that is installed, in every scenario.
pub(crate) fn peers(options: &Options) -> io::Result<()> {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    run(options, "peers", &names)
}

/// The gateway and its floor at saturation.
pub(crate) fn floor(options: &Options) -> io::Result<()> {
    let mut options = options.clone();
    if options.only.is_empty() {
        options.only.push("saturation".into());
        options.rounds = options.rounds.or((!options.quick).then_some(5));
    }
    run(&options, "floor", &["gateway", "relay"])
}

/// Prints which targets are installed.
pub(crate) fn list() -> io::Result<()> {
    for target in &TARGETS {
        match (target.find)() {
            Some(program) => println!("{:<8} {}", target.name, program.display()),
            None => println!("{:<8} not installed: {}", target.name, target.install),
        }
    }
    Ok(())
}

fn run(options: &Options, kind: &str, names: &[&str]) -> io::Result<()> {
    let work = options.out.join("work");
    fs::create_dir_all(&work)?;
    let work = work.canonicalize()?;
    let tools = Tools::find(options.gateway.as_deref(), work)?;
    let (found, mut absent) = present(options, names);
    let cores = Cores::of_this_machine();
    let certificate = Certificate::make(&tools.work)?;
    let redis = target::in_path("redis-server");
    if redis.is_none() {
        let what = "limits that are shared through Redis (all limits were in memory)";
        absent.push(Absent::new(what, "apt-get install redis-server"));
    }
    let origin_port = free_port()?;
    let _origin = start_origin(&tools, Some(cores.origin), origin_port, false)?;
    let session = Session {
        options,
        tools: &tools,
        cores,
        origin_port,
        certificate: &certificate,
        redis,
    };
    let mut fit = Vec::new();
    for target in found {
        match session.check(target) {
            Ok(()) => fit.push(target),
            // The gateway itself must pass; a peer that does not do the work is left out, and the report says so.
            Err(error) if target.name == "gateway" => return Err(error),
            Err(error) => {
                let why = format!("{} (installed, but {error})", target.title);
                absent.push(Absent::new(&why, target.install));
            }
        }
    }
    let scenarios: Vec<_> = SCENARIOS
        .iter()
        .filter(|scenario| options.chosen(scenario))
        .collect();
    let mut report = Report::new(kind, options.rounds(), options.seconds(), &cores);
    report.absent = absent;
    report.redis = session.redis.is_some();
    let bar = progress(&scenarios, &fit, options.rounds());
    for scenario in scenarios {
        report
            .scenarios
            .extend(session.measure(scenario, &fit, &bar)?);
    }
    bar.finish_and_clear();
    print!("{}", report::targets_table(&report));
    report.write(&options.out)
}

fn present(options: &Options, names: &[&str]) -> (Vec<&'static Target>, Vec<Absent>) {
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    let asked = |target: &&Target| {
        let wanted =
            options.target.is_empty() || options.target.iter().any(|name| name == target.name);
        names.contains(&target.name) && wanted
    };
    for target in TARGETS.iter().filter(asked) {
        if (target.find)().is_some() {
            found.push(target);
        } else {
            eprintln!("{} is not installed: {}", target.title, target.install);
            absent.push(Absent::new(target.title, target.install));
        }
    }
    (found, absent)
}

/// A redis-server of the harness's own, which keeps nothing.
pub(crate) fn start_redis(
    program: &Path,
    core: Option<usize>,
    work: &Path,
) -> io::Result<(Process, u16)> {
    let port = free_port()?;
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--save", "", "--appendonly", "no"]);
    let process = Process::start(&command, core, port, Output::Complaints(work))?;
    Ok((process, port))
}

pub(crate) fn start_origin(
    tools: &Tools,
    core: Option<usize>,
    port: u16,
    failing: bool,
) -> io::Result<Process> {
    let mut command = Command::new(&tools.own);
    command.args(["origin", "--port", &port.to_string()]);
    if failing {
        command.arg("--failing");
    }
    let work = tools.work.join("origin");
    Process::start(&command, core, port, Output::Complaints(&work))
}

fn progress(scenarios: &[&Scenario], targets: &[&'static Target], rounds: usize) -> ProgressBar {
    let rows: usize = scenarios
        .iter()
        .map(|scenario| scenario.rows(targets).len())
        .sum();
    let steps = u64::try_from(rows * rounds).unwrap_or(0);
    let bar = ProgressBar::new(steps);
    let template = "{elapsed_precise} [{bar:40}] {pos}/{len} {msg} (about {eta} left)";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
