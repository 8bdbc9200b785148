//! What a comparison found, its targets, and its files: Markdown, JSON and a picture. Not the measuring. Invariant: everything that is
//! shown is made from what stands in the JSON.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::arrivals::Arrival;
use super::bucket::Limit;
use super::judge::Figures;
use super::price::Price;
use super::resets::Resets;
use super::scenarios::Scenario;
use super::{OURS, Seen, Verdict};
use crate::report::{Line, Machine, lines};
use crate::target::Cores;

pub(super) use super::tables::table;

/// The scenario that is drawn.
const DRAWN: &str = "flash";

/// A run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Findings {
    pub machine: Machine,
    pub nodes: u32,
    pub workers: usize,
    pub seed: u64,
    pub scenarios: Vec<ScenarioFindings>,
    pub resets: Option<Resets>,
    pub prices: Vec<Price>,
    pub targets: Vec<Goal>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScenarioFindings {
    pub name: String,
    pub title: String,
    pub limit: Limit,
    pub keys: u32,
    pub seconds: f64,
    /// Nothing may be refused.
    pub below: bool,
    /// Of Redis calls per request.
    pub calls_max: Option<f64>,
    /// C + L*t/W over the whole run, of all its keys.
    pub bound: u64,
    pub ways: Vec<Figures>,
    /// Of the drawn scenario: for each way the seconds of its admissions.
    pub admissions: Vec<Vec<f64>>,
}

/// A target and what was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Goal {
    pub what: String,
    pub wanted: String,
    pub found: String,
    pub passed: bool,
}

