//! A node's side of the exchange with the store: who waits for tokens, what is leased ahead, reported, closed and given back, and
//! what is done while the store is away. One value, told the time; it sends nothing itself, knows no connection and no thread.
//! Invariants: what this node may spend is at most what the store counts as out for it; at most one call per key is in flight; a
//! request that asks is answered by the reply to its call, as soon as the store is known to be away, or when no call could be sent
//! for 50 ms.
//!
//! For every key and every t seconds all cores of all nodes together admit at most C + L*t/60 tokens. Let H be the tokens that somebody
//! may still spend: in slots, in slices, in replies under way. The store keeps level + out <= C, and out counts every granted token
//! until its node has said spent or returned or its lease has ended, so H <= out and P = level + H <= C. An admission lowers P by its
//! cost; only refill raises it: a grant and a return move tokens between level and H; a report, a lost reply, a crash and an ended
//! lease lower H or leave it. Hence admitted(s, e) <= P(s) - P(e) + refill(s, e) <= C + L*t/60.
//!
//! The owner calls `ask` and its kin, sends what `calls` gives, feeds back `reply` or `put_away`, and hands out `answers`.
mod build;
mod call;
mod epoch;
mod outage;
mod reset;
mod settle;
mod share;
mod site;
mod sites;
mod terms;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use ahash::RandomState;

pub use call::{Call, CallId, Reply, SCRIPT, Status};
pub use reset::{Reset, Wish};
pub use share::OnOutage;

use self::site::{Site, Waiter};
use self::sites::Sites;
use super::key::{Hash, Key};
use super::limits::seconds;
use super::node::Node;
use super::slot::{Slot, Take};

/// Requests that may wait for the store at once; more are treated as if it were away.
pub const WAITING_MAX: usize = 65_536;

/// A block that is asked about, or cannot be while the store is away, is believed this long by workers, so that they refuse by
/// themselves.
const CACHED_NS: u64 = 250_000_000;

/// A busy key's pool runs low: more should be fetched ahead of need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint(pub(super) Hash);

/// What a request that asked is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(pub(super) Told);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Its tokens are taken; so many are left.
    Granted(u32),
    /// It passes, and there is nothing to be told: nothing is charged.
    Admitted,
    /// Seconds to wait.
    Refused(u32),
    /// To who asked for a reset.
    Reset(Reset),
}

impl Verdict {
    /// For a request whose question could not even be put: the mailbox was full.
    #[must_use]
    pub fn unasked(policy: OnOutage) -> Self {
        Self(match policy {
            OnOutage::Open => Told::Admitted,
            OnOutage::Share | OnOutage::Closed => Told::Refused(1),
        })
    }

    /// What became of a reset, as whoever asked for it is told.
    #[must_use]
    pub fn of_reset(reset: Reset) -> Self {
        Self(Told::Reset(reset))
    }

    /// Tokens left (None: that is not told), or the seconds to wait.
    pub(super) fn judged(self) -> Result<Option<u32>, u32> {
        match self.0 {
            Told::Granted(tokens) => Ok(Some(tokens)),
            Told::Admitted => Ok(None),
            Told::Refused(seconds) => Err(seconds),
            Told::Reset(_) => Err(1),
        }
    }

    /// Tokens left, if it was granted; for those who only asked, the level.
    #[must_use]
    pub fn tokens(self) -> Option<u32> {
        self.judged().ok().flatten()
    }

    /// Seconds to wait, if it was refused.
    #[must_use]
    pub fn seconds(self) -> Option<u32> {
        self.judged().err()
    }

    /// What became of a reset.
    #[must_use]
    pub fn reset(self) -> Option<Reset> {
        match self.0 {
            Told::Reset(reset) => Some(reset),
            Told::Granted(_) | Told::Admitted | Told::Refused(_) => None,
        }
    }
}

/// What the exchange has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Calls of the script.
    pub calls: u64,
    /// Requests that waited for a call.
    pub waited: u64,
    /// Calls whose answer was lost.
    pub lost: u64,
    /// Replies that said "repeated or overtaken".
    pub repeated: u64,
    /// Replies that said "short while leases are out".
    pub short: u64,
    /// Tokens granted.
    pub granted: u64,
    /// Tokens given back.
    pub returned: u64,
    /// Tokens left when their lease ended.
    pub expired: u64,
    /// Tokens admitted without a lease.
    pub owed: u64,
}

impl Traffic {
    /// In the order of the fields.
    #[must_use]
    pub fn counts(&self) -> [u64; 9] {
        [
            self.calls,
            self.waited,
            self.lost,
            self.repeated,
            self.short,
            self.granted,
            self.returned,
            self.expired,
            self.owed,
        ]
    }
}

