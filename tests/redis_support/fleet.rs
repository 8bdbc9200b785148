//! Several nodes in one process and one real Redis server with the real script, on a simulated network and clock: calls and replies
//! are delayed, lost, repeated and overtaken; nodes crash and are cut off. Not the gateway's own connection. Invariant: what happens
//! depends on the seed alone.

mod resets;

use std::collections::{BTreeMap, HashMap};

use super::checked::Checked;
use super::member::{Member, Pending, Post};
use super::weather::{Mistake, Random, Weather};

use dbpower_gateway::limit::{
    Call, Claim, IpKey, Key, Letter, OnOutage, OrgKey, Outcome, Policy, Reply, SCRIPT, Settings,
};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
/// How long a node waits for a reply.
const CALL_MAX: u64 = 50 * MS;
const TICK: u64 = 20 * MS;

pub(crate) struct Fleet {
    pub(crate) random: Random,
    pub(crate) now: u64,
    pub(crate) settings: Settings,
    pub(crate) weather: Weather,
    mistake: Mistake,
    policy: OnOutage,
    redis: redis::Connection,
    script: String,
    redis_back_ms: u64,
    prefix: String,
    members: Vec<Member>,
    posts: BTreeMap<(u64, u64), Post>,
    posted: u64,
    requests: u64,
    runs: u64,
    pub(crate) checked: HashMap<Key, Checked>,
    pub(crate) refused: u64,
    pub(crate) calls: u64,
    pub(crate) flushes: u64,
    /// The last reset of all keys, as `rl:cfg` has it.
    all_ms: u64,
    /// Resets of a key that are under way, by their places.
    resetting: HashMap<u64, (usize, Key)>,
    pub(crate) resets: u64,
}

impl Fleet {
    pub(crate) fn new(
        redis: redis::Connection,
        seed: u64,
        settings: Settings,
        (members, policy): (usize, OnOutage),
        (weather, mistake): (Weather, Mistake),
    ) -> Self {
        let script = match mistake {
            Mistake::RefillToC => SCRIPT
                .replace("(C - out) * W, level + ms * L", "C * W, level + ms * L")
                .replace("(C - out) * W), 0)", "C * W), 0)"),
            Mistake::None | Mistake::EndByNode | Mistake::ReturnAndSpend => SCRIPT.to_owned(),
        };
        assert_eq!(script == SCRIPT, mistake != Mistake::RefillToC);
        let mut fleet = Self {
            random: Random::new(seed),
            now: SECOND,
            settings,
            weather,
            mistake,
            policy,
            redis,
            script,
            redis_back_ms: 0,
            prefix: format!("{seed:x}:"),
            members: Vec::new(),
            posts: BTreeMap::new(),
            posted: 0,
            requests: 0,
            runs: 0,
            checked: HashMap::new(),
            refused: 0,
            calls: 0,
            flushes: 0,
            all_ms: 0,
            resetting: HashMap::new(),
            resets: 0,
        };
        for _ in 0..members {
            let member = fleet.member();
            fleet.members.push(member);
        }
        fleet
    }

    fn member(&mut self) -> Member {
        self.runs += 1;
        let nodes = u32::try_from(self.members.len().max(1)).unwrap_or(1);
        let mut member = Member::new(self.runs, self.settings, (self.policy, nodes));
        member.exchange.put_all_reset(self.all_ms);
        member
    }

    pub(crate) fn members(&self) -> usize {
        self.members.len()
    }

    /// The most that was admitted over what one bucket allows, in tokens; negative: never above.
    pub(crate) fn excess(&self) -> i128 {
        let capacity = i128::from(self.settings.rpm + self.settings.burst);
        let worst = self.checked.values().map(Checked::worst).max();
        worst.unwrap_or(0) - capacity
    }

    /// Requests that waited for a call.
    pub(crate) fn waited(&self) -> u64 {
        let members = self.members.iter();
        members.map(|member| member.exchange.traffic().waited).sum()
    }

    fn admitted(&mut self, keys: &[Key], cost: u32) {
        for key in keys {
            let checked = self.checked.entry(key.clone()).or_default();
            checked.admit(cost, &self.settings, self.now);
        }
    }

    fn refused(&mut self, keys: &[Key], by: Policy) {
        self.refused += 1;
        let refuses = |key: &&Key| matches!(key, Key::Org(_)) == (by == Policy::Organization);
        if let Some(key) = keys.iter().find(refuses) {
            let checked = self.checked.entry(key.clone()).or_default();
            checked.refuse(&self.settings, self.now);
        }
    }

