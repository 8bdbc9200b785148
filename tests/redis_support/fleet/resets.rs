//! An operator's resets in a simulated fleet, and how the other nodes hear of them, or do not. Not the gateway's own messages.
//! Invariant: a node that was cut off learns of a reset of all keys before its first call, as the real one does.

use dbpower_gateway::limit::{Call, Key, Reset, Wish};

use super::{CALL_MAX, Fleet, MS, Post, SECOND};

/// Far above the numbers of requests.
const PLACES: u64 = 1 << 60;
/// A node asks what the fleet agrees on.
const HEARTBEAT: u64 = SECOND;

impl Fleet {
    /// The store's clock.
    pub(super) fn store_ms(&self) -> u64 {
        1_800_000_000_000 + self.now / MS - self.redis_back_ms
    }

    pub(super) fn key_of(&self, who: u32) -> Key {
        Key::Org(format!("{}{who}", self.prefix).as_str().into())
    }

    /// An operator asks a node to reset an organization.
    pub(crate) fn reset(&mut self, at: usize, who: u32) {
        let (key, now) = (self.key_of(who), self.now);
        let wish = Wish {
            until_ms: self.store_ms() + CALL_MAX / MS,
            gap_ms: 0,
        };
        let place = PLACES + self.posted + (u64::try_from(self.resetting.len()).unwrap() << 40);
        self.posted += 1;
        self.resetting.insert(place, (at, key.clone()));
        self.members[at].exchange.reset(&key, wish, place, now);
        self.verdicts(at);
    }

    /// An operator asks a node to reset everything.
    pub(crate) fn reset_all(&mut self, at: usize) {
        self.all_ms = self.store_ms().max(self.all_ms + 1);
        self.resets += 1;
        let all_ms = self.all_ms;
        self.members[at].exchange.put_all_reset(all_ms);
        self.tell(at, None);
        for member in 0..self.members.len() {
            let delay = self.random.below(HEARTBEAT);
            self.news(member, None, delay);
        }
    }

    pub(super) fn reset_answered(&mut self, place: u64, reset: Reset) {
        if let Some((at, key)) = self.resetting.remove(&place)
            && reset == Reset::Done
        {
            self.resets += 1;
            self.tell(at, Some(&key));
        }
    }

    /// The message to the others, as far as it arrives.
    fn tell(&mut self, at: usize, key: Option<&Key>) {
        for member in 0..self.members.len() {
            if member != at && !self.random.thousandths(self.weather.missed) {
                let delay = self.random.below(5 * MS);
                self.news(member, key.cloned(), delay);
            }
        }
    }

    fn news(&mut self, member: usize, key: Option<Key>, delay: u64) {
        self.posted += 1;
        let run = self.members[member].run;
        let post = Post::News { member, run, key };
        self.posts.insert((self.now + delay, self.posted), post);
    }

    pub(super) fn hear(&mut self, member: usize, run: u64, key: Option<Key>) {
        let node = &mut self.members[member];
        if node.run != run {
            return;
        }
        if self.now < node.cut_until {
            // A message is lost. What the fleet agrees on is learnt as soon as the store can be reached.
            if key.is_none() {
                let delay = node.cut_until - self.now;
                self.news(member, None, delay);
            }
            return;
        }
        match key {
            Some(key) => node.exchange.reset_elsewhere(&key.store_name()),
            None => drop(node.exchange.put_all_reset(self.all_ms)),
        }
    }

    /// What the script has made of a call that may reset its key.
    pub(super) fn note_reset(&mut self, call: &Call, values: &[redis::Value]) {
        let was_made = matches!(values[0], redis::Value::Int(0 | 1 | 3));
        if call.arguments[18] == "0" || !was_made {
            return;
        }
        let key = Key::of_store_name(&call.key).expect("a key's name");
        let checked = self.checked.entry(key).or_default();
        checked.reset(self.now);
    }
}
