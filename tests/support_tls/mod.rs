//! Authorities, certificates, clients and services for the tests of TLS. They are rustls here, curl and openssl in the tests.
//! Invariant: every certificate is made anew for its test.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test binary compiles the whole and uses its own part of it"
)]
#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]
#![allow(
    clippy::disallowed_methods,
    reason = "the harness owns its threads, processes and sleeps"
)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key as PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        Self::of(IsCa::Ca(BasicConstraints::Unconstrained))
    }

    /// One whose certificate says that it is none, and which issues all the same.
    pub fn leaf() -> Self {
        Self::of(IsCa::ExplicitNoCa)
    }

    fn of(is_ca: IsCa) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        // A certificate whose subject is its issuer's is self-signed to openssl; and each has a name of its own, as in life.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("authority {}", COUNT.fetch_add(1, Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = is_ca;
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_as(names, |_| {})
    }

    /// With whatever else the test wants to be in it.
    pub fn issue_as(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        Issued {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// What `openssl req -x509` makes for this common name, with further arguments.
pub fn openssl_req(name: &str, args: &[&str]) -> Issued {
    let directory = tempfile::tempdir().expect("a directory");
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"])
        .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj"])
        .arg(format!("/CN={name}"))
        .args(["-keyout", "a.key", "-out", "a.crt"])
        .args(args)
        .current_dir(directory.path())
        .output()
        .expect("openssl is installed");
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "{said}");
    let read = |name| std::fs::read_to_string(directory.path().join(name)).expect("a file");
    Issued {
        cert: read("a.crt"),
        key: read("a.key"),
    }
}

/// A certificate without an authority: its own.
pub fn self_signed(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("parameters");
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let cert = params.self_signed(&key).expect("a certificate");
    Issued {
        cert: cert.pem(),
        key: key.serialize_pem(),
    }
}

/// Lets a certificate end so many seconds from now.
pub fn ends_in(seconds: u64) -> impl FnOnce(&mut CertificateParams) {
    let epoch = std::time::UNIX_EPOCH;
    let now = std::time::SystemTime::now()
        .duration_since(epoch)
        .expect("after 1970");
    let end = std::time::Duration::from_secs(now.as_secs() + seconds);
    move |params| params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let pem = CertificateDer::from_pem_slice(authority.pem().as_bytes());
    roots.add(pem.expect("PEM")).expect("an authority");
    roots
}

/// The certificate and its key as rustls takes them.
pub fn pair(own: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = vec![CertificateDer::from_pem_slice(own.cert.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("PEM");
    (chain, key)
}

/// What a client trusts and shows.
pub fn config(authority: &Authority, own: Option<&Issued>) -> Arc<ClientConfig> {
    config_of(rustls::DEFAULT_VERSIONS, authority, own)
}

/// The same for some versions of TLS.
pub fn config_of(
    versions: &[&'static SupportedProtocolVersion],
    authority: &Authority,
    own: Option<&Issued>,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots(authority));
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let (chain, key) = pair(own);
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    })
}

/// A connection over TLS.
pub struct Secure(pub StreamOwned<ClientConnection, TcpStream>);

impl Secure {
    pub fn to(port: u16, name: &str, config: &Arc<ClientConfig>) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        let patience = Some(std::time::Duration::from_secs(15));
        socket.set_read_timeout(patience).expect("a socket");
        let name = name.to_owned().try_into().expect("a name");
        let connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
        Self(StreamOwned::new(connection, socket))
    }

    /// Asks and reads an answer with a `Content-Length` to its end.
    pub fn try_ask(&mut self, request: &str) -> std::io::Result<String> {
        self.0.write_all(request.as_bytes())?;
        let mut text = Vec::new();
        loop {
            let mut piece = [0; 4096];
            let count = self.0.read(&mut piece)?;
            text.extend_from_slice(&piece[..count]);
            let so_far = String::from_utf8_lossy(&text);
            if count == 0 || is_whole(&so_far) {
                return Ok(so_far.into_owned());
            }
        }
    }

    pub fn ask(&mut self, request: &str) -> String {
        self.try_ask(request).expect("an answer")
    }

    /// The certificate that the other side showed.
    pub fn shown(&self) -> Vec<u8> {
        let shown = self.0.conn.peer_certificates();
        shown.expect("a handshake")[0].to_vec()
    }
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let lower = head.to_ascii_lowercase();
    let length = lower.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.lines().next()?.trim().parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}

/// A service's end of a connection.
pub type Served = StreamOwned<ServerConnection, TcpStream>;

/// Starts a service over TLS; its port. `answer` gets each request's head and the connection, which ends when it says false. Health
/// probes are answered here. With `clients`, only who has a certificate of theirs is served.
pub fn service(
    own: &Issued,
    clients: Option<&Authority>,
    answer: impl Fn(&str, &mut Served) -> bool + Send + Sync + 'static,
) -> u16 {
    service_of(rustls::DEFAULT_VERSIONS, own, clients, answer)
}

/// The same for some versions of TLS.
pub fn service_of(
    versions: &[&'static SupportedProtocolVersion],
    own: &Issued,
    clients: Option<&Authority>,
    answer: impl Fn(&str, &mut Served) -> bool + Send + Sync + 'static,
) -> u16 {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let roots = Arc::new(roots(clients));
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let (chain, key) = pair(own);
    let config = Arc::new(builder.with_single_cert(chain, key).expect("a pair"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (config, answer) = (Arc::clone(&config), Arc::clone(&answer));
            std::thread::spawn(move || {
                let connection = ServerConnection::new(config).expect("a server");
                let mut stream = StreamOwned::new(connection, socket);
                while let Some(head) = read_head(&mut stream) {
                    let more = if head.starts_with("GET /health ") {
                        stream.write_all(PROBED).is_ok()
                    } else {
                        answer(&head, &mut stream)
                    };
                    if !more {
                        return;
                    }
                }
            });
        }
    });
    port
}

const PROBED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn read_head(stream: &mut Served) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// Says goodbye as TLS wants it, and ends the connection.
pub fn goodbye(stream: &mut Served) {
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

/// DER of a PEM certificate.
pub fn der(issued: &Issued) -> Vec<u8> {
    let der = CertificateDer::from_pem_slice(issued.cert.as_bytes());
    der.expect("PEM").to_vec()
}
