//! TLS over socket pairs on both drivers: split at every byte, garbage, peers that do not read, reads that were cut short. Not
//! certificates (the room `tls`). Invariant: what holds for io_uring holds for epoll.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]
#![allow(
    clippy::disallowed_methods,
    reason = "the peer is a thread with a clock of its own"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
    SupportedProtocolVersion, version,
};

use super::tests::{on_both, soon};
use super::tls::Session;
use super::{Broken, Buf, Greeting, Reader, Stream, Tcp, TcpReader, TcpWriter, Unshaken, Writer};

type Client = StreamOwned<ClientConnection, TcpStream>;

/// What both sides are made of: one certificate for `localhost`, which is its own authority.
#[derive(Clone)]
struct Pair {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

fn configured(versions: &[&'static SupportedProtocolVersion]) -> Pair {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a pair");
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("an authority");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Each test counts on a handshake of the full kind.
    client.resumption = rustls::client::Resumption::disabled();
    Pair {
        server: Arc::new(server),
        client: Arc::new(client),
    }
}

fn both_versions() -> [Pair; 2] {
    [&version::TLS12, &version::TLS13].map(|version| configured(&[version]))
}

/// Our end of a connection, before its handshake, and the peer's socket.
async fn sockets(pair: &Pair) -> ((TcpReader, TcpWriter), TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let session = Session::server(Arc::clone(&pair.server));
    let ours = super::tcp::connect_with(address, Some(session)).await;
    (
        ours.expect("a connection"),
        listener.accept().expect("a connection").0,
    )
}

fn client(pair: &Pair, socket: TcpStream) -> Client {
    let name = "localhost".try_into().expect("a name");
    let connection = ClientConnection::new(Arc::clone(&pair.client), name).expect("a client");
    StreamOwned::new(connection, socket)
}

/// Shakes hands; the peer is driven by `talk` on a thread of its own.
async fn shaken<T: Send + 'static>(
    pair: &Pair,
    talk: impl FnOnce(Client) -> T + Send + 'static,
) -> ((TcpReader, TcpWriter), JoinHandle<T>) {
    let ((mut reader, mut writer), socket) = sockets(pair).await;
    let client = client(pair, socket);
    let peer = std::thread::spawn(move || talk(client));
    let greeted = Tcp::greet(&mut reader, &mut writer, soon(5_000)).await;
    assert_eq!(greeted, Ok(Greeting::Full));
    ((reader, writer), peer)
}

async fn read_all(reader: &mut TcpReader, room: usize) -> (Vec<u8>, Result<usize, Broken>) {
    let mut all = Vec::new();
    let mut buf = Buf::with_capacity(room);
    loop {
        let read;
        (read, buf) = reader.read(buf, soon(5_000)).await;
        all.extend_from_slice(buf.filled());
        buf.clear();
        if !matches!(read, Ok(1..)) {
            return (all, read);
        }
    }
}

async fn say(writer: &mut TcpWriter, bytes: &[u8]) -> Result<(), Broken> {
    let mut buf = Buf::with_capacity(bytes.len());
    buf.out().extend_from_slice(bytes);
    writer.write(buf, bytes.len(), soon(5_000)).await.0
}

/// Bytes that are no pattern of records or buffers.
fn text(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at * 7 % 251).unwrap_or(0))
        .collect()
}

#[test]
fn bytes_go_both_ways_whatever_room_their_reader_has() {
    for pair in both_versions() {
        on_both(move || {
            let pair = pair.clone();
            async move {
                for room in [1, 16, 512, 17 * 1024, 64 * 1024] {
                    let length = if room < 16 { 300 } else { 200_000 };
                    let ((mut reader, mut writer), peer) = shaken(&pair, move |mut client| {
                        client.write_all(&text(length)).expect("written");
                        client.conn.send_close_notify();
                        client.flush().expect("sent");
                        let mut got = Vec::new();
                        client.read_to_end(&mut got).expect("an end with a goodbye");
                        got
                    })
                    .await;
                    let (got, end) = read_all(&mut reader, room).await;
                    assert_eq!((got == text(length), end), (true, Ok(0)), "{room}");
                    assert_eq!(say(&mut writer, &text(length)).await, Ok(()));
                    drop((reader, writer));
                    assert!(peer.join().expect("a peer") == text(length), "{room}");
                }
            }
        });
    }
}