    /// One request of an organization and an address, at some core of a node.
    pub(crate) fn request(&mut self, member: usize, who: u32, cost: u32) {
        let now = self.now;
        let org = format!("{}{who}", self.prefix);
        let ip = std::net::IpAddr::V4(((10 << 24) + who).into());
        // With both keys one may be granted and the other refused, which leaves slack that a mistake could hide in.
        let keys: Vec<Key> = [Key::Org(org.as_str().into()), Key::Ip(ip)]
            .into_iter()
            .take(1 + usize::from(self.settings.per_ip))
            .collect();
        let core = self.random.index(self.settings.cores);
        if self.members[member].is_stalled(core, now) {
            return;
        }
        let cores = &mut self.members[member].cores;
        let outcome = cores[core].request(
            Some(OrgKey::new(&org)),
            Some(IpKey::from(ip)),
            cost,
            &|| now,
        );
        match outcome {
            Ok(Outcome::Permit(_)) => self.admitted(&keys, cost),
            Ok(Outcome::Ask(claim)) => self.post(member, core, claim, keys, cost),
            Err(refusal) => self.refused(&keys, refusal.policy),
        }
        self.letters(member, core);
    }

    fn letters(&mut self, member: usize, core: usize) {
        let Member {
            cores, exchange, ..
        } = &mut self.members[member];
        for letter in cores[core].letters() {
            match letter {
                Letter::Fetch(hint) => exchange.fetch(hint, self.now),
                Letter::Charge(key, cost) => exchange.ask(&key, cost, None, self.now),
            }
        }
    }

    fn post(&mut self, member: usize, core: usize, claim: Box<Claim>, keys: Vec<Key>, cost: u32) {
        self.requests += 2;
        let id = self.requests;
        let asked = [claim.ip(), claim.organization()];
        let pending = Pending {
            core,
            keys,
            cost,
            ip: asked[0].is_none().then_some(None),
            org: asked[1].is_none().then_some(None),
            claim,
        };
        let exchange = &mut self.members[member].exchange;
        for (nth, key) in asked.into_iter().enumerate() {
            if let Some(key) = key {
                exchange.ask(&key, cost, Some(id + nth as u64), self.now);
            }
        }
        self.members[member].pending.insert(id, pending);
    }

    /// A node's turn: timeouts, calls, verdicts.
    fn turn(&mut self, at: usize) {
        let now = self.now;
        let members = u32::try_from(self.members.len()).unwrap_or(1);
        let member = &mut self.members[at];
        if member
            .flights
            .iter()
            .any(|(_, sent)| now >= sent + CALL_MAX)
        {
            member.flights.clear();
            member.exchange.put_away(members, now);
            member.back_at = now + 100 * MS;
        }
        if member.exchange.is_away() && now >= member.back_at.max(member.cut_until) {
            member.exchange.put_all_reset(self.all_ms);
            member.exchange.put_back();
        }
        for call in member.exchange.calls(now, 512) {
            self.send(at, call);
        }
        self.verdicts(at);
    }

    fn send(&mut self, at: usize, mut call: Call) {
        self.calls += 1;
        let now = self.now;
        let member = &mut self.members[at];
        member.flights.push((call.id, now));
        if self.mistake == Mistake::ReturnAndSpend && call.arguments[4] == "0" {
            call.arguments.swap(3, 4);
        }
        let run = member.run;
        if now < member.cut_until || self.random.thousandths(self.weather.lost) {
            return;
        }
        let copies = 1 + u64::from(self.random.thousandths(self.weather.repeated));
        for _ in 0..copies {
            let call = call.clone();
            self.put(Post::Arrive {
                member: at,
                run,
                call,
            });
        }
    }

