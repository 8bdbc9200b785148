//! Listening sockets: bound before any worker starts, one per worker on the same port. Invariants: a port that somebody else
//! listens on is noticed (sharing it by SO_REUSEPORT would steal connections silently), and an `accept` in flight is never
//! dropped (its descriptor would leak).

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use monoio::io::Canceller;
use monoio::net::{TcpListener, TcpStream};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, ipproto, recv, send,
    shutdown, sockopt,
};
use rustls::ServerConfig;

use super::runtime::Driver;
use super::tcp::{TcpReader, TcpWriter, adopt};
use super::tls::Session;

/// How clients are spoken to over TLS; replaced whole when certificates change.
pub type Edge = Arc<ArcSwap<ServerConfig>>;

/// Connections that may wait to be accepted, per worker.
const BACKLOG: i32 = 4096;

/// Whether an error says that no descriptor is left, in this process or in the system.
pub fn out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&code)
}

/// Fails when the address cannot be listened on alone.
fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    // A listener without SO_REUSEPORT conflicts with any other listener on the port, also with one that has set it.
    StdListener::bind(address)?.local_addr()
}

/// Binds one listener per worker to `address`, after checking that nobody else has the port. Port 0 becomes a free one.
///
/// # Errors
/// The address is taken, or not ours to bind.
pub fn listeners(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<StdListener>)> {
    let address = probe(address)?;
    let sockets: io::Result<Vec<_>> = (0..count).map(|_| bind(address, true)).collect();
    Ok((address, sockets?))
}

/// Binds a listener; `shared` lets others of ours bind the same address.
///
/// # Errors
/// The address is taken, or not ours to bind.
pub fn bind(address: SocketAddr, shared: bool) -> io::Result<StdListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd =
        rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(StdListener::from(socket))
}

/// Connections taken from the kernel's queue in one turn. One per turn would let the queue grow whenever turns are long, and a
/// newcomer behind a flood would wait for all of it.
const AT_ONCE_MAX: u32 = 32;

/// What a worker accepts from.
pub struct Incoming {
    listener: TcpListener,
    edge: Option<Edge>,
    /// The same socket, to take what waits already without a turn of the loop for each.
    queue: StdListener,
    /// What an accepted socket must be: the ring waits in the kernel for blocking ones, epoll needs them not to block.
    flags: SocketFlags,
    taken: Cell<u32>,
    /// Given up for a moment when no other descriptor is left, so that somebody can be told.
    reserve: RefCell<Option<OwnedFd>>,
    canceller: RefCell<Option<Canceller>>,
}

/// One turn of the accept loop.
pub enum Accept {
    /// A connection and its peer.
    Connection(TcpReader, TcpWriter, SocketAddr),
    /// It could not be accepted; descriptors may have run out.
    Failed(io::Error),
    /// [`Incoming::stop`] was called.
    Stopped,
}

impl Incoming {
    /// Takes a bound listener over on the worker's own thread. With an edge, what it accepts begins with a handshake
    /// ([`Stream::greet`](super::Stream::greet)).
    ///
    /// # Errors
    /// The runtime cannot register it.
    pub fn new(driver: Driver, listener: StdListener, edge: Option<Edge>) -> io::Result<Rc<Self>> {
        let queue = listener.try_clone()?;
        // Both drivers wait by themselves; a blocking look at an empty queue would hold the worker.
        queue.set_nonblocking(true)?;
        let reserve = OwnedFd::from(listener.try_clone()?);
        let listener = TcpListener::from_std(listener)?;
        let flags = match driver {
            Driver::IoUring(_) => SocketFlags::CLOEXEC,
            Driver::Epoll => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        };
        let canceller = RefCell::new(Some(Canceller::new()));
        Ok(Rc::new(Self {
            listener,
            edge,
            queue,
            flags,
            taken: Cell::new(AT_ONCE_MAX),
            reserve: RefCell::new(Some(reserve)),
            canceller,
        }))
    }

    /// Waits for the next connection.
    pub async fn accept(&self) -> Accept {
        let Some(handle) = self.canceller.borrow().as_ref().map(Canceller::handle) else {
            return Accept::Stopped;
        };
        if self.taken.get() < AT_ONCE_MAX
            && let Some((stream, peer)) = self.waiting()
        {
            self.taken.set(self.taken.get() + 1);
            return self.begun(stream, peer);
        }
        self.taken.set(AT_ONCE_MAX);
        match self.listener.cancelable_accept(handle).await {
            Ok((stream, peer)) => {
                self.taken.set(0);
                self.begun(stream, peer)
            }
            Err(_) if self.canceller.borrow().is_none() => Accept::Stopped,
            Err(error) => Accept::Failed(error),
        }
    }

    /// A connection that waits in the kernel's queue already. Whatever goes wrong is told by the next real accept.
    fn waiting(&self) -> Option<(TcpStream, SocketAddr)> {
        let (socket, peer) = rustix::net::acceptfrom_with(&self.queue, self.flags).ok()?;
        let peer = SocketAddr::try_from(peer?).ok()?;
        let stream = TcpStream::from_std(std::net::TcpStream::from(socket)).ok()?;
        Some((stream, peer))
    }

    fn begun(&self, stream: TcpStream, peer: SocketAddr) -> Accept {
        let edge = self.edge.as_ref().map(|edge| edge.load_full());
        let (reader, writer) = adopt(stream, edge.map(Session::server));
        Accept::Connection(reader, writer, peer)
    }

    /// What it accepts begins with a handshake.
    pub fn is_tls(&self) -> bool {
        self.edge.is_some()
    }

    /// Tells whoever waits next in the queue, with the descriptor kept for this, and closes at once. What the client has sent is
    /// read first: closing over unread bytes would be a reset, and the answer lost.
    pub fn turn_away(&self, answer: &[u8]) -> Option<SocketAddr> {
        drop(self.reserve.borrow_mut().take());
        let told = rustix::net::acceptfrom_with(&self.queue, SocketFlags::CLOEXEC).ok();
        let peer = told.and_then(|(socket, peer)| {
            let mut unread = [0_u8; 4096];
            let _ = recv(&socket, &mut unread, RecvFlags::DONTWAIT);
            // Over TLS nobody is told anything before a handshake.
            let answer = if self.edge.is_none() { answer } else { b"" };
            let _ = send(&socket, answer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            let _ = shutdown(&socket, Shutdown::Write);
            SocketAddr::try_from(peer?).ok()
        });
        // Somebody else may have been quicker; then there is none the next time, and nobody is told.
        let reserve = self.queue.try_clone().map(OwnedFd::from).ok();
        self.reserve.replace(reserve);
        peer
    }

    /// Ends the accept loop: the operation in flight is cancelled and completes; a late connection is still returned.
    pub fn stop(&self) {
        if let Some(canceller) = self.canceller.borrow_mut().take() {
            drop(canceller.cancel());
        }
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Incoming")
    }
}
