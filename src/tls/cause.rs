//! Why TLS with a peer failed, as one of a few kinds. Not the failing (rustls and `net` do that) and not the words for
//! it (`hint`). Invariant: a kind is what an operator would do one and the same thing about.

use rustls::{AlertDescription, CertificateError, Error, OtherError};

/// The kinds of failure that an operator can tell apart by what he would do about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The peer's certificate has expired.
    Expired,
    /// The peer's certificate is not valid yet.
    NotYetValid,
    /// The peer's certificate is for another name.
    OtherName,
    /// The peer's certificate is neither trusted itself nor by an authority that is.
    Untrusted,
    /// The peer's certificate is an authority's, and not trusted itself.
    Authority,
    /// The peer's certificate is for another purpose.
    OtherPurpose,
    /// The peer's certificate or its signature cannot be used.
    BadCertificate,
    /// The peer showed no certificate, and must.
    NoCertificate,
    /// The peer refuses our certificate.
    OursRefused,
    /// The peer wants a certificate of ours.
    OursWanted,
    /// No version, cipher or group that both speak.
    NothingCommon,
    /// No application protocol that both speak.
    OtherProtocol,
    /// The peer knows no such name.
    UnknownName,
    /// What came is no TLS.
    NotTls,
    /// A request in plain HTTP.
    PlainHttp,
    /// A PROXY protocol header.
    ProxyHeader,
    /// The ClientHello is longer than any honest one.
    LongHello,
    /// The peer left in the middle.
    Left,
    /// It took too long, or was broken off.
    BrokenOff,
    /// Anything else.
    Other,
}

impl Cause {
    /// How many kinds there are: the length of a table with a place for each.
    pub const COUNT: usize = Self::Other as usize + 1;

    /// What kind of failure rustls speaks of.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "the kinds that an operator can do something about are few"
        )]
        match error {
            Error::InvalidCertificate(wrong) => Self::of_certificate(wrong),
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            Error::PeerIncompatible(_) => Self::NothingCommon,
            Error::NoApplicationProtocol => Self::OtherProtocol,
            Error::InvalidMessage(_) => Self::NotTls,
            _ => Self::Other,
        }
    }

    /// The same of an error that may hold one of rustls'. An end in the middle of a handshake is none of its own.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => Self::of(error),
            None if error.kind() == std::io::ErrorKind::UnexpectedEof => Self::Left,
            None => Self::Other,
        }
    }

    fn of_certificate(wrong: &CertificateError) -> Self {
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "the kinds that an operator can do something about are few"
        )]
        match wrong {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::OtherName
            }
            // A signature that does not fit is what another authority of the same name leaves.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Untrusted,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::OtherPurpose
            }
            CertificateError::Other(OtherError(inner)) => match inner.downcast_ref() {
                Some(webpki::Error::CaUsedAsEndEntity) => Self::Authority,
                _ => Self::BadCertificate,
            },
            _ => Self::BadCertificate,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "the kinds that an operator can do something about are few"
        )]
        match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                Self::OursWanted
            }
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => Self::OursRefused,
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity => Self::NothingCommon,
            AlertDescription::NoApplicationProtocol => Self::OtherProtocol,
            AlertDescription::UnrecognisedName => Self::UnknownName,
            _ => Self::Other,
        }
    }
}
