//! A run of the harness: which scenarios, which targets, in which order; then the reports. Invariant: targets take turns within each
//! round, so that a machine that changes its speed changes it for all.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use indicatif::{ProgressBar, ProgressStyle};

use crate::measure;
use crate::process::{Output, Process, free_port};
use crate::report::{self, Absent, Report, ScenarioResult, TargetResult};
use crate::scenario::{COLD_KEYS_MAX, SCENARIOS, Scenario, Variant};
use crate::target::{self, Cores, Setup, TARGETS, Target, Tools};

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
            .unwrap_or(if self.quick { 0.7 } else { 3.0 })
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
    let origin_port = free_port()?;
    let _origin = start_origin(&tools, &cores, origin_port)?;
    let session = Session {
        options,
        tools: &tools,
        cores,
        origin_port,
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
    let bar = progress(&scenarios, fit.len(), options.rounds());
    for scenario in scenarios {
        match session.measure(scenario, &fit, &bar)? {
            Some(result) => report.scenarios.push(result),
            None => {
                let name = format!("scenario {}", scenario.name);
                report
                    .absent
                    .push(Absent::new(&name, "apt-get install redis-server"));
            }
        }
    }
    bar.finish_and_clear();
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

fn start_origin(tools: &Tools, cores: &Cores, port: u16) -> io::Result<Process> {
    let mut command = Command::new(&tools.own);
    command.args(["origin", "--port", &port.to_string()]);
    let work = tools.work.join("origin");
    Process::start(
        &command,
        Some(cores.origin),
        port,
        Output::Complaints(&work),
    )
}

fn progress(scenarios: &[&Scenario], targets: usize, rounds: usize) -> ProgressBar {
    let steps = u64::try_from(scenarios.len() * targets * rounds).unwrap_or(0);
    let bar = ProgressBar::new(steps);
    let template = "{elapsed_precise} [{bar:40}] {pos}/{len} {msg} (about {eta} left)";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

struct Session<'a> {
    options: &'a Options,
    tools: &'a Tools,
    cores: Cores,
    origin_port: u16,
}

/// A target at work in one scenario.
struct Running {
    target: &'static Target,
    process: Process,
    port: u16,
    memory_at_rest: u64,
}

impl Session<'_> {
    /// Limits that no load reaches, or limits that anybody reaches.
    fn setup(
        &self,
        name: &str,
        high: bool,
        variant: Variant,
        redis: Option<u16>,
    ) -> io::Result<Setup<'_>> {
        Ok(Setup {
            tools: self.tools,
            port: free_port()?,
            origin_port: self.origin_port,
            per_minute: if high { 16_000_000 } else { 60 },
            burst: if high { 100_000 } else { 5 },
            logged: variant == Variant::Logged,
            redis_port: redis,
            work: self.tools.work.join(name),
        })
    }

    /// A target that does not do the work is not measured.
    fn check(&self, target: &'static Target) -> io::Result<()> {
        if !target.limits {
            return Ok(());
        }
        let redis = self.redis(target.needs_redis)?;
        let port = redis.as_ref().map(|(_, port)| *port);
        let setup = self.setup(target.name, false, Variant::Plain, port)?;
        let process = self.start(target, &setup)?;
        let checked = target::check(setup.port);
        if let Err(error) = &checked {
            eprintln!("{}: {error}\n{}", target.title, process.complaints());
        } else {
            eprintln!(
                "{} refuses bad tokens and limits organizations and addresses",
                target.title
            );
        }
        checked
    }

    fn start(&self, target: &'static Target, setup: &Setup<'_>) -> io::Result<Process> {
        let program = (target.find)().ok_or_else(|| io::Error::other(target.install))?;
        fs::create_dir_all(&setup.work)?;
        let command = (target.command)(&program, setup)?;
        let output = if setup.logged {
            Output::All(&setup.work)
        } else {
            Output::Complaints(&setup.work)
        };
        Process::start(&command, Some(self.cores.target), setup.port, output)
    }

    fn redis(&self, wanted: bool) -> io::Result<Option<(Process, u16)>> {
        let Some(program) = wanted.then(|| target::in_path("redis-server")).flatten() else {
            return Ok(None);
        };
        let (port, work) = (free_port()?, self.tools.work.join("redis"));
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--save", "", "--appendonly", "no"]);
        let process = Process::start(
            &command,
            Some(self.cores.generator),
            port,
            Output::Complaints(&work),
        )?;
        Ok(Some((process, port)))
    }

    /// All targets in one scenario; `None` when it needs a Redis and there is none.
    fn measure(
        &self,
        scenario: &Scenario,
        targets: &[&'static Target],
        bar: &ProgressBar,
    ) -> io::Result<Option<ScenarioResult>> {
        let fits = |target: &&'static Target| scenario.variant == Variant::Plain || target.variants;
        let targets: Vec<_> = targets.iter().copied().filter(fits).collect();
        let shared = scenario.variant == Variant::Redis;
        let redis = self.redis(shared || targets.iter().any(|target| target.needs_redis))?;
        if redis.is_none() && shared {
            return Ok(None);
        }
        let redis_port = redis.as_ref().map(|(_, port)| *port);
        let mut running = Vec::new();
        for target in targets {
            let port = redis_port.filter(|_| shared || target.needs_redis);
            let setup = self.setup(target.name, true, scenario.variant, port)?;
            let process = self.start(target, &setup)?;
            running.push(Running {
                target,
                memory_at_rest: process.memory(),
                process,
                port: setup.port,
            });
        }
        Ok(Some(self.rounds(scenario, &running, bar)?))
    }

    fn rounds(
        &self,
        scenario: &Scenario,
        running: &[Running],
        bar: &ProgressBar,
    ) -> io::Result<ScenarioResult> {
        let mut results: Vec<_> = running
            .iter()
            .map(|one| TargetResult::new(one.target.name, one.target.title, one.memory_at_rest))
            .collect();
        let (warm, seconds) = (self.options.warm_seconds(), self.options.seconds());
        for turn in 0..self.options.rounds() {
            // Who is first changes from round to round.
            for place in 0..running.len() {
                let index = (place + turn) % running.len();
                let (Some(one), Some(result)) = (running.get(index), results.get_mut(index)) else {
                    continue;
                };
                bar.set_message(format!("{} · {}", scenario.name, one.target.name));
                bar.tick();
                let first_key = 1_000 + COLD_KEYS_MAX * u64::try_from(turn).unwrap_or(0);
                let load = scenario.load(one.port, warm, seconds, first_key);
                let round = measure::round(&one.process, &load, self.cores.generator)?;
                result.rounds.push(round);
                bar.inc(1);
            }
        }
        let result = ScenarioResult {
            name: scenario.name.into(),
            title: scenario.title.into(),
            connections: scenario.connections,
            targets: results,
        };
        bar.suspend(|| print!("{}", report::table(&result)));
        Ok(result)
    }
}
