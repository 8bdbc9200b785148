//! Ten million keys against one node: memory stays within the stated bound, and nobody gets rid of a block or of an empty bucket by
//! pressing it out of the table. Not the bound of a single key (`limit_exact.rs`). Invariant: one test in this file, since the
//! allocator counts for the whole process; only the first thread moves the clock, so every verdict on a suspect is known.
//!
//! Mistakes planted in a copy of the limiter that fail here: a bucket evicted that is not full, a table four times as large as it says,
//! evicted keys that stay in the map.
#![allow(clippy::panic, reason = "a test may fail loudly")]

mod limit_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;

use dbpower_gateway::limit::{Core, Counters, IpKey, Node, OrgKey, Settings};
use limit_support::{Bucket, Limits, MINUTE, SECOND, TICK, limits};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grown(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(live, Relaxed);
}

#[allow(
    unsafe_code,
    reason = "an allocator cannot be written without; it only counts"
)]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks live for a moment.
        grown(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KEYS: u64 = 10_000_000;
const KEYS_MAX: usize = 60_000;
const THREADS: usize = 2;
const LIMITS: Limits = limits(100, 20, 60_000);
/// A suspect is asked, and a tick is thought of, after so many keys.
const BETWEEN: u64 = 500;
const SUSPECTS: u64 = 40;

/// What both threads share besides the node. The first one moves the clock; neither runs far ahead of the other, or the table would
/// see another flood on a busy machine.
#[derive(Default)]
struct Pace {
    clock: AtomicU64,
    done: [AtomicU64; THREADS],
}

impl Pace {
    const AHEAD_MAX: u64 = 20_000;

    fn wait_for_the_other(&self, thread: usize, nth: u64) {
        self.done[thread].store(nth, Relaxed);
        while self.done[1 - thread]
            .load(Relaxed)
            .saturating_add(Self::AHEAD_MAX)
            < nth
        {
            thread::yield_now();
        }
    }
}

/// Lets the other thread go on alone when this one ends, in whatever way.
struct Running<'a>(&'a AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(u64::MAX, Relaxed);
    }
}

/// The time until the first thread's next key, in ns. For the first sixth slots come free as fast as keys come, so each key has one
/// of its own and presses another out; then they come far faster, with lulls, and share overflow buckets.
fn pause(nth: u64) -> u64 {
    let lull = nth < 800_000 || nth / 200_000 % 4 == 3;
    if lull { 72_000 } else { 1_000 }
}

/// Asks for the `n`-th key: an organization, an IPv4 address, or an IPv6 network.
fn ask(core: &mut Core, n: u64, now: u64) -> bool {
    let clock = || now;
    match n % 3 {
        0 => {
            let mut text = [0_u8; 20];
            let mut rest = &mut text[..];
            let written = write!(rest, "{n}").is_ok();
            let length = 20 - rest.len();
            let org = std::str::from_utf8(&text[..length]).unwrap_or_default();
            written && core.take(Some(OrgKey::new(org)), None, 1, &clock).is_ok()
        }
        1 => {
            let address = Ipv4Addr::from(u32::try_from(n).unwrap_or(u32::MAX));
            core.take(
                None,
                Some(IpKey::from(std::net::IpAddr::V4(address))),
                1,
                &clock,
            )
            .is_ok()
        }
        _ => {
            let address = Ipv6Addr::from(u128::from(n) << 64 | 1);
            core.take(
                None,
                Some(IpKey::from(std::net::IpAddr::V6(address))),
                1,
                &clock,
            )
            .is_ok()
        }
    }
}

/// Numbers above the flood's own.
const FIRST_SUSPECT: u64 = KEYS;
const FIRST_LATE: u64 = KEYS + 1_000;
const FIRST_FRESH: u64 = KEYS + 10_000_000;

/// A key whose bucket was emptied before the flood, and the exact bucket beside it. Never full from then on, so it keeps its slot
/// and every verdict is known.
struct Suspect {
    key: u64,
    /// Not asked before: by then so much refill is there, and no more.
    from: u64,
    exact: Bucket,
}

fn suspects(core: &mut Core, now: u64) -> Vec<Suspect> {
    let mut suspects = Vec::new();
    for nth in 0..SUSPECTS {
        let mut suspect = Suspect {
            key: FIRST_SUSPECT + nth,
            from: now + nth * 3 * SECOND / 2,
            exact: Bucket::full(LIMITS, now),
        };
        // The first is blocked from the start, the others are only empty.
        let asked = LIMITS.capacity() + u64::from(nth == 0);
        for _ in 0..asked {
            suspect.ask(core, now);
        }
        suspects.push(suspect);
    }
    core.tick(now + TICK);
    suspects
}

