//! Looks service names up and publishes their addresses. Not a connection and not a balancer. Invariant: the last good set
//! stays when a lookup fails, and at most one lookup per service is under way.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::Publish;
use crate::config::Service;

/// How often names are looked up.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Time between two lookups of a name that nobody asks for.
    every: Duration,
    /// Least time between two lookups of a name, however often workers ask: a dead upstream must not become a flood of
    /// queries.
    apart: Duration,
}

const PACE: Pace = Pace {
    every: Duration::from_secs(5),
    apart: Duration::from_millis(500),
};

/// Wishes that may wait; each is served by the next lookup, so a few per service are enough.
const WISHES_MAX: usize = 64;

/// How long start-up waits for a first answer; names found later are published then.
const FIRST: Duration = Duration::from_secs(5);

/// What everybody else sees of the lookups.
pub(super) struct Names {
    /// The current addresses; `None` for a service whose first lookup is under way.
    pub(super) book: watch::Receiver<Book>,
    /// Takes the index of a service to which a connect failed.
    pub(super) again: mpsc::Sender<usize>,
}

/// Addresses of all services in the configuration's order.
pub(super) type Book = Vec<Option<Vec<SocketAddr>>>;

/// A service's index and its new addresses.
type Find = (usize, Vec<SocketAddr>);

/// Waits until every first lookup is back, or `FIRST` has passed.
pub(super) async fn first_known(book: &mut watch::Receiver<Book>) {
    let known = book.wait_for(|book| book.iter().all(Option::is_some));
    // Either way the probes go on: a service without an address is unhealthy.
    let _ = timeout(FIRST, known).await;
}

/// Begins to look up all services' names. Addresses given as literals are published at once and never looked up.
pub(super) fn start(services: &[Service], mut publish: Publish) -> Names {
    let literal = |service: &Service| {
        let address: IpAddr = service.host.parse().ok()?;
        Some(vec![SocketAddr::new(address, service.port)])
    };
    let first: Book = services.iter().map(literal).collect();
    publish(plain(&first));
    let (found, finds) = mpsc::channel(WISHES_MAX);
    let (again, wishes) = mpsc::channel(WISHES_MAX);
    let mut wakers = Vec::with_capacity(services.len());
    for (index, service) in services.iter().enumerate() {
        let (wake, woken) = mpsc::channel(1);
        wakers.push(wake);
        if first.get(index).is_some_and(Option::is_none) {
            let (host, port) = (service.host.clone(), service.port);
            let ask = move || ask_system(host.clone(), port);
            let found = (index, found.clone());
            tokio::spawn(look_up(service.name.clone(), PACE, ask, woken, found));
        }
    }
    let (show, book) = watch::channel(first);
    tokio::spawn(pass_wishes(wishes, wakers));
    tokio::spawn(keep_book(finds, show, publish));
    Names { book, again }
}

fn plain(book: &Book) -> Vec<Vec<SocketAddr>> {
    book.iter()
        .map(|set| set.clone().unwrap_or_default())
        .collect()
}

async fn pass_wishes(mut wishes: mpsc::Receiver<usize>, wakers: Vec<mpsc::Sender<()>>) {
    while let Some(service) = wishes.recv().await {
        if let Some(wake) = wakers.get(service) {
            // A full channel: the lookup that serves the earlier wish serves this one.
            let _ = wake.try_send(());
        }
    }
}

async fn keep_book(
    mut finds: mpsc::Receiver<Find>,
    show: watch::Sender<Book>,
    mut publish: Publish,
) {
    while let Some((index, set)) = finds.recv().await {
        show.send_modify(|book| {
            if let Some(entry) = book.get_mut(index) {
                *entry = Some(set);
            }
        });
        let book = plain(&show.borrow());
        publish(book);
    }
}

/// One service's lookups, until nobody can ask for one any more.
async fn look_up<Answer>(
    name: String,
    pace: Pace,
    mut ask: impl FnMut() -> Answer,
    mut woken: mpsc::Receiver<()>,
    (index, found): (usize, mpsc::Sender<Find>),
) where
    Answer: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let mut ticks = interval(pace.every);
    // After a lookup that hung: one round, not all that were missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Last::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            wish = woken.recv() => if wish.is_none() { return },
        }
        // Begun before the lookup: it counts the time from start to start.
        let rest = sleep(pace.apart);
        let answer = ask().await.map_err(|error| error.to_string());
        if let Some(set) = last.learn(&name, answer)
            && found.send((index, set)).await.is_err()
        {
            return;
        }
        rest.await;
    }
}

