//! A network between gateways and a Redis server: answers come late, and connections die without a word, as behind a NAT that has forgotten
//! them. Not Redis itself. Invariant: bytes arrive whole and in order, or not at all.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// What is done to connections, and what was seen of them.
#[derive(Default)]
struct Network {
    /// Of each piece that the server sends.
    delay_ms: AtomicU64,
    /// Connections that have subscribed pass nothing any more, in either direction.
    forgets: AtomicBool,
    /// SUBSCRIBE commands seen.
    subscribed: AtomicUsize,
    ended: AtomicBool,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    network: Arc<Network>,
}

impl Proxy {
    /// Leads to a server on this machine.
    pub(crate) fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let network = Arc::new(Network::default());
        let seen = Arc::clone(&network);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if seen.ended.load(SeqCst) {
                    return;
                }
                let Ok(redis) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                let listens = Arc::new(AtomicBool::new(false));
                for (from, to, is_server) in [(&client, &redis, false), (&redis, &client, true)] {
                    let (from, to) = (from.try_clone(), to.try_clone());
                    let (network, listens) = (Arc::clone(&seen), Arc::clone(&listens));
                    if let (Ok(from), Ok(to)) = (from, to) {
                        std::thread::spawn(move || {
                            pass(from, to, is_server, &network, &listens);
                        });
                    }
                }
            }
        });
        Self { port, network }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(crate) fn delay(&self, ms: u64) {
        self.network.delay_ms.store(ms, SeqCst);
    }

    /// From now on the connections that have subscribed until now, or do later, are dead.
    pub(crate) fn forget(&self, forgets: bool) {
        self.network.forgets.store(forgets, SeqCst);
    }

    pub(crate) fn subscribed(&self) -> usize {
        self.network.subscribed.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.network.ended.store(true, SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// One direction of one connection.
fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    is_server: bool,
    network: &Network,
    listens: &AtomicBool,
) {
    let mut piece = [0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        let bytes = &piece[..length];
        if !is_server
            && bytes
                .windows(9)
                .any(|word| word.eq_ignore_ascii_case(b"SUBSCRIBE"))
        {
            listens.store(true, SeqCst);
            network.subscribed.fetch_add(1, SeqCst);
        }
        if listens.load(SeqCst) && network.forgets.load(SeqCst) {
            continue;
        }
        let delay_ms = network.delay_ms.load(SeqCst);
        if is_server && delay_ms > 0 {
            std::thread::sleep(Duration::from_millis(delay_ms));
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
