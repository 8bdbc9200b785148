//! The single-node vectors of LIMITS.md as a table, and the stage that plays them. Not the tests (`limit_vectors.rs`), no threads.
//! Invariant: a stage with one core, or without slices, plays to the letter; only several cores with slices get time to settle.

use std::net::IpAddr;

use dbpower_gateway::limit::{Info, Permit, Policy, Refusal};

use crate::limit_support::{Limits, Who, World, limits};

/// One line of the table: what happens, and what is seen.
pub enum Step {
    /// So many requests are served; the last one shows this Remaining.
    Pass(u32, u32),
    /// So many requests are refused; each says this Retry-After.
    Refuse(u32, u32),
    /// `current_count` and `remaining`.
    Info(u32, u32),
    /// A new L.
    Limit(u32),
    /// An admin resets every key of the request.
    Reset,
}
use Step::{Info as Count, Limit, Pass, Refuse, Reset};

/// Vectors that follow each other on the same bucket: name, time in ms, steps.
pub struct Story {
    pub name: &'static str,
    pub limits: Limits,
    pub cost: u32,
    pub rows: &'static [(&'static str, u64, &'static [Step])],
}

pub const BLOCK: u64 = 60_000;

pub const STORIES: [Story; 10] = [
    Story {
        name: "120 tokens, then a minute's block that nothing prolongs, then what came back meanwhile",
        limits: limits(100, 20, BLOCK),
        cost: 1,
        rows: &[
            ("G1", 0, &[Pass(1, 99), Count(1, 99)]),
            ("G2", 0, &[Pass(44, 55), Count(45, 55)]),
            ("G3", 0, &[Pass(55, 0), Count(100, 0)]),
            ("G4", 0, &[Pass(10, 0), Count(110, 0)]),
            ("G5", 0, &[Pass(10, 0), Count(120, 0)]),
            ("G6", 0, &[Refuse(1, 60), Count(120, 0)]),
            ("G7", 15_000, &[Refuse(1, 45), Count(95, 5)]),
            ("G8", 59_001, &[Refuse(1, 1)]),
            ("G9", 60_000, &[Pass(1, 79), Count(21, 79)]),
            ("G10", 60_000, &[Pass(99, 0), Refuse(1, 60)]),
        ],
    },
    Story {
        name: "without a block the next token is served as soon as it is there",
        limits: limits(100, 20, 0),
        cost: 1,
        rows: &[
            ("G11", 0, &[Pass(120, 0), Refuse(1, 1)]),
            ("G12", 599, &[Refuse(1, 1)]),
            ("G12", 600, &[Pass(1, 0), Refuse(1, 1)]),
        ],
    },
    Story {
        name: "six a minute, no burst, no block: Retry-After is the time until the next token, rounded up",
        limits: limits(6, 0, 0),
        cost: 1,
        rows: &[
            ("G13", 0, &[Pass(6, 0), Refuse(1, 10)]),
            ("G13", 3_500, &[Refuse(1, 7)]),
            ("G13", 9_999, &[Refuse(1, 1)]),
            ("G13", 10_000, &[Pass(1, 0)]),
        ],
    },
    Story {
        name: "a slow client always finds a full bucket",
        limits: limits(100, 20, 0),
        cost: 1,
        rows: &[
            ("G14", 0, &[Pass(1, 99)]),
            ("G14", 10_000, &[Pass(1, 99)]),
            ("G14", 20_000, &[Pass(1, 99)]),
            ("G14", 30_000, &[Pass(1, 99)]),
            ("G14", 40_000, &[Pass(1, 99)]),
        ],
    },
    Story {
        name: "no burst: the 101st is refused",
        limits: limits(100, 0, BLOCK),
        cost: 1,
        rows: &[("G15", 0, &[Pass(100, 0), Refuse(1, 60)])],
    },
    Story {
        name: "requests that cost five tokens",
        limits: limits(100, 20, 0),
        cost: 5,
        rows: &[
            ("G16", 0, &[Pass(1, 95), Count(5, 95)]),
            ("G16", 0, &[Pass(23, 0), Refuse(1, 3)]),
            ("G16", 2_900, &[Refuse(1, 1)]),
            ("after G16", 3_000, &[Pass(1, 0)]),
        ],
    },
    Story {
        name: "a higher limit adds the change of C, a lower one takes it",
        limits: limits(100, 20, BLOCK),
        cost: 1,
        rows: &[
            ("before G19", 0, &[Pass(90, 10), Limit(200)]),
            ("G19", 0, &[Pass(1, 109), Count(91, 109), Limit(50)]),
            ("G20", 0, &[Refuse(1, 60), Count(70, 0)]),
        ],
    },
    Story {
        name: "an admin lifts a block",
        limits: limits(100, 20, BLOCK),
        cost: 1,
        rows: &[
            ("before G22", 0, &[Pass(120, 0), Refuse(2, 60)]),
            ("before G22", 5_000, &[Refuse(1, 55), Reset, Count(0, 100)]),
            ("G22", 5_100, &[Pass(1, 99), Count(1, 99)]),
        ],
    },
    Story {
        name: "refused requests neither prolong a block nor take a token",
        limits: limits(100, 20, BLOCK),
        cost: 1,
        rows: &[
            ("blocked", 0, &[Pass(120, 0), Refuse(500, 60)]),
            ("later", 30_000, &[Refuse(500, 30), Count(70, 30)]),
            ("the last ns but one million", 59_999, &[Refuse(500, 1)]),
            (
                "the end, judged by the bucket",
                60_000,
                &[Pass(100, 0), Refuse(3, 60)],
            ),
        ],
    },
    Story {
        name: "a block of two seconds ends with less than a token: refused and blocked again",
        limits: limits(6, 0, 2_000),
        cost: 1,
        rows: &[
            ("blocked", 0, &[Pass(6, 0), Refuse(1, 2)]),
            ("at its end, one token of 0.2", 2_000, &[Refuse(1, 2)]),
            ("within the second block", 3_001, &[Refuse(1, 1)]),
            (
                "ten seconds: one token",
                10_000,
                &[Pass(1, 0), Refuse(1, 2)],
            ),
        ],
    },
];

