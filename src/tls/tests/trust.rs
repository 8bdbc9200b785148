//! What each failure of TLS is called and what is said to mend it, and the names that clients choose their certificates
//! by. Not the verifying (end to end). Invariant: where a setting mends a failure, its text names it.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier as _;
use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible,
    PeerMisbehaved,
};

use super::super::client_verifier::ClientVerifier;
use super::super::edge::ClientAuth;
use super::super::listed::Listed;
use super::super::{Cause, TlsError};

/// A failure, its kind, and what is said of a client's and of a service's.
type Row = (Error, Cause, &'static str, &'static str);

fn of_certificates() -> Vec<Row> {
    let now = UnixTime::now();
    let certificate = Error::InvalidCertificate;
    let other = |error| certificate(CertificateError::Other(OtherError(Arc::new(error))));
    vec![
        (
            certificate(CertificateError::Expired),
            Cause::Expired,
            "clock",
            "clock",
        ),
        (
            certificate(CertificateError::ExpiredContext {
                time: now,
                not_after: now,
            }),
            Cause::Expired,
            "expired",
            "expired",
        ),
        (
            certificate(CertificateError::NotValidYetContext {
                time: now,
                not_before: now,
            }),
            Cause::NotYetValid,
            "clock",
            "not valid yet",
        ),
        (
            certificate(CertificateError::NotValidYet),
            Cause::NotYetValid,
            "clock",
            "clock",
        ),
        (
            certificate(CertificateError::UnknownIssuer),
            Cause::Untrusted,
            "TLS_CLIENT_CA",
            "UPSTREAM_CA",
        ),
        (
            certificate(CertificateError::BadSignature),
            Cause::Untrusted,
            "TLS_CLIENT_CA",
            "UPSTREAM_CA",
        ),
        (
            other(webpki::Error::CaUsedAsEndEntity),
            Cause::Authority,
            "TLS_CLIENT_CA",
            "UPSTREAM_CA",
        ),
        (
            other(webpki::Error::UnsupportedCertVersion),
            Cause::BadCertificate,
            "cannot be used",
            "cannot be used",
        ),
    ]
}

fn of_names() -> Vec<Row> {
    let certificate = Error::InvalidCertificate;
    let name = ServerName::try_from("a.test").unwrap().to_owned();
    vec![
        (
            certificate(CertificateError::NotValidForNameContext {
                expected: name,
                presented: Vec::new(),
            }),
            Cause::OtherName,
            "cannot be used",
            "host of the service's URL",
        ),
        (
            certificate(CertificateError::InvalidPurpose),
            Cause::OtherPurpose,
            "TLS_CLIENT_CA",
            "UPSTREAM_CA",
        ),
    ]
}

fn of_others() -> Vec<Row> {
    let alert = Error::AlertReceived;
    vec![
        (
            Error::NoCertificatesPresented,
            Cause::NoCertificate,
            "TLS_CLIENT_AUTH",
            "certificate",
        ),
        (
            alert(AlertDescription::CertificateRequired),
            Cause::OursWanted,
            "ended",
            "UPSTREAM_CERT",
        ),
        (
            alert(AlertDescription::UnknownCA),
            Cause::OursRefused,
            "TLS_CERT",
            "UPSTREAM_CERT",
        ),
        (
            alert(AlertDescription::BadCertificate),
            Cause::OursRefused,
            "TLS_CERT",
            "UPSTREAM_CERT",
        ),
        (
            alert(AlertDescription::CertificateExpired),
            Cause::OursRefused,
            "TLS_CERT",
            "UPSTREAM_CERT",
        ),
        (
            alert(AlertDescription::HandshakeFailure),
            Cause::NothingCommon,
            "TLS 1.2",
            "UPSTREAM_CERT",
        ),
        (
            alert(AlertDescription::ProtocolVersion),
            Cause::NothingCommon,
            "TLS 1.2",
            "TLS 1.2",
        ),
        (
            alert(AlertDescription::UnrecognisedName),
            Cause::UnknownName,
            "ended",
            "host of the service's URL",
        ),
    ]
}

fn of_messages() -> Vec<Row> {
    vec![
        (
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            Cause::NothingCommon,
            "ciphers",
            "ciphers",
        ),
        (
            Error::NoApplicationProtocol,
            Cause::OtherProtocol,
            "ALPN",
            "ALPN",
        ),
        // Plain HTTP, whichever side says it.
        (
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Cause::NotTls,
            "TLS_CERT",
            "http://",
        ),
        (
            Error::PeerMisbehaved(PeerMisbehaved::UnsolicitedEchExtension),
            Cause::Other,
            "ended",
            "failed",
        ),
    ]
}

#[test]
fn each_failure_has_a_kind_and_the_setting_that_mends_it() {
    let all = [of_certificates(), of_names(), of_others(), of_messages()];
    for (error, cause, of_client, of_service) in all.into_iter().flatten() {
        assert_eq!(Cause::of(&error), cause, "{error}");
        assert!(cause.of_client().contains(of_client), "{cause:?}");
        assert!(cause.of_service().contains(of_service), "{cause:?}");
        assert!(TlsError::from(&error).to_string() == error.to_string());
    }
    for (cause, of_client, of_service) in [
        (Cause::PlainHttp, "https://", "http://"),
        (Cause::ProxyHeader, "PROXY_PROTOCOL", "http://"),
        (Cause::BrokenOff, "HANDSHAKE_TIMEOUT", "CONNECT_TIMEOUT"),
        (Cause::Left, "closed", "closed"),
    ] {
        assert!(cause.of_client().contains(of_client), "{cause:?}");
        assert!(cause.of_service().contains(of_service), "{cause:?}");
    }
}

#[test]
fn a_failure_is_told_in_few_words_whatever_a_certificate_holds() {
    let error = Error::InvalidCertificate(CertificateError::NotValidForNameContext {
        expected: ServerName::try_from("a.test").unwrap().to_owned(),
        presented: vec!["ä".repeat(1_000); 1_000],
    });
    assert_eq!(TlsError::from(&error).to_string().chars().count(), 300);
}

fn named(name: &str, is_ca: IsCa) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = is_ca;
    params
}

/// A client that goes by the names it is told must find a listed certificate's issuer among them, or it shows none.
#[test]
fn clients_are_told_the_issuer_of_every_listed_certificate() {
    let key = || KeyPair::generate().unwrap();
    let authority = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(named("issuer", authority), key()).unwrap();
    let by_issuer = named("leaf", IsCa::NoCa)
        .signed_by(&key(), &issuer)
        .unwrap();
    let of_itself = named("alone", IsCa::ExplicitNoCa)
        .self_signed(&key())
        .unwrap();
    let ca = named("authority", authority).self_signed(&key()).unwrap();
    let all: Vec<CertificateDer<'static>> = [&by_issuer, &of_itself, &ca]
        .map(|certificate| certificate.der().clone())
        .into();
    let verifier = ClientVerifier::new(Listed::new(all).unwrap(), ClientAuth::Required);
    let hints = verifier.root_hint_subjects();
    for name in ["issuer", "alone", "authority"] {
        let has_name = |hint: &&rustls::DistinguishedName| {
            let bytes = hint.as_ref();
            bytes
                .windows(name.len())
                .any(|part| part == name.as_bytes())
        };
        assert_eq!(hints.iter().filter(has_name).count(), 1, "{name}");
    }
}
