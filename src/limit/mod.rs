//! The rate limiter: one exact token bucket per organization and per client address, shared by all cores, and by all nodes if tokens
//! are leased from a store (`exchange`). No clock: every call is told the time in ns. Pure: no I/O, no unsafe, integers only.
//!
//! A bucket holds at most C = L + B tokens, is full when first seen and refilled at L per minute. A request takes `cost` from its
//! address and from its organization, or is refused and takes nothing. With D > 0 the first refusal blocks the key for D.
//!
//! Exactness in memory mode (`exchange` has the proof of the other): for every key and every t seconds at most C + L*t/60 tokens are admitted. Let H = pool + lent + a refill under way.
//! * H <= C. Refill is at most C - pool - lent, read before its lock was taken and again in its CAS; only one refill at a time.
//! * An admission lowers H at once (pool) or when its slice settles (lent), never later: slices count in full until then.
//! * Refill moves `mark` by whole tokens of ceil(60 s / L), and to now where it fills the bucket: no time is paid twice, and a full
//!   bucket saves none.
//! * A bucket is forgotten only while full, unblocked and unlent: the fresh one that follows it is the same bucket.
//!
//! So admitted(s, e) <= H(s) - H(e) + refill(s, e) <= C + L*t/60. New limits and resets add what the operator asked for.
//!
//! | file | what it does |
//! |---|---|
//! | `core`, `core/leased` | one worker: the order of the checks, in memory mode and with leases |
//! | `exchange` | lease mode: calls, replies, outages; told the time, it sends nothing itself |
//! | `lease.lua` | lease mode: the step that the store makes |
//! | `index` | one worker: key -> slot, demand |
//! | `slice` | one worker: tokens taken ahead for busy keys |
//! | `node` | what all share, and what an operator does |
//! | `table` | bounded slots, clock hand, overflow buckets |
//! | `slot` | one bucket: refill, take, block, evict |
//! | `word`, `limits` | the arithmetic |
//! | `key`, `answer` | what goes in and what comes out |
mod answer;
mod core;
mod exchange;
mod index;
mod key;
mod limits;
mod node;
mod slice;
mod slot;
mod table;
#[cfg(test)]
mod tests;
mod word;

pub use self::core::{Claim, Core, Counters, Letter, Outcome};
pub use answer::{Permit, Policy, Refusal};
pub use exchange::{
    Call, CallId, Exchange, Hint, OnOutage, Reply, Reset, SCRIPT, Status, Traffic, Verdict,
    WAITING_MAX, Wish,
};
pub use key::{IpKey, Key, OrgKey};
pub use node::{Info, Node, Settings};
