//! What a failure of TLS means to an operator. Not its finding (`cause`). Invariants: every kind names the setting that
//! would mend it where there is one; the text of a failure is bounded, whatever a peer has put into its certificate.

use std::fmt;

use rustls::Error;

use super::Cause;

/// Characters of rustls' own words: a certificate may hold names without end.
const TEXT_CHARS_MAX: usize = 300;

impl Cause {
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
