//! The task that owns the exchange: takes what is asked, sends calls, hands out answers, and knows whether Redis is there.
//! Not the connection (`link`), nor resets (`resets`). Invariant: it never waits for Redis itself, only for whatever happens next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::address::{Address, confirm};
use super::announce::{Announcer, Line, meaning};
use super::channel::{News, listen};
use super::link::{Answers, Brought, CHANNEL, Fleet, Link};
use super::reason::{Failure, Reason};
use super::resets::Step;
use super::{Errand, Store};
use crate::limit::{Exchange, Key, SCRIPT, Verdict};
use crate::mailbox::Lease;
use crate::metrics::State;

/// Calls of one pipeline, and all that are under way at once: at 52 us each, the last one is answered within 27 ms.
const CALLS_MAX: usize = 512;
/// How often a store that is away is tried.
const AGAIN: Duration = Duration::from_millis(100);
/// How often this node says that it lives (those silent for 10 s are not counted), and asks what the fleet agrees on: what a message
/// would have told is known after this time without it.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// What is taken from the mailbox before calls are made.
const LETTERS_MAX: usize = 4_096;

/// What happened to the connection and on it. The number says on which turn of the connection: what is said of an earlier one is old.
pub(super) enum Event {
    Answers(u64, Answers),
    Reached(Link, u32, Fleet),
    Unreachable(Reason),
    Nodes(u32),
    Fleet(Fleet),
    Failed(u64, Failure),
    /// PUBLISH was refused, or (None) was not.
    Published(Option<Reason>),
    /// The other nodes have had the time to report what they have spent of a key.
    Reported(Key),
    Reset(Step, oneshot::Sender<Verdict>),
}

/// Everything the task owns.
pub(super) struct Task {
    pub(super) exchange: Exchange<oneshot::Sender<Verdict>>,
    pub(super) store: Store,
    state: Arc<State>,
    pub(super) clock_ns: fn() -> u64,
    address: Address,
    site: Arc<str>,
    sha: Arc<str>,
    link: Option<Link>,
    /// Counts the times that a link was taken up.
    turn: u64,
    pub(super) events: mpsc::UnboundedSender<Event>,
    announcer: Announcer,
    nodes: u32,
    /// Who asks for a key's level while the other nodes report: one exchange per key serves them all.
    pub(super) infos: HashMap<Key, Vec<oneshot::Sender<Verdict>>>,
    /// The environment's limits were brought to the store.
    introduced: bool,
    /// Redis does not let this user hear the channel, or speak on it; said once each.
    is_deaf: bool,
    is_mute: bool,
}

/// Runs until the workers and the own endpoints have gone.
pub(super) async fn run(
    store: Store,
    mut desk: mpsc::Receiver<Errand>,
    state: Arc<State>,
    clock_ns: fn() -> u64,
) {
    let address = match Address::new(&store) {
        Ok(address) => address,
        Err(why) => {
            tracing::error!("REDIS_URL cannot be used: {why}");
            return;
        }
    };
    let (events, mut happened) = mpsc::unbounded_channel();
    let (news, mut channel) = mpsc::channel(LETTERS_MAX);
    tokio::spawn(listen(address.clone(), news));
    let mut task = Task::new(store, address, state, clock_ns, events);
    task.seek(None, Duration::ZERO);
    let mut pulse = tokio::time::interval(HEARTBEAT);
    loop {
        tokio::select! {
            Some(event) = happened.recv() => task.handle(event),
            letter = task.store.inbox.recv() => match letter {
                Some(letter) => task.take(letter),
                None => return,
            },
            Some(errand) = desk.recv() => task.serve(errand),
            Some(news) = channel.recv() => task.hear(news),
            _ = pulse.tick() => task.beat(),
            () = due(task.exchange.due_ns(), clock_ns) => {}
        }
        task.turn();
    }
}

/// Waits for the exchange's next timer.
async fn due(due_ns: Option<u64>, clock_ns: fn() -> u64) {
    match due_ns {
        Some(due) => {
            tokio::time::sleep(Duration::from_nanos(due.saturating_sub(clock_ns()))).await;
        }
        None => std::future::pending().await,
    }
}

impl Task {
    fn new(
        store: Store,
        address: Address,
        state: Arc<State>,
        clock_ns: fn() -> u64,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let seed = getrandom::u64().unwrap_or_else(|_| clock_ns());
        let site: Arc<str> = format!("{seed:016x}").into();
        let node = Arc::clone(&store.node);
        let mut exchange = Exchange::new(node, &site, store.policy, store.nodes_min);
        let timeout_ns = u64::try_from(store.timeout.as_nanos()).unwrap_or(u64::MAX);
        exchange.put_timeout(timeout_ns);
        Self {
            exchange,
            sha: sha1(SCRIPT).into(),
            nodes: store.nodes_min.max(1),
            store,
            state,
            clock_ns,
            address,
            site,
            link: None,
            turn: 0,
            events,
            announcer: Announcer::default(),
            infos: HashMap::new(),
            introduced: false,
            is_deaf: false,
            is_mute: false,
        }
    }

