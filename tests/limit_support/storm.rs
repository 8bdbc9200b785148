//! Four threads with a core each on the same few keys, while one thread moves the clock, resets keys and changes limits. Not the
//! judge: it fills the ledgers. Invariant: the clock moves on only when every worker has finished some requests since its
//! last step, so a request sees at most one step and the ledger knows its time.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;

use dbpower_gateway::limit::{Core, Counters, IpKey, Key, Node, OrgKey, Policy, Refusal};

use crate::ledger::{Ledger, Timeline};
use crate::limit_support::{Limits, MINUTE, MS, Random, SECOND, TICK, Who, limits};

const WORKERS: usize = 4;
const STEPS: usize = 1_000;
/// Requests that every worker finishes at every step: enough to drain a hundred keys, however slow the machine.
const REQUESTS_PER_STEP: u64 = 16;

/// What is let loose.
#[derive(Clone, Copy)]
pub(crate) struct Storm {
    pub(crate) name: &'static str,
    pub(crate) limits: Limits,
    pub(crate) keys: u64,
    pub(crate) keys_max: usize,
    /// Now and then so much time passes that buckets fill up.
    pub(crate) jumps: bool,
    /// ... so often that most of the run is about full buckets that are used and evicted at the same moment.
    pub(crate) restless: bool,
    pub(crate) resets: bool,
    /// Requests of keys that never come back press the others out of the table.
    pub(crate) strangers: bool,
    /// Limits that alternate with the first ones.
    pub(crate) other_limits: Option<Limits>,
}

/// One hot key, and time that jumps.
pub(crate) const CALM: Storm = Storm {
    name: "",
    limits: limits(600, 0, 0),
    keys: 1,
    keys_max: 4_096,
    jumps: true,
    restless: false,
    resets: false,
    strangers: false,
    other_limits: None,
};

/// Each presses on another place.
pub(crate) const STORMS: [Storm; 15] = [
    Storm {
        name: "one key",
        ..CALM
    },
    Storm {
        name: "one key with blocks",
        limits: limits(600, 120, 3_000),
        ..CALM
    },
    Storm {
        name: "three keys, many tokens",
        limits: limits(1_500, 500, 0),
        keys: 3,
        ..CALM
    },
    Storm {
        name: "three keys with blocks and resets",
        limits: limits(600, 0, 3_000),
        keys: 3,
        resets: true,
        ..CALM
    },
    Storm {
        name: "one key, resets",
        resets: true,
        ..CALM
    },
    Storm {
        name: "a hundred keys",
        limits: limits(60, 20, 0),
        keys: 100,
        ..CALM
    },
    Storm {
        name: "a hundred keys with blocks",
        limits: limits(60, 20, 3_000),
        keys: 100,
        ..CALM
    },
    Storm {
        name: "another burst",
        keys: 3,
        other_limits: Some(limits(600, 1_000, 0)),
        ..CALM
    },
    Storm {
        name: "another rate",
        keys: 3,
        other_limits: Some(limits(2_000, 100, 0)),
        ..CALM
    },
    Storm {
        name: "evictions",
        keys: 3,
        keys_max: 8,
        strangers: true,
        ..CALM
    },
    Storm {
        name: "evictions with blocks",
        limits: limits(600, 0, 3_000),
        keys: 3,
        keys_max: 8,
        strangers: true,
        ..CALM
    },
    Storm {
        name: "a hundred keys in sixteen slots",
        limits: limits(60, 20, 0),
        keys: 100,
        keys_max: 16,
        strangers: true,
        ..CALM
    },
    Storm {
        name: "blocks that outlive full buckets in a full table",
        limits: limits(600, 0, 90_000),
        keys: 3,
        keys_max: 8,
        strangers: true,
        ..CALM
    },
    Storm {
        name: "small buckets that are full, used and evicted all the time",
        limits: limits(10, 0, 0),
        keys: 3,
        keys_max: 8,
        restless: true,
        strangers: true,
        ..CALM
    },
    Storm {
        name: "all at once",
        limits: limits(600, 0, 2_000),
        keys: 3,
        keys_max: 8,
        resets: true,
        strangers: true,
        other_limits: Some(limits(1_500, 100, 2_000)),
        ..CALM
    },
];

/// What came of it. Ledgers and totals stand in the order of `Storm::all_keys`.
pub(crate) struct Outcome {
    pub(crate) node: Arc<Node>,
    pub(crate) limits: Limits,
    pub(crate) end: u64,
    pub(crate) totals: Vec<u64>,
    pub(crate) excess: i128,
    pub(crate) served_while_blocked: bool,
    pub(crate) counters: Counters,
}

/// A request's keys, with their own text.
#[derive(Debug)]
pub(crate) struct OwnedWho {
    org: Option<String>,
    ip: Option<IpAddr>,
}

impl OwnedWho {
    pub(crate) fn borrowed(&self) -> Who<'_> {
        Who {
            org: self.org.as_deref(),
            ip: self.ip,
        }
    }
}

