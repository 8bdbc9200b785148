//! What a scenario is: one kind of load, sent in one or more ways that take turns. Not how it is run. Invariant: a name is a word that
//! `--only` and a report's reader can use, and stays the same from release to release.

mod list;

use std::net::SocketAddr;

use crate::generator::{Load, Secure};
use crate::target::Target;
pub(crate) use list::SCENARIOS;

/// Cold keys are counted out, so that rounds do not repeat them; the gateway remembers 262,144 keys (`RATE_LIMIT_KEYS_MAX`).
pub(crate) const COLD_KEYS_MAX: u64 = 60_000;
/// More than the gateway's cache holds (4,096), and more than are sent within the time that a verdict is remembered by it.
const USERS_MAX: u64 = 40_000;

/// What is measured in turn, so that its rows may be compared.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub name: &'static str,
    pub title: &'static str,
    pub ways: &'static [Way],
    /// A measurement takes no fewer seconds.
    pub seconds_min: f64,
    /// An endpoint dies meanwhile and returns.
    pub dies: bool,
}

/// One way of it: the load, what is set, and which targets it concerns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// Follows the target's name in that of the row; empty: nothing does.
    pub name: &'static str,
    pub title: &'static str,
    pub who: Who,
    /// Requests per second; `None`: saturation.
    pub rate: Option<u32>,
    pub connections: usize,
    pub keep_alive: bool,
    pub download: usize,
    pub upload: usize,
    pub keys: Keys,
    pub tls: Tls,
    pub setting: Setting,
}

/// Which targets take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    All,
    /// All but those that a few thousand requests are too many for.
    Able,
    Gateway,
    GatewayAndFloor,
    /// Those with a configuration for TLS.
    Secure,
}

/// Whose requests they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// One organization's, with one token, from one address.
    One,
    /// Each another organization's, which nobody has seen.
    Cold,
    /// One organization's, each with another token.
    Users,
    /// One organization's with one token, naming one of so many addresses at random, each of which the limiter has seen.
    Addresses(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    Off,
    /// Each handshake is a full one.
    Full,
    /// A handshake goes on from the ticket of an earlier one.
    Resumed,
}

/// What differs in the process under test and behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    /// A line for each request, into a file.
    pub logged: bool,
    /// The gateway's limits are shared through a Redis, if one is installed.
    pub redis: bool,
    pub workers: usize,
    /// `RATE_LIMIT_KEYS_MAX`, where the default is too low.
    pub keys_max: Option<u32>,
    pub behind: Behind,
    /// Target, origin and generator share all cores.
    pub anywhere: bool,
}

/// What stands behind the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    Sound,
    /// So many origins, each of which fails one connection in ten.
    Failing(usize),
    /// Three origins.
    Three,
}

impl Who {
    pub(crate) fn includes(self, target: &Target) -> bool {
        match self {
            Self::All => true,
            Self::Able => target.able,
            Self::Gateway => target.own,
            Self::GatewayAndFloor => target.own || !target.limits,
            Self::Secure => target.secure,
        }
    }
}

impl Scenario {
    /// Rows of a table: a way and a target each.
    pub(crate) fn rows(&self, targets: &[&'static Target]) -> Vec<(&'static Way, &'static Target)> {
        let mut rows = Vec::new();
        for target in targets {
            for way in self.ways.iter().filter(|way| way.who.includes(target)) {
                rows.push((way, *target));
            }
        }
        rows
    }

    /// What memory is divided by.
    pub(crate) fn connections(&self) -> usize {
        let all = self.ways.iter().map(|way| way.connections);
        all.max().unwrap_or(0)
    }
}

impl Way {
    /// What the row is called in a report, and what people read there.
    pub(crate) fn row(&self, target: &Target) -> (String, String) {
        if self.name.is_empty() {
            return (target.name.into(), target.title.into());
        }
        (
            format!("{}-{}", target.name, self.name),
            format!("{}, {}", target.title, self.title),
        )
    }

    /// What the generator is told in round number `turn`, over `times.0` seconds of warm-up and `times.1` of measurement.
    pub(crate) fn load(&self, port: u16, times: (f64, f64), turn: u64, secure: &str) -> Load {
        let size = self.download;
        let cold = self.keys == Keys::Cold;
        let addresses = match self.keys {
            Keys::Addresses(count) => count,
            Keys::One | Keys::Cold | Keys::Users => 0,
        };
        Load {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            rate: self.rate,
            connections: self.connections,
            keep_alive: self.keep_alive,
            warm_seconds: times.0 + self.opening_seconds(),
            seconds: times.1,
            target: format!("/api/v1/bytes/{size}"),
            upload_bytes: self.upload,
            keys: if cold { COLD_KEYS_MAX } else { 1 },
            first_key: if cold {
                1_000 + COLD_KEYS_MAX * turn
            } else {
                1
            },
            users: if self.keys == Keys::Users {
                USERS_MAX
            } else {
                0
            },
            addresses,
            fill: turn == 0 && addresses > 0,
            secure: (self.tls != Tls::Off).then(|| Secure {
                authority: secure.to_owned(),
                resume: self.tls == Tls::Resumed,
            }),
        }
    }

    /// How long it takes until all connections are open: they are opened as requests fall due.
    fn opening_seconds(&self) -> f64 {
        let connections = u32::try_from(self.connections).unwrap_or(u32::MAX);
        self.rate
            .map_or(0.0, |rate| 1.2 * f64::from(connections) / f64::from(rate))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::SCENARIOS;
    use crate::target::TARGETS;

    #[test]
    fn names_are_unlike_and_every_scenario_has_the_gateway() {
        let names: HashSet<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        let targets: Vec<_> = TARGETS.iter().collect();
        for scenario in &SCENARIOS {
            let rows = scenario.rows(&targets);
            let named: HashSet<_> = rows.iter().map(|(way, target)| way.row(target)).collect();
            assert_eq!(named.len(), rows.len(), "{}", scenario.name);
            assert!(
                rows.iter().any(|(_, target)| target.own),
                "{}",
                scenario.name
            );
        }
    }
}
