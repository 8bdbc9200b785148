//! Tokens that this core has verified within the last minute. Not here: verification itself; not shared: one per core.
//! Invariant: an entry is used only for the very same token bytes, under the same keys, before `exp` and within 60 s.

use std::sync::Arc;

use ahash::RandomState;

use super::compact::TOKEN_BYTES_MAX;
use super::{Identity, Refusal, Verifier, Why};

/// Tokens remembered per core. A miss costs about two microseconds, so a larger cache would save little.
pub const CACHE_ENTRIES_MAX: usize = 4096;
/// How long a verification is believed, in milliseconds.
pub const CACHE_MS_MAX: u64 = 60_000;

/// Hashes remembered of tokens that were not kept.
const SEEN: usize = CACHE_ENTRIES_MAX;

/// Entries that one hash value can go to; their tags fill one cache line.
const WAYS: usize = 8;
const SETS: usize = CACHE_ENTRIES_MAX / WAYS;
/// Tag of a free way; a real tag has its lowest bit set.
const FREE: u64 = 0;

const _: () = assert!(SETS.is_power_of_two() && SETS * WAYS == CACHE_ENTRIES_MAX);
const _: () = assert!(
    CACHE_ENTRIES_MAX * TOKEN_BYTES_MAX <= 32 * 1024 * 1024,
    "the longest tokens in every way, and only genuine ones, take 32 MiB of keys per core"
);

/// A core's verified tokens: 8-way sets, a clock hand in each.
///
/// Refused tokens are not remembered: there is no end of them, and they would push out the good ones. Nor does a token push out
/// another one when it is first seen (the doorkeeper of TinyLFU, Einziger et al. 2017, 3.4.2): those that come once neither cost an
/// entry nor the ones that come again theirs.
pub struct Cache {
    generation: u64,
    hasher: RandomState,
    tags: Box<[[u64; WAYS]]>,
    entries: Box<[[Option<Entry>; WAYS]]>,
    hands: Box<[u8]>,
    /// By hash, the last token each that found no room.
    seen: Box<[u64]>,
}

struct Entry {
    token: Box<[u8]>,
    identity: Arc<Identity>,
    /// When it was verified, and for how long from then it may be believed.
    verified_ms: u64,
    lifetime_ms: u64,
    /// Asked for since the hand came by: gets a second round.
    used: bool,
}

impl Entry {
    /// One comparison also ends an entry whose verification lies in the future, as after a step of the clock.
    fn is_live(&self, now_ms: u64) -> bool {
        now_ms.wrapping_sub(self.verified_ms) < self.lifetime_ms
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

impl Cache {
    /// An empty cache with hash keys of its own, which a client cannot know and so cannot aim at one set.
    #[must_use]
    pub fn new() -> Self {
        Self {
            generation: 0,
            hasher: RandomState::new(),
            tags: vec![[FREE; WAYS]; SETS].into_boxed_slice(),
            entries: std::iter::repeat_with(|| [const { None }; WAYS])
                .take(SETS)
                .collect(),
            hands: vec![0; SETS].into_boxed_slice(),
            seen: vec![0; SEEN].into_boxed_slice(),
        }
    }

    /// The token's identity: remembered, or verified now. A remembered one costs one hash and no allocation.
    ///
    /// # Errors
    /// As [`Verifier::verify`].
    pub fn identify(
        &mut self,
        verifier: &Verifier,
        token: &[u8],
        now_ms: u64,
    ) -> Result<Arc<Identity>, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Invalid(Why::TooLong));
        }
        if self.generation != verifier.generation() {
            self.clear();
            self.generation = verifier.generation();
        }
        let hash = self.hasher.hash_one(token);
        if let Some(identity) = self.find(hash, token, now_ms) {
            return Ok(identity);
        }
        let identity = Arc::new(verifier.verify(token, now_ms)?);
        self.keep(hash, token, &identity, now_ms);
        Ok(identity)
    }

    /// Apart from `identify` so that a test can make two tokens meet in one hash.
    pub(super) fn find(&mut self, hash: u64, token: &[u8], now_ms: u64) -> Option<Arc<Identity>> {
        let (set, tag) = place(hash);
        let tags = self.tags.get(set)?;
        let entries = self.entries.get_mut(set)?;
        for (found, entry) in tags.iter().zip(entries) {
            let Some(entry) = entry.as_mut().filter(|_| *found == tag) else {
                continue;
            };
            // Not constant in time, and need not be: to reach it, 60 bits of a secret hash must match already.
            if *entry.token == *token && entry.is_live(now_ms) {
                entry.used = true;
                return Some(Arc::clone(&entry.identity));
            }
        }
        None
    }

    pub(super) fn keep(&mut self, hash: u64, token: &[u8], identity: &Arc<Identity>, now_ms: u64) {
        let (set, tag) = place(hash);
        let (Some(tags), Some(entries), Some(hand)) = (
            self.tags.get_mut(set),
            self.entries.get_mut(set),
            self.hands.get_mut(set),
        ) else {
            return;
        };
        let way = match free_way(entries, token, now_ms) {
            Some(way) => way,
            None if has_seen(&mut self.seen, hash) => unused_way(entries, hand),
            None => return,
        };
        let (Some(slot), Some(entry)) = (tags.get_mut(way), entries.get_mut(way)) else {
            return;
        };
        *slot = tag;
        *entry = Some(Entry {
            token: token.into(),
            identity: Arc::clone(identity),
            verified_ms: now_ms,
            lifetime_ms: identity
                .expires_ms()
                .saturating_sub(now_ms)
                .min(CACHE_MS_MAX),
            used: false,
        });
    }

    fn clear(&mut self) {
        self.tags.fill([FREE; WAYS]);
        for entries in &mut self.entries {
            *entries = [const { None }; WAYS];
        }
    }
}

/// Set and tag of a hash: low bits choose the set, the others and a mark make the tag.
fn place(hash: u64) -> (usize, u64) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only the low bits choose the set"
    )]
    let set = hash as usize & (SETS - 1);
    (set, hash | 1)
}

/// Whether this hash was the last to come here, as it is from now on.
fn has_seen(seen: &mut [u64], hash: u64) -> bool {
    // The low bits have chosen the set.
    let place = (hash >> 32) as usize % SEEN;
    let last = seen.get_mut(place);
    last.is_some_and(|last| std::mem::replace(last, hash) == hash)
}

/// A free, outlived or equal way.
fn free_way(entries: &[Option<Entry>; WAYS], token: &[u8], now_ms: u64) -> Option<usize> {
    entries.iter().position(|entry| match entry {
        None => true,
        Some(entry) => *entry.token == *token || !entry.is_live(now_ms),
    })
}

/// The first way that the hand finds unused.
fn unused_way(entries: &mut [Option<Entry>; WAYS], hand: &mut u8) -> usize {
    // Two rounds suffice: the first clears every mark.
    for _ in 0..2 * WAYS {
        let way = usize::from(*hand) % WAYS;
        *hand = hand.wrapping_add(1);
        match entries.get_mut(way).and_then(Option::as_mut) {
            Some(entry) if entry.used => entry.used = false,
            _ => return way,
        }
    }
    0
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Tokens are credentials; they never reach a log.
        f.debug_struct("Cache")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
