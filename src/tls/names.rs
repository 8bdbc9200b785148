//! Which certificate a client gets: by the name it asks for (SNI, RFC 6066 3). Not the checking of names (clients do that).
//! Invariant: there is always one to give, the first of the configuration.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Certificates by the names they are for.
pub(super) struct Names {
    all: Vec<Arc<CertifiedKey>>,
    /// Lower-case names and wildcards, places in `all`; several where there is one of each kind of key.
    by_name: HashMap<String, Vec<usize>>,
}

impl Names {
    /// In the order of the configuration.
    pub(super) fn new(all: Vec<Arc<CertifiedKey>>) -> Self {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, certified) in all.iter().enumerate() {
            let end_entity = certified
                .end_entity_cert()
                .map(webpki::EndEntityCert::try_from);
            let Ok(Ok(end_entity)) = end_entity else {
                continue;
            };
            for name in end_entity.valid_dns_names() {
                let places = by_name.entry(name.to_ascii_lowercase()).or_default();
                places.push(place);
            }
        }
        Self { all, by_name }
    }

    fn places(&self, name: &str) -> Option<&[usize]> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(exact) = self.by_name.get(&name) {
            return Some(exact);
        }
        // A wildcard stands for one label (RFC 9525 6.3).
        let (_, rest) = name.split_once('.')?;
        self.by_name.get(&format!("*.{rest}")).map(Vec::as_slice)
    }

    /// The certificate for a name; `fits` says whether the client can check its signatures.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        fits: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<Arc<CertifiedKey>> {
        let named = name.and_then(|name| self.places(name)).unwrap_or_default();
        let named = named.iter().filter_map(|place| self.all.get(*place));
        // A name that nobody knows gets the first: its client can say better than an alert what is wrong.
        let mut candidates = named.chain(&self.all);
        candidates.find(|certified| fits(certified)).map(Arc::clone)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        self.choose(hello.server_name(), |certified| {
            certified.key.choose_scheme(schemes).is_some()
        })
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}
