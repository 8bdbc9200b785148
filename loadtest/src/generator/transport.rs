//! What a connection's bytes travel in: TCP, or TLS over it. Not who connects, not what is said. Invariant: nothing here waits; what
//! cannot go on says `WouldBlock`, and everything that TLS has to send has been offered to the socket before.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, Stream};
use serde::{Deserialize, Serialize};

/// How a generator speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secure {
    /// The one certificate that is believed, as PEM.
    pub authority: String,
    /// Whether a connection may go on from an earlier one's ticket.
    pub resume: bool,
}

/// Servers whose tickets are remembered.
const SESSIONS_MAX: usize = 8;
/// The name in the certificate.
pub(crate) const SERVER_NAME: &str = "localhost";

/// The client's side of TLS, with tickets of its own.
pub(crate) fn client(secure: &Secure) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let certificate =
        CertificateDer::from_pem_slice(secure.authority.as_bytes()).map_err(io::Error::other)?;
    roots.add(certificate).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = if secure.resume {
        Resumption::in_memory_sessions(SESSIONS_MAX)
    } else {
        Resumption::disabled()
    };
    Ok(Arc::new(config))
}

/// An open connection's way.
pub(crate) enum Transport {
    Plain(TcpStream),
    Secure(Box<ClientConnection>, TcpStream),
}

impl Transport {
    pub(crate) fn new(socket: TcpStream, client: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let Some(client) = client else {
            return Ok(Self::Plain(socket));
        };
        let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(client), name).map_err(io::Error::other)?;
        Ok(Self::Secure(Box::new(session), socket))
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) | Self::Secure(_, socket) => socket,
        }
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Secure(session, socket) => Stream::new(&mut **session, socket).read(buffer),
        }
    }

    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write_vectored(slices),
            Self::Secure(session, socket) => {
                Stream::new(&mut **session, socket).write_vectored(slices)
            }
        }
    }

    /// Whether a read that did not fill the buffer says that the socket is empty. TLS hands out record by record.
    pub(crate) fn short_is_empty(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Whether its handshake went on from an earlier session; `None` without TLS.
    pub(crate) fn resumed(&self) -> Option<bool> {
        match self {
            Self::Plain(_) => None,
            Self::Secure(session, _) => {
                Some(session.handshake_kind() == Some(HandshakeKind::Resumed))
            }
        }
    }

    /// Says goodbye as TLS wants it; the socket closes with the value.
    pub(crate) fn end(&mut self) {
        if let Self::Secure(session, socket) = self {
            session.send_close_notify();
            // The peer may have left.
            let _ = session.write_tls(socket);
        }
    }
}
