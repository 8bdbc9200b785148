//! New certificates for a running gateway: looks at the files, and builds anew when one has changed. Waits for nothing; who calls
//! it decides how often. Invariant: what holds is replaced only by a whole and valid set, and a set is judged once.

use std::io;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;

use super::expiry::Dated;
use super::{Files, Read, Trouble, edge, expiry};

/// A fingerprint of files' contents: times and sizes can stay the same, and a mounted secret changes by a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen(Vec<u8>);

impl Seen {
    /// Of these contents. A file that cannot be read counts as an empty one.
    pub(super) fn of(files: impl Iterator<Item = io::Result<Vec<u8>>>) -> Self {
        let mut seen = digest::Context::new(&digest::SHA256);
        for bytes in files.map(Result::unwrap_or_default) {
            seen.update(&bytes.len().to_le_bytes());
            seen.update(&bytes);
        }
        Self(seen.finish().as_ref().to_vec())
    }
}

/// The files and what was last seen of them.
#[derive(Debug)]
pub struct Renewal {
    files: Files,
    read: Read,
    tickets: Arc<dyn ProducesTickets>,
    seen: Seen,
    /// The certificates that hold.
    dated: Vec<Dated>,
}

impl Renewal {
    /// Builds the first edge.
    ///
    /// # Errors
    /// Everything that is wrong with the files.
    pub fn start(files: Files, read: Read) -> Result<(Self, ServerConfig), Vec<Trouble>> {
        let mut renewal = Self {
            tickets: ticketer()?,
            seen: Seen::default(),
            dated: expiry::dated(&files, read),
            files,
            read,
        };
        renewal.seen = renewal.look();
        let first = edge(&renewal.files, read, Arc::clone(&renewal.tickets))?;
        Ok((renewal, first))
    }

    /// The new edge, when a file has changed since the last look; `forced`: even if none has.
    pub fn renew(&mut self, forced: bool) -> Option<Result<ServerConfig, Vec<Trouble>>> {
        let now = self.look();
        if now == self.seen && !forced {
            return None;
        }
        // What was wrong is said once, not at every look.
        self.seen = now;
        Some(self.build())
    }

    fn build(&mut self) -> Result<ServerConfig, Vec<Trouble>> {
        // A ticket carries the client's certificate past its authority: another authority needs other tickets.
        let tickets = match self.files.client_ca {
            Some(_) => ticketer()?,
            None => Arc::clone(&self.tickets),
        };
        let built = edge(&self.files, self.read, Arc::clone(&tickets))?;
        self.tickets = tickets;
        self.dated = expiry::dated(&self.files, self.read);
        Ok(built)
    }

    /// The certificates that hold, with their dates.
    pub(super) fn dated(&self) -> &[Dated] {
        &self.dated
    }

    /// A fingerprint of all contents.
    fn look(&self) -> Seen {
        let pairs = self.files.pairs.iter().flat_map(|pair| [&pair.0, &pair.1]);
        let authority = self.files.client_ca.iter().map(|(file, _)| file);
        let files = pairs.chain(authority);
        Seen::of(files.map(|file| (self.read)(Path::new(file))))
    }
}

fn ticketer() -> Result<Arc<dyn ProducesTickets>, Vec<Trouble>> {
    Ticketer::new().map_err(|error| vec![Trouble::new("TLS_CERT", "session tickets", error)])
}
