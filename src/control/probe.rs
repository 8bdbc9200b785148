//! Asks every endpoint for its health in the background. Not a breaker: a worker prefers those that are well, and asks the others
//! when there is none.
//! Invariant: a probe ends within its limit, and a change of health is one line with its reason.

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsConnector;

use super::resolve::{self, Book, Names, News};
use crate::config::{Config, Service};
use crate::metrics::State;
use crate::tls::{Cause, Services};

/// How often services are probed, and how long a probe may take, connect included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) every: Duration,
    pub(super) limit: Duration,
}

/// The seed's figures.
pub(super) const PACE: Pace = Pace {
    every: Duration::from_secs(5),
    limit: Duration::from_secs(2),
};

/// Why a service is not healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    NoAddress,
    Connect(std::io::ErrorKind),
    Tls(Cause),
    NoName,
    TooSlow,
    Broken,
    Status(u16),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => write!(f, "its name has no address"),
            Self::Connect(kind) => write!(f, "cannot connect: {kind}"),
            Self::Tls(cause) => f.write_str(cause.of_service()),
            Self::NoName => write!(f, "its name is none for a certificate"),
            Self::TooSlow => write!(f, "no answer in time"),
            Self::Broken => write!(f, "the answer is not HTTP or broke off"),
            Self::Status(status) => write!(f, "it answered {status}"),
        }
    }
}

/// How an endpoint is asked over TLS, and the name that it must prove to have.
type Named = (TlsConnector, String);

/// What one probe found.
struct Finding {
    service: usize,
    address: SocketAddr,
    verdict: Result<(), Trouble>,
    took_ns: u64,
}

/// Probes every endpoint of every service for ever. Marks the state as probed when each was probed once.
pub(super) async fn run(
    (config, services_tls): (Arc<Config>, Option<Arc<Services>>),
    state: Arc<State>,
    names: Names,
    clock_ns: fn() -> u64,
    pace: Pace,
) {
    let Names { mut book, news, .. } = names;
    resolve::first_known(&mut book).await;
    let mut ticks = interval(pace.every);
    // A slow round is followed by a pause, not by the rounds that it missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = vec![Known::default(); config.services.len()];
    let mut ill = Vec::new();
    loop {
        ticks.tick().await;
        let current = book.borrow().clone();
        // Files may have been renewed since the last round.
        let tls = services_tls
            .as_ref()
            .map(|services| TlsConnector::from(services.config()));
        let findings = round((&config.services, tls.as_ref()), &current, clock_ns, pace).await;
        for (index, service) in config.services.iter().enumerate() {
            let of_service = findings.iter().filter(|finding| finding.service == index);
            let (verdict, took_ns) = sum_up(of_service.clone());
            record(&state, index, verdict, took_ns);
            if let Some(service) = state.service(index) {
                let healthy = of_service.clone().filter(|finding| finding.verdict.is_ok());
                service.put_endpoints(of_service.clone().count(), healthy.count());
            }
            if let Some(known) = known.get_mut(index) {
                known.say(&service.name, verdict);
                known.say_endpoints(&service.name, of_service);
            }
        }
        let failed = findings.iter().filter(|finding| finding.verdict.is_err());
        let now: Vec<(usize, SocketAddr)> = failed
            .map(|finding| (finding.service, finding.address))
            .collect();
        if now != ill {
            ill.clone_from(&now);
            // Nobody keeps the book any more when the process ends.
            let _ = news.send(News::Ill(now)).await;
        }
        state.mark_probed();
    }
}

/// Probes all endpoints at once; in the order of services and their addresses.
async fn round(
    (services, tls): (&[Service], Option<&TlsConnector>),
    book: &Book,
    clock_ns: fn() -> u64,
    pace: Pace,
) -> Vec<Finding> {
    let mut probes = JoinSet::new();
    for (index, (service, urls)) in services.iter().zip(book).enumerate() {
        for (place, (url, address)) in resolve::addresses(urls).into_iter().enumerate() {
            let (service, begun) = (service.clone(), clock_ns());
            let host = service.endpoints.get(url).filter(|_| service.tls);
            let tls = tls.cloned().zip(host.map(|endpoint| endpoint.host.clone()));
            probes.spawn(async move {
                let verdict = probe((&service, url), tls, address, pace.limit).await;
                let finding = Finding {
                    service: index,
                    address,
                    verdict,
                    took_ns: clock_ns().saturating_sub(begun),
                };
                (index, place, finding)
            });
        }
    }
    let mut found = Vec::new();
    while let Some(probed) = probes.join_next().await {
        // A probe that panicked says nothing about its endpoint.
        found.extend(probed);
    }
    found.sort_by_key(|(index, place, _)| (*index, *place));
    found.into_iter().map(|(_, _, finding)| finding).collect()
}

