//! Looks service names up and publishes their addresses. Not a connection and not a balancer. Invariant: the last good set
//! stays when a lookup fails, and at most one lookup per service is under way.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::Publish;
use crate::config::{Address, Endpoint, Service};

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

/// Addresses of one service beyond which no more are used: each is probed, and known to each worker.
const ADDRESSES_MAX: usize = 64;

/// What everybody else sees of the lookups.
pub(super) struct Names {
    /// The current addresses.
    pub(super) book: watch::Receiver<Book>,
    /// Takes the index of a service to which a connect failed.
    pub(super) again: mpsc::Sender<usize>,
    /// Takes what the probes found.
    pub(super) news: mpsc::Sender<News>,
}

/// What each URL of each service leads to, in the configuration's order; `None`: its first lookup is under way.
pub(super) type Book = Vec<Vec<Option<Vec<SocketAddr>>>>;

/// What changes the picture that the workers have.
pub(super) enum News {
    /// A URL of a service leads there now.
    Found {
        service: usize,
        url: usize,
        set: Vec<SocketAddr>,
    },
    /// These addresses failed their last probe, and no others.
    Ill(Vec<(usize, SocketAddr)>),
}

/// A service's addresses, each once, in the order of its URLs, with the place of its URL.
pub(super) fn addresses(urls: &[Option<Vec<SocketAddr>>]) -> Vec<(usize, SocketAddr)> {
    let mut all: Vec<(usize, SocketAddr)> = Vec::new();
    let found = urls.iter().enumerate();
    for (url, address) in found.flat_map(|(url, set)| set.iter().flatten().map(move |at| (url, at)))
    {
        if all.iter().all(|(_, known)| known != address) && all.len() < ADDRESSES_MAX {
            all.push((url, *address));
        }
    }
    all
}

/// Waits until every first lookup is back, or `FIRST` has passed.
pub(super) async fn first_known(book: &mut watch::Receiver<Book>) {
    let known = book.wait_for(|book| book.iter().flatten().all(Option::is_some));
    // Either way the probes go on: a service without an address is unhealthy.
    let _ = timeout(FIRST, known).await;
}

/// Begins to look up all services' names. Addresses given as literals are published at once and never looked up.
pub(super) fn start(services: &[Service], mut publish: Publish) -> Names {
    let literals = |service: &Service| {
        let literal = |endpoint: &Endpoint| endpoint.literal().map(|address| vec![address]);
        service.endpoints.iter().map(literal).collect()
    };
    let first: Book = services.iter().map(literals).collect();
    publish(picture(&first, &[]));
    let (news, novelties) = mpsc::channel(WISHES_MAX);
    let (again, wishes) = mpsc::channel(WISHES_MAX);
    let mut wakers = Vec::with_capacity(services.len());
    for (index, service) in services.iter().enumerate() {
        let mut of_service = Vec::new();
        for (url, endpoint) in service.endpoints.iter().enumerate() {
            if endpoint.literal().is_some() {
                continue;
            }
            let (wake, woken) = mpsc::channel(1);
            of_service.push(wake);
            let (host, port) = (endpoint.host.clone(), endpoint.port);
            let ask = move || ask_system(host.clone(), port);
            let found = ((index, url), news.clone());
            let name = (service.name.clone(), endpoint.authority.clone());
            tokio::spawn(look_up(name, PACE, ask, woken, found));
        }
        wakers.push(of_service);
    }
    let (show, book) = watch::channel(first);
    tokio::spawn(pass_wishes(wishes, wakers));
    tokio::spawn(keep_book(novelties, show, publish));
    Names { book, again, news }
}

/// What the workers are shown.
fn picture(book: &Book, ill: &[(usize, SocketAddr)]) -> Vec<Vec<Address>> {
    let of_service = |(index, urls): (usize, &Vec<_>)| {
        let judged = |(url, at)| Address {
            at,
            url,
            healthy: !ill.contains(&(index, at)),
        };
        addresses(urls).into_iter().map(judged).collect()
    };
    book.iter().enumerate().map(of_service).collect()
}

async fn pass_wishes(mut wishes: mpsc::Receiver<usize>, wakers: Vec<Vec<mpsc::Sender<()>>>) {
    while let Some(service) = wishes.recv().await {
        for wake in wakers.get(service).into_iter().flatten() {
            // A full channel: the lookup that serves the earlier wish serves this one.
            let _ = wake.try_send(());
        }
    }
}