/// What the workers and the clock's thread share.
struct Sky {
    node: Arc<Node>,
    at: Vec<u64>,
    step: AtomicUsize,
    done: AtomicBool,
    finished: [AtomicU64; WORKERS],
}

/// What one worker saw.
struct Diary {
    ledgers: Vec<Ledger>,
    /// By key and step: a refusal up to the step before said that the block lasts longer than this.
    blocks: Vec<Vec<u64>>,
    counters: Counters,
}

impl Storm {
    pub(crate) fn begin(&self) -> u64 {
        77 * SECOND
    }

    /// Kind 0: the organization, 1: the address, else both.
    pub(crate) fn who(&self, key: u64, kind: u64) -> OwnedWho {
        let host = Ipv4Addr::from(0x0A00_0000 | u32::try_from(key).unwrap_or(u32::MAX));
        OwnedWho {
            org: (kind != 1).then(|| format!("org {key}")),
            ip: (kind != 0).then_some(host.into()),
        }
    }

    /// All organizations, then all addresses.
    pub(crate) fn all_keys(&self) -> Vec<Key> {
        [0, 1]
            .into_iter()
            .flat_map(|kind| (0..self.keys).map(move |key| (key, kind)))
            .flat_map(|(key, kind)| self.who(key, kind).borrowed().keys())
            .collect()
    }

