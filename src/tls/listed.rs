//! A list of certificates that are trusted: authorities, and certificates that peers show themselves. Not the reading
//! of files (`pem`). Invariants: a certificate that stands byte for byte in the list needs no authority, but its dates
//! still count; one that says it issues no others (CA:FALSE) vouches for itself alone.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DistinguishedName, Error, RootCertStore};

use super::certificate::Certificate;

/// The certificates of a list.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    /// Those of them that vouch for others.
    pub(super) roots: Arc<RootCertStore>,
    all: Vec<CertificateDer<'static>>,
}

impl Listed {
    /// A file's certificates.
    ///
    /// # Errors
    /// One of them is none.
    pub(super) fn new(all: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &all {
            let parsed = Certificate::parse(certificate);
            if !parsed.is_some_and(|parsed| parsed.is_no_authority()) {
                roots.add(certificate.clone())?;
            }
        }
        let roots = Arc::new(roots);
        Ok(Self { roots, all })
    }

    /// The system's certificates: a few that cannot be parsed are no reason to do without the others.
    pub(super) fn of_system(all: Vec<CertificateDer<'static>>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(all.iter().cloned());
        let roots = Arc::new(roots);
        Self { roots, all }
    }

    /// There is nobody to trust.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The certificate itself is in the list.
    pub(super) fn has(&self, shown: &CertificateDer<'_>) -> bool {
        self.all.iter().any(|listed| listed == shown)
    }

    /// Names that a client's choice of its certificate may go by: of those who issue, and of those who issued what is
    /// listed.
    pub(super) fn hints(&self) -> Vec<DistinguishedName> {
        let mut hints = self.roots.subjects();
        let issuer = |certificate| Certificate::parse(certificate).map(|parsed| parsed.issuer);
        for issuer in self
            .all
            .iter()
            .filter_map(|certificate| issuer(certificate))
        {
            // The content of a name, without its own tag and length, is what the constructor wants.
            let mut whole = issuer;
            let content = super::der::take_content(&mut whole, super::der::SEQUENCE);
            let hint = DistinguishedName::in_sequence(content.unwrap_or_default());
            if hints.iter().all(|known| known.as_ref() != hint.as_ref()) {
                hints.push(hint);
            }
        }
        hints
    }
}

/// Checks the dates of a certificate that needs no authority.
pub(super) fn check_dates(shown: &CertificateDer<'_>, now: UnixTime) -> Result<u64, Error> {
    let Some(certificate) = Certificate::parse(shown) else {
        return Err(CertificateError::BadEncoding.into());
    };
    let second = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let (not_before, not_after) = (certificate.not_before, certificate.not_after);
    if now.as_secs() < not_before {
        let not_before = second(not_before);
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before,
        }
        .into());
    }
    if now.as_secs() > not_after {
        let not_after = second(not_after);
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after,
        }
        .into());
    }
    Ok(not_after)
}

/// Checks the name of a certificate that needs no authority. Where it has no names but its common name, as `openssl req
/// -x509` makes it, that one counts: the operator has named this very certificate.
pub(super) fn check_name(shown: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(shown)?;
    let Err(wrong) = verify_server_name(&parsed, name) else {
        return Ok(());
    };
    let common = Certificate::parse(shown).filter(|certificate| !certificate.has_alt_names());
    match common {
        Some(certificate) if certificate.has_common_name(&name.to_str()) => Ok(()),
        _ => Err(wrong),
    }
}
