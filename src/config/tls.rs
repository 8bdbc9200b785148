//! The settings of TLS: files are named here and read once, so that what is wrong with them stops the start with all other
//! problems. Builds nothing that is kept. Invariant: `Ok` files were readable, whole and fitting a moment ago.

use super::parse;
use super::reader::Reader;
use crate::tls::{self, ClientAuth, Files, Read, ServiceFiles};

/// The edge: `Some(None)` when clients speak plain HTTP.
pub(super) fn edge(reader: &mut Reader) -> Option<Option<Files>> {
    let certificates = reader.read_optional("TLS_CERT", parse::names);
    let keys = reader.read_optional("TLS_KEY", parse::names);
    let read = reader.settled.read;
    let client_ca = reader.read_optional("TLS_CLIENT_CA", |text| readable(text, read));
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

/// The name of a file that can be read.
fn readable(text: &str, read: Read) -> Result<String, String> {
    let found = read(std::path::Path::new(text));
    found.map_or_else(
        |error| Err(format!("a file that can be read: {error}")),
        |_| Ok(text.to_owned()),
    )
}

/// What https services are spoken to with.
pub(super) fn service_files(reader: &mut Reader) -> Option<ServiceFiles> {
    let read = reader.settled.read;
    let ca = reader.read_optional("UPSTREAM_CA", |text| Ok(text.to_owned()))?;
    let own = own_pair(reader);
    let is_whole = own.is_some();
    let own = own.flatten();
    let files = ServiceFiles { ca, own };
    let troubles = files.troubles(read);
    for trouble in &troubles {
        reader.complain(trouble.setting, &trouble.what);
    }
    (is_whole && troubles.is_empty()).then_some(files)
}

/// The certificate that services are shown, and its key: both or none.
fn own_pair(reader: &mut Reader) -> Option<Option<(String, String)>> {
    let read = reader.settled.read;
    let mut own = |variable| reader.read_optional(variable, |text| readable(text, read));
    let (certificate, key) = (own("UPSTREAM_CERT"), own("UPSTREAM_KEY"));
    match (certificate?, key?) {
        (None, None) => Some(None),
        (Some(certificate), Some(key)) => Some(Some((certificate, key))),
        (Some(_), None) => {
            reader.complain("UPSTREAM_KEY", "must name the key of UPSTREAM_CERT");
            None
        }
        (None, Some(_)) => {
            reader.complain("UPSTREAM_CERT", "must name the certificate of UPSTREAM_KEY");
            None
        }
    }
}

/// The authorities of Redis.
pub(super) fn redis_ca(reader: &mut Reader, url: Option<&str>) -> Option<Option<String>> {
    let file = reader.read_optional("REDIS_CA", |text| Ok(text.to_owned()))?;
    let Some(name) = &file else {
        return Some(None);
    };
    if let Err(trouble) = tls::check_authorities("REDIS_CA", name, reader.settled.read) {
        reader.complain(trouble.setting, &trouble.what);
        return None;
    }
    let is_plain = |url: &str| !url.starts_with("rediss://") && !url.starts_with("valkeys://");
    if url.is_some_and(is_plain) {
        reader.complain(
            "REDIS_CA",
            "has no meaning unless REDIS_URL begins with rediss:// or valkeys://",
        );
        return None;
    }
    Some(file)
}