    pub(crate) fn blow(&self, seed: u64) -> Outcome {
        let mut random = Random::new(seed);
        let mut settings = self.limits.settings(WORKERS, true);
        settings.keys_max = self.keys_max;
        let mut time = self.timeline(&mut random);
        let sky = Sky {
            node: Node::new(settings),
            at: time.at.clone(),
            step: AtomicUsize::new(0),
            done: AtomicBool::new(false),
            finished: Default::default(),
        };
        let mut limits = self.limits;
        let mut lines = Vec::new();
        let diaries: Vec<Diary> = thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS)
                .map(|index| {
                    let (sky, random) = (&sky, Random::new(seed * 100 + index as u64));
                    scope.spawn(move || self.work(sky, index, random))
                })
                .collect();
            (limits, lines) = self.drive(&sky, &mut time, &mut random);
            workers
                .into_iter()
                .filter_map(|worker| worker.join().ok())
                .collect()
        });
        assert_eq!(
            diaries.len(),
            WORKERS,
            "{}, seed {seed}: a worker panicked",
            self.name
        );
        self.outcome(sky, limits, &lines, diaries)
    }

    /// Steps of about a token; now and then one that fills buckets in part or wholly.
    fn timeline(&self, random: &mut Random) -> Timeline {
        let mut time = Timeline::default();
        let mut now = self.begin();
        for step in 0..STEPS {
            time.step(now);
            now += match random.below(if self.restless { 6 } else { 60 }) {
                0 if self.jumps => self.limits.fill_ns() + MINUTE,
                1 if self.jumps => random.below(self.limits.fill_ns()),
                2 if self.jumps => 3 * SECOND,
                _ => random.below(if step % 200 < 100 { 2 * MS } else { 20 * MS }),
            };
        }
        time
    }

    /// Moves the clock, resets keys, changes limits. Gives the limits that hold in the end, and the time line of every key.
    fn drive(
        &self,
        sky: &Sky,
        time: &mut Timeline,
        random: &mut Random,
    ) -> (Limits, Vec<Timeline>) {
        let keys = self.all_keys();
        let mut lines = vec![time.clone(); keys.len()];
        let mut limits = self.limits;
        for step in 0..STEPS {
            sky.step.store(step, SeqCst);
            let seen = sky
                .finished
                .each_ref()
                .map(|finished| finished.load(SeqCst));
            let now = sky.at[step];
            if self.resets && random.one_in(40) {
                let key = random.index(keys.len());
                sky.node.reset(&keys[key], now);
                for (nth, line) in lines.iter_mut().enumerate() {
                    // In a full table keys share buckets, and so they share their resets.
                    if nth == key || self.strangers {
                        line.credit[step] += self.most().capacity();
                    }
                }
            }
            if let Some(other) = self.other_limits
                && random.one_in(50)
            {
                let new = if limits.capacity() == other.capacity() {
                    self.limits
                } else {
                    other
                };
                sky.node.set_limits(new.rpm, new.burst, new.block_ms, now);
                // The time since a bucket's last refill counts at the new rate, and a blocked bucket's was long ago.
                let faster = if new.rpm > limits.rpm {
                    self.most().capacity()
                } else {
                    0
                };
                for line in &mut lines {
                    line.credit[step] += faster + new.capacity().saturating_sub(limits.capacity());
                }
                limits = new;
            }
            let behind = |worker: usize| {
                sky.finished[worker].load(SeqCst) < seen[worker] + REQUESTS_PER_STEP
            };
            while (0..WORKERS).any(behind) {
                thread::yield_now();
            }
        }
        sky.done.store(true, SeqCst);
        (limits, lines)
    }

    /// The largest L and C that are in force at any time.
    fn most(&self) -> Limits {
        let mut most = self.limits;
        if let Some(other) = self.other_limits {
            most.rpm = most.rpm.max(other.rpm);
            most.burst = most.burst.max(other.burst);
        }
        most
    }

    fn strangers_per_batch(&self) -> u64 {
        match (self.strangers, self.restless) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 30,
        }
    }

    /// Without a block a refusal says only when the next tokens come; a reset lifts a block that others still know.
    fn judges_blocks(&self) -> bool {
        self.limits.block_ms > 0 && !self.resets
    }

    fn work(&self, sky: &Sky, index: usize, mut random: Random) -> Diary {
        let mut core = Core::new(Arc::clone(&sky.node), index);
        let keys = usize::try_from(self.keys).unwrap_or(1);
        let whos: Vec<_> = (0..self.keys).map(|key| self.who(key, 2)).collect();
        let mut diary = Diary {
            ledgers: vec![Ledger::new(STEPS); 2 * keys],
            blocks: vec![vec![0; STEPS + 1]; 2 * keys],
            counters: core.counters(),
        };
        let clock = || sky.at[sky.step.load(SeqCst)];
        let mut next_tick = 0;
        while !sky.done.load(SeqCst) {
            for _ in 0..1 + random.below(40) {
                let key = random.index(keys);
                let kind = random.below(3);
                let org = whos[key]
                    .org
                    .as_deref()
                    .filter(|_| kind != 1)
                    .map(OrgKey::new);
                let ip = whos[key].ip.filter(|_| kind != 0).map(IpKey::from);
                let cost = if random.one_in(5) { random.cost(5) } else { 1 };
                let before = sky.step.load(SeqCst);
                let verdict = core.take(org, ip, cost, &clock);
                let after = sky.step.load(SeqCst);
                sky.finished[index].fetch_add(1, SeqCst);
                diary.note(sky, key, kind, cost, (before, after), verdict.err());
            }
            for _ in 0..self.strangers_per_batch() {
                let stranger = self.who(1_000 + random.below(1 << 20), random.below(3));
                let (org, ip) = (
                    stranger.org.as_deref().map(OrgKey::new),
                    stranger.ip.map(IpKey::from),
                );
                let _ = core.take(org, ip, 1, &clock);
            }
            if clock() >= next_tick {
                core.tick(clock());
                // Workers wake up late at times.
                next_tick = clock() + TICK * (1 + random.below(2));
            }
            thread::yield_now();
        }
        let end = sky.at[STEPS - 1];
        core.tick(end + TICK);
        core.tick(end + 2 * TICK);
        diary.counters = core.counters();
        diary
    }

    fn outcome(self, sky: Sky, limits: Limits, lines: &[Timeline], diaries: Vec<Diary>) -> Outcome {
        let sum = |of: fn(&Counters) -> u64| diaries.iter().map(|diary| of(&diary.counters)).sum();
        let counters = Counters {
            slice: sum(|c| c.slice),
            node: sum(|c| c.node),
            cached_refusal: sum(|c| c.cached_refusal),
            refused: sum(|c| c.refused),
            overflow: sum(|c| c.overflow),
            waited: sum(|c| c.waited),
        };
        let (mut totals, mut excess, mut served_while_blocked) = (Vec::new(), i128::MIN, false);
        for (key, line) in lines.iter().enumerate() {
            let mut ledger = Ledger::new(STEPS);
            let mut blocks = vec![0; STEPS + 1];
            for diary in &diaries {
                ledger.merge(&diary.ledgers[key]);
                for (all, one) in blocks.iter_mut().zip(&diary.blocks[key]) {
                    *all = one.max(all).to_owned();
                }
            }
            excess = excess.max(ledger.excess(self.most(), line));
            served_while_blocked |=
                self.judges_blocks() && ledger.breaks_a_block(&line.at, &blocks);
            totals.push(ledger.total);
        }
        let end = sky.at[STEPS - 1] + 2 * TICK;
        Outcome {
            node: sky.node,
            limits,
            end,
            totals,
            excess,
            served_while_blocked,
            counters,
        }
    }
}

impl Diary {
    fn note(
        &mut self,
        sky: &Sky,
        key: usize,
        kind: u64,
        cost: u32,
        steps: (usize, usize),
        refusal: Option<Refusal>,
    ) {
        let (org, ip) = (key, self.ledgers.len() / 2 + key);
        let Some(refusal) = refusal else {
            for ledger in [(kind != 1, org), (kind != 0, ip)]
                .into_iter()
                .filter_map(|(asked, at)| asked.then_some(at))
            {
                self.ledgers[ledger].admit(steps.0, steps.1, cost);
            }
            return;
        };
        let refusing = if refusal.policy == Policy::Ip {
            ip
        } else {
            org
        };
        let left = u64::from(refusal.retry_after_s - 1) * SECOND;
        let block = &mut self.blocks[refusing][steps.1 + 1];
        *block = (*block).max(sky.at[steps.0] + left);
    }
}