#[test]
fn a_peer_that_sends_single_bytes_is_understood() {
    struct Trickle(TcpStream);
    impl Write for Trickle {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes.get(..1).unwrap_or_default())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            self.0.flush()
        }
    }
    impl Read for Trickle {
        fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
            let end = bytes.len().min(1);
            self.0.read(bytes.get_mut(..end).unwrap_or_default())
        }
    }
    for pair in both_versions() {
        on_both(move || {
            let pair = pair.clone();
            async move {
                let ((mut reader, mut writer), socket) = sockets(&pair).await;
                socket.set_nodelay(true).expect("a socket");
                let name = "localhost".try_into().expect("a name");
                let connection = ClientConnection::new(Arc::clone(&pair.client), name);
                let mut client = StreamOwned::new(connection.expect("a client"), Trickle(socket));
                let peer = std::thread::spawn(move || {
                    client.write_all(b"hello").expect("written");
                    let mut got = [0; 3];
                    client.read_exact(&mut got).expect("an answer");
                    got
                });
                let greeted = Tcp::greet(&mut reader, &mut writer, soon(5_000)).await;
                assert_eq!(greeted, Ok(Greeting::Full));
                let mut buf = Buf::with_capacity(64);
                while buf.len() < 5 {
                    let read;
                    (read, buf) = reader.read(buf, soon(5_000)).await;
                    assert!(matches!(read, Ok(1..)), "{read:?}");
                }
                assert_eq!(buf.filled(), b"hello");
                assert_eq!(say(&mut writer, b"bye").await, Ok(()));
                assert_eq!(&peer.join().expect("a peer"), b"bye");
            }
        });
    }
}

#[test]
fn a_handshake_that_fails_says_why() {
    let pair = configured(&[&version::TLS13]);
    on_both(move || {
        let pair = pair.clone();
        async move {
            let long = [&[22, 3, 1, 64, 0, 1, 0, 64, 0][..], &[7; 50]].concat();
            // What is sent before the end, what the gateway's side is told, and whether the peer gets an alert.
            for (sent, expected, alert) in [
                (&b""[..], "without a word", false),
                (&b"SSH-2.0-OpenSSH\r\n"[..], "corrupt", true),
                (&[0, 1, 2, 3, 4, 5], "corrupt", true),
                (&[22, 3, 1, 2, 0, 1], "middle", false),
                (b"GE", "middle", false),
                (b"PROXY TCP4 a b 1 2\r\n", "PROXY protocol header", true),
                (&long, "too long", true),
            ] {
                let ((mut reader, mut writer), mut socket) = sockets(&pair).await;
                socket.write_all(sent).expect("sent");
                let _ = socket.shutdown(Shutdown::Write);
                let greeted = Tcp::greet(&mut reader, &mut writer, soon(5_000)).await;
                let why = greeted.expect_err("no handshake").to_string();
                assert!(why.contains(expected), "{why}");
                assert_eq!(
                    say(&mut writer, b"x").await,
                    Err(Broken::Failed),
                    "not open"
                );
                drop((reader, writer));
                let mut got = Vec::new();
                socket.read_to_end(&mut got).expect("an end");
                let is_alert = matches!(got.as_slice(), [21, 3, _, 0, 2, 2, _]);
                assert_eq!((is_alert, got.is_empty()), (alert, !alert), "{got:?}");
            }
            let ((mut reader, mut writer), _socket) = sockets(&pair).await;
            let late = Tcp::greet(&mut reader, &mut writer, soon(30)).await;
            assert_eq!(late, Err(Unshaken::Broken(Broken::TimedOut)));
        }
    });
}

