//! WebSocket peers for the tests of tunnels: a server and a client of another maker (tungstenite), and the handshake as bytes for
//! peers that are scripted. Not frames of our own making where a library can make them. Invariant: nothing waits without end.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test binary compiles all of it and uses its own part"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::result_large_err,
    reason = "a test may fail loudly, and the library's error is as large as it is"
)]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use tungstenite::client::IntoClientRequest as _;
use tungstenite::handshake::client::Response;
use tungstenite::handshake::server;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

use crate::support::{Gateway, PATIENCE, Plan};

/// One end of a tunnel.
pub type Socket = WebSocket<TcpStream>;

/// The key of RFC 6455's example, and what answers it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A handshake as bytes; `fields` are complete lines.
pub fn handshake(target: &str, fields: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
    )
}

/// A service's consent as bytes.
pub fn switch(fields: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n{fields}\r\n"
    )
}

/// A frame of a server: not masked.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        0..=125 => frame.push(u8::try_from(payload.len()).unwrap()),
        126..=65_535 => {
            frame.push(126);
            frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// A close frame as the gateway sends it to a client.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    frame(0x88, &payload)
}

/// A running WebSocket server.
pub struct Server {
    port: u16,
    handshakes: Arc<Mutex<Vec<server::Request>>>,
    ended: Arc<Mutex<usize>>,
}

/// Starts a server that hands each connection to `talk` after the handshake. It chooses `chat` where that is offered.
pub fn server(talk: impl Fn(&mut Socket) + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let server = Server {
        port: listener.local_addr().expect("an address").port(),
        handshakes: Arc::default(),
        ended: Arc::default(),
    };
    let (handshakes, ended) = (Arc::clone(&server.handshakes), Arc::clone(&server.ended));
    let talk = Arc::new(talk);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (handshakes, ended) = (Arc::clone(&handshakes), Arc::clone(&ended));
            let talk = Arc::clone(&talk);
            std::thread::spawn(move || {
                guard(&stream);
                // What is no handshake is a health probe.
                if let Ok(mut socket) =
                    tungstenite::accept_hdr_with_config(stream, chooser(handshakes), whole())
                {
                    talk(&mut socket);
                    drop(socket);
                    *ended.lock().unwrap() += 1;
                }
            });
        }
    });
    server
}

/// Says every message back until the connection ends.
pub fn echo() -> Server {
    server(|socket| {
        while let Ok(message) = socket.read() {
            if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                return;
            }
        }
    })
}

impl Server {
    pub fn behind(&self, plan: Plan) -> Plan {
        plan.env("BACKEND_URL", format!("http://127.0.0.1:{}", self.port))
    }

    /// The handshakes that came, as their heads.
    pub fn handshakes(&self) -> Vec<server::Request> {
        self.handshakes.lock().unwrap().clone()
    }

    /// Connections that were tunnels and have ended.
    pub fn ended(&self) -> usize {
        *self.ended.lock().unwrap()
    }
}

fn chooser(handshakes: Arc<Mutex<Vec<server::Request>>>) -> impl server::Callback {
    move |request: &server::Request, mut response: server::Response| {
        handshakes.lock().unwrap().push(request.clone());
        let offers = request.headers().get("sec-websocket-protocol");
        if offers.is_some_and(|offers| offers.to_str().unwrap().contains("chat")) {
            let chosen = "chat".parse().unwrap();
            response
                .headers_mut()
                .insert("sec-websocket-protocol", chosen);
        }
        Ok(response)
    }
}

/// No bound of the library's own: what passes is the gateway's affair.
fn whole() -> Option<WebSocketConfig> {
    let config = WebSocketConfig::default();
    Some(config.max_frame_size(None).max_message_size(None))
}

fn guard(stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
}

/// Opens a WebSocket through the gateway.
pub fn connect(
    gw: &Gateway,
    target: &str,
    fields: &[(&'static str, &str)],
) -> Result<(Socket, Response), Error> {
    let mut request = format!("ws://127.0.0.1:{}{target}", gw.port).into_client_request()?;
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, gw.port)).expect("a connection");
    guard(&stream);
    tungstenite::client::client_with_config(request, stream, whole()).map_err(|error| match error {
        tungstenite::HandshakeError::Failure(error) => error,
        tungstenite::HandshakeError::Interrupted(_) => panic!("the handshake hangs"),
    })
}

/// The status that a handshake was refused with.
pub fn refused(outcome: Result<(Socket, Response), Error>) -> u16 {
    match outcome {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("no refusal: {other}"),
        Ok(_) => panic!("no refusal: the tunnel stands"),
    }
}

/// The next message that is not a ping or pong.
pub fn message(socket: &mut Socket) -> Message {
    loop {
        let message = socket.read().expect("a message");
        if !message.is_ping() && !message.is_pong() {
            return message;
        }
    }
}
