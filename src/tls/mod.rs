//! Certificates and keys: files → what TLS is spoken with, at the edge and to services. Not the speaking (`net`), and no waiting.
//! Invariants: a set of files is taken whole or not at all, with every problem named; no private key is ever in a message.

mod cause;
mod certificate;
mod client_verifier;
mod der;
mod edge;
mod expiry;
mod hint;
mod listed;
mod names;
mod opening;
mod pem;
mod renewal;
mod service_verifier;
mod sessions;
mod subject;
#[cfg(test)]
mod tests;
mod tickets;
mod upstream;
mod watch;

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;

pub use cause::Cause;
pub use edge::{ClientAuth, Files, edge};
pub use hint::TlsError;
pub use opening::{First, HELLO_BYTES_MAX, Opening};
pub use renewal::Renewal;
pub use subject::Proved;
pub use upstream::{ServiceFiles, Services, ServicesRenewal, check_authorities};
pub use watch::watch;

/// How a file's bytes are had.
pub type Read = fn(&Path) -> io::Result<Vec<u8>>;

/// What is wrong with a file, and the setting that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// `TLS_CERT`, `TLS_KEY` …
    pub setting: &'static str,
    /// The file and what is wrong with it.
    pub what: String,
}

impl Trouble {
    fn new(setting: &'static str, file: &str, what: impl std::fmt::Display) -> Self {
        let what = format!("{file}: {what}");
        Self { setting, what }
    }
}

/// One provider for all, the one that signatures of tokens are checked with.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
