//! The task that owns the exchange: takes what is asked, sends calls, hands out answers, and knows whether Redis is there.
//! Not the connection (`link`). Invariant: it never waits for Redis itself, only for whatever happens next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::channel::{News, listen};
use super::link::{Address, Answer, Link, Reason};
use super::{Errand, REPORTS, Store};
use crate::limit::{Exchange, Key, SCRIPT, Verdict};
use crate::mailbox::Lease;
use crate::metrics::State;

/// Calls of one pipeline, and all that are under way at once: at 52 us each, the last one is answered within 27 ms.
const CALLS_MAX: usize = 512;
/// How often a store that is away is tried.
const AGAIN: Duration = Duration::from_millis(100);
/// How often this node says that it lives; those silent for 10 s are not counted.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// What is taken from the mailbox before calls are made.
const LETTERS_MAX: usize = 4_096;

/// What happened to the connection and on it.
enum Event {
    Answers(Vec<Answer>),
    Reached(Link, u32),
    Unreachable(Reason),
    Nodes(Result<u32, Reason>),
    Limits((u64, u32, u32, u64)),
    /// The other nodes have had the time to report what they have spent of a key.
    Reported(Key),
    /// Where in the scan the reset of every bucket had to stop; `None`: it was made.
    Wiped(Option<u64>),
}

/// Everything the task owns.
struct Task {
    exchange: Exchange<oneshot::Sender<Verdict>>,
    store: Store,
    state: Arc<State>,
    clock_ns: fn() -> u64,
    address: Address,
    site: Arc<str>,
    sha: Arc<str>,
    link: Option<Link>,
    events: mpsc::UnboundedSender<Event>,
    /// Why the store is away, as it was logged.
    told: Option<Reason>,
    nodes: u32,
    /// Who asks for a key's level while the other nodes report: one exchange per key serves them all.
    infos: HashMap<Key, Vec<oneshot::Sender<Verdict>>>,
    /// All buckets are to be reset as soon as the store can be reached, from this place in its scan on.
    wipes: Option<u64>,
    /// What the other nodes say; heard on a connection of its own.
    channel: tokio::task::JoinHandle<()>,
    news: mpsc::Sender<News>,
    /// The environment's limits were brought to the store.
    introduced: bool,
}

