//! `healthcheck`: one GET /health to the gateway on this machine, for containers that have no curl. Not a load test and no client:
//! it reads the status line and leaves. Invariant: it ends within `LIMIT` whatever the other side does.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    StreamOwned,
};

use super::Outcome;
use crate::config::{self, Raw};

/// Time for the whole exchange. Container platforms give a check 3 to 5 seconds before they call it hung.
const LIMIT: Duration = Duration::from_secs(2);

/// Bytes of the answer that are looked at; a status line is far shorter.
const ANSWER_BYTES_MAX: usize = 1_024;

/// Asks the gateway that the same settings would start.
pub fn healthcheck(flags: &Raw) -> Outcome {
    let (listen, tls) = match config::load_listen(flags).and_then(|listen| {
        let tls = config::load_is_tls(flags)?;
        Ok((listen, tls))
    }) {
        Ok(found) => found,
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return Outcome::failed(&lines.join("; "));
        }
    };
    let address = SocketAddr::new(reachable(listen.ip()), listen.port());
    // The exchange runs on a thread of its own, because only its total time matters and a socket limits single reads.
    let (report, verdict) = mpsc::channel();
    let proxy_protocol = config::load_proxy_protocol(flags);
    std::thread::spawn(move || report.send(status(address, tls, proxy_protocol)));
    match verdict.recv_timeout(LIMIT) {
        Ok(Ok(200)) => Outcome::done(String::new()),
        Ok(Ok(status)) => Outcome::failed(&format!("unhealthy: {address} answered {status}")),
        Ok(Err(why)) => Outcome::failed(&format!("unhealthy: {address}: {why}")),
        Err(_) => Outcome::failed(&format!(
            "unhealthy: {address}: no answer within {} s",
            LIMIT.as_secs()
        )),
    }
}

/// An address that means "all of this machine's" is reached at loopback.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => ip,
    }
}

fn status(address: SocketAddr, tls: bool, proxy_protocol: bool) -> Result<u16, String> {
    let exchange = || {
        let tcp = TcpStream::connect_timeout(&address, LIMIT)?;
        tcp.set_read_timeout(Some(LIMIT))?;
        tcp.set_write_timeout(Some(LIMIT))?;
        if proxy_protocol {
            // We speak for nobody: that needs nobody's trust. It goes before TLS.
            (&tcp).write_all(b"PROXY UNKNOWN\r\n")?;
        }
        let mut stream: Box<dyn Duplex> = if tls {
            Box::new(encrypted(tcp, address.ip()).map_err(std::io::Error::other)?)
        } else {
            Box::new(tcp)
        };
        // In one write: formatted straight into the socket it would leave in several packets.
        let request =
            format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut piece = [0; 256];
        while answer.len() < ANSWER_BYTES_MAX && !answer.contains(&b'\n') {
            match stream.read(&mut piece)? {
                0 => break,
                count => answer.extend(piece.iter().take(count)),
            }
        }
        Ok(answer)
    };
    let answer = exchange().or_else(|error: std::io::Error| match alert(&error) {
        // It wants a certificate that nobody has but its clients: it lives, and its doors are guarded as they should be.
        Some(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure) if tls => {
            Ok(b"HTTP/1.1 200 Guarded\r\n".to_vec())
        }
        _ => Err(error.to_string()),
    })?;
    status_of(&answer).ok_or_else(|| "the answer is not HTTP".to_owned())
}

trait Duplex: std::io::Read + std::io::Write {}

impl<T: std::io::Read + std::io::Write> Duplex for T {}

/// TLS that looks at no certificate: the question is whether this machine's gateway lives, and nothing secret is said.
fn encrypted(
    tcp: TcpStream,
    ip: IpAddr,
) -> Result<StreamOwned<ClientConnection, TcpStream>, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Whoever(provider)))
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ip.into())?;
    Ok(StreamOwned::new(connection, tcp))
}

fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    if let rustls::Error::AlertReceived(alert) = error {
        Some(*alert)
    } else {
        None
    }
}

#[derive(Debug)]
struct Whoever(Arc<CryptoProvider>);

impl ServerCertVerifier for Whoever {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The code in `HTTP/1.1 200 OK`.
fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let rest = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}
