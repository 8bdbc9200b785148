//! One worker's limiter: index, slices and the order of the checks. Not shared, not the buckets' truth.
//! Invariant: a request charges both of its keys or, as far as this file can give back, none.
mod leased;

use std::sync::Arc;

pub use leased::{Claim, Letter, Outcome};

use super::answer::{Permit, Policy, Refusal};
use super::exchange::Hint;
use super::index::{Entry, Index};
use super::key::{Hash, IpKey, Key, Kind, OrgKey};
use super::limits::Limits;
use super::node::Node;
use super::slice::{Slice, SliceId, Slices, share};
use super::slot::{Take, Verdict};
use super::table::Place;

/// What this core has decided so far, by level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Keys charged from a slice.
    pub slice: u64,
    /// Keys charged at the node's bucket.
    pub node: u64,
    /// Requests refused because of a block that was known.
    pub cached_refusal: u64,
    /// Requests refused by a bucket.
    pub refused: u64,
    /// Keys charged at a bucket that they share, the table being full.
    pub overflow: u64,
    /// Keys judged by the exchange, after a wait.
    pub waited: u64,
}

impl Counters {
    /// The levels at which keys were judged, in the order of `metrics::LIMIT_LEVELS`.
    #[must_use]
    pub fn levels(&self) -> [u64; 5] {
        [
            self.slice,
            self.node,
            self.overflow,
            self.waited,
            self.cached_refusal,
        ]
    }
}

/// A worker's limiter. Not `Sync` by use: every call takes it by `&mut`.
#[derive(Debug)]
pub struct Core {
    node: Arc<Node>,
    limits: Limits,
    index: Index,
    slices: Slices,
    counters: Counters,
    cores: u32,
    /// The address of the last peek: the same request's `take` needs neither a hash nor a search.
    last_ip: Option<(IpKey, Hash, u32)>,
    /// Lease mode: keys whose pool runs low, for the control thread.
    hints: Vec<Hint>,
    /// Lease mode: charges that nobody waits for.
    debts: Vec<(Key, u32)>,
}

/// A key as this request has found it.
#[derive(Clone, Copy, Debug)]
struct Found {
    kind: Kind,
    hash: Hash,
    place: Place,
    /// None: an overflow bucket, which the index does not hold.
    entry: Option<u32>,
}

impl Core {
    /// The limiter of one worker; `core` counts from 0 and names it.
    #[must_use]
    pub fn new(node: Arc<Node>, _core: usize) -> Self {
        let settings = node.settings;
        Self {
            limits: node.limits(),
            index: Index::new(settings.keys_max, settings.cores),
            slices: Slices::default(),
            counters: Counters::default(),
            cores: u32::try_from(settings.cores).unwrap_or(u32::MAX),
            last_ip: None,
            hints: Vec::new(),
            debts: Vec::new(),
            node,
        }
    }

    /// Refuses what would be refused for its address (and starts the block), before a token is verified; takes nothing.
    ///
    /// # Errors
    /// The refusal, if the address is blocked or has fewer than `cost` tokens.
    pub fn peek_ip(
        &mut self,
        ip: IpKey,
        cost: u32,
        clock: &impl Fn() -> u64,
    ) -> Result<(), Refusal> {
        if !self.node.settings.per_ip {
            return Ok(());
        }
        if self.node.leased {
            return self.peek_leased(ip, cost, clock);
        }
        let now = clock();
        self.refresh();
        let cost = cost.max(1);
        let hash = self.ip_hash(ip);
        loop {
            // An unknown key gets no slot for a peek.
            let Some(found) = self.known(Kind::Ip, hash) else {
                return Ok(());
            };
            self.remember(ip, &found);
            self.unblocked(&found, now)?;
            self.adapt(&found);
            if self.slice_affords(&found, cost, now) {
                return Ok(());
            }
            self.settle_of(&found);
            let slot = self.node.table.slot(found.place);
            match slot.affords(found.place.id, cost, &self.limits, now) {
                Some(true) => return Ok(()),
                Some(false) => self.refuse(&found, cost, now)?,
                None => self.forget(&found),
            }
        }
    }

    /// Charges a request: both cached refusals first, then the address, then the organization.
    ///
    /// # Errors
    /// The refusal of the key that is blocked or short; the other key's count is as before.
    pub fn take(
        &mut self,
        org: Option<OrgKey<'_>>,
        ip: Option<IpKey>,
        cost: u32,
        clock: &impl Fn() -> u64,
    ) -> Result<Permit, Refusal> {
        let now = clock();
        self.refresh();
        let cost = cost.max(1);
        let mut ip = match ip.filter(|_| self.node.settings.per_ip) {
            Some(key) => {
                let hash = self.ip_hash(key);
                let found = self.find(Kind::Ip, hash, now);
                self.unblocked(&found, now)?;
                Some(found)
            }
            None => None,
        };
        let mut org = match org.filter(|_| self.node.settings.per_org) {
            Some(key) => {
                let hash = self.node.hasher.org(key);
                let found = self.find(Kind::Org, hash, now);
                self.unblocked(&found, now)?;
                Some(found)
            }
            None => None,
        };
        let ip_left = match &mut ip {
            Some(found) => Some(self.charge(found, cost, now)?),
            None => None,
        };
        let org_left = match &mut org {
            Some(found) => match self.charge(found, cost, now) {
                Ok(left) => Some(left),
                Err(refusal) => {
                    if let Some(ip) = &ip {
                        self.give_back(ip, cost);
                    }
                    return Err(refusal);
                }
            },
            None => None,
        };
        // Both keys have one L, so the binding one is the smaller remaining alone.
        let left = [org_left, ip_left].into_iter().flatten().min();
        let numbers = left.map(|tokens| (self.limits.rpm, self.limits.remaining(tokens)));
        Ok(Permit::new(numbers))
    }