/// A service is healthy when one of its endpoints is. How long the fastest took.
fn sum_up<'a>(findings: impl Iterator<Item = &'a Finding>) -> (Result<(), Trouble>, u64) {
    let mut summed = (Err(Trouble::NoAddress), 0);
    for finding in findings {
        summed = match (summed, finding.verdict) {
            ((Ok(()), fastest), Ok(())) => (Ok(()), fastest.min(finding.took_ns)),
            ((Err(_), _), Ok(())) => (Ok(()), finding.took_ns),
            ((Err(Trouble::NoAddress), _), trouble) => (trouble, 0),
            (before, Err(_)) => before,
        };
    }
    summed
}

fn record(state: &State, index: usize, verdict: Result<(), Trouble>, took_ns: u64) {
    let Some(service) = state.service(index) else {
        return;
    };
    match verdict {
        Ok(()) => service.put_healthy(took_ns),
        Err(_) => service.put_unhealthy(),
    }
}

/// The last verdict about a service (`None` before the first), and which of its endpoints were ill.
#[derive(Debug, Clone, Default)]
struct Known(Option<Result<(), Trouble>>, Vec<(SocketAddr, Trouble)>);

impl Known {
    /// Says a change, once. Another reason for being unhealthy is a change too.
    fn say(&mut self, service: &str, verdict: Result<(), Trouble>) {
        if self.0.replace(verdict) == Some(verdict) {
            return;
        }
        match verdict {
            Ok(()) => tracing::info!(service, "the service is healthy"),
            Err(reason) => tracing::warn!(service, %reason, "the service is unhealthy"),
        }
    }

    /// Says each endpoint's change, once; of an only endpoint the service's own line says all.
    fn say_endpoints<'a>(
        &mut self,
        service: &str,
        findings: impl Iterator<Item = &'a Finding> + Clone,
    ) {
        let trouble = |finding: &Finding| Some((finding.address, finding.verdict.err()?));
        let ill: Vec<_> = findings.clone().filter_map(trouble).collect();
        let before = std::mem::replace(&mut self.1, ill);
        if findings.clone().count() < 2 {
            return;
        }
        for (endpoint, reason) in self.1.iter().filter(|one| !before.contains(one)) {
            tracing::warn!(service, %endpoint, %reason, "an endpoint of the service is unhealthy");
        }
        let was_ill = |finding: &&Finding| before.iter().any(|one| one.0 == finding.address);
        for finding in findings.filter(was_ill) {
            if finding.verdict.is_ok() {
                let endpoint = finding.address;
                tracing::info!(service, %endpoint, "an endpoint of the service is healthy again");
            }
        }
    }
}

async fn probe(
    service: (&Service, usize),
    tls: Option<Named>,
    address: SocketAddr,
    limit: Duration,
) -> Result<(), Trouble> {
    timeout(limit, ask(service, tls, address))
        .await
        .unwrap_or(Err(Trouble::TooSlow))
}

/// `url`: which of the service's URLs the address belongs to.
async fn ask(
    (service, url): (&Service, usize),
    tls: Option<Named>,
    address: SocketAddr,
) -> Result<(), Trouble> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| Trouble::Connect(error.kind()))?;
    let Some((tls, host)) = tls else {
        return exchange((service, url), stream).await;
    };
    let name = host.try_into();
    let name = name.map_err(|_| Trouble::NoName)?;
    let stream = tls.connect(name, stream).await;
    let stream = stream.map_err(|error| Trouble::Tls(Cause::of_io(&error)))?;
    exchange((service, url), stream).await
}

async fn exchange<S>((service, url): (&Service, usize), stream: S) -> Result<(), Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Trouble::Broken)?;
    let endpoint = service.endpoints.get(url).or(service.endpoints.first());
    let host = endpoint.map_or("", |endpoint| service.host_for(endpoint, ""));
    let request = http::Request::get(service.health_path.as_str())
        .header(HOST, host)
        .header(USER_AGENT, "dbpower-gateway")
        .header(ACCEPT, "*/*")
        // A kept connection would not notice a service that accepts no new ones.
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Trouble::Broken)?;
    // Only the head matters: when it is there, both ends are dropped and the body is never read.
    let mut answer = pin!(sender.send_request(request));
    let answered = tokio::select! {
        answered = &mut answer => answered,
        // A connection that ends has handed over what there was.
        _ = connection => answer.await,
    };
    let status = answered.map_err(|_| Trouble::Broken)?.status();
    if status.is_success() {
        Ok(())
    } else {
        Err(Trouble::Status(status.as_u16()))
    }
}

#[cfg(test)]
mod tests {
    //! Every way in which an upstream can be ill, against real sockets, and its way down and up again.
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::tests::{config, runtime, service};
    use super::*;

    /// An upstream that answers each connection with the bytes that stand in `answer` then, and keeps what it was asked.
    struct Upstream {
        address: SocketAddr,
        answer: Arc<Mutex<&'static str>>,
        heads: Arc<Mutex<Vec<String>>>,
    }

