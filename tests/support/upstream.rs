//! A scripted upstream on raw TCP: records what the gateway sends, answers what the test says. Not a well-behaved server
//! unless told to be one. Invariant: health probes (`GET /health`) are answered and counted apart from the requests.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use super::reader::{Broken, Framing, Head, Reader, latin1};
use super::{eventually, until};

/// One request as the upstream saw it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Number of its connection, counted from 0 in order of their first request.
    pub connection: usize,
    pub head: Head,
    /// The head's exact bytes.
    pub raw: Vec<u8>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// The body came to its end.
    pub complete: bool,
    /// The connection ended within the body, or the body was not framed as announced.
    pub torn: bool,
    /// Tells requests apart when some have been forgotten.
    serial: u64,
}

impl Seen {
    pub fn method(&self) -> &str {
        self.head.first.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.head.first.split(' ').nth(1).unwrap_or_default()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    pub fn framing(&self) -> Framing {
        self.head
            .framing(Framing::None)
            .expect("the gateway writes one framing")
    }
}

/// What becomes of the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Keep,
    Close,
}

type Script = dyn Fn(&mut Exchange<'_>) -> Next + Send + Sync;

#[derive(Default)]
struct State {
    script: Option<Arc<Script>>,
    requests: Vec<Seen>,
    connections: usize,
    closed: usize,
    accepted: usize,
    serial: u64,
    probes: usize,
    probe_status: u16,
    stopped: bool,
}

/// A running upstream; clones speak of the same one.
#[derive(Clone)]
pub struct Upstream {
    port: u16,
    state: Arc<Mutex<State>>,
}

/// One request under way, in a script's hands.
pub struct Exchange<'a> {
    /// The request as far as it was known when the script began.
    pub request: Seen,
    reader: &'a mut Reader,
    up: Upstream,
    body_done: bool,
}

/// Starts an upstream that answers 200 `ok` until told otherwise.
pub fn upstream() -> Upstream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let up = Upstream {
        port,
        state: Arc::new(Mutex::new(State {
            probe_status: 200,
            ..State::default()
        })),
    };
    let server = up.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if server.state().stopped {
                return;
            }
            server.state().accepted += 1;
            let server = server.clone();
            std::thread::spawn(move || server.serve(Reader::new(stream)));
        }
    });
    up.answers(super::OK)
}

impl Upstream {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Every request gets these bytes once its body is complete.
    pub fn answers(self, raw: impl AsRef<[u8]>) -> Self {
        let raw = raw.as_ref().to_vec();
        self.script(move |exchange| exchange.answer(&raw))
    }

    /// Every request gets these bytes, then the connection is closed.
    pub fn answers_and_closes(self, raw: impl AsRef<[u8]>) -> Self {
        let raw = raw.as_ref().to_vec();
        self.script(move |exchange| {
            exchange.answer(&raw);
            Next::Close
        })
    }

    /// The full hand: called once the head is there, the body still to be read.
    pub fn script(
        self,
        script: impl Fn(&mut Exchange<'_>) -> Next + Send + Sync + 'static,
    ) -> Self {
        self.state().script = Some(Arc::new(script));
        self
    }

    /// Health probes get this status from now on.
    pub fn probes_get(&self, status: u16) {
        self.state().probe_status = status;
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.authority())
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.state().requests.clone()
    }

    /// Forgets what was seen so far.
    pub fn forget(&self) {
        self.state().requests.clear();
    }

    /// The only request so far.
    pub fn only(&self) -> Seen {
        let mut all = self.requests();
        assert_eq!(
            all.len(),
            1,
            "requests upstream: {:?}",
            all.iter().map(|r| &r.head.first).collect::<Vec<_>>()
        );
        all.remove(0)
    }

    pub fn last(&self) -> Seen {
        self.requests().pop().expect("a request upstream")
    }

    /// Waits until this many requests' heads have come.
    pub fn wait_requests(&self, count: usize) -> Vec<Seen> {
        eventually(&format!("{count} requests upstream"), || {
            Some(self.requests()).filter(|r| r.len() >= count)
        })
    }

    /// Waits until the first request's body has at least this many bytes.
    pub fn wait_body(&self, count: usize) {
        until(&format!("{count} body bytes upstream"), || {
            self.state()
                .requests
                .first()
                .is_some_and(|r| r.body.len() >= count)
        });
    }

    /// Connections that carried a request.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// All TCP connections, those of health probes and silent ones among them.
    pub fn accepted(&self) -> usize {
        self.state().accepted
    }

    /// Connections that carried a request and have ended.
    pub fn closed(&self) -> usize {
        self.state().closed
    }

    /// Whether the end of one of our connections has arrived at a peer that has not ended its own side: on a busy machine some time
    /// after we have closed.
    pub fn end_has_arrived(&self) -> bool {
        let peer = format!("0100007F:{:04X}", self.port);
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
        // Number, local address, remote address, state; 08 is CLOSE_WAIT.
        table.lines().any(|line| {
            let mut columns = line.split_whitespace().skip(2);
            columns.next() == Some(&peer) && columns.next() == Some("08")
        })
    }

    pub fn probes(&self) -> usize {
        self.state().probes
    }

