//! How services are spoken to: whom to trust, and nothing of our own to show. Invariant: a certificate is always checked, its chain
//! and its name; there is no setting to switch that off.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};

use super::{Read, Trouble, pem, provider};

/// Sessions kept to come back with: a few per service are enough.
const SESSIONS_MAX: usize = 256;

/// Whose signatures on services' certificates are believed.
pub type Authorities = Arc<RootCertStore>;

/// Those of a file, or the system's.
///
/// # Errors
/// The file is unreadable or no set of authorities; the system has none.
pub fn authorities(file: Option<&str>, read: Read) -> Result<Authorities, Trouble> {
    if let Some(file) = file {
        return pem::roots("UPSTREAM_CA", file, read).map(Arc::new);
    }
    let mut roots = RootCertStore::empty();
    // A few that cannot be parsed are no reason to do without the others.
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let what = "the system has no certificate authorities; name a file";
        return Err(Trouble::new("UPSTREAM_CA", "https services", what));
    }
    Ok(Arc::new(roots))
}

/// Whether a file holds authorities that can be trusted.
///
/// # Errors
/// The file is unreadable or no set of authorities.
pub fn check_authorities(setting: &'static str, file: &str, read: Read) -> Result<(), Trouble> {
    pem::roots(setting, file, read).map(drop)
}

/// Builds what services are spoken to with; workers share it, and its sessions, which are looked at once per new connection.
///
/// # Errors
/// The provider supports no version of TLS, which it does.
pub fn client(authorities: &Authorities) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(Arc::clone(authorities))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    Ok(config)
}

/// Why a handshake with a service failed, in words that are the same at every try: rustls tells the time in some of its own.
#[must_use]
pub fn distrust(error: &io::Error) -> &'static str {
    let inner = error.get_ref();
    let Some(Error::InvalidCertificate(wrong)) = inner.and_then(|inner| inner.downcast_ref())
    else {
        return "its TLS handshake failed";
    };
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds that an operator can do something about are few"
    )]
    match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its TLS certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its TLS certificate is not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its TLS certificate is for another name"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its TLS certificate is not by an authority that is trusted (UPSTREAM_CA)"
        }
        _ => "its TLS certificate is not valid",
    }
}
