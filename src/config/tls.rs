//! The settings of TLS: files are named here and read once, so that what is wrong with them stops the start with all other
//! problems. Builds nothing that is kept. Invariant: `Ok` files were readable, whole and fitting a moment ago.

use super::parse;
use super::reader::Reader;
use crate::tls::{self, ClientAuth, Files, ServiceFiles};

/// The edge: `Some(None)` when clients speak plain HTTP.
pub(super) fn edge(reader: &mut Reader) -> Option<Option<Files>> {
    let certificates = reader.read_optional("TLS_CERT", parse::names);
    let keys = reader.read_optional("TLS_KEY", parse::names);
    let read = reader.settled.read;
    let client_ca = reader.read_optional("TLS_CLIENT_CA", |text| {
        let found = read(std::path::Path::new(text));
        found.map_or_else(
            |error| Err(format!("a file that can be read: {error}")),
            |_| Ok(text.to_owned()),
        )
    });
    let auth = reader.read("TLS_CLIENT_AUTH", |text| {
        match text.to_ascii_lowercase().as_str() {
            "optional" => Ok(ClientAuth::Optional),
            "required" => Ok(ClientAuth::Required),
            _ => Err("optional or required".to_owned()),
        }
    });
    let (certificates, keys, client_ca, auth) = (certificates?, keys?, client_ca?, auth?);
    let (certificates, keys) = match (certificates, keys) {
        (None, None) => {
            if client_ca.is_some() {
                reader.complain("TLS_CLIENT_CA", "has no meaning without TLS_CERT");
                return None;
            }
            return Some(None);
        }
        (Some(certificates), Some(keys)) => (certificates, keys),
        (Some(_), None) => {
            reader.complain("TLS_KEY", "must name the key of TLS_CERT");
            return None;
        }
        (None, Some(_)) => {
            reader.complain("TLS_CERT", "must name the certificate of TLS_KEY");
            return None;
        }
    };
    if certificates.len() != keys.len() {
        let what = format!(
            "must name as many files as TLS_CERT, in the same order (here {} and {})",
            keys.len(),
            certificates.len()
        );
        reader.complain("TLS_KEY", &what);
        return None;
    }
    let files = Files {
        pairs: certificates.into_iter().zip(keys).collect(),
        client_ca: client_ca.map(|file| (file, auth)),
    };
    match tls::Renewal::start(files.clone(), reader.settled.read) {
        Ok(_) => Some(Some(files)),
        Err(troubles) => {
            for trouble in troubles {
                reader.complain(trouble.setting, &trouble.what);
            }
            None
        }
    }
}

/// What https services are spoken to with.
pub(super) fn service_files(reader: &mut Reader) -> Option<ServiceFiles> {
    let mut file = |variable| reader.read_optional(variable, |text| Ok(text.to_owned()));
    let (ca, certificate, key) = (
        file("UPSTREAM_CA"),
        file("UPSTREAM_CERT"),
        file("UPSTREAM_KEY"),
    );
    let (ca, certificate, key) = (ca?, certificate?, key?);
    let own = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (Some(_), None) => {
            reader.complain("UPSTREAM_KEY", "must name the key of UPSTREAM_CERT");
            return None;
        }
        (None, Some(_)) => {
            reader.complain("UPSTREAM_CERT", "must name the certificate of UPSTREAM_KEY");
            return None;
        }
    };
    let files = ServiceFiles { ca, own };
    let troubles = files.troubles(reader.settled.read);
    for trouble in &troubles {
        reader.complain(trouble.setting, &trouble.what);
    }
    troubles.is_empty().then_some(files)
}