pub fn address(text: &str) -> IpAddr {
    match text.parse() {
        Ok(address) => address,
        Err(error) => panic!("{text}: {error}"),
    }
}

pub fn org_only() -> Who<'static> {
    Who {
        org: Some("acme"),
        ip: None,
    }
}

pub fn ip_only() -> Who<'static> {
    Who {
        org: None,
        ip: Some(address("192.0.2.7")),
    }
}

pub fn both() -> Who<'static> {
    Who {
        org: org_only().org,
        ip: ip_only().ip,
    }
}

/// The key that refuses first: the address, unless there is none.
fn policy(who: Who<'_>) -> Policy {
    if who.ip.is_some() {
        Policy::Ip
    } else {
        Policy::Organization
    }
}

/// How a story is played: on one core to the letter, or over several with the time that slices need to settle.
pub struct Stage<'a> {
    pub world: World,
    pub who: Who<'a>,
    limits: Limits,
    cost: u32,
    pub next_core: usize,
    settles: bool,
}

impl Stage<'_> {
    pub fn play(&mut self, step: &Step, at: &str) {
        match *step {
            Pass(count, remaining) => {
                let mut shown = None;
                for nth in 1..=count {
                    shown = self.pass(&format!("{at}: request {nth} of {count}"));
                }
                let shown = shown.unwrap_or_else(|| panic!("{at}: a permit without numbers"));
                let range = (remaining, remaining + self.unseen());
                assert_eq!(shown.0, self.limits.rpm, "{at}: Limit");
                assert!(
                    shown.1 >= range.0 && shown.1 <= range.1,
                    "{at}: Remaining {} not in {range:?}",
                    shown.1
                );
            }
            Refuse(count, retry_after_s) => {
                self.settle();
                let expected = Refusal {
                    policy: policy(self.who),
                    limit: self.limits.rpm,
                    retry_after_s,
                };
                for _ in 0..count {
                    match self.ask() {
                        Err(refusal) => assert_eq!(refusal, expected, "{at}"),
                        Ok(permit) => panic!("{at}: served with {permit:?}, expected {expected:?}"),
                    }
                }
            }
            Count(current_count, remaining) => {
                self.settle();
                let expected = Info {
                    current_count,
                    limit: self.limits.rpm,
                    remaining,
                };
                for key in self.who.keys() {
                    assert_eq!(self.world.info(&key), expected, "{at}");
                }
            }
            Limit(rpm) => {
                self.limits.rpm = rpm;
                let Limits {
                    rpm,
                    burst,
                    block_ms,
                } = self.limits;
                self.world
                    .node
                    .set_limits(rpm, burst, block_ms, self.world.now);
            }
            Reset => {
                for key in self.who.keys() {
                    self.world.node.reset(&key, self.world.now);
                }
            }
        }
    }

    fn ask(&mut self) -> Result<Permit, Refusal> {
        self.next_core = (self.next_core + 1) % self.world.cores.len();
        self.world.take(self.next_core, self.who, self.cost)
    }

    /// Tokens may sit in other cores' slices for a tick: then the request is refused for now, without a block.
    fn pass(&mut self, at: &str) -> Option<(u32, u32)> {
        for _ in 0..4 {
            match self.ask() {
                Ok(permit) => return permit.numbers(),
                Err(refusal) => {
                    assert!(self.lenient(), "{at}: {refusal:?}");
                    assert_eq!(
                        refusal.retry_after_s, 1,
                        "{at}: a block while tokens are left"
                    );
                    self.settle();
                }
            }
        }
        panic!("{at}: refused though the tokens are there")
    }

    /// Only several cores with slices may hide tokens from each other, for a tick.
    fn lenient(&self) -> bool {
        self.settles && self.world.cores.len() > 1
    }

    /// What the other cores may have spent without having settled.
    fn unseen(&self) -> u32 {
        if self.lenient() { self.limits.rpm } else { 0 }
    }

    fn settle(&mut self) {
        if self.settles {
            self.world.tick();
            self.world.tick();
        }
    }
}

pub fn stage<'a>(story: &Story, who: Who<'a>, cores: usize, slices: bool, start: u64) -> Stage<'a> {
    let world = World::new(story.limits.settings(cores, slices), start);
    Stage {
        world,
        who,
        limits: story.limits,
        cost: story.cost,
        next_core: 0,
        settles: slices,
    }
}

/// Makes the cores believe that the key is hot, so that they fill slices; then the bucket is full again, nothing out on loan.
pub fn warm(stage: &mut Stage<'_>) {
    for _ in 0..40 {
        for core in 0..stage.world.cores.len() {
            for _ in 0..10 {
                let _ = stage.world.take(core, stage.who, 1);
            }
        }
        stage.world.tick();
    }
    stage.settle();
    stage.play(&Reset, "warm");
}