#[test]
fn plain_http_leaves_a_plain_connection() {
    let pair = configured(&[&version::TLS13]);
    on_both(move || {
        let pair = pair.clone();
        async move {
            for (sent, head) in [(&b"GET / HTTP/1.1\r\n\r\n"[..], false), (b"HEAD ", true)] {
                let ((mut reader, mut writer), mut socket) = sockets(&pair).await;
                socket.write_all(sent).expect("sent");
                let greeted = Tcp::greet(&mut reader, &mut writer, soon(5_000)).await;
                assert_eq!(greeted, Err(Unshaken::PlainHttp { head }));
                assert_eq!(say(&mut writer, b"400").await, Ok(()));
                socket.write_all(b"more").expect("sent");
                let (read, buf) = reader.read(Buf::with_capacity(64), soon(5_000)).await;
                assert_eq!((read, buf.filled()), (Ok(4), &b"more"[..]));
                drop((reader, writer));
                let mut got = Vec::new();
                socket.read_to_end(&mut got).expect("an end");
                assert_eq!(got, b"400");
            }
        }
    });
}

#[test]
fn garbage_from_a_peer_that_does_not_read_breaks_only_its_connection() {
    for pair in both_versions() {
        on_both(move || {
            let pair = pair.clone();
            async move {
                let ((mut reader, mut writer), peer) = shaken(&pair, |mut client| {
                    client.write_all(b"hello").expect("written");
                    client.flush().expect("sent");
                    let mut socket = client.sock;
                    socket.write_all(&[23, 3, 3, 0, 30]).expect("sent");
                    socket.write_all(&[7; 30]).expect("sent");
                    socket
                })
                .await;
                let (got, end) = read_all(&mut reader, 4096).await;
                assert_eq!((got.as_slice(), end), (&b"hello"[..], Err(Broken::Failed)));
                assert_eq!(say(&mut writer, b"x").await, Err(Broken::Failed));
                let (_, end) = read_all(&mut reader, 4096).await;
                assert_eq!(end, Err(Broken::Failed), "and stays so");
                drop(peer.join());
            }
        });
    }
}

#[test]
fn an_end_without_a_goodbye_is_a_failure_unless_the_connection_idles() {
    let pair = configured(&[&version::TLS13]);
    on_both(move || {
        let pair = pair.clone();
        async move {
            for (idle, expected) in [(false, Err(Broken::Failed)), (true, Ok(0))] {
                let ((mut reader, _writer), peer) = shaken(&pair, |mut client| {
                    client.write_all(b"hello").expect("written");
                    // Closing would be a reset if the server's tickets were unread then.
                    let write = std::net::Shutdown::Write;
                    client.sock.shutdown(write).expect("an end");
                    client
                })
                .await;
                let (read, mut buf) = reader.read(Buf::with_capacity(5), soon(5_000)).await;
                assert_eq!(read, Ok(5));
                let _open = peer.join().expect("a peer");
                buf.clear();
                reader.idle(idle);
                assert_eq!(reader.read(buf, soon(5_000)).await.0, expected);
            }
        }
    });
}

#[test]
fn a_write_to_a_peer_that_does_not_read_times_out_and_nothing_follows_it() {
    let pair = configured(&[&version::TLS13]);
    on_both(move || {
        let pair = pair.clone();
        async move {
            let ((_reader, mut writer), peer) = shaken(&pair, |mut client| {
                client
                    .conn
                    .complete_io(&mut client.sock)
                    .expect("a handshake");
                client
            })
            .await;
            let mut buf = Buf::with_capacity(64 << 20);
            buf.out().resize(64 << 20, b'a');
            let (written, _) = writer.write(buf, 64 << 20, soon(50)).await;
            assert_eq!(written, Err(Broken::TimedOut));
            assert!(say(&mut writer, b"x").await.is_err());
            drop(peer.join());
        }
    });
}

