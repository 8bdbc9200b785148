//! A request's way through its two limits when tokens are leased: what this core can say at once, and what it must ask. Not the
//! waiting. Invariant: nothing that was taken for a request is put into a leased pool again, for a call may have reported it as spent.
use super::{Core, Found};
use crate::limit::answer::{Permit, Refusal};
use crate::limit::exchange::{Hint, Verdict};
use crate::limit::key::{Hash, IpKey, Key, Kind, OrgKey};
use crate::limit::slice::share;
use crate::limit::slot::Take;

/// A lease that ends sooner fills no slice: a slice lives 20 ms and settles within a tick more.
const LEASE_NS_MIN: u64 = 60_000_000;
/// Letters of each kind that wait to be sent: some per request, and they are sent after each.
const LETTERS_MAX: usize = 256;

/// What is known of a request after this core has looked.
#[derive(Debug)]
pub enum Outcome {
    /// It was charged.
    Permit(Permit),
    /// The store must be asked first.
    Ask(Box<Claim>),
}

/// What the control thread should know, without an answer.
#[derive(Debug)]
pub enum Letter {
    /// A pool runs low.
    Fetch(Hint),
    /// A key is to be charged.
    Charge(Key, u32),
}

/// A request between its question and the answer: what is charged already, and what is asked for.
#[derive(Debug)]
pub struct Claim {
    cost: u32,
    ip: Option<(IpKey, Leg)>,
    /// The slice that the address's token came from; 0: from none.
    ip_slice: u64,
    org: Option<(Box<str>, Leg)>,
}

/// A charge: what is left of the key, and the slice it came from (0: from the pool).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Charge {
    left: u32,
    slice: u64,
}

/// One of a request's two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    /// Looked at, not charged yet.
    Open,
    /// To be asked for.
    Asked,
    /// Charged; tokens left, where that is told.
    Charged(Option<u32>),
}

impl Leg {
    fn of(charge: Option<Charge>) -> Self {
        charge.map_or(Self::Asked, |charge| Self::Charged(Some(charge.left)))
    }
}

/// A key that is not refused at once.
#[derive(Clone, Copy, Debug)]
enum Look {
    /// This core does not know it.
    Unknown,
    Known(Found),
    /// It was blocked when the store last spoke of it, which is long ago.
    Doubtful,
}

impl Claim {
    /// Tokens per key.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// The address, if it is to be asked for.
    #[must_use]
    pub fn ip(&self) -> Option<Key> {
        let (ip, leg) = self.ip.as_ref()?;
        (*leg == Leg::Asked).then(|| Key::Ip(ip.address()))
    }

    /// The organization, if it is to be asked for.
    #[must_use]
    pub fn organization(&self) -> Option<Key> {
        let (org, leg) = self.org.as_ref()?;
        (*leg == Leg::Asked).then(|| Key::Org(org.clone()))
    }
}

impl Core {
    /// Charges a request: both cached refusals first, then the address, then the organization; what is not here is asked for, both
    /// keys at once.
    ///
    /// # Errors
    /// The refusal of the key that is blocked or short.
    pub fn request(
        &mut self,
        org: Option<OrgKey<'_>>,
        ip: Option<IpKey>,
        cost: u32,
        clock: &impl Fn() -> u64,
    ) -> Result<Outcome, Refusal> {
        if !self.node.leased {
            return self.take(org, ip, cost, clock).map(Outcome::Permit);
        }
        self.refresh();
        let cost = cost.max(1);
        let ip = ip.filter(|_| self.node.settings.per_ip);
        let org = org.filter(|_| self.node.settings.per_org);
        // Read here and not before: a slice's tokens end at a moment. Both keys are taken within a microsecond of it.
        let now = clock();
        let ip_hash = ip.map(|ip| (Kind::Ip, self.ip_hash(ip)));
        let org_hash = org.map(|org| (Kind::Org, self.node.hasher.org(org)));
        let ip_look = match ip_hash {
            Some((kind, hash)) => self.unrefused(kind, hash, cost, now)?,
            None => Look::Unknown,
        };
        let org_look = match org_hash {
            Some((kind, hash)) => self.unrefused(kind, hash, cost, now)?,
            None => Look::Unknown,
        };
        let ip_left = ip_hash.map(|(kind, hash)| match ip_look {
            Look::Doubtful => None,
            Look::Unknown | Look::Known(_) => self.charge_leased(kind, hash, cost, now),
        });
        let short = ip_left == Some(None);
        let org_left = match (org_hash, org_look) {
            (None, _) => None,
            (Some(_), Look::Doubtful) => Some(Leg::Asked),
            // Taken only when the address is certain; asked for at the same time if it would be missing as well.
            (Some(_), Look::Known(found)) if short && self.affords_here(&found, cost, now) => {
                Some(Leg::Open)
            }
            (Some(_), Look::Known(_) | Look::Unknown) if short => Some(Leg::Asked),
            (Some((kind, hash)), Look::Known(_) | Look::Unknown) => {
                Some(self.leg(kind, hash, cost, now))
            }
        };
        let ip_slice = ip_left.flatten().map_or(0, |charge| charge.slice);
        let ip_leg = ip_left.map(Leg::of);
        if ip_leg != Some(Leg::Asked) && org_left != Some(Leg::Asked) {
            return Ok(Outcome::Permit(self.permit(ip_leg, org_left)));
        }
        Ok(Outcome::Ask(Box::new(Claim {
            cost,
            ip: ip.zip(ip_leg),
            ip_slice,
            org: org.map(|org| org.text().into()).zip(org_left),
        })))
    }

