//! One call of the lease script: its arguments and its reply as values. Not the connection they travel on.
//! Invariant: a reply that cannot be read is no reply; nothing is guessed from half of one.
use std::fmt::Write as _;

use super::epoch::Epoch;
use super::reset::Wish;
use crate::limit::key::{Hash, Name};
use crate::limit::limits::{Limits, TOKEN_UNITS};

/// The script that decides in the store.
pub const SCRIPT: &str = include_str!("../lease.lua");

/// Arguments of a call.
const ARGUMENTS: usize = 21;
/// Values of a reply.
const REPLY_FIELDS: usize = 14;

/// Names a call, so that its reply finds it: the key's hash and the call's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallId {
    pub(super) hash: Hash,
    pub(super) seq: u64,
}

/// A call to be sent: one key, one atomic step in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Gives the reply back its place.
    pub id: CallId,
    /// `KEYS[1]`.
    pub key: Box<str>,
    /// `ARGV`, without the clock of tests.
    pub arguments: Vec<String>,
}

/// What a call says, before it is written down.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    pub(super) held: u32,
    pub(super) ret: u32,
    pub(super) owed: u32,
    pub(super) waiting: u32,
    pub(super) cost: u32,
    pub(super) want: u32,
    pub(super) tau_ms: u64,
    pub(super) told: u64,
    pub(super) age_ms: u64,
    pub(super) left_ms: u64,
    pub(super) reset: Option<Wish>,
    /// The time of the last reset of all keys, in the store's ms; 0 = none.
    pub(super) all_ms: u64,
    /// How long a grant lasts that is for waiting requests alone.
    pub(super) brief_ms: u64,
}

impl Call {
    pub(super) fn new(
        id: CallId,
        name: &Name,
        (site, known): (&str, &Epoch),
        terms: &Terms,
        limits: &Limits,
    ) -> Self {
        let block_ms = limits.block_ns / 1_000_000;
        let mut numbers = String::with_capacity(128);
        for number in [
            u64::from(terms.held),
            u64::from(terms.ret),
            u64::from(terms.owed),
            u64::from(terms.waiting),
            u64::from(terms.cost.max(1)),
            u64::from(terms.want),
            terms.tau_ms,
            terms.told,
            terms.age_ms,
            terms.left_ms,
            limits.version,
            u64::from(limits.rpm),
            u64::from(limits.burst),
            TOKEN_UNITS,
            block_ms,
        ] {
            // Writing to a string does not fail.
            let _ = write!(numbers, "{number} ");
        }
        let mut arguments = Vec::with_capacity(ARGUMENTS);
        arguments.extend([site.to_owned(), id.seq.to_string(), known.to_string()]);
        arguments.extend(numbers.split_ascii_whitespace().map(str::to_owned));
        let reset = terms.reset.map(|wish| wish.written(limits));
        arguments.push(reset.unwrap_or_else(|| "0".to_owned()));
        arguments.push(terms.all_ms.to_string());
        arguments.push(terms.brief_ms.to_string());
        Self {
            id,
            key: name.store_name(),
            arguments,
        }
    }
}

/// How the store judged a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Judged by the bucket.
    Judged,
    /// The key is blocked.
    Blocked,
    /// The call ran before, or a later one did; its own answer is lost.
    Repeated,
    /// Too few tokens here, but others may hold some: no block yet.
    Short,
    /// A reset came too late, or too soon after another one. Nothing was changed.
    NotReset,
}

/// What the script said. Times in ms, `level` in 1/60000 token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub(super) status: Status,
    pub(super) grant: u32,
    pub(super) kept: u32,
    pub(super) lease_ms: u64,
    pub(super) level: u64,
    pub(super) out: u32,
    pub(super) soon_ms: u64,
    pub(super) block_ms: u64,
    pub(super) epoch: Epoch,
    pub(super) limits: Limits,
}

impl Reply {
    /// Reads the script's values; the epoch is the only one that is no number. None: this is not such a reply.
    pub fn read(numbers: &[i64], epoch: &str) -> Option<Self> {
        if numbers.len() != REPLY_FIELDS - 1 {
            return None;
        }
        let number = |at: usize| numbers.get(at).and_then(|n| u64::try_from(*n).ok());
        let small = |at: usize| number(at).and_then(|n| u32::try_from(n).ok());
        let status = match number(0)? {
            0 => Status::Judged,
            1 => Status::Blocked,
            2 => Status::Repeated,
            3 => Status::Short,
            4 => Status::NotReset,
            _ => return None,
        };
        // W is the same everywhere: it is not a setting.
        number(11).filter(|units| *units == TOKEN_UNITS)?;
        Some(Self {
            status,
            grant: small(1)?,
            kept: small(2)?,
            lease_ms: number(3)?,
            level: number(4)?,
            out: small(5)?,
            soon_ms: number(6)?,
            block_ms: number(7)?,
            epoch: Epoch::read(epoch),
            limits: Limits::new(small(9)?, small(10)?, number(12)?, number(8)?),
        })
    }
}