/// The exchange of one node. `R` is where an answer goes.
#[derive(Debug)]
pub struct Exchange<R> {
    node: Arc<Node>,
    /// Node and run: another run of the same node holds nothing of this one's.
    site: Box<str>,
    policy: OnOutage,
    seq: u64,
    sites: Sites<R>,
    /// Somebody waits for these: they go first.
    ready: VecDeque<Hash>,
    /// To be fetched, closed, reported or paid.
    later: VecDeque<Hash>,
    /// Keys with a call under way.
    flying: HashSet<Hash, RandomState>,
    /// Keys of which something was admitted without a lease, and perhaps some that have been paid since.
    strained: HashSet<Hash, RandomState>,
    due: BTreeSet<(u64, Hash)>,
    waiting: usize,
    answers: Vec<(R, Verdict)>,
    away: bool,
    nodes: u32,
    rtt_ns: u64,
    /// How long a request waits for its call to be sent, and that call for its reply.
    timeout_ns: u64,
    /// The time of the last reset of all keys, in the store's ms; 0: none is known.
    all_ms: u64,
    traffic: Traffic,
}

/// A call's time unless the operator says otherwise (`REDIS_TIMEOUT`).
const TIMEOUT_NS: u64 = 50_000_000;

impl<R> Exchange<R> {
    /// An exchange that has not reached its store yet. `site` names this run of this node and nothing else in the fleet; until the
    /// store says otherwise, `nodes` share each limit.
    #[must_use]
    pub fn new(node: Arc<Node>, site: &str, policy: OnOutage, nodes: u32) -> Self {
        let exchange = Self {
            sites: Sites::new(Arc::clone(&node)),
            node,
            site: site.into(),
            policy,
            seq: 0,
            ready: VecDeque::new(),
            later: VecDeque::new(),
            flying: HashSet::default(),
            strained: HashSet::default(),
            due: BTreeSet::new(),
            waiting: 0,
            answers: Vec::new(),
            away: true,
            nodes: nodes.max(1),
            rtt_ns: 500_000,
            timeout_ns: TIMEOUT_NS,
            all_ms: 0,
            traffic: Traffic::default(),
        };
        exchange.tell_part();
        exchange
    }

    /// How long a call may take before the store counts as away.
    pub fn put_timeout(&mut self, timeout_ns: u64) {
        self.timeout_ns = timeout_ns;
    }

    /// A request needs `cost` tokens of a key; the answer goes to `reply`, if there is one.
    pub fn ask(&mut self, key: &Key, cost: u32, reply: Option<R>, now: u64) {
        let (_, hash) = self.node.hasher.key(key);
        let cost = cost.max(1);
        let Some(verdict) = self.judge_here(key, hash, cost, now) else {
            self.traffic.waited += 1;
            self.waiting += 1;
            if let Some(site) = self.sites.record_mut(hash) {
                let asked_ns = now;
                site.begun().waiting.push_back(Waiter {
                    cost,
                    asked_ns,
                    reply,
                });
            }
            self.mark_ready(hash);
            return;
        };
        if let Some(reply) = reply {
            self.answers.push((reply, verdict));
        }
        if !self.away && self.owes(hash) {
            self.mark_later(hash);
        }
        self.forget_slotless(hash);
    }

    /// The store has yet to be told something of the key that nobody waits for.
    fn owes(&self, hash: Hash) -> bool {
        self.sites.record(hash).is_some_and(|site| site.owed() > 0)
    }

    /// What can be said without a call.
    fn judge_here(&mut self, key: &Key, hash: Hash, cost: u32, now: u64) -> Option<Verdict> {
        self.enter(key, hash, now);
        let limits = self.node.limits();
        let node = Arc::clone(&self.node);
        let site = self.sites.record_mut(hash)?;
        if let Some(slot) = slot_of(&node, site) {
            let blocked = slot.blocked_until();
            // Long after it was told a block is asked about, by one call for all who come meanwhile.
            let is_doubtful = !self.away && site.may_recheck(slot, now);
            if blocked > now && !is_doubtful {
                slot.deny(blocked.min(now + CACHED_NS));
                return Some(Verdict(Told::Refused(seconds(blocked - now))));
            }
            // Tokens may have come since the worker looked.
            if blocked <= now
                && let Some(id) = slot.id()
                && let (Take::Taken { word, .. }, _) = slot.take_leased(id, cost, |_, _| 0, now)
            {
                let tokens = slot.tokens_leased(word.tokens(), &limits, now);
                return Some(Verdict(Told::Granted(tokens)));
            }
            site.demand = site.demand.saturating_add(cost);
            if !self.away
                && let Some(wait) = site.refuse_paced(slot, cost, &limits, now)
            {
                return Some(Verdict(Told::Refused(wait)));
            }
        }
        if self.away || self.waiting >= WAITING_MAX {
            return Some(self.judge_away(hash, cost, now));
        }
        None
    }

