//! A service that costs as little as possible: for each request head it reads (trusted traffic, no bodies) it answers 1 KB.

use std::io;
use std::net::SocketAddr;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{ListenerOpts, TcpListener, TcpStream};

const BODY_BYTES: usize = 1024;

/// Answers every connection until the process is ended.
pub(crate) async fn serve(port: u16) -> io::Result<()> {
    // A queue that a crowd does not overflow: each connection that the kernel drops is tried again a second later.
    let options = ListenerOpts::new().backlog(4096);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let listener = TcpListener::bind_with_config(address, &options)?;
    loop {
        let (connection, _) = listener.accept().await?;
        monoio::spawn(async move {
            // A client that leaves ends its own connection only.
            let _ = answer(connection).await;
        });
    }
}

async fn answer(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + BODY_BYTES, b'x');
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        buffer.clear();
        let (count, read) = connection.read(buffer).await;
        if count? == 0 {
            return Ok(());
        }
        // Closed-loop clients send one head at a time; pieces of a head are answered when their end comes.
        for _ in 0..read.windows(4).filter(|four| four == b"\r\n\r\n").count() {
            let written;
            (written, answer) = connection.write_all(answer).await;
            written?;
        }
        buffer = read;
    }
}