    /// Goes on when what was asked for is answered; the organization may have to be asked for then.
    ///
    /// # Errors
    /// The refusal of a key. What the other one gave is lost, unless it came from this core's slice.
    pub fn conclude(
        &mut self,
        mut claim: Box<Claim>,
        ip: Option<Verdict>,
        org: Option<Verdict>,
        clock: &impl Fn() -> u64,
    ) -> Result<Outcome, Refusal> {
        self.refresh();
        if let Some((_, leg)) = &mut claim.ip {
            self.hear(leg, ip, Kind::Ip)?;
        }
        if let Some((text, leg)) = &mut claim.org {
            let refused = self.hear(leg, org, Kind::Org);
            if refused.is_ok() && *leg == Leg::Open {
                let hash = self.node.hasher.org(OrgKey::new(text));
                *leg = self.leg(Kind::Org, hash, claim.cost, clock());
            }
            if let Err(refusal) = refused {
                self.give_back_here(&claim);
                return Err(refusal);
            }
        }
        let ip = claim.ip.as_ref().map(|(_, leg)| *leg);
        let org = claim.org.as_ref().map(|(_, leg)| *leg);
        if org == Some(Leg::Asked) {
            return Ok(Outcome::Ask(claim));
        }
        Ok(Outcome::Permit(self.permit(ip, org)))
    }