async fn ask_system(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// What was known before, so that only changes are published and said.
#[derive(Debug, Default)]
struct Last {
    told: bool,
    set: Vec<SocketAddr>,
    failure: Option<String>,
}

impl Last {
    /// The set to publish, if the answer changed anything. Resolvers rotate their answers: another order is no change.
    fn learn(
        &mut self,
        service: &str,
        answer: Result<Vec<SocketAddr>, String>,
    ) -> Option<Vec<SocketAddr>> {
        let answer = match answer {
            Ok(set) if set.is_empty() => Err("the name has no address".to_owned()),
            other => other,
        };
        let first = !std::mem::replace(&mut self.told, true);
        match answer {
            Ok(set) => {
                if self.failure.take().is_some() {
                    tracing::info!(
                        service,
                        addresses = set.len(),
                        "the name of the service is found again"
                    );
                }
                let mut sorted = set.clone();
                sorted.sort_unstable();
                sorted.dedup();
                let changed = first || sorted != self.set;
                self.set = sorted;
                changed.then_some(set)
            }
            Err(reason) => {
                if self.failure.as_ref() != Some(&reason) {
                    let kept = self.set.len();
                    tracing::warn!(
                        service,
                        reason,
                        kept,
                        "the name of the service cannot be looked up"
                    );
                    self.failure = Some(reason);
                }
                // Told even so: start-up waits for a first answer about every name.
                first.then(Vec::new)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Which answers are published, and how literals, wishes and failures go.
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test may fail loudly"
    )]

    use super::super::tests::{runtime, service};
    use super::*;

    fn at(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_changes_are_published_and_the_last_good_set_is_kept() {
        let mut last = Last::default();
        let (a, b) = ("192.0.2.1:80", "192.0.2.2:80");
        assert_eq!(last.learn("s", Ok(at(&[a, b]))), Some(at(&[a, b])));
        assert_eq!(last.learn("s", Ok(at(&[b, a]))), None, "rotated");
        assert_eq!(last.learn("s", Ok(at(&[b, a, b]))), None, "repeated");
        assert_eq!(last.learn("s", Err("no".to_owned())), None, "kept");
        assert_eq!(last.learn("s", Ok(vec![])), None, "kept");
        assert_eq!(last.learn("s", Ok(at(&[a, b]))), None, "still the same");
        assert_eq!(last.learn("s", Ok(at(&[b]))), Some(at(&[b])));
        let mut never = Last::default();
        assert_eq!(
            never.learn("s", Err("no".to_owned())),
            Some(vec![]),
            "known to be none"
        );
        assert_eq!(never.learn("s", Err("no".to_owned())), None);
        assert_eq!(never.learn("s", Ok(at(&[a]))), Some(at(&[a])));
    }

    #[test]
    fn literals_are_published_at_once_and_names_when_found() {
        runtime().block_on(async {
            let services = [
                service("127.0.0.1", 1),
                service("localhost", 2),
                service("::1", 3),
            ];
            let (sent, mut sets) = mpsc::unbounded_channel();
            let publish = move |set| sent.send(set).expect("the test listens");
            let mut names = start(&services, Box::new(publish));
            let first = sets.recv().await.unwrap();
            assert_eq!(first, [at(&["127.0.0.1:1"]), vec![], at(&["[::1]:3"])]);
            first_known(&mut names.book).await;
            let second = sets.recv().await.unwrap();
            assert!(
                second[1]
                    .iter()
                    .all(|a| a.ip().is_loopback() && a.port() == 2)
            );
            assert!(!second[1].is_empty());
            for _ in 0..1000 {
                let _ = names.again.try_send(1);
                let _ = names.again.try_send(7);
            }
            tokio::task::yield_now().await;
            assert!(sets.try_recv().is_err(), "nothing changed");
        });
    }

    #[test]
    fn a_hundred_wishes_are_one_lookup_and_only_changes_are_found() {
        let pace = Pace {
            every: Duration::from_secs(3600),
            apart: Duration::from_millis(20),
        };
        runtime().block_on(async {
            let refused = || Err(io::Error::from(io::ErrorKind::NotFound));
            let answers = [
                Ok(at(&["192.0.2.1:80"])),
                Ok(at(&["192.0.2.1:80"])),
                refused(),
                Ok(at(&["192.0.2.2:80", "192.0.2.1:80"])),
            ];
            let mut answers = answers.into_iter();
            let (asked, mut asks) = mpsc::unbounded_channel();
            let ask = move || {
                asked.send(()).unwrap();
                std::future::ready(answers.next().unwrap_or_else(refused))
            };
            let (wake, woken) = mpsc::channel(1);
            let (found, mut finds) = mpsc::channel(8);
            let looker = tokio::spawn(look_up("s".to_owned(), pace, ask, woken, (3, found)));
            for _ in 0..4 {
                asks.recv().await.unwrap();
                for _ in 0..100 {
                    let _ = wake.try_send(());
                }
            }
            // The wish of the last turn is still there; then nobody can wish any more.
            asks.recv().await.unwrap();
            drop(wake);
            looker.await.unwrap();
            assert!(
                asks.recv().await.is_none(),
                "five lookups, not four hundred"
            );
            assert_eq!(finds.recv().await, Some((3, at(&["192.0.2.1:80"]))));
            let second = at(&["192.0.2.2:80", "192.0.2.1:80"]);
            assert_eq!(
                finds.recv().await,
                Some((3, second)),
                "in the resolver's order"
            );
            assert_eq!(finds.recv().await, None);
        });
    }

    #[test]
    fn a_name_that_is_not_there_holds_nobody_up_for_ever() {
        runtime().block_on(async {
            let services = [service("no-such-host.invalid", 80)];
            let mut names = start(&services, Box::new(|_| {}));
            first_known(&mut names.book).await;
            let book = names.book.borrow().clone();
            assert!(matches!(book.as_slice(), [None] | [Some(_)]));
            assert!(plain(&book)[0].is_empty());
        });
    }
}
