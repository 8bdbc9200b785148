//! How services' certificates are checked: by the list itself, or by an authority in it. Not the list (`listed`).
//! Invariant: name and dates are checked either way, and sessions are told until when they hold.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::listed::{Listed, check_dates, check_name};
use super::provider;
use super::sessions::Sessions;

/// How services are checked.
#[derive(Debug)]
pub(super) struct ServiceVerifier {
    listed: Listed,
    /// `None`: no authority is listed.
    by_authority: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
    sessions: Arc<Sessions>,
}

impl ServiceVerifier {
    /// `sessions` are told until when what was proved holds.
    pub(super) fn new(listed: Listed, sessions: Arc<Sessions>) -> Self {
        let roots = Arc::clone(&listed.roots);
        let built = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
        Self {
            by_authority: built.ok(),
            algorithms: provider().signature_verification_algorithms,
            listed,
            sessions,
        }
    }
}

impl ServerCertVerifier for ServiceVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.listed.has(end_entity) {
            self.sessions.proved_until(check_dates(end_entity, now)?);
            check_name(end_entity, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let Some(verifier) = &self.by_authority else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        let verified = verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        for shown in std::iter::once(end_entity).chain(intermediates) {
            // An expired one among the others was not needed.
            if let Ok(until) = check_dates(shown, now) {
                self.sessions.proved_until(until);
            }
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