    /// What has come up since the last look and nobody waits for, to be sent to the control thread.
    pub fn letters(&mut self) -> impl Iterator<Item = Letter> + '_ {
        let debts = self.debts.drain(..);
        let debts = debts.map(|(key, cost)| Letter::Charge(key, cost));
        debts.chain(self.hints.drain(..).map(Letter::Fetch))
    }

    /// Charges an address for a request that is answered already.
    pub(super) fn charge_ip_leased(&mut self, ip: IpKey, cost: u32, clock: &impl Fn() -> u64) {
        let asked = match self.request(None, Some(ip), cost, clock) {
            Ok(Outcome::Ask(claim)) => claim.ip().map(|key| (key, claim.cost)),
            Ok(Outcome::Permit(_)) | Err(_) => None,
        };
        if self.debts.len() < LETTERS_MAX {
            self.debts.extend(asked);
        }
    }

    pub(super) fn peek_leased(
        &mut self,
        ip: IpKey,
        cost: u32,
        clock: &impl Fn() -> u64,
    ) -> Result<(), Refusal> {
        self.refresh();
        let hash = self.ip_hash(ip);
        if let Look::Known(found) = self.unrefused(Kind::Ip, hash, cost.max(1), clock())? {
            self.remember(ip, &found);
        }
        Ok(())
    }

    fn leg(&mut self, kind: Kind, hash: Hash, cost: u32, now: u64) -> Leg {
        Leg::of(self.charge_leased(kind, hash, cost, now))
    }

    fn hear(&mut self, leg: &mut Leg, verdict: Option<Verdict>, kind: Kind) -> Result<(), Refusal> {
        if *leg != Leg::Asked {
            return Ok(());
        }
        self.counters.waited += 1;
        // What was asked and not answered is not charged.
        match verdict.map_or(Err(1), Verdict::judged) {
            Ok(tokens) => {
                *leg = Leg::Charged(tokens);
                Ok(())
            }
            Err(retry_after_s) => {
                self.counters.refused += 1;
                Err(self.refusal(kind, retry_after_s))
            }
        }
    }

    /// Both keys have one L, so the binding one is the smaller remaining alone.
    fn permit(&self, ip: Option<Leg>, org: Option<Leg>) -> Permit {
        let left = |leg| match leg {
            Some(Leg::Charged(left)) => left,
            Some(Leg::Open | Leg::Asked) | None => None,
        };
        let least = [left(org), left(ip)].into_iter().flatten().min();
        let least = least.filter(|_| self.limits.are_told);
        Permit::new(least.map(|tokens| (self.limits.rpm, self.limits.remaining(tokens))))
    }

    /// The key's place as it is now; an entry of an ended lease is found anew.
    fn own_leased(&mut self, kind: Kind, hash: Hash) -> Option<Found> {
        let last = self.last_ip.filter(|(_, last, _)| *last == hash);
        let last = last.map(|(_, _, entry)| entry);
        let last = last.filter(|entry| self.index.at(*entry, hash).is_some());
        if let Some(at) = last.or_else(|| self.index.find(hash)) {
            let place = self.index.at(at, hash).map(|entry| entry.place())?;
            if self.node.table.slot(place).belongs(place.id) {
                let entry = Some(at);
                return Some(Found {
                    kind,
                    hash,
                    place,
                    entry,
                });
            }
            let slice = self.index.forget(at, hash);
            self.settle_slice(slice);
        }
        let place = self.node.table.find_leased(hash)?;
        Some(self.enter(kind, hash, place))
    }

    /// The cached refusal, of a block or of a bucket that was short a moment ago.
    fn unrefused(&mut self, kind: Kind, hash: Hash, cost: u32, now: u64) -> Result<Look, Refusal> {
        let Some(found) = self.own_leased(kind, hash) else {
            return Ok(Look::Unknown);
        };
        let slot = self.node.table.slot(found.place);
        let blocked = slot.block_left(found.place.id, now);
        if blocked.is_some() {
            slot.count_blocked();
            if slot.is_doubtful(now) {
                return Ok(Look::Doubtful);
            }
        }
        let left = blocked.or_else(|| {
            let denied = slot.denied(found.place.id, cost, &self.limits, now);
            denied.inspect(|_| slot.count(cost))
        });
        match left {
            Some(left) => {
                self.counters.cached_refusal += 1;
                Err(self.refusal(kind, left))
            }
            None => Ok(Look::Known(found)),
        }
    }

    fn affords_here(&mut self, found: &Found, cost: u32, now: u64) -> bool {
        let slot = self.node.table.slot(found.place);
        slot.affords_leased(found.place.id, cost, now) == Some(true)
            || self.slice_affords(found, cost, now)
    }

    /// Takes `cost` from the slice or the pool; None: neither has it.
    fn charge_leased(&mut self, kind: Kind, hash: Hash, cost: u32, now: u64) -> Option<Charge> {
        loop {
            let found = self.own_leased(kind, hash)?;
            let demand = self.entry(&found).map_or(0, |entry| entry.count(now));
            let charge = self.charge_leased_slice(&found, cost, now);
            if charge.is_some() {
                return charge;
            }
            let (slices, cores) = (self.node.settings.slices, self.cores);
            let lends = slices && found.entry.is_some() && self.slices.has_room();
            let lend = |rest, left| match lends && left >= LEASE_NS_MIN {
                true => share(rest, demand, cores),
                false => 0,
            };
            let slot = self.node.table.slot(found.place);
            let (take, low) = slot.take_leased(found.place.id, cost, lend, now);
            if low && self.hints.len() < LETTERS_MAX {
                self.hints.push(Hint(hash));
            }
            match take {
                Take::Taken { word, lend } => {
                    self.counters.node += 1;
                    let left = slot.tokens_leased(word.tokens(), &self.limits, now);
                    self.open_slice(&found, lend, now);
                    return Some(Charge { left, slice: 0 });
                }
                Take::Short => return None,
                Take::Gone => {}
            }
        }
    }

    fn charge_leased_slice(&mut self, found: &Found, cost: u32, now: u64) -> Option<Charge> {
        let id = self.entry(found).map(|entry| entry.slice)?;
        let slice = self.slices.of(id)?;
        if !slice.affords(cost, now) {
            self.settle_of(found);
            return None;
        }
        slice.spend(cost);
        let (place, empty, taken) = (slice.place, slice.tokens == 0, slice.taken);
        let serial = slice.serial;
        let slot = self.node.table.slot(place);
        let held = slot.held(now).all.saturating_sub(taken);
        self.counters.slice += 1;
        let left = slot.tokens_leased(held, &self.limits, now);
        if empty {
            self.settle_of(found);
        }
        let slice = serial;
        Some(Charge { left, slice })
    }

    /// The address's token of a request that its organization refused, if the very slice that it came from is not settled: a later
    /// one of the same key was filled after a call may have reported the token as spent.
    fn give_back_here(&mut self, claim: &Claim) {
        let Some((ip, Leg::Charged(_))) = claim.ip else {
            return;
        };
        let hash = self.ip_hash(ip);
        let at = self.index.find(hash);
        let id = at
            .and_then(|at| self.index.at(at, hash))
            .map_or(0, |entry| entry.slice);
        let slice = self.slices.of(id);
        if let Some(slice) = slice.filter(|slice| slice.serial == claim.ip_slice) {
            let _ = slice.unspend(claim.cost);
        }
    }
}