async fn keep_book(
    mut novelties: mpsc::Receiver<News>,
    show: watch::Sender<Book>,
    mut publish: Publish,
) {
    let mut ill = Vec::new();
    while let Some(news) = novelties.recv().await {
        match news {
            News::Found { service, url, set } => show.send_modify(|book| {
                if let Some(entry) = book.get_mut(service).and_then(|urls| urls.get_mut(url)) {
                    *entry = Some(set);
                }
            }),
            News::Ill(now) => ill = now,
        }
        let picture = picture(&show.borrow(), &ill);
        publish(picture);
    }
}

/// One name's lookups, until nobody can ask for one any more.
async fn look_up<Answer>(
    (service, host): (String, String),
    pace: Pace,
    mut ask: impl FnMut() -> Answer,
    mut woken: mpsc::Receiver<()>,
    ((index, url), news): ((usize, usize), mpsc::Sender<News>),
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
        if let Some(set) = last.learn((&service, &host), answer) {
            let found = News::Found {
                service: index,
                url,
                set,
            };
            if news.send(found).await.is_err() {
                return;
            }
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
        (service, host): (&str, &str),
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
                        host,
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
                        host,
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
        assert_eq!(last.learn(("s", "h"), Ok(at(&[a, b]))), Some(at(&[a, b])));
        assert_eq!(last.learn(("s", "h"), Ok(at(&[b, a]))), None, "rotated");
        assert_eq!(last.learn(("s", "h"), Ok(at(&[b, a, b]))), None, "repeated");
        assert_eq!(last.learn(("s", "h"), Err("no".to_owned())), None, "kept");
        assert_eq!(last.learn(("s", "h"), Ok(vec![])), None, "kept");
        assert_eq!(
            last.learn(("s", "h"), Ok(at(&[a, b]))),
            None,
            "still the same"
        );
        assert_eq!(last.learn(("s", "h"), Ok(at(&[b]))), Some(at(&[b])));
        let mut never = Last::default();
        assert_eq!(
            never.learn(("s", "h"), Err("no".to_owned())),
            Some(vec![]),
            "known to be none"
        );
        assert_eq!(never.learn(("s", "h"), Err("no".to_owned())), None);
        assert_eq!(never.learn(("s", "h"), Ok(at(&[a]))), Some(at(&[a])));
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
            let plain = |set: &[Address]| set.iter().map(|one| one.at).collect::<Vec<_>>();
            let first: Vec<_> = first.iter().map(|set| plain(set)).collect();
            assert_eq!(first, [at(&["127.0.0.1:1"]), vec![], at(&["[::1]:3"])]);
            first_known(&mut names.book).await;
            let second = sets.recv().await.unwrap();
            assert!(
                second[1]
                    .iter()
                    .all(|a| a.at.ip().is_loopback() && a.at.port() == 2 && a.healthy)
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
            let looker = tokio::spawn(look_up(
                ("s".to_owned(), "h".to_owned()),
                pace,
                ask,
                woken,
                ((3, 1), found),
            ));
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
            let mut next = async || match finds.recv().await {
                Some(News::Found { service, url, set }) => Some((service, url, set)),
                Some(News::Ill(_)) | None => None,
            };
            assert_eq!(next().await, Some((3, 1, at(&["192.0.2.1:80"]))));
            let second = at(&["192.0.2.2:80", "192.0.2.1:80"]);
            assert_eq!(
                next().await,
                Some((3, 1, second)),
                "in the resolver's order"
            );
            assert_eq!(next().await, None);
        });
    }

    #[test]
    fn a_service_has_all_addresses_of_all_its_urls_and_what_the_probes_found() {
        let (a, b, c) = ("192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80");
        let book: Book = vec![
            vec![Some(at(&[a, b])), None, Some(at(&[b, c]))],
            vec![Some(at(&[a]))],
        ];
        let found: (Vec<usize>, Vec<SocketAddr>) = addresses(&book[0]).into_iter().unzip();
        assert_eq!(found, (vec![0, 0, 2], at(&[a, b, c])), "and whose they are");
        let ill = [(0, at(&[b])[0]), (1, at(&[a])[0])];
        let told: Vec<Vec<bool>> = picture(&book, &ill)
            .iter()
            .map(|set| set.iter().map(|one| one.healthy).collect())
            .collect();
        assert_eq!(told, [vec![true, false, true], vec![false]]);
        let many: Vec<String> = (0..100).map(|n| format!("192.0.2.{n}:80")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(addresses(&[Some(at(&many))]).len(), ADDRESSES_MAX);
    }

    #[test]
    fn a_name_that_is_not_there_holds_nobody_up_for_ever() {
        runtime().block_on(async {
            let services = [service("no-such-host.invalid", 80)];
            let mut names = start(&services, Box::new(|_| {}));
            first_known(&mut names.book).await;
            let book = names.book.borrow().clone();
            assert_eq!(book.len(), 1);
            assert!(addresses(&book[0]).is_empty());
        });
    }
}