impl Suspect {
    /// One request; true if it was served.
    fn ask(&mut self, core: &mut Core, now: u64) -> bool {
        let (served, exact) = (ask(core, self.key, now), self.exact.take(1, now));
        let (key, blocked_until) = (self.key, self.exact.blocked_until);
        assert_eq!(
            served,
            exact.is_ok(),
            "suspect {key} at {now} ns, blocked until {blocked_until}"
        );
        served
    }
}

/// A key that comes in the middle of the flood may be refused too often, but never gets more than an exact bucket gives.
struct Late {
    key: u64,
    exact: Bucket,
}

impl Late {
    fn ask(&mut self, core: &mut Core, now: u64) {
        if ask(core, self.key, now) {
            assert!(
                self.exact.take(1, now).is_ok(),
                "key {} got more than its bucket at {now} ns",
                self.key
            );
        }
    }
}

/// One thread's half of the flood.
fn flood(node: &Arc<Node>, thread: usize, pace: &Pace) -> (Core, u64) {
    let _running = Running(&pace.done[thread]);
    let mut core = Core::new(Arc::clone(node), thread);
    let mut watched = if thread == 0 {
        suspects(&mut core, pace.clock.load(Relaxed))
    } else {
        Vec::new()
    };
    let unblocked = limits(LIMITS.rpm, LIMITS.burst, 0);
    let mut late = Vec::new();
    let (mut next_tick, mut served) = (0, 0);
    for nth in 0..KEYS / THREADS as u64 {
        let step = if thread == 0 { pause(nth) } else { 0 };
        let now = pace.clock.fetch_add(step, Relaxed);
        served += u64::from(ask(&mut core, nth * THREADS as u64 + thread as u64, now));
        if nth % BETWEEN != 0 {
            continue;
        }
        pace.wait_for_the_other(thread, nth);
        if now >= next_tick {
            core.tick(now);
            next_tick = now + TICK;
        }
        if !watched.is_empty() {
            // In turn, so that none has time to fill up between its block's end and the next visit.
            let turn = usize::try_from(nth / BETWEEN).unwrap_or(0) % watched.len();
            let suspect = &mut watched[turn];
            // All that is there, and one more.
            while now >= suspect.from && suspect.ask(&mut core, now) {}
        }
        if nth == 500_000 || nth == 3_000_000 {
            let bucket = || Bucket::full(unblocked, now);
            let first = FIRST_LATE + nth + 10 * thread as u64;
            late.extend((first..first + 6).map(|key| Late {
                key,
                exact: bucket(),
            }));
        }
        for late in &mut late {
            late.ask(&mut core, now);
        }
    }
    (core, served)
}

#[test]
fn ten_million_keys_do_not_free_a_suspect_nor_fill_the_memory() {
    let settings = Settings {
        keys_max: KEYS_MAX,
        ..LIMITS.settings(THREADS, true)
    };
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let node = Node::new(settings);
    let pace = Pace::default();
    pace.clock.store(MINUTE, Relaxed);
    let halves: Vec<(Core, u64)> = thread::scope(|scope| {
        let (node, pace) = (&node, &pace);
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || flood(node, thread, pace)))
            .collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect()
    });
    assert_eq!(halves.len(), THREADS, "a thread found something wrong");
    let (mut cores, served): (Vec<Core>, Vec<u64>) = halves.into_iter().unzip();
    let (growth, bound) = (
        PEAK.load(Relaxed) - before,
        Node::memory_bytes_max(&settings),
    );
    let counters: Vec<Counters> = cores.iter().map(Core::counters).collect();
    println!(
        "{growth} of {bound} bytes, {} slots, served {served:?}, {counters:?}",
        node.keys()
    );
    assert!(growth <= bound, "{growth} bytes, stated are {bound}");
    // The allocator does count, the bound is not a fantasy, the table was full and keys did have to share.
    assert!(
        growth > KEYS_MAX * 64 && growth > bound / 4,
        "{growth} of {bound} bytes"
    );
    assert!(
        (KEYS_MAX * 9 / 10..=KEYS_MAX).contains(&node.keys()),
        "{} slots",
        node.keys()
    );
    assert!(
        counters.iter().all(|counters| counters.overflow > 1_000),
        "{counters:?}"
    );
    assert!(served.iter().sum::<u64>() > KEYS / 8, "{served:?}");
    let passed = pace.clock.load(Relaxed) - MINUTE;
    assert!(
        passed > 80 * SECOND,
        "no block came to its end within {passed} ns"
    );
    // The flood has passed; blocks and overflow buckets have had their time.
    let now = pace.clock.load(Relaxed) + LIMITS.fill_ns() + LIMITS.block_ns();
    for (nth, key) in (FIRST_FRESH..FIRST_FRESH + 3_000).enumerate() {
        assert!(
            ask(&mut cores[nth % THREADS], key, now),
            "honest key {key} is refused"
        );
    }
}
