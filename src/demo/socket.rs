//! The demo's WebSocket: greets, then says each frame back. Not a library: no extensions, no subprotocols, nothing but an echo.
//! Invariant: at most [`PLACES`] at once, a frame of at most [`FRAME_BYTES_MAX`], and none that is silent for longer than
//! [`SILENCE`].

use std::io;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use super::refusal;
use crate::http1::websocket;

/// Sockets open at once, over all connections.
static PLACES: Semaphore = Semaphore::const_new(256);

/// The largest payload taken.
const FRAME_BYTES_MAX: u64 = 1 << 20;

/// How long a client may say nothing.
const SILENCE: Duration = Duration::from_secs(600);

const GREETING: &str = "Welcome: whatever you say comes back";

/// Answers a handshake, and talks once the connection is a WebSocket.
pub(super) async fn talk(mut request: Request) -> Response {
    let field = |name: header::HeaderName| request.headers().get(name);
    let asks = field(header::UPGRADE)
        .is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = field(header::SEC_WEBSOCKET_KEY).filter(|_| asks && request.method() == Method::GET);
    let Some(accept) = key.map(|key| websocket::accept(key.as_bytes())) else {
        return refusal(StatusCode::UPGRADE_REQUIRED, "This path is a WebSocket");
    };
    let Ok(place) = PLACES.try_acquire() else {
        return refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "The demo has no more room for WebSockets",
        );
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let _place = place;
        // A peer that left or spoke nonsense: a demo has nobody to tell.
        if let Ok(upgraded) = upgrade.await {
            let _ = echo(TokioIo::new(upgraded)).await;
        }
    });
    let fields = [
        (header::CONNECTION, "Upgrade".as_bytes()),
        (header::UPGRADE, b"websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, &accept),
    ];
    (
        StatusCode::SWITCHING_PROTOCOLS,
        fields.map(|(name, value)| (name, value.to_vec())),
    )
        .into_response()
}

/// Says back what comes, until a close frame or the connection's end.
async fn echo<C: AsyncReadExt + AsyncWriteExt + Unpin>(mut connection: C) -> io::Result<()> {
    connection
        .write_all(&frame(0x81, GREETING.as_bytes()))
        .await?;
    loop {
        let read = read_frame(&mut connection);
        let Some((first, payload)) = tokio::time::timeout(SILENCE, read).await?? else {
            // 1009: too big (RFC 6455 7.4.1).
            let mut close = Vec::new();
            websocket::write_close(&mut close, 1009, "The demo takes 1 MiB a frame", false);
            return connection.write_all(&close).await;
        };
        let reply = match first & 0x0f {
            // A ping is answered by a pong, a pong by nothing.
            9 => frame(first & 0xf0 | 10, &payload),
            10 => continue,
            _ => frame(first, &payload),
        };
        connection.write_all(&reply).await?;
        if first & 0x0f == 8 {
            return connection.shutdown().await;
        }
    }
}

/// A client's frame: its first byte, and its payload without the mask. `None`: too large to be taken.
async fn read_frame<C: AsyncReadExt + Unpin>(
    connection: &mut C,
) -> io::Result<Option<(u8, Vec<u8>)>> {
    let first = connection.read_u8().await?;
    let second = connection.read_u8().await?;
    let length = match second & 0x7f {
        126 => u64::from(connection.read_u16().await?),
        127 => connection.read_u64().await?,
        length => u64::from(length),
    };
    // What a client sends is masked (RFC 6455 5.1).
    if second & 0x80 == 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if length > FRAME_BYTES_MAX {
        return Ok(None);
    }
    let mask = connection.read_u32().await?.to_be_bytes();
    let mut payload = vec![0; usize::try_from(length).unwrap_or(0)];
    connection.read_exact(&mut payload).await?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(Some((first, payload)))
}

/// A server's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}
