//! One scenario of a run: starts its rows, each a target and a way, and measures them. Not the choice of either. Invariant: rows take
//! turns within each round, so that a machine that changes its speed changes it for all.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;

use super::{Options, start_origin};
use crate::measure::{self, Round};
use crate::process::{Output, Process, free_port, wait};
use crate::report::{self, ScenarioResult, TargetResult};
use crate::scenario::{Behind, Keys, Scenario, Tls, Way};
use crate::target::{self, Certificate, Cores, Setup, Target, Tools};

/// Parts of a measurement: when an endpoint dies, when it comes back, from when on it is seen to be used again.
const DIES: f64 = 0.15;
const RETURNS: f64 = 0.3;
const USED_AGAIN: f64 = 0.85;
/// Which of three dies.
const MORTAL: usize = 1;

/// What all of a run have in common.
pub(super) struct Session<'a> {
    pub options: &'a Options,
    pub tools: &'a Tools,
    pub cores: Cores,
    pub origin_port: u16,
    pub certificate: &'a Certificate,
    /// The program, where it is installed.
    pub redis: Option<PathBuf>,
}

/// A target at work in one way.
struct Running {
    way: &'static Way,
    process: Process,
    port: u16,
    /// Services of its own, where the way wants others than the run's.
    origins: Vec<Origin>,
    _redis: Option<Process>,
    result: TargetResult,
}

struct Origin {
    port: u16,
    core: Option<usize>,
    process: Option<Process>,
}

/// What becomes of limits in one start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limits {
    /// No load reaches them.
    High,
    /// Anybody does.
    Low,
}