    /// A worker saw the pool run low. While calls are paced nothing is fetched ahead: there is too little to be had, and whoever asks
    /// next makes a call when its time has come.
    pub fn fetch(&mut self, hint: Hint, now: u64) {
        let site = self.sites.record(hint.0);
        let paced = site.and_then(|site| site.paced_until(now)).is_some();
        if !self.away && !paced {
            self.mark_later(hint.0);
        }
    }

    /// Asks for the level, and takes nothing: what this node knows if the store is away.
    pub fn watch(&mut self, key: &Key, reply: R, now: u64) {
        let (_, hash) = self.node.hasher.key(key);
        self.enter(key, hash, now);
        if self.away {
            let told = self.tokens_known(hash, now);
            self.answers.push((reply, told));
            self.forget_slotless(hash);
        } else if let Some(site) = self.sites.record_mut(hash) {
            site.begun().watchers.push(reply);
            self.mark_ready(hash);
        }
    }

    /// Another node wants to know what is spent: a call tells it.
    pub fn report(&mut self, key: &str) {
        if let Some(hash) = self.hash_of(key)
            && !self.away
        {
            // Somebody waits at another node.
            self.mark_ready(hash);
        }
    }

    /// The earliest time at which `calls` has something to do by itself; never while the store is away.
    #[must_use]
    pub fn due_ns(&self) -> Option<u64> {
        let first = self.due.first().filter(|_| !self.away);
        first.map(|(due, _)| *due)
    }

    /// The answers that are known, with their places.
    pub fn answers(&mut self) -> Vec<(R, Verdict)> {
        std::mem::take(&mut self.answers)
    }

    /// What has been done so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Keys that the exchange knows.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.sites.len()
    }

    fn hash_of(&self, key: &str) -> Option<Hash> {
        let (_, hash) = self.node.hasher.key(&Key::of_store_name(key)?);
        self.sites.contains(hash).then_some(hash)
    }

    fn enter(&mut self, key: &Key, hash: Hash, now: u64) {
        if self.sites.contains(hash) {
            return;
        }
        let (sites, node) = (&self.sites, &self.node);
        let spare = |at: u32, slot: &Slot| {
            sites.at(at).is_none_or(Site::is_idle) && slot.held(now).all == 0
        };
        let mut gone = None;
        let place = node
            .table
            .enter_leased(hash, now, spare, |owner| gone = Some(owner));
        let site = Site::new(key, place.map(|place| place.slot), now);
        if let Some(site) = self.sites.insert(hash, site)
            && let Some(owner) = gone
        {
            self.due.remove(&(site.due_ns, owner));
            self.strained.remove(&owner);
        }
    }

    fn forget_slotless(&mut self, hash: Hash) {
        let slotless = |site: &Site<R>| site.slot().is_none() && site.is_idle();
        if self.sites.record(hash).is_some_and(slotless) {
            self.sites.remove_slotless(hash);
        }
    }

    fn mark_ready(&mut self, hash: Hash) {
        if let Some(site) = self.sites.record_mut(hash)
            && !site.is_ready
        {
            site.is_ready = true;
            self.ready.push_back(hash);
        }
    }

    fn mark_later(&mut self, hash: Hash) {
        if let Some(site) = self.sites.record_mut(hash)
            && !site.is_ready
            && !site.is_later
        {
            site.is_later = true;
            self.later.push_back(hash);
        }
    }

    /// Sets the site's timer anew.
    fn schedule(&mut self, hash: Hash, now: u64) {
        let Some(site) = self.sites.record_mut(hash) else {
            return;
        };
        if site.due_ns > 0 {
            self.due.remove(&(site.due_ns, hash));
        }
        let due = slot_of(&self.node, site).and_then(|slot| site.next_due(slot, now, self.rtt_ns));
        site.due_ns = due.unwrap_or(0);
        if site.due_ns > 0 {
            self.due.insert((site.due_ns, hash));
        }
        site.tidy();
    }
}

fn slot_of<'a, R>(node: &'a Node, site: &Site<R>) -> Option<&'a Slot> {
    node.table.slot_at(site.slot()?)
}