/// Runs until the workers and the own endpoints have gone.
pub(super) async fn run(
    store: Store,
    mut desk: mpsc::Receiver<Errand>,
    state: Arc<State>,
    clock_ns: fn() -> u64,
) {
    let address = match Address::new(&store.url, store.cluster) {
        Ok(address) => address,
        Err(why) => {
            tracing::error!("REDIS_URL cannot be used: {why}");
            return;
        }
    };
    let (events, mut happened) = mpsc::unbounded_channel();
    let (news, mut channel) = mpsc::channel(LETTERS_MAX);
    let listener = tokio::spawn(listen(address.clone(), news.clone()));
    let seed = getrandom::u64().unwrap_or_else(|_| clock_ns());
    let site: Arc<str> = format!("{seed:016x}").into();
    let mut task = Task {
        exchange: Exchange::new(
            Arc::clone(&store.node),
            &site,
            store.policy,
            store.nodes_min,
        ),
        sha: sha1(SCRIPT).into(),
        nodes: store.nodes_min.max(1),
        store,
        state,
        clock_ns,
        address,
        site,
        link: None,
        events,
        told: None,
        infos: HashMap::new(),
        wipes: None,
        channel: listener,
        news,
        introduced: false,
    };
    task.seek(Duration::ZERO);
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
        if let Some(link) = &self.link {
            let calls = self.exchange.calls((self.clock_ns)(), CALLS_MAX);
            if !calls.is_empty() {
                let (link, sha) = (link.clone(), Arc::clone(&self.sha));
                let events = self.events.clone();
                tokio::spawn(async move {
                    let _ = events.send(Event::Answers(link.run(calls, &sha).await));
                });
            }
        }
        self.state.put_leases(self.exchange.traffic().counts());
        for (reply, verdict) in self.exchange.answers() {
            // Whoever does not wait any more has been answered otherwise.
            let _ = reply.send(verdict);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Answers(answers) => {
                let now = (self.clock_ns)();
                for answer in answers {
                    match answer {
                        Answer::Reply(id, reply) => self.exchange.reply(id, &reply, now),
                        Answer::Failed(why) => self.lose(why),
                    }
                }
            }
            Event::Reached(link, nodes) => self.find(link, nodes),
            Event::Unreachable(why) => {
                self.say_away(why);
                self.seek(AGAIN);
            }
            Event::Nodes(Ok(nodes)) => self.count_nodes(nodes),
            Event::Nodes(Err(why)) => self.lose(why),
            Event::Limits((version, rpm, burst, block_ms)) => {
                self.store.node.put_limits(version, rpm, burst, block_ms);
            }
            Event::Reported(key) => {
                for reply in self.infos.remove(&key).unwrap_or_default() {
                    self.exchange.watch(&key, reply, (self.clock_ns)());
                }
            }
            Event::Wiped(stopped) => self.wipes = self.wipes.or(stopped),
        }
    }

    /// The store does not do its work: leases are spent, and the connection is made anew.
    fn lose(&mut self, why: Reason) {
        if self.link.take().is_none() {
            return;
        }
        self.exchange.put_away(self.nodes, (self.clock_ns)());
        // A connection that died without a word would stay deaf.
        self.channel.abort();
        self.channel = tokio::spawn(listen(self.address.clone(), self.news.clone()));
        self.say_away(why);
        self.seek(AGAIN);
    }

    fn say_away(&mut self, why: Reason) {
        self.state.put_redis(false);
        if self.told.as_ref() != Some(&why) {
            let policy = self.store.policy.label();
            tracing::warn!(reason = why, policy, nodes = self.nodes, "Redis is away");
            self.told = Some(why);
        }
    }

    fn count_nodes(&mut self, nodes: u32) {
        self.nodes = nodes.max(self.store.nodes_min);
        self.exchange.put_nodes(self.nodes);
    }

    fn find(&mut self, link: Link, nodes: u32) {
        self.count_nodes(nodes);
        if !self.introduced {
            // The others ask what the limits are now; a missed message costs until their next call of a key that knows.
            self.introduced = true;
            let link = link.clone();
            tokio::spawn(async move { link.publish("limits").await });
        }
        self.link = Some(link);
        self.exchange.put_back();
        self.state.put_redis(true);
        self.told = None;
        // Another server's keys may stand elsewhere in the scan.
        if self.wipes.take().is_some() {
            self.wipe(0, None);
        }
        tracing::info!(nodes = self.nodes, "Redis is connected: limits are shared");
    }

    /// Tries to reach the store, after a pause. The limits are agreed on before a call is made.
    fn seek(&self, pause: Duration) {
        let (address, site) = (self.address.clone(), Arc::clone(&self.site));
        let (events, node) = (self.events.clone(), Arc::clone(&self.store.node));
        let own = !self.introduced;
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let reached = async {
                let (link, nodes) = address.reach(&site).await?;
                let limits = link.clone().limits(node.limits_now(), own).await?;
                Ok((link, nodes, limits))
            };
            let _ = match reached.await {
                Ok((link, nodes, limits)) => {
                    let _ = events.send(Event::Limits(limits));
                    events.send(Event::Reached(link, nodes))
                }
                Err(why) => events.send(Event::Unreachable(why)),
            };
        });
    }

    fn beat(&mut self) {
        let Some(link) = self.link.clone() else {
            return;
        };
        // A reset of all keys that failed half-way goes on where it failed: from the start it would fill buckets again and again.
        if let Some(cursor) = self.wipes.take() {
            self.wipe(cursor, None);
        }
        let (events, site) = (self.events.clone(), Arc::clone(&self.site));
        tokio::spawn(async move {
            let _ = events.send(Event::Nodes(link.heartbeat(&site).await));
        });
    }

    fn serve(&mut self, errand: Errand) {
        let now = (self.clock_ns)();
        match errand {
            Errand::Info(key, reply) => self.inform(key, reply),
            Errand::Reset(key, reply) => self.exchange.reset(&key, reply, now),
            Errand::ResetAll(done) => self.reset_all(done),
            Errand::Publish(text) => self.publish(text),
        }
    }

    fn publish(&self, text: String) {
        if let Some(link) = self.link.clone() {
            tokio::spawn(async move { link.publish(&text).await });
        }
    }

    /// The key's level over all nodes. Callers that come while the others report share what comes of it.
    fn inform(&mut self, key: Key, reply: oneshot::Sender<Verdict>) {
        if let Some(callers) = self.infos.get_mut(&key) {
            callers.push(reply);
            return;
        }
        self.publish(format!("report {}", key.store_name()));
        self.infos.insert(key.clone(), vec![reply]);
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(REPORTS).await;
            let _ = events.send(Event::Reported(key));
        });
    }

    fn hear(&mut self, news: News) {
        match news {
            // No one node of a cluster can be asked for all keys: each gateway resets those it knows.
            News::Reset(None) if self.store.cluster => self.exchange.reset_known(),
            News::Reset(key) => self.exchange.reset_elsewhere(key.as_deref()),
            News::Report(key) => self.exchange.report(&key),
            News::Limits => {
                let Some(link) = self.link.clone() else {
                    return;
                };
                let (events, limits) = (self.events.clone(), self.store.node.limits_now());
                tokio::spawn(async move {
                    if let Ok(limits) = link.limits(limits, false).await {
                        let _ = events.send(Event::Limits(limits));
                    }
                });
            }
        }
    }

    /// Every bucket, of this node at once; those of the store as soon as it can be reached.
    fn reset_all(&mut self, done: oneshot::Sender<()>) {
        if self.store.cluster || self.link.is_none() {
            self.wipes = (!self.store.cluster).then_some(0);
            self.exchange.reset_known();
            let _ = done.send(());
            return;
        }
        self.exchange.reset_elsewhere(None);
        self.wipe(0, Some(done));
    }

    /// Every bucket of the store, some at a time.
    fn wipe(&self, cursor: u64, done: Option<oneshot::Sender<()>>) {
        let Some(link) = self.link.clone() else {
            return;
        };
        let (site, limits) = (format!("{}r", self.site), self.store.node.limits_now());
        let (sha, events) = (Arc::clone(&self.sha), self.events.clone());
        let start = (self.clock_ns)();
        tokio::spawn(async move {
            let stopped = wipe(&link, cursor, (&site, start), &sha, limits).await;
            let _ = events.send(Event::Wiped(stopped));
            if let Some(done) = done {
                let _ = done.send(());
            }
            let _ = link.publish("reset").await;
        });
    }
}

/// Resets what a scan finds from `cursor` on; where it had to stop, if it did not come to its end. The numbers grow with every batch,
/// so that no call of this site is taken for a repeated one.
async fn wipe(
    link: &Link,
    mut cursor: u64,
    (site, start): (&str, u64),
    sha: &str,
    limits: (u64, u32, u32, u64),
) -> Option<u64> {
    for turn in 0.. {
        let Ok((next, keys)) = link.clone().scan(cursor).await else {
            return Some(cursor);
        };
        let number = (site, start + turn);
        let reset = link.clone().reset(&keys, number, sha, limits).await;
        if reset.is_err() {
            return Some(cursor);
        }
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    None
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
