//! How services are spoken to: whom to trust, and what to show of our own. Not the speaking (`net`). Invariant: a
//! certificate is always checked, whom it is by and its name; there is no setting to switch that off.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;

use super::edge::pair;
use super::listed::Listed;
use super::renewal::Seen;
use super::service_verifier::ServiceVerifier;
use super::sessions::Sessions;
use super::{Read, Trouble, pem, provider};

/// The files that services are spoken to with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceFiles {
    /// Certificates that are trusted; `None`: the system's.
    pub ca: Option<String>,
    /// Our certificate chain and its key.
    pub own: Option<(String, String)>,
}

/// Whether a file holds certificates that can be trusted.
///
/// # Errors
/// The file is unreadable or holds none.
pub fn check_authorities(setting: &'static str, file: &str, read: Read) -> Result<(), Trouble> {
    pem::listed(setting, file, read).map(drop)
}

impl ServiceFiles {
    /// Everything that is wrong with the files that are named.
    #[must_use]
    pub fn troubles(&self, read: Read) -> Vec<Trouble> {
        let ca = self.ca.as_ref();
        let ca = ca.and_then(|file| pem::listed("UPSTREAM_CA", file, read).err());
        let own = self.own(read).err().unwrap_or_default();
        ca.into_iter().chain(own).collect()
    }

    fn own(&self, read: Read) -> Result<Option<SingleCertAndKey>, Vec<Trouble>> {
        let Some((certificate, key)) = &self.own else {
            return Ok(None);
        };
        let settings = ("UPSTREAM_CERT", "UPSTREAM_KEY");
        let certified = pair(settings, (certificate, key), read)?;
        Ok(Some(SingleCertAndKey::from(certified)))
    }

    /// Whom to trust.
    fn listed(&self, read: Read) -> Result<Listed, Trouble> {
        if let Some(file) = &self.ca {
            return pem::listed("UPSTREAM_CA", file, read);
        }
        let listed = Listed::of_system(rustls_native_certs::load_native_certs().certs);
        if listed.is_empty() {
            let what = "the system has no certificate authorities; name a file";
            return Err(Trouble::new("UPSTREAM_CA", "https services", what));
        }
        Ok(listed)
    }

    /// Builds what services are spoken to with; workers share it, and its sessions, which are looked at once per new
    /// connection.
    fn client(&self, read: Read) -> Result<ClientConfig, Vec<Trouble>> {
        let (listed, own) = match (self.listed(read), self.own(read)) {
            (Ok(listed), Ok(own)) => (listed, own),
            (listed, own) => {
                let own = own.err().unwrap_or_default();
                return Err(listed.err().into_iter().chain(own).collect());
            }
        };
        let sessions = Arc::new(Sessions::new());
        let verifier = ServiceVerifier::new(listed, Arc::clone(&sessions));
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| vec![Trouble::new("UPSTREAM_CA", "TLS", error)])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_cert_resolver(Arc::new(own)),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::store(sessions);
        Ok(config)
    }

    fn look(&self, read: Read) -> Seen {
        let own = self.own.iter().flat_map(|(cert, key)| [cert, key]);
        let files = self.ca.iter().chain(own);
        Seen::of(files.map(|file| read(Path::new(file))))
    }
}

/// How services are spoken to now: shared by all workers and the probes, and replaced whole.
#[derive(Debug)]
pub struct Services {
    config: ArcSwap<ClientConfig>,
    generation: AtomicU64,
    /// What the files held just before they were read at first.
    seen_first: Seen,
}

impl Services {
    /// Reads the files.
    ///
    /// # Errors
    /// Everything that is wrong with them; without a file, that the system trusts nobody.
    pub fn new(files: &ServiceFiles, read: Read) -> Result<Self, Vec<Trouble>> {
        let seen_first = files.look(read);
        Ok(Self {
            config: ArcSwap::from_pointee(files.client(read)?),
            generation: AtomicU64::new(0),
            seen_first,
        })
    }

    /// What a new connection is made with.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.load_full()
    }

    /// Counts the replacements: a connection that was made before the last one proved itself to another list.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn replace(&self, config: ClientConfig) {
        self.config.store(Arc::new(config));
        self.generation.fetch_add(1, Ordering::Release);
    }
}

/// The files of a running gateway, and what was last seen of them.
#[derive(Debug)]
pub struct ServicesRenewal {
    files: ServiceFiles,
    read: Read,
    services: Arc<Services>,
    seen: Seen,
}

impl ServicesRenewal {
    /// For what was built from these files.
    pub fn new(files: ServiceFiles, read: Read, services: Arc<Services>) -> Self {
        Self {
            files,
            read,
            seen: services.seen_first.clone(),
            services,
        }
    }

    /// Replaces what services are spoken to with, when a file has changed since the last look; `forced`: even if none
    /// has.
    pub fn renew(&mut self, forced: bool) -> Option<Result<(), Vec<Trouble>>> {
        let now = self.files.look(self.read);
        if now == self.seen && !forced {
            return None;
        }
        // What was wrong is said once, not at every look.
        self.seen = now;
        let built = self.files.client(self.read);
        Some(built.map(|config| self.services.replace(config)))
    }
}