    fn take(&mut self, letter: Lease) {
        match letter {
            Lease::Ask { key, cost, reply } => {
                // The client may have left: its token is not taken then.
                let wanted = reply.as_ref().is_none_or(|reply| !reply.is_closed());
                if wanted {
                    self.exchange.ask(&key, cost, reply, (self.clock_ns)());
                }
            }
            Lease::Fetch(hint) => self.exchange.fetch(hint, (self.clock_ns)()),
        }
    }

    /// A tick: all that was posted meanwhile, then calls, then answers.
    fn turn(&mut self) {
        for _ in 0..LETTERS_MAX {
            match self.store.inbox.try_recv() {
                Ok(letter) => self.take(letter),
                Err(_) => break,
            }
        }
        if let Some((link, turn)) = self.link_now() {
            let calls = self.exchange.calls((self.clock_ns)(), CALLS_MAX);
            if !calls.is_empty() {
                let (events, sha) = (self.events.clone(), Arc::clone(&self.sha));
                tokio::spawn(async move {
                    let _ = events.send(Event::Answers(turn, link.run(calls, &sha).await));
                });
            }
        }
        self.state.put_leases(self.exchange.traffic().counts());
        for (reply, verdict) in self.exchange.answers() {
            // Whoever does not wait any more has been answered otherwise.
            let _ = reply.send(verdict);
        }
    }

