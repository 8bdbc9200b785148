//! The floor: bytes from one socket to another and back, nothing read, nothing decided.

use std::io;
use std::net::SocketAddr;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt, Splitable};
use monoio::net::{TcpListener, TcpStream};

/// Relays every connection to `to` until the process is ended.
pub(crate) async fn serve(port: u16, to: u16) -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    loop {
        let (downstream, _) = listener.accept().await?;
        monoio::spawn(async move {
            // A broken pair of connections concerns nobody else.
            let _ = pair(downstream, SocketAddr::from(([127, 0, 0, 1], to))).await;
        });
    }
}

async fn pair(downstream: TcpStream, to: SocketAddr) -> io::Result<()> {
    downstream.set_nodelay(true)?;
    let upstream = TcpStream::connect_addr(to).await?;
    upstream.set_nodelay(true)?;
    let (down_read, down_write) = downstream.into_split();
    let (up_read, up_write) = upstream.into_split();
    let up = monoio::spawn(copy(down_read, up_write));
    copy(up_read, down_write).await?;
    up.await
}

async fn copy(mut from: impl AsyncReadRent, mut to: impl AsyncWriteRentExt) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        buffer.clear();
        let (count, read) = from.read(buffer).await;
        if count? == 0 {
            return Ok(());
        }
        let (written, back) = to.write_all(read).await;
        written?;
        buffer = back;
    }
}
