//! PEM files → certificates and keys. Judges only what a file says by itself. Invariant: a file without what is looked for is a
//! trouble and not an empty result.

use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::listed::Listed;
use super::{Read, Trouble};

/// Larger is no certificate: a directory's listing, a disk image.
const FILE_BYTES_MAX: usize = 4 << 20;

fn bytes(setting: &'static str, file: &str, read: Read) -> Result<Vec<u8>, Trouble> {
    let bytes = read(Path::new(file))
        .map_err(|error| Trouble::new(setting, file, format_args!("cannot be read: {error}")))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Trouble::new(setting, file, "is too large to be a PEM file"));
    }
    Ok(bytes)
}

/// All certificates of a file, in their order.
pub(super) fn certificates(
    setting: &'static str,
    file: &str,
    read: Read,
) -> Result<Vec<CertificateDer<'static>>, Trouble> {
    let bytes = bytes(setting, file, read)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match parsed {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(Trouble::new(setting, file, "has no PEM certificate")),
        Err(error) => Err(Trouble::new(
            setting,
            file,
            format_args!("is no PEM: {error}"),
        )),
    }
}

/// The first private key of a file.
pub(super) fn key(
    setting: &'static str,
    file: &str,
    read: Read,
) -> Result<PrivateKeyDer<'static>, Trouble> {
    let bytes = bytes(setting, file, read)?;
    // The parser's own words may quote the line they fail at.
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let what =
            "has no PEM private key (PKCS #8, PKCS #1 or SEC 1; encrypted ones cannot be read)";
        Trouble::new(setting, file, what)
    })
}

/// The certificates of a file that are trusted.
pub(super) fn listed(setting: &'static str, file: &str, read: Read) -> Result<Listed, Trouble> {
    Listed::new(certificates(setting, file, read)?)
        .map_err(|error| Trouble::new(setting, file, error))
}