    async fn upstream(answer: &'static str) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(answer));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (now, seen) = (Arc::clone(&answer), Arc::clone(&heads));
        tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap();
                head.truncate(length);
                seen.lock().unwrap().push(String::from_utf8(head).unwrap());
                let bytes = *now.lock().unwrap();
                stream.write_all(bytes.as_bytes()).await.unwrap();
                // An upstream that says nothing keeps the connection open.
                if bytes.is_empty() {
                    open.push(stream);
                }
            }
        });
        Upstream {
            address,
            answer,
            heads,
        }
    }

    fn verdict(answer: &'static str, limit: Duration) -> Result<(), Trouble> {
        runtime().block_on(async {
            let upstream = upstream(answer).await;
            let service = service("backend", 8000);
            let verdict = probe((&service, 0), None, upstream.address, limit).await;
            let heads = upstream.heads.lock().unwrap();
            assert!(
                heads[0].starts_with("GET /health HTTP/1.1\r\n"),
                "{heads:?}"
            );
            assert!(heads[0].contains("host: backend:8000\r\n"), "{heads:?}");
            assert!(heads[0].contains("connection: close\r\n"), "{heads:?}");
            verdict
        })
    }

    #[test]
    fn only_a_2xx_in_time_is_health() {
        let long = Duration::from_secs(60);
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Ok(())),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\nunfinished",
                Ok(()),
            ),
            ("HTTP/1.0 200 OK\r\n\r\n", Ok(())),
            ("HTTP/1.1 204 No Content\r\n\r\n", Ok(())),
            (
                "HTTP/1.1 301 Moved\r\nlocation: /\r\n\r\n",
                Err(Trouble::Status(301)),
            ),
            (
                "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
                Err(Trouble::Status(404)),
            ),
            (
                "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
                Err(Trouble::Status(503)),
            ),
            ("SSH-2.0-OpenSSH\r\n", Err(Trouble::Broken)),
            ("HTTP/1.1 200", Err(Trouble::Broken)),
        ] {
            assert_eq!(verdict(answer, long), expected, "{answer}");
        }
        assert_eq!(
            verdict("", Duration::from_millis(50)),
            Err(Trouble::TooSlow)
        );
    }

    #[test]
    fn a_service_is_as_healthy_as_its_healthiest_endpoint() {
        let found = |verdict, took_ns| Finding {
            service: 0,
            address: ([192, 0, 2, 1], 80).into(),
            verdict,
            took_ns,
        };
        let ill = || found(Err(Trouble::TooSlow), 9);
        let table = [
            (vec![], (Err(Trouble::NoAddress), 0)),
            (vec![found(Ok(()), 5)], (Ok(()), 5)),
            (vec![ill()], (Err(Trouble::TooSlow), 0)),
            (
                vec![ill(), found(Err(Trouble::Status(500)), 1)],
                (Err(Trouble::TooSlow), 0),
            ),
            (vec![ill(), found(Ok(()), 7), ill()], (Ok(()), 7)),
            (vec![found(Ok(()), 7), found(Ok(()), 3)], (Ok(()), 3)),
        ];
        for (findings, expected) in table {
            assert_eq!(sum_up(findings.iter()), expected);
        }
    }

    #[test]
    fn an_endpoint_without_a_way_to_it_is_unhealthy() {
        runtime().block_on(async {
            let service = service("backend", 8000);
            let limit = Duration::from_secs(60);
            let closed = TcpListener::bind("127.0.0.1:0")
                .await
                .unwrap()
                .local_addr()
                .unwrap();
            let refused = Err(Trouble::Connect(std::io::ErrorKind::ConnectionRefused));
            assert_eq!(probe((&service, 0), None, closed, limit).await, refused);
        });
    }

    #[test]
    fn health_goes_down_and_up_with_the_upstream() {
        const WELL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        const ILL: &str = "HTTP/1.1 500 Ill\r\ncontent-length: 0\r\n\r\n";
        runtime().block_on(async {
            let upstream = upstream(WELL).await;
            let config = Arc::new(config(vec![service("127.0.0.1", upstream.address.port())]));
            let state = Arc::new(State::new(1));
            let names = resolve::start(&config.services, Box::new(|_| {}));
            let pace = Pace {
                every: Duration::from_millis(5),
                limit: Duration::from_secs(60),
            };
            let clock = || 7;
            let probed = (config, None);
            tokio::spawn(run(probed, Arc::clone(&state), names, clock, pace));
            for (answer, healthy) in [(WELL, true), (ILL, false), (WELL, true)] {
                *upstream.answer.lock().unwrap() = answer;
                while state.healthy(0) != healthy {
                    tokio::time::sleep(pace.every).await;
                }
            }
        });
    }

    #[test]
    fn a_change_is_said_once() {
        let mut known = Known::default();
        assert_eq!(known.0, None);
        known.say("s", Ok(()));
        assert_eq!(known.0, Some(Ok(())));
        known.say("s", Err(Trouble::TooSlow));
        assert_eq!(known.0, Some(Err(Trouble::TooSlow)));
        for (trouble, words) in [
            (Trouble::NoAddress, "its name has no address"),
            (
                Trouble::Connect(std::io::ErrorKind::ConnectionRefused),
                "cannot connect: connection refused",
            ),
            (Trouble::TooSlow, "no answer in time"),
            (Trouble::Broken, "the answer is not HTTP or broke off"),
            (Trouble::Status(503), "it answered 503"),
        ] {
            assert_eq!(trouble.to_string(), words);
        }
    }
}