    /// Charges an address for a request that was answered without a permit: a wrong token, say. Too few tokens start the block.
    pub fn charge_ip(&mut self, ip: IpKey, cost: u32, clock: &impl Fn() -> u64) {
        if self.node.leased {
            return self.charge_ip_leased(ip, cost, clock);
        }
        // The answer is decided already; the refusal counts for the next request.
        let _ = self.take(None, Some(ip), cost, clock);
    }

    /// Settles this core's slices; called every 20 ms, so that other cores get back what this one does not use.
    pub fn tick(&mut self, _now_ns: u64) {
        let Self {
            slices,
            index,
            node,
            ..
        } = self;
        slices.close_all(|entry, slice| {
            index.settled(entry);
            settle(node, slice);
        });
    }

    /// The counts so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn refresh(&mut self) {
        if self.node.revision() != self.limits.revision {
            self.limits = self.node.limits();
        }
    }

    fn ip_hash(&self, ip: IpKey) -> Hash {
        match self.last_ip {
            Some((last, hash, _)) if last == ip => hash,
            _ => self.node.hasher.ip(ip),
        }
    }

    fn remember(&mut self, ip: IpKey, found: &Found) {
        self.last_ip = found.entry.map(|entry| (ip, found.hash, entry));
    }

    /// The key's place by the last peek, the index or the map.
    fn own(&mut self, kind: Kind, hash: Hash) -> Option<Found> {
        let last = self.last_ip.filter(|(_, last, _)| *last == hash);
        let last = last.map(|(_, _, entry)| entry);
        let last = last.filter(|entry| self.index.at(*entry, hash).is_some());
        if let Some(at) = last.or_else(|| self.index.find(hash)) {
            let place = self.index.at(at, hash).map(|entry| entry.place())?;
            return Some(Found {
                kind,
                hash,
                place,
                entry: Some(at),
            });
        }
        let place = self.node.table.find(hash)?;
        let live = self.node.table.slot(place).belongs(place.id);
        live.then(|| self.enter(kind, hash, place))
    }

    /// As `own`, and the overflow bucket for a key without a slot, if anything was ever taken from it.
    fn known(&mut self, kind: Kind, hash: Hash) -> Option<Found> {
        self.own(kind, hash).or_else(|| {
            let place = self.node.table.overflow(kind, hash);
            let slot = self.node.table.slot(place);
            let tokens = slot.tokens(place.id, &self.limits, 0);
            tokens
                .is_some_and(|tokens| tokens < self.limits.capacity)
                .then_some(Found {
                    kind,
                    hash,
                    place,
                    entry: None,
                })
        })
    }

    /// The key's place, made if there is none.
    fn find(&mut self, kind: Kind, hash: Hash, now: u64) -> Found {
        if let Some(found) = self.own(kind, hash) {
            return found;
        }
        let place = self.node.table.admit(kind, hash, &self.limits, now);
        if self.node.table.is_overflow(place) {
            return Found {
                kind,
                hash,
                place,
                entry: None,
            };
        }
        self.enter(kind, hash, place)
    }

    fn enter(&mut self, kind: Kind, hash: Hash, place: Place) -> Found {
        let (entry, slice) = self.index.enter(place);
        self.settle_slice(slice);
        Found {
            kind,
            hash,
            place,
            entry: Some(entry),
        }
    }

    fn forget(&mut self, found: &Found) {
        if let Some(entry) = found.entry {
            let slice = self.index.forget(entry, found.hash);
            self.settle_slice(slice);
        }
    }

    fn entry(&mut self, found: &Found) -> Option<&mut Entry> {
        self.index.at(found.entry?, found.hash)
    }

    /// The cached refusal.
    fn unblocked(&mut self, found: &Found, now: u64) -> Result<(), Refusal> {
        let slot = self.node.table.slot(found.place);
        match slot.block_left(found.place.id, now) {
            Some(left) => {
                self.counters.cached_refusal += 1;
                Err(self.refusal(found.kind, left))
            }
            None => Ok(()),
        }
    }

    fn refusal(&self, kind: Kind, retry_after_s: u32) -> Refusal {
        let policy = match kind {
            Kind::Org => Policy::Organization,
            Kind::Ip => Policy::Ip,
        };
        let limit = self.limits.rpm;
        Refusal {
            policy,
            limit,
            retry_after_s,
        }
    }

    /// Takes `cost` from one key, from the slice if it can; gives the tokens left.
    fn charge(&mut self, found: &mut Found, cost: u32, now: u64) -> Result<u32, Refusal> {
        let demand = self.entry(found).map_or(0, |entry| entry.count(now));
        loop {
            self.adapt(found);
            if let Some(left) = self.charge_slice(found, cost, now) {
                return Ok(left);
            }
            let (slices, cores) = (self.node.settings.slices, self.cores);
            let lends = slices && found.entry.is_some() && self.slices.has_room();
            let lend = |rest| if lends { share(rest, demand, cores) } else { 0 };
            let slot = self.node.table.slot(found.place);
            match slot.take(found.place.id, cost, lend, &self.limits, now) {
                Take::Taken { word, lend } => {
                    if found.entry.is_none() {
                        self.counters.overflow += 1;
                        // The key may have got a slot of its own meanwhile: then that is charged too, or it would have two buckets.
                        if let Some(own) = self.own(found.kind, found.hash) {
                            *found = own;
                            continue;
                        }
                    } else {
                        self.counters.node += 1;
                    }
                    self.open_slice(found, lend, now);
                    return Ok(word.tokens());
                }
                Take::Short => self.refuse(found, cost, now)?,
                Take::Gone => {
                    self.forget(found);
                    *found = self.find(found.kind, found.hash, now);
                }
            }
        }
    }

    /// From the slice, without a shared write. A slice that cannot serve this request is settled.
    fn charge_slice(&mut self, found: &Found, cost: u32, now: u64) -> Option<u32> {
        let id = self.entry(found).map(|entry| entry.slice)?;
        let slice = self.slices.of(id)?;
        if !slice.affords(cost, now) {
            self.settle_of(found);
            return None;
        }
        slice.spend(cost);
        let Slice {
            place,
            tokens,
            taken,
            ..
        } = *slice;
        let slot = self.node.table.slot(place);
        let held = slot.tokens(place.id, &self.limits, now);
        self.counters.slice += 1;
        if tokens == 0 {
            self.settle_of(found);
        }
        Some(held.map_or(0, |held| held.saturating_sub(taken)))
    }

    fn slice_affords(&mut self, found: &Found, cost: u32, now: u64) -> bool {
        let id = self.entry(found).map_or(0, |entry| entry.slice);
        self.slices
            .of(id)
            .is_some_and(|slice| slice.affords(cost, now))
    }

    fn open_slice(&mut self, found: &Found, tokens: u32, now: u64) {
        let Some(at) = found.entry.filter(|_| tokens > 0) else {
            return;
        };
        let id = self.slices.open(found.place, tokens, at, now);
        if let Some(entry) = self.index.at(at, found.hash) {
            entry.slice = id;
        } else {
            // The other key of this request has taken the entry's place.
            self.settle_slice(Some(id));
        }
    }

    fn settle_of(&mut self, found: &Found) {
        if let Some(entry) = self.entry(found) {
            let id = std::mem::take(&mut entry.slice);
            self.settle_slice(Some(id));
        }
    }

    fn settle_slice(&mut self, id: Option<SliceId>) {
        if let Some(slice) = id.and_then(|id| self.slices.close(id)) {
            settle(&self.node, slice);
        }
    }

    /// Follows new limits at a bucket's next use. The limits are read again first: they may be newer than this core's.
    fn adapt(&mut self, found: &Found) {
        let slot = self.node.table.slot(found.place);
        if slot.capacity() != self.limits.capacity {
            self.limits = self.node.limits();
            if slot.capacity() != self.limits.capacity {
                slot.adapt(found.place.id, &self.limits);
            }
        }
    }

    /// Refuses by the bucket; Ok: look again.
    fn refuse(&mut self, found: &Found, cost: u32, now: u64) -> Result<(), Refusal> {
        let slot = self.node.table.slot(found.place);
        match slot.refuse(found.place.id, cost, &self.limits, now) {
            Verdict::Refused(left) => {
                self.counters.refused += 1;
                Err(self.refusal(found.kind, left))
            }
            Verdict::Again | Verdict::Gone => Ok(()),
        }
    }

    /// The address's token of a request that its organization refused: into the slice it may have come from, or into the pool.
    fn give_back(&mut self, found: &Found, cost: u32) {
        let id = self.entry(found).map_or(0, |entry| entry.slice);
        let to_slice = self.slices.of(id).is_some_and(|slice| slice.unspend(cost));
        if !to_slice {
            let slot = self.node.table.slot(found.place);
            slot.give_back(found.place.id, cost, self.limits.capacity);
        }
    }
}

fn settle(node: &Node, slice: Slice) {
    let slot = node.table.slot(slice.place);
    slot.settle(slice.place.id, slice.lent(), slice.tokens);
    if node.leased {
        slot.count(slice.taken);
    }
}