impl ScenarioFindings {
    pub(super) fn new(scenario: &Scenario, arrivals: &[Arrival]) -> Self {
        let mut keys: Vec<u32> = arrivals.iter().map(|arrival| arrival.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let last = arrivals.last().map_or(0, |arrival| arrival.at);
        let keys = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        Self {
            name: scenario.name.into(),
            title: scenario.title.into(),
            limit: scenario.limit,
            keys,
            seconds: last as f64 / 1e9,
            below: scenario.below,
            calls_max: scenario.calls_max,
            bound: scenario.limit.bound(last) * u64::from(keys),
            ways: Vec::new(),
            admissions: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, figures: Figures, seen: &[Seen]) {
        self.ways.push(figures);
        if self.name == DRAWN {
            let admitted = seen.iter().filter(|one| one.verdict == Verdict::Admitted);
            let mut times: Vec<f64> = admitted.map(|one| one.answered as f64 / 1e9).collect();
            times.sort_by(f64::total_cmp);
            self.admissions.push(times);
        }
    }

    pub(super) fn ours(&self) -> Option<&Figures> {
        self.ways.iter().find(|figures| figures.way == OURS)
    }
}

impl Findings {
    pub(super) fn new(nodes: u32, workers: usize, seed: u64, cores: &Cores) -> Self {
        let mut machine = Machine::this(cores);
        machine.placement =
            "gateways, Redis, origin and load wherever the kernel puts them; `price` pinned".into();
        Self {
            machine,
            nodes,
            workers,
            seed,
            ..Self::default()
        }
    }

    /// Writes `accuracy.json`, `.md` and `.svg` and says where.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let place = |ending: &str| folder.join(format!("accuracy.{ending}"));
        fs::write(place("json"), serde_json::to_string_pretty(self)? + "\n")?;
        fs::write(place("md"), self.page())?;
        println!("{}\n{}", place("json").display(), place("md").display());
        if let Some(picture) = self.picture() {
            fs::write(place("svg"), picture)?;
            println!("{}", place("svg").display());
        }
        Ok(())
    }

    /// Admissions over time against the bound, of all ways.
    pub(super) fn picture(&self) -> Option<String> {
        let drawn = self.scenarios.iter().find(|one| one.name == DRAWN)?;
        let mut all: Vec<Line<'_>> = Vec::new();
        for (figures, times) in drawn.ways.iter().zip(&drawn.admissions) {
            let counts = (1_u32..).map(f64::from);
            let steps = times.iter().copied().zip(counts);
            let name = figures.way.as_str();
            let points = [(0.0, 0.0)].into_iter().chain(steps);
            all.push(Line {
                name,
                points: points.collect(),
                bound: false,
                wide: name == OURS,
            });
        }
        let limit = drawn.limit;
        let full = f64::from(limit.capacity());
        let end = full + drawn.seconds * f64::from(limit.per_minute) / 60.0;
        all.push(Line {
            name: "the bound: C + L·t/W",
            points: vec![(0.0, full), (drawn.seconds, end)],
            bound: true,
            wide: false,
        });
        let title = format!("Admissions over time, {}", drawn.title);
        Some(lines(&title, &all))
    }

    /// Looks at the targets; to be called when all has been measured.
    pub(super) fn judge_goals(&mut self) {
        let goals = [
            self.over_goal(),
            self.wrong_goal(),
            self.failed_goal(),
            self.most_calls_goal(),
            self.counted_goal(),
        ];
        self.targets = goals.into_iter().flatten().collect();
        let fixed = self.scenarios.iter().filter_map(|scenario| {
            let most = scenario.calls_max.filter(|most| *most < 1.0)?;
            let found = scenario.ours()?.redis_calls;
            Some(Goal::at_most(
                &format!("`{}`: Redis calls per request", scenario.name),
                (most, found),
                "",
                4,
            ))
        });
        self.targets.extend(fixed);
        let prices = self.prices.iter().flat_map(price_goals);
        self.targets.extend(prices);
        if let Some(resets) = &self.resets {
            self.targets.push(Goal {
                what: "resets that did not reach every node".into(),
                wanted: "0".into(),
                found: resets.missed.to_string(),
                passed: resets.missed == 0,
            });
        }
    }

    fn sum(&self, figure: impl Fn(&ScenarioFindings, &Figures) -> u64) -> Option<u64> {
        let found = self.scenarios.iter();
        let all: Vec<u64> = found
            .filter_map(|scenario| Some(figure(scenario, scenario.ours()?)))
            .collect();
        (!all.is_empty()).then(|| all.iter().sum())
    }

    fn over_goal(&self) -> Option<Goal> {
        let over = self.sum(|_, ours| ours.over)?;
        Some(Goal::none("requests over the bound, all scenarios", over))
    }

    fn wrong_goal(&self) -> Option<Goal> {
        let wrong = self.sum(|scenario, ours| if scenario.below { ours.refused } else { 0 })?;
        Some(Goal::none("wrong refusals below the limit", wrong))
    }

    fn failed_goal(&self) -> Option<Goal> {
        let failed = self.sum(|_, ours| ours.failed)?;
        Some(Goal::none("answers other than 200 and 429", failed))
    }

    fn most_calls_goal(&self) -> Option<Goal> {
        let ours = self.scenarios.iter().filter_map(ScenarioFindings::ours);
        let most = ours
            .map(|figures| figures.redis_calls_all)
            .reduce(f64::max)?;
        let what = "Redis calls per request, the dearest scenario";
        Some(Goal::at_most(what, (1.0, most), "", 3))
    }

    /// Calls in flight while the counts are read, and the first ones, which load the script, may differ.
    fn counted_goal(&self) -> Option<Goal> {
        let ours = self.scenarios.iter().filter_map(ScenarioFindings::ours);
        let compared = ours.map(|figures| {
            let calls = |per_request: f64| per_request * figures.requests as f64;
            let (told, counted) = (
                calls(figures.redis_calls_all),
                calls(figures.redis_calls_counted),
            );
            ((told - counted).abs(), 10.0 + 0.01 * told)
        });
        let (apart, most) = compared.reduce(|one, other| {
            let worse = other.0 - other.1 > one.0 - one.1;
            if worse { other } else { one }
        })?;
        Some(Goal::at_most(
            "calls by the gateways' count against Redis's own: apart by",
            (most.round(), apart.round()),
            "",
            0,
        ))
    }
}

fn price_goals(price: &Price) -> Vec<Goal> {
    let p99 = |round: &super::price::Round| round.p99_ms;
    let (on, off) = price.middles(p99);
    let added = on - off;
    let what = match price.name.as_str() {
        "cold" => {
            let what = "p99 that Redis adds for cold keys";
            return vec![Goal::at_most(what, (1.0, added), " ms", 3)];
        }
        "hot" => "p99 that Redis adds for hot keys: within the spread of the rounds without it",
        _ => {
            let (on, off) = price.middles(|round| round.cpu_us);
            let more = 100.0 * (on / off.max(1e-9) - 1.0);
            let what = "CPU that Redis adds for hot keys";
            return vec![Goal::at_most(what, (3.0, more), " %", 1)];
        }
    };
    let noise = (1e3 * price.noise(p99)).round() / 1e3;
    vec![Goal::at_most(what, (noise, added), " ms", 3)]
}

impl Goal {
    fn none(what: &str, found: u64) -> Self {
        Self {
            what: what.into(),
            wanted: "0".into(),
            found: found.to_string(),
            passed: found == 0,
        }
    }

    fn at_most(what: &str, (most, found): (f64, f64), unit: &str, digits: usize) -> Self {
        Self {
            what: what.into(),
            wanted: format!("≤ {most}{unit}"),
            found: format!("{found:.digits$}{unit}"),
            passed: found <= most,
        }
    }
}
