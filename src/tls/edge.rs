//! How clients are spoken to: certificates, versions, tickets, client certificates. Not when (`renewal`) and not to whom (`names`).
//! Invariant: what is built has a key for each certificate, and they belong together.

use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};

use super::client_verifier::ClientVerifier;
use super::names::Names;
use super::tickets::CheckedTickets;
use super::{Read, Trouble, pem, provider};

/// What clients may choose from; the gateway speaks HTTP/1 (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// Tickets after a TLS 1.3 handshake: one is enough to come back with, and each costs a flight's bytes.
const TICKETS: usize = 1;

/// Whether clients show certificates of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are asked, and one that they show is checked.
    Optional,
    /// Without one there is no connection.
    Required,
}

/// The files that the edge is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Certificate chain and key of each name; the first is for clients that ask for no known name.
    pub pairs: Vec<(String, String)>,
    /// Authorities of client certificates; `None`: clients are not asked.
    pub client_ca: Option<(String, ClientAuth)>,
}

/// Builds what clients are spoken to with; `tickets` seals their sessions, the same for all workers.
///
/// # Errors
/// Everything that is wrong with any of the files.
pub fn edge(
    files: &Files,
    read: Read,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, Vec<Trouble>> {
    let mut troubles = Vec::new();
    let mut keys = Vec::new();
    for (certificate, key) in &files.pairs {
        match pair(("TLS_CERT", "TLS_KEY"), (certificate, key), read) {
            Ok(certified) => keys.push(Arc::new(certified)),
            Err(mut wrong) => troubles.append(&mut wrong),
        }
    }
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| vec![Trouble::new("TLS_CERT", "TLS", error)])?;
    let mut clients = None;
    if let Some((file, auth)) = &files.client_ca {
        match pem::listed("TLS_CLIENT_CA", file, read) {
            Ok(listed) => clients = Some(Arc::new(ClientVerifier::new(listed, *auth))),
            Err(trouble) => troubles.push(trouble),
        }
    }
    let clients = clients.map(|clients| clients as Arc<dyn ClientCertVerifier>);
    let builder = match &clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
    };
    if !troubles.is_empty() {
        return Err(troubles);
    }
    let mut config = builder.with_cert_resolver(Arc::new(Names::new(keys)));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    // All that a session needs is in its ticket: workers share nothing, and a client may come back to any of them.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::new(CheckedTickets::new(tickets, clients));
    config.send_tls13_tickets = TICKETS;
    Ok(config)
}

/// A certificate chain and its key, of the settings and files named.
pub(super) fn pair(
    (cert_setting, key_setting): (&'static str, &'static str),
    (certificate, key): (&str, &str),
    read: Read,
) -> Result<CertifiedKey, Vec<Trouble>> {
    let chain = pem::certificates(cert_setting, certificate, read);
    let private = pem::key(key_setting, key, read);
    let (chain, private) = match (chain, private) {
        (Ok(chain), Ok(private)) => (chain, private),
        (chain, private) => {
            return Err([chain.err(), private.err()].into_iter().flatten().collect());
        }
    };
    let wrong_key = |why: &dyn std::fmt::Display| vec![Trouble::new(key_setting, key, why)];
    let signing = provider()
        .key_provider
        .load_private_key(private)
        .map_err(|error| wrong_key(&error))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(wrong_key(&format_args!(
            "is not the key of the first certificate in {certificate}"
        ))),
        Err(error) => Err(vec![Trouble::new(cert_setting, certificate, error)]),
    }
}
