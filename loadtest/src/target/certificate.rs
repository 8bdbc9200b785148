//! The certificate of a run, made for it and worth nothing afterwards. Not the gateway's handling of certificates. Invariant: all targets
//! get the same one: ECDSA on P-256, signed by itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::generator::SERVER_NAME;

/// Where it lies, in the shapes that the targets want.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
    /// HAProxy wants chain and key in one file.
    pub both: PathBuf,
    /// As PEM, for the client that is to believe it.
    pub text: String,
}

impl Certificate {
    pub(crate) fn make(work: &Path) -> io::Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()])
            .map_err(io::Error::other)?;
        let (text, secret) = (made.cert.pem(), made.signing_key.serialize_pem());
        let folder = work.join("tls");
        fs::create_dir_all(&folder)?;
        let certificate = Self {
            chain: folder.join("chain.pem"),
            key: folder.join("key.pem"),
            both: folder.join("both.pem"),
            text,
        };
        fs::write(&certificate.chain, &certificate.text)?;
        fs::write(&certificate.key, &secret)?;
        fs::write(&certificate.both, format!("{}{secret}", certificate.text))?;
        Ok(certificate)
    }
}
