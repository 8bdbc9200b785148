//! A service that costs little: reads requests with monoio-http's decoder (its peers are the processes under test: trusted traffic)
//! and answers `/bytes/N` with N bytes, `/echo` with the head it got, everything else with 1 KB. Bodies are read and thrown away. One
//! that fails closes every tenth connection, by turns when it is accepted and when a request has come, and says goodbye to the others
//! after some answers, so that there are new ones to fail.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{ListenerOpts, TcpListener, TcpStream};
use monoio_codec::{Decoded, Decoder};
use monoio_http::common::request::RequestHead;
use monoio_http::h1::codec::decoder::{ChunkedBodyDecoder, RequestHeadDecoder};

const ANSWER_BYTES: usize = 1024;
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// Of one that fails: one connection of so many is closed without an answer.
const FAILING_OF: u64 = 10;
/// Of one that fails: answers on a connection that does not.
const ANSWERS_MAX: u32 = 20;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Sound,
    /// Its last answer says that it is the last.
    Short,
    ClosedAtOnce,
    ClosedAsked,
}

fn fate(number: u64, failing: bool) -> Fate {
    match (failing, number % (2 * FAILING_OF)) {
        (false, _) => Fate::Sound,
        (true, 9) => Fate::ClosedAtOnce,
        (true, 19) => Fate::ClosedAsked,
        (true, _) => Fate::Short,
    }
}

/// Answers every connection until the process is ended.
pub(crate) async fn serve(port: u16, failing: bool) -> io::Result<()> {
    // A queue that a crowd does not overflow: each connection that the kernel drops is tried again a second later.
    let options = ListenerOpts::new().backlog(4096);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let listener = TcpListener::bind_with_config(address, &options)?;
    let mut number = 0;
    loop {
        let (stream, _) = listener.accept().await?;
        let fate = fate(number, failing);
        number += 1;
        if fate == Fate::ClosedAtOnce {
            continue;
        }
        stream.set_nodelay(true)?;
        monoio::spawn(async move {
            // A client that leaves ends its own connection only.
            let _ = Connection::new(stream).serve(fate).await;
        });
    }
}

/// How a request's body ends.
enum Body {
    Counted(usize),
    Chunked(ChunkedBodyDecoder),
}

struct Connection {
    stream: TcpStream,
    /// The buffer that reads land in, lent to the runtime meanwhile.
    landing: Vec<u8>,
    unread: BytesMut,
    /// Whole answers by the size of their bodies; made once, sent without copying.
    answers: HashMap<usize, Bytes>,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            landing: Vec::with_capacity(READ_BYTES),
            unread: BytesMut::new(),
            answers: HashMap::new(),
        }
    }

    async fn serve(mut self, fate: Fate) -> io::Result<()> {
        let mut answered = 0;
        while let Some(head) = self.head().await? {
            if fate == Fate::ClosedAsked {
                return Ok(());
            }
            self.body(&head).await?;
            answered += 1;
            let path = head.uri.path();
            let last = fate == Fate::Short && answered == ANSWERS_MAX;
            let answer = if last {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER_BYTES}\r\nConnection: close\r\n\r\n{:ANSWER_BYTES$}", "").into()
            } else if path.ends_with("/echo") {
                echo(&head)
            } else {
                self.answer(asked_bytes(path))
            };
            self.stream.write_all(answer).await.0?;
            if last {
                return Ok(());
            }
            if head.headers.get("connection").is_some_and(|v| v == "close") {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next request's head; `None` when the client has left between requests.
    async fn head(&mut self) -> io::Result<Option<RequestHead>> {
        loop {
            match RequestHeadDecoder.decode(&mut self.unread) {
                Ok(Decoded::Some(head)) => return Ok(Some(head)),
                Ok(_) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
            if self.read().await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn body(&mut self, head: &RequestHead) -> io::Result<()> {
        let text = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok());
        let mut body = if text("transfer-encoding").is_some() {
            Body::Chunked(ChunkedBodyDecoder::default())
        } else {
            let length = text("content-length").and_then(|text| text.parse().ok());
            Body::Counted(length.unwrap_or(0))
        };
        if text("expect").is_some() {
            let go_on = Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.stream.write_all(go_on).await.0?;
        }
        while !self.body_done(&mut body)? {
            if self.read().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn body_done(&mut self, body: &mut Body) -> io::Result<bool> {
        match body {
            Body::Counted(left) => {
                let here = self.unread.len().min(*left);
                let _ = self.unread.split_to(here);
                *left -= here;
                Ok(*left == 0)
            }
            Body::Chunked(decoder) => loop {
                match decoder.decode(&mut self.unread) {
                    Ok(Decoded::Some(Some(_piece))) => {}
                    Ok(Decoded::Some(None)) => return Ok(true),
                    Ok(_) => return Ok(false),
                    Err(error) => return Err(io::Error::other(error)),
                }
            },
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        let mut landing = std::mem::take(&mut self.landing);
        landing.clear();
        let (count, landing) = self.stream.read(landing).await;
        self.unread.extend_from_slice(&landing);
        self.landing = landing;
        count
    }

    fn answer(&mut self, size: usize) -> Bytes {
        let made = self.answers.entry(size).or_insert_with(|| {
            let mut answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
            )
            .into_bytes();
            answer.resize(answer.len() + size, b'x');
            answer.into()
        });
        made.clone()
    }
}

fn asked_bytes(path: &str) -> usize {
    let asked = path.rsplit_once("/bytes/").map(|(_, number)| number);
    let number = asked.and_then(|number| number.parse().ok());
    number.unwrap_or(ANSWER_BYTES).min(ANSWER_BYTES_MAX)
}

/// What arrived here, one field a line: how the harness sees what a peer adds.
fn echo(head: &RequestHead) -> Bytes {
    let mut body = format!("{} {}\n", head.method, head.uri);
    for (name, value) in &head.headers {
        body.push_str(&format!(
            "{name}: {}\n",
            String::from_utf8_lossy(value.as_bytes())
        ));
    }
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::{FAILING_OF, Fate, fate};

    #[test]
    fn one_connection_in_ten_fails_and_only_where_that_is_wanted() {
        let failed = |failing| {
            let bad = |number: &u64| {
                matches!(
                    fate(*number, failing),
                    Fate::ClosedAtOnce | Fate::ClosedAsked
                )
            };
            (0..1000).filter(bad).count()
        };
        assert_eq!(failed(true) as u64, 1000 / FAILING_OF);
        assert_eq!(failed(false), 0);
    }
}