impl Session<'_> {
    /// A target that does not do the work is not measured.
    pub(super) fn check(&self, target: &'static Target) -> io::Result<()> {
        let Some(way) = super::SCENARIOS.first().and_then(|all| all.ways.first()) else {
            return Ok(());
        };
        if !target.limits {
            return Ok(());
        }
        let running = self.start(way, target, Limits::Low)?;
        let checked = target::check(running.port);
        match &checked {
            Err(error) => {
                let said = running.process.complaints();
                eprintln!("{}: {error}\n{said}", target.title);
            }
            Ok(()) => eprintln!(
                "{} refuses bad tokens and limits organizations and addresses",
                target.title
            ),
        }
        checked
    }

    /// All rows of one scenario; `None` when no target takes part.
    pub(super) fn measure(
        &self,
        scenario: &'static Scenario,
        targets: &[&'static Target],
        bar: &ProgressBar,
    ) -> io::Result<Option<ScenarioResult>> {
        let mut running = Vec::new();
        for (way, target) in scenario.rows(targets) {
            running.push(self.start(way, target, Limits::High)?);
        }
        if running.is_empty() {
            return Ok(None);
        }
        for turn in 0..self.options.rounds() {
            // Who is first changes from round to round.
            for place in 0..running.len() {
                let index = (place + turn) % running.len();
                if let Some(one) = running.get_mut(index) {
                    bar.set_message(format!("{} · {}", scenario.name, one.result.name));
                    bar.tick();
                    let round = self.round(scenario, one, turn)?;
                    one.result.rounds.push(round);
                    bar.inc(1);
                }
            }
        }
        let result = ScenarioResult {
            name: scenario.name.into(),
            title: scenario.title.into(),
            connections: scenario.connections(),
            targets: running.into_iter().map(|one| one.result).collect(),
        };
        bar.suspend(|| print!("{}", report::table(&result)));
        Ok(Some(result))
    }

    fn round(&self, scenario: &Scenario, one: &mut Running, turn: usize) -> io::Result<Round> {
        let seconds = self.options.seconds().max(scenario.seconds_min);
        let times = (self.options.warm_seconds(), seconds);
        let turn = u64::try_from(turn).unwrap_or(0);
        let load = one.way.load(one.port, times, turn, &self.certificate.text);
        let core = (!one.way.setting.anywhere).then_some(self.cores.generator);
        let (process, origins) = (&one.process, &mut one.origins);
        if !scenario.dies {
            return measure::round(process, &load, core, || Ok(None));
        }
        measure::round(process, &load, core, || {
            self.one_dies(origins, seconds).map(Some)
        })
    }

    /// One endpoint ends and comes back. Gives how much it works at the end, beside what the others do on average.
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds fit a double")]
    fn one_dies(&self, origins: &mut [Origin], seconds: f64) -> io::Result<f64> {
        let pause = |part: f64| wait(Duration::from_secs_f64(seconds * part));
        pause(DIES);
        if let Some(mortal) = origins.get_mut(MORTAL) {
            mortal.process = None;
            pause(RETURNS - DIES);
            let process = start_origin(self.tools, mortal.core, mortal.port, false)?;
            mortal.process = Some(process);
        }
        pause(USED_AGAIN - RETURNS);
        let spent = |origins: &[Origin]| -> Vec<u64> {
            let each = origins.iter().map(|origin| origin.process.as_ref());
            each.map(|process| process.map_or(0, Process::cpu_ns))
                .collect()
        };
        let before = spent(origins);
        pause((1.0 - USED_AGAIN) * 0.9);
        let after = spent(origins);
        let worked: Vec<f64> = after
            .iter()
            .zip(&before)
            .map(|(after, before)| after.saturating_sub(*before) as f64)
            .collect();
        let of_mortal = worked.get(MORTAL).copied().unwrap_or(0.0);
        let others = worked.iter().sum::<f64>() - of_mortal;
        let average = others / (worked.len().saturating_sub(1).max(1)) as f64;
        Ok(of_mortal / average.max(1.0))
    }

    fn start(
        &self,
        way: &'static Way,
        target: &'static Target,
        limits: Limits,
    ) -> io::Result<Running> {
        let program = (target.find)().ok_or_else(|| io::Error::other(target.install))?;
        let (name, title) = way.row(target);
        let setting = way.setting;
        let work = self.tools.work.join(&name);
        fs::create_dir_all(&work)?;
        let redis = self.start_redis(target.needs_redis || (target.own && setting.redis), &name)?;
        let origins = self.start_origins(way)?;
        let ports = match origins.is_empty() {
            true => vec![self.origin_port],
            false => origins.iter().map(|origin| origin.port).collect(),
        };
        let high = limits == Limits::High;
        let setup = Setup {
            tools: self.tools,
            port: free_port()?,
            origins: ports,
            per_minute: if high { 16_000_000 } else { 60 },
            burst: if high { 100_000 } else { 5 },
            setting,
            named: matches!(way.keys, Keys::Addresses(_)),
            certificate: (way.tls != Tls::Off).then_some(self.certificate),
            redis_port: redis.as_ref().map(|(_, port)| *port),
            work,
        };
        let command = (target.command)(&program, &setup)?;
        let output = if setting.logged {
            Output::All(&setup.work)
        } else {
            Output::Complaints(&setup.work)
        };
        let core = (!setting.anywhere).then_some(self.cores.target);
        let process = Process::start(&command, core, setup.port, output)?;
        Ok(Running {
            way,
            result: TargetResult::new(&name, &title, process.memory(), way.connections),
            process,
            port: setup.port,
            origins,
            _redis: redis.map(|(process, _)| process),
        })
    }

    fn start_origins(&self, way: &Way) -> io::Result<Vec<Origin>> {
        let setting = way.setting;
        let core = (!setting.anywhere).then_some(self.cores.origin);
        let (count, failing) = match setting.behind {
            Behind::Sound if setting.anywhere => (1, false),
            Behind::Sound => (0, false),
            Behind::Failing(count) => (count, true),
            Behind::Three => (3, false),
        };
        let mut origins = Vec::new();
        for _ in 0..count {
            let port = free_port()?;
            let process = Some(start_origin(self.tools, core, port, failing)?);
            origins.push(Origin {
                port,
                core,
                process,
            });
        }
        Ok(origins)
    }

    /// A server of its own for each row that wants one: rows do not share limits.
    fn start_redis(&self, wanted: bool, row: &str) -> io::Result<Option<(Process, u16)>> {
        let Some(program) = self.redis.as_ref().filter(|_| wanted) else {
            return Ok(None);
        };
        let work = self.tools.work.join(format!("{row}-redis"));
        super::start_redis(program, Some(self.cores.generator), &work).map(Some)
    }
}