    /// The link that is in use, and its turn.
    pub(super) fn link_now(&self) -> Option<(Link, u64)> {
        Some((self.link.clone()?, self.turn))
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Answers(turn, answers) => {
                let now = (self.clock_ns)();
                // First: what was reset since is known before a reply speaks of a block.
                if let Some(fleet) = answers.fleet {
                    self.put_fleet(fleet);
                }
                for (id, reply) in answers.replies {
                    self.exchange.reply(id, &reply, now);
                }
                if let Some(failure) = answers.failure {
                    self.lose(turn, failure);
                }
            }
            Event::Reached(link, nodes, fleet) => self.find(link, nodes, fleet),
            Event::Unreachable(why) => {
                self.say_away(why);
                self.seek(None, AGAIN);
            }
            Event::Nodes(nodes) => self.count_nodes(nodes),
            Event::Fleet(fleet) => self.put_fleet(fleet),
            Event::Failed(turn, failure) => self.lose(turn, failure),
            Event::Published(refused) => self.note_publish(refused),
            Event::Reported(key) => {
                for reply in self.infos.remove(&key).unwrap_or_default() {
                    self.exchange.watch(&key, reply, (self.clock_ns)());
                }
            }
            Event::Reset(step, reply) => self.go_on(step, reply),
        }
    }

    /// The store does not do its work: leases are spent, and it is tried again. One that was only late is asked on the same connection
    /// first: an answer that takes long now and then does not cost the connection, nor the other nodes' messages.
    pub(super) fn lose(&mut self, turn: u64, failure: Failure) {
        if turn != self.turn {
            return;
        }
        let Some(link) = self.link.take() else {
            return;
        };
        self.exchange.put_away(self.nodes, (self.clock_ns)());
        self.say_away(failure.why);
        self.seek(failure.is_late.then_some(link), AGAIN);
    }

    fn say_away(&mut self, why: Reason) {
        self.state.put_redis(false);
        let line = self.announcer.away(why, (self.clock_ns)());
        self.say(line);
    }

    fn say(&self, line: Option<Line>) {
        let (policy, nodes) = (self.store.policy, self.nodes);
        match line {
            Some(Line::Away { why, more }) => {
                let meaning = meaning(policy, nodes);
                let advice = match self.introduced {
                    true => "",
                    false => "; if there is no Redis, set REDIS_ENABLED=false",
                };
                tracing::warn!(reason = why, more, "Redis is away: {meaning}{advice}");
            }
            Some(Line::Back) => {
                tracing::info!(nodes, "Redis is connected: limits are shared");
            }
            Some(Line::Flapped { times, longest_ms }) => {
                let meaning = meaning(policy, nodes);
                tracing::warn!(
                    times,
                    longest_ms,
                    "Redis was away for moments and is connected; meanwhile {meaning}"
                );
            }
            None => {}
        }
    }

    fn count_nodes(&mut self, nodes: u32) {
        self.nodes = nodes.max(self.store.nodes_min);
        self.exchange.put_nodes(self.nodes);
    }

    fn find(&mut self, link: Link, nodes: u32, fleet: Fleet) {
        self.put_fleet(fleet);
        self.count_nodes(nodes);
        self.turn += 1;
        self.link = Some(link);
        if !std::mem::replace(&mut self.introduced, true) {
            // The others ask what the limits are now; a missed message costs them a second.
            self.publish("limits".to_owned());
        }
        self.exchange.put_back();
        self.state.put_redis(true);
        let line = self.announcer.back((self.clock_ns)());
        self.say(line);
    }

    /// Tries to reach the store, after a pause, on `suspect` first. The limits are agreed on before a call is made.
    fn seek(&self, suspect: Option<Link>, pause: Duration) {
        let (address, site) = (self.address.clone(), Arc::clone(&self.site));
        let (events, brought) = (self.events.clone(), self.brought());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(link) = suspect
                && let Ok((nodes, fleet)) = confirm(&link, &site, brought).await
            {
                let _ = events.send(Event::Reached(link, nodes, fleet));
                return;
            }
            let _ = match address.reach(&site, brought).await {
                Ok((link, nodes, fleet)) => events.send(Event::Reached(link, nodes, fleet)),
                Err(failure) => events.send(Event::Unreachable(failure.why)),
            };
        });
    }

    /// What this node knows of the fleet's agreements.
    pub(super) fn brought(&self) -> Brought {
        let (version, rpm, burst, block_ms) = self.store.node.limits_now();
        Brought {
            fleet: Fleet {
                version,
                rpm,
                burst,
                block_ms,
                all_ms: self.exchange.all_reset_ms(),
            },
            is_own: !self.introduced,
            reset_until_ms: None,
        }
    }

    /// What the fleet agrees on, from wherever it is heard.
    pub(super) fn put_fleet(&mut self, fleet: Fleet) {
        let node = &self.store.node;
        node.put_limits(fleet.version, fleet.rpm, fleet.burst, fleet.block_ms);
        self.exchange.put_all_reset(fleet.all_ms);
    }

    fn beat(&mut self) {
        let line = self.announcer.tick((self.clock_ns)());
        self.say(line);
        let Some((link, turn)) = self.link_now() else {
            return;
        };
        let (events, site) = (self.events.clone(), Arc::clone(&self.site));
        let brought = self.brought();
        tokio::spawn(async move {
            let said = link.clone().heartbeat(&site);
            let agreed = link.fleet(brought);
            // Both at once: this is no more than a round trip.
            let (nodes, fleet) = tokio::join!(said, agreed);
            let _ = match nodes {
                Ok(nodes) => events.send(Event::Nodes(nodes)),
                Err(failure) => events.send(Event::Failed(turn, failure)),
            };
            let _ = match fleet {
                Ok((fleet, _)) => events.send(Event::Fleet(fleet)),
                Err(failure) => events.send(Event::Failed(turn, failure)),
            };
        });
    }

    fn serve(&mut self, errand: Errand) {
        match errand {
            Errand::Info(key, reply) => self.inform(key, reply),
            Errand::Charge(key, reply) => {
                self.exchange.ask(&key, 1, Some(reply), (self.clock_ns)());
            }
            Errand::Reset(key, gap_ms, reply) => self.reset(key, gap_ms, reply),
            Errand::ResetAll(reply) => self.reset_all(reply),
            Errand::Publish(text) => self.publish(text),
        }
    }

    pub(super) fn publish(&self, text: String) {
        let Some((link, _)) = self.link_now() else {
            return;
        };
        let events = self.events.clone();
        tokio::spawn(async move {
            let refused = match link.publish(&text).await {
                Ok(()) => None,
                Err(failure) if failure.is_forbidden() => Some(failure.why),
                // Its own call will find out.
                Err(_) => return,
            };
            let _ = events.send(Event::Published(refused));
        });
    }

    fn note_publish(&mut self, refused: Option<Reason>) {
        let was_mute = std::mem::replace(&mut self.is_mute, refused.is_some());
        if let (Some(why), false) = (refused, was_mute) {
            tracing::warn!(
                reason = why,
                "Redis refuses PUBLISH on {CHANNEL}: other gateways hear of resets within 5 s and of new limits within 1 s \
                 instead of at once; the ACL user of REDIS_URL needs &{CHANNEL} and +publish"
            );
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Reset(key) => self.exchange.reset_elsewhere(&key),
            News::Report(key) => self.exchange.report(&key),
            News::Limits | News::ResetAll => self.ask_fleet(),
            News::Listening => self.is_deaf = false,
            News::Refused(why) => {
                if !std::mem::replace(&mut self.is_deaf, true) {
                    tracing::warn!(
                        reason = why,
                        "Redis refuses SUBSCRIBE on {CHANNEL}: this gateway hears of resets within 5 s and of new limits within \
                         1 s instead of at once; the ACL user of REDIS_URL needs &{CHANNEL} and +subscribe"
                    );
                }
            }
        }
    }

    fn ask_fleet(&self) {
        let Some((link, _)) = self.link_now() else {
            return;
        };
        let (events, mut brought) = (self.events.clone(), self.brought());
        brought.is_own = false;
        tokio::spawn(async move {
            // The next heartbeat says so otherwise.
            if let Ok((fleet, _)) = link.fleet(brought).await {
                let _ = events.send(Event::Fleet(fleet));
            }
        });
    }
}

/// The script's name at the server.
fn sha1(script: &str) -> String {
    use std::fmt::Write as _;
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        script.as_bytes(),
    );
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
