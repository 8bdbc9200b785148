//! Why TLS with a peer failed, as one of a few kinds, each with what mends it. Not the failing (rustls and `net` do that).
//! Invariants: every kind names the setting that would mend it where there is one; the text is bounded, whatever a peer has put
//! into its certificate.

use std::fmt;

use rustls::{AlertDescription, CertificateError, Error, OtherError};

/// Characters of rustls' own words: a certificate may hold names without end.
const TEXT_CHARS_MAX: usize = 300;

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

    /// What it means of a client, and what mends it.
    #[must_use]
    pub fn of_client(self) -> &'static str {
        match self {
            Self::Expired => {
                "the client's certificate has expired, or the clock of this machine is wrong"
            }
            Self::NotYetValid => {
                "the client's certificate is not valid yet, or the clock of this machine is wrong"
            }
            Self::Untrusted => {
                "the client's certificate is not in TLS_CLIENT_CA, nor by an authority that is"
            }
            Self::Authority => {
                "the client's certificate is an authority's (CA:TRUE), and not itself in TLS_CLIENT_CA"
            }
            Self::OtherPurpose => {
                "the client's certificate is not for clients (extendedKeyUsage), \
                 and not itself in TLS_CLIENT_CA"
            }
            Self::BadCertificate | Self::OtherName => "the client's certificate cannot be used",
            Self::NoCertificate => {
                "the client showed no certificate; TLS_CLIENT_AUTH=optional does without"
            }
            Self::OursRefused => {
                "the client does not believe our certificate: \
                 TLS_CERT must hold the whole chain, valid, and for the name it asks for"
            }
            Self::OursWanted | Self::UnknownName | Self::Other => "the client ended it",
            Self::NothingCommon => "TLS 1.2 and 1.3 are spoken here, with the ciphers of today",
            Self::OtherProtocol => "HTTP/1.1 is spoken here (ALPN http/1.1)",
            Self::NotTls => "what came is not TLS; without TLS_CERT the port speaks plain HTTP",
            Self::PlainHttp => {
                "the client must use https:// here; without TLS_CERT the port speaks plain HTTP"
            }
            Self::ProxyHeader => "what came is a PROXY protocol header (PROXY_PROTOCOL=true)",
            Self::LongHello => "its first message is longer than that of any client",
            Self::Left => "the client closed the connection",
            Self::BrokenOff => "the client's part took too long (HANDSHAKE_TIMEOUT)",
        }
    }

    /// What it means of a service, and what mends it.
    #[must_use]
    pub fn of_service(self) -> &'static str {
        match self {
            Self::Expired => {
                "its TLS certificate has expired, or the clock of this machine is wrong"
            }
            Self::NotYetValid => {
                "its TLS certificate is not valid yet, or the clock of this machine is wrong"
            }
            Self::OtherName => {
                "its TLS certificate is for another name than the host of the service's URL"
            }
            Self::Untrusted => {
                "its TLS certificate is not by an authority that is trusted, \
                 nor trusted itself (UPSTREAM_CA)"
            }
            Self::Authority => {
                "its TLS certificate is an authority's (CA:TRUE) and not itself in UPSTREAM_CA"
            }
            Self::OtherPurpose => {
                "its TLS certificate is not for servers (extendedKeyUsage), \
                 and not itself in UPSTREAM_CA"
            }
            Self::BadCertificate | Self::NoCertificate => "its TLS certificate cannot be used",
            Self::OursRefused => {
                "it refuses our certificate (UPSTREAM_CERT, UPSTREAM_KEY), or misses one"
            }
            Self::OursWanted => "it wants a certificate of ours (UPSTREAM_CERT, UPSTREAM_KEY)",
            Self::NothingCommon => {
                "it speaks no TLS 1.2 or 1.3 with ciphers of today, \
                 or wants a certificate of ours (UPSTREAM_CERT, UPSTREAM_KEY)"
            }
            Self::OtherProtocol => "it does not speak HTTP/1.1 over TLS (ALPN http/1.1)",
            Self::UnknownName => "it knows no such name as the host of the service's URL",
            Self::NotTls | Self::PlainHttp | Self::ProxyHeader | Self::LongHello => {
                "what it says is not TLS: the service's URL may have to begin with http://"
            }
            Self::Left => "it closed the connection: is this its port for https?",
            Self::BrokenOff => "its TLS handshake took too long (CONNECT_TIMEOUT)",
            Self::Other => "its TLS handshake failed",
        }
    }
}

/// A failure: its kind, and its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError {
    /// The kind.
    pub cause: Cause,
    text: String,
}

impl TlsError {
    /// A failure that rustls knows nothing of.
    #[must_use]
    pub fn new(cause: Cause, text: &str) -> Self {
        let text = text.to_owned();
        Self { cause, text }
    }
}

impl From<&Error> for TlsError {
    fn from(error: &Error) -> Self {
        let text = error.to_string().chars().take(TEXT_CHARS_MAX).collect();
        let cause = Cause::of(error);
        Self { cause, text }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for TlsError {}