    /// Stops accepting: the port refuses from now on.
    pub fn stop(&self) {
        self.state().stopped = true;
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        until("the upstream's port to refuse", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err()
        });
    }

    fn serve(&self, mut reader: Reader) {
        let mut connection = None;
        while let Ok((head, raw)) = reader.head() {
            if head.first.starts_with("GET /health ") {
                if !self.probe(&mut reader) {
                    break;
                }
                continue;
            }
            let number = *connection.get_or_insert_with(|| {
                let mut state = self.state();
                state.connections += 1;
                state.connections - 1
            });
            let request = Seen {
                connection: number,
                head,
                raw,
                ..Seen::default()
            };
            if self.exchange(&mut reader, request) == Next::Close {
                break;
            }
        }
        drop(reader);
        if connection.is_some() {
            self.state().closed += 1;
        }
    }

    /// Adds to the record of a request, unless it has been forgotten.
    fn note(&self, serial: u64, add: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self
            .state()
            .requests
            .iter_mut()
            .find(|seen| seen.serial == serial)
        {
            add(seen);
        }
    }

    fn probe(&self, reader: &mut Reader) -> bool {
        let status = {
            let mut state = self.state();
            state.probes += 1;
            state.probe_status
        };
        reader.send(format!(
            "HTTP/1.1 {status} Probed\r\nContent-Length: 0\r\n\r\n"
        ))
    }

    fn exchange(&self, reader: &mut Reader, request: Seen) -> Next {
        let (script, request) = {
            let mut state = self.state();
            state.serial += 1;
            let request = Seen {
                serial: state.serial,
                ..request
            };
            state.requests.push(request.clone());
            (state.script.clone().expect("a script"), request)
        };
        let mut exchange = Exchange {
            request,
            reader,
            up: self.clone(),
            body_done: false,
        };
        match script(&mut exchange) {
            Next::Keep if exchange.body().is_ok() => Next::Keep,
            _ => Next::Close,
        }
    }
}

impl Exchange<'_> {
    /// Reads the body to its end (once), recording it as it comes.
    pub fn body(&mut self) -> Result<(), Broken> {
        if self.body_done {
            return Ok(());
        }
        let framing = self.request.head.framing(Framing::None)?;
        let (up, serial) = (self.up.clone(), self.request.serial);
        let end = self.reader.body(framing, |piece| {
            up.note(serial, |seen| seen.body.extend_from_slice(piece))
        });
        self.body_done = end.is_ok();
        up.note(serial, |seen| {
            seen.complete = end.is_ok();
            seen.torn = end.is_err();
            seen.trailers = end.clone().unwrap_or_default();
        });
        end.map(|_| ())
    }

    /// Reads the body to its end and keeps only its length: for bodies too large to keep.
    pub fn swallow(&mut self) -> Result<u64, Broken> {
        let framing = self.request.head.framing(Framing::None)?;
        let mut count = 0;
        self.reader
            .body(framing, |piece| count += piece.len() as u64)?;
        self.body_done = true;
        Ok(count)
    }

    /// The polite way: `100 Continue` if asked for, the whole body, then the answer.
    pub fn answer(&mut self, raw: impl AsRef<[u8]>) -> Next {
        if self.request.field("expect").is_some() {
            self.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        if self.body().is_err() {
            return Next::Close;
        }
        self.send(raw);
        Next::Keep
    }

    /// Sends bytes at once; false when the gateway has gone.
    pub fn send(&mut self, raw: impl AsRef<[u8]>) -> bool {
        self.reader.send(raw)
    }

    /// Sends one chunk of a chunked answer.
    pub fn chunk(&mut self, data: &str) -> bool {
        self.send(format!("{:x}\r\n{data}\r\n", data.len()))
    }

    /// Ends our sending direction.
    pub fn finish(&mut self) {
        self.reader.finish();
    }

    /// Waits until the gateway closes the connection; false if it does not.
    pub fn gone(&mut self) -> bool {
        self.reader.rest().is_some()
    }

    /// What of the request has been recorded by now.
    pub fn seen(&self) -> Seen {
        let mut now = Seen::default();
        self.up.note(self.request.serial, |seen| now = seen.clone());
        now
    }

    pub fn stream(&self) -> &TcpStream {
        self.reader.stream()
    }

    /// What comes behind the request, whatever it means.
    pub fn reader(&mut self) -> &mut Reader {
        self.reader
    }
}

/// A port on which nobody listens.
pub fn closed_port() -> u16 {
    super::gateway::free_port()
}

/// A port that takes no connection and refuses none: its backlog is full and stays so.
pub struct Blackhole {
    pub port: u16,
    _listener: OwnedFd,
    _fill: Vec<OwnedFd>,
}

/// Opens a blackhole.
pub fn blackhole() -> Blackhole {
    use rustix::net::{
        AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket,
        socket_with,
    };
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
    listen(&listener, 0).expect("a listener");
    let at = getsockname(&listener).expect("an address");
    let at = SocketAddr::try_from(at).expect("an IPv4 address");
    let fill = (0..4).map(|_| {
        let fd = socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::NONBLOCK,
            None,
        )
        .expect("a socket");
        // In progress or done: either way it takes up room in the backlog.
        let _ = connect(&fd, &at);
        fd
    });
    Blackhole {
        port: at.port(),
        _fill: fill.collect(),
        _listener: listener,
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "upstream on {}", self.port)
    }
}

impl std::fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exchange {:?}", latin1(&self.request.raw))
    }
}