    fn put(&mut self, post: Post) {
        // Most are quick, some as slow as the weather allows.
        let max = if self.random.thousandths(100) {
            self.weather.delay_max_us
        } else {
            self.weather.delay_max_us.min(800)
        };
        let delay = 100_000 + self.random.below(max * 1_000);
        self.posted += 1;
        self.posts.insert((self.now + delay, self.posted), post);
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.posts.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            match entry.remove() {
                Post::Arrive { member, run, call } => self.arrive(member, run, &call),
                Post::News { member, run, key } => self.hear(member, run, key),
                Post::Return {
                    member,
                    run,
                    id,
                    mut numbers,
                    epoch,
                } => {
                    let node = &mut self.members[member];
                    if node.run != run || self.now < node.cut_until {
                        continue;
                    }
                    node.flights.retain(|(flight, _)| *flight != id);
                    if self.mistake == Mistake::EndByNode {
                        numbers[3] += 500;
                    }
                    let reply = Reply::read(&numbers, &epoch).expect("a reply");
                    node.exchange.reply(id, &reply, self.now);
                    self.verdicts(member);
                }
            }
        }
    }

    /// Redis, on its own clock.
    fn arrive(&mut self, member: usize, run: u64, call: &Call) {
        let clock = self.store_ms();
        let mut command = redis::cmd("EVAL");
        command
            .arg(&self.script)
            .arg(1)
            .arg(format!("{}{}", self.prefix, call.key));
        for argument in &call.arguments {
            command.arg(argument);
        }
        command.arg(clock);
        let values: Vec<redis::Value> = command.query(&mut self.redis).expect("the script runs");
        self.note_reset(call, &values);
        if self.random.thousandths(self.weather.lost) {
            return;
        }
        let (mut numbers, mut epoch) = (Vec::new(), String::new());
        for value in values {
            if let redis::Value::Int(number) = value {
                numbers.push(number);
            } else {
                epoch = redis::from_redis_value(value).expect("text");
            }
        }
        let id = call.id;
        self.put(Post::Return {
            member,
            run,
            id,
            numbers,
            epoch,
        });
    }

    /// Hands out what the exchange has decided, until nothing more comes of it.
    fn verdicts(&mut self, at: usize) {
        loop {
            let answers = self.members[at].exchange.answers();
            if answers.is_empty() {
                return;
            }
            for (place, verdict) in answers {
                if let Some(reset) = verdict.reset() {
                    self.reset_answered(place, reset);
                    continue;
                }
                let id = place & !1;
                let Some(pending) = self.members[at].pending.get_mut(&id) else {
                    continue;
                };
                if place & 1 == 0 {
                    pending.ip = Some(Some(verdict));
                } else {
                    pending.org = Some(Some(verdict));
                }
                if pending.ip.is_some() && pending.org.is_some() {
                    self.conclude(at, id);
                }
            }
        }
    }

    fn conclude(&mut self, at: usize, id: u64) {
        let now = self.now;
        let Some(Pending {
            core,
            claim,
            keys,
            cost,
            ip,
            org,
        }) = self.members[at].pending.remove(&id)
        else {
            return;
        };
        let (ip, org) = (ip.flatten(), org.flatten());
        let outcome = self.members[at].cores[core].conclude(claim, ip, org, &|| now);
        match outcome {
            Ok(Outcome::Permit(_)) => self.admitted(&keys, cost),
            Ok(Outcome::Ask(claim)) => self.post(at, core, claim, keys, cost),
            Err(refusal) => self.refused(&keys, refusal.policy),
        }
        self.letters(at, core);
    }

    /// Time passes: what arrives, what is due, and now and then a misfortune.
    pub(crate) fn step(&mut self, length: u64) {
        let tick = self.now / TICK;
        self.now += length;
        self.deliver();
        for at in 0..self.members.len() {
            if self.now / TICK != tick {
                for core in 0..self.settings.cores {
                    if !self.members[at].is_stalled(core, self.now) {
                        self.members[at].cores[core].tick(self.now);
                    }
                }
            }
            self.turn(at);
        }
        self.misfortune();
    }

    fn misfortune(&mut self) {
        // A thousandth of a thousandth per step.
        if !self.random.thousandths(10) {
            return;
        }
        let at = self.random.index(self.members.len());
        if self.random.thousandths(self.weather.crash) {
            self.crash(at);
        }
        if self.random.thousandths(self.weather.stall) {
            let until = self.now + self.random.below(400 * MS);
            self.members[at].stalled = (self.random.index(self.settings.cores), until);
        }
        if self.random.thousandths(self.weather.watch) {
            // Somebody asks for the level: every node reports what it has spent.
            let key = Key::Org(format!("{}0", self.prefix).as_str().into());
            for member in &mut self.members {
                member.exchange.report(&key.store_name());
            }
            self.members[at].exchange.watch(&key, u64::MAX, self.now);
        }
        // No number is drawn where there are none: other tests' seeds keep their histories.
        if self.weather.reset > 0 && self.random.thousandths(self.weather.reset) {
            self.reset(at, 0);
        }
        if self.random.thousandths(self.weather.cut) {
            let length = self.random.below(5 * SECOND);
            self.cut(at, length);
        }
        if self.random.thousandths(self.weather.flush) {
            self.flush();
        }
        if self.random.thousandths(self.weather.clock_step) {
            self.redis_back_ms += self.random.below(3_000);
        }
    }

    /// Nothing passes between a node and the store for so long.
    pub(crate) fn cut(&mut self, at: usize, length: u64) {
        self.members[at].cut_until = self.now + length;
    }

    /// The store forgets everything.
    pub(crate) fn flush(&mut self) {
        self.flushes += 1;
        let command = redis::cmd("FLUSHALL");
        let _: () = command.query(&mut self.redis).expect("flushed");
    }

    /// A node dies with all it holds, and another run of it begins.
    pub(crate) fn crash(&mut self, at: usize) {
        let member = self.member();
        self.members[at] = member;
    }

    /// Nobody asks for a while: leases end, buckets fill.
    pub(crate) fn idle(&mut self, length: u64) {
        let until = self.now + length;
        while self.now < until {
            let due = self
                .members
                .iter()
                .filter_map(|member| member.exchange.due_ns())
                .min();
            let posted = self.posts.keys().next().map(|(at, _)| *at);
            let next = [due, posted, Some(until)]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(until);
            let next = next.clamp(self.now + 50_000, self.now + TICK);
            self.step(next - self.now);
        }
    }

    /// When the next lease of an organization ends in the store.
    pub(crate) fn lease_end(&mut self, who: u32) -> Option<u64> {
        let key = format!("{0}rl:{{o:{0}{who}}}", self.prefix);
        let leases = super::leases(&mut self.redis, &key);
        let ends = leases
            .into_iter()
            .filter(|lease| lease.out > 0)
            .map(|lease| (lease.ends_ms + self.redis_back_ms - 1_800_000_000_000) * MS);
        ends.filter(|end| *end > self.now).min()
    }
}