#[test]
fn an_idle_connection_is_parked_and_wakes_with_its_keys() {
    for pair in both_versions() {
        on_both(move || {
            let pair = pair.clone();
            async move {
                let ((mut reader, mut writer), peer) = shaken(&pair, |mut client| {
                    let mut got = [0; 4];
                    client.read_exact(&mut got).expect("a word");
                    client.write_all(b"back").expect("written");
                    let mut rest = Vec::new();
                    client
                        .read_to_end(&mut rest)
                        .expect("an end with a goodbye");
                    (got, rest)
                })
                .await;
                reader.idle(true);
                let (read, buf) = reader.read(Buf::with_capacity(64), soon(5_000)).await;
                assert_eq!(read, Err(Broken::Parked));
                let parked = Tcp::park(reader, writer).expect("nothing is in flight");
                (reader, writer) = Tcp::wake(parked).expect("an open socket");
                assert_eq!(say(&mut writer, b"word").await, Ok(()));
                let (read, buf) = reader.read(buf, soon(5_000)).await;
                assert_eq!((read, buf.filled()), (Ok(4), &b"back"[..]));
                assert!(reader.is_quiet(), "tickets are nobody's request");
                assert!(reader.may_park());
                drop(Tcp::park(reader, writer));
                assert_eq!(peer.join().expect("a peer"), (*b"word", Vec::new()));
            }
        });
    }
}

#[test]
fn what_is_decrypted_already_would_not_ring() {
    let pair = configured(&[&version::TLS13]);
    on_both(move || {
        let pair = pair.clone();
        async move {
            let ((mut reader, _writer), peer) = shaken(&pair, |mut client| {
                client.write_all(b"two words").expect("written");
                client
            })
            .await;
            let (read, buf) = reader.read(Buf::with_capacity(3), soon(5_000)).await;
            assert_eq!((read, buf.filled()), (Ok(3), &b"two"[..]));
            assert!(!reader.may_park());
            let (read, buf) = reader.read(Buf::with_capacity(64), soon(5_000)).await;
            assert_eq!((read, buf.filled()), (Ok(6), &b" words"[..]));
            assert!(reader.may_park());
            drop(peer.join());
        }
    });
}

#[test]
fn a_dropped_read_makes_the_rest_unreadable_and_harms_no_write() {
    let pair = configured(&[&version::TLS13]);
    on_both(move || {
        let pair = pair.clone();
        async move {
            let ((mut reader, mut writer), peer) = shaken(&pair, |mut client| {
                let mut got = [0; 4];
                client.read_exact(&mut got).expect("a word");
                let _ = client.write_all(b"unheard");
                got
            })
            .await;
            {
                let read = reader.read(Buf::with_capacity(64), soon(5_000));
                let _ = super::race(pin!(super::sleep_ms(20)), pin!(read)).await;
            }
            assert_eq!(say(&mut writer, b"word").await, Ok(()));
            assert_eq!(&peer.join().expect("a peer"), b"word");
            let (got, end) = read_all(&mut reader, 64).await;
            assert!(got.is_empty() && !matches!(end, Ok(1..)), "{got:?} {end:?}");
        }
    });
}

#[test]
fn an_interjection_stands_before_what_is_written_next() {
    let pair = configured(&[&version::TLS13]);
    on_both(move || {
        let pair = pair.clone();
        async move {
            let ((reader, mut writer), peer) = shaken(&pair, |mut client| {
                let mut got = [0; 8];
                client.read_exact(&mut got).expect("eight bytes");
                got
            })
            .await;
            assert!(reader.interject(b"100 "));
            assert_eq!(say(&mut writer, b"200 ").await, Ok(()));
            assert_eq!(&peer.join().expect("a peer"), b"100 200 ");
            let session = Rc::clone(reader.session.as_ref().expect("encrypted"));
            assert!(session.outgoing().is_none(), "nothing is left behind");
        }
    });
}
