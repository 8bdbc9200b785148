//! Session tickets that speak for client certificates. Not the sealing (rustls has it). Invariant: a ticket is good
//! only while the certificate in it would be accepted in a full handshake; where it would not, or cannot be found, a
//! full handshake is asked for, which tells the client why.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ProducesTickets;
use rustls::server::danger::ClientCertVerifier;

use crate::net::clock;

/// A session longer than this gets no ticket: it could not come back in a ClientHello that is accepted (see `opening`).
/// Three long certificates fit.
const SESSION_BYTES_MAX: usize = 8 * 1024;

/// A ticket maker whose tickets are looked at again.
#[derive(Debug)]
pub(super) struct CheckedTickets {
    inner: Arc<dyn ProducesTickets>,
    /// `None`: clients are not asked for certificates.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl CheckedTickets {
    pub(super) fn new(
        inner: Arc<dyn ProducesTickets>,
        clients: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Self {
        Self { inner, clients }
    }

    fn is_good(&self, session: &[u8]) -> bool {
        let Some(clients) = &self.clients else {
            return true;
        };
        let now = UnixTime::since_unix_epoch(Duration::from_millis(clock::unix_ms()));
        match client_chain(session).as_deref() {
            None => false,
            Some([]) => !clients.client_auth_mandatory(),
            Some([first, others @ ..]) => clients.verify_client_cert(first, others, now).is_ok(),
        }
    }
}

impl ProducesTickets for CheckedTickets {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        (plain.len() <= SESSION_BYTES_MAX)
            .then(|| self.inner.encrypt(plain))
            .flatten()
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let session = self.inner.decrypt(cipher)?;
        self.is_good(&session).then_some(session)
    }
}

/// The client's certificates in a session as rustls 0.23 writes it (`ServerSessionValue`): name, version, cipher suite,
/// secret, extended-master-secret flag, certificates, and more that is not of interest here. `None`: it is written
/// otherwise.
fn client_chain(session: &[u8]) -> Option<Vec<CertificateDer<'_>>> {
    let mut rest = session;
    if take_flag(&mut rest)? {
        take_counted(&mut rest, 1)?;
    }
    let _version_and_suite = rest.split_off(..4)?;
    let _secret = take_counted(&mut rest, 1)?;
    let _extended = take_flag(&mut rest)?;
    let mut chain = Vec::new();
    if take_flag(&mut rest)? {
        let mut list = take_counted(&mut rest, 3)?;
        while !list.is_empty() {
            chain.push(CertificateDer::from(take_counted(&mut list, 3)?));
        }
    }
    Some(chain)
}

fn take_flag(rest: &mut &[u8]) -> Option<bool> {
    match rest.split_off_first()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// Takes what follows a length of so many bytes.
fn take_counted<'a>(rest: &mut &'a [u8], length_bytes: usize) -> Option<&'a [u8]> {
    let length = rest.split_off(..length_bytes)?;
    let length = length
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    rest.split_off(..length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_found_in_a_session_and_nowhere_else() {
        let session = |name: &[u8], chain: &[u8]| {
            let mut bytes = name.to_vec();
            bytes.extend_from_slice(&[3, 4, 0x13, 2]);
            bytes.extend_from_slice(&[2, 9, 9, 1]);
            bytes.extend_from_slice(chain);
            bytes.extend_from_slice(&[0, 0, 0, 1, 2, 3]);
            bytes
        };
        let two = [1, 0, 0, 9, 0, 0, 2, 7, 7, 0, 0, 1, 8];
        let whole = session(&[1, 1, b'a'], &two);
        let found = client_chain(&whole).map(|chain| {
            let bytes = chain.iter().map(|one| one.to_vec());
            bytes.collect::<Vec<_>>()
        });
        assert_eq!(found, Some(vec![vec![7, 7], vec![8]]));
        assert_eq!(client_chain(&session(&[0], &[0])), Some(Vec::new()));
        // A length that leads beyond its list, a flag that is none, and every cut before the list's end.
        assert_eq!(client_chain(&session(&[0], &[1, 0, 0, 3, 0, 0, 9])), None);
        assert_eq!(client_chain(&session(&[2], &two)), None);
        for end in 0..whole.len() - 6 {
            assert_eq!(client_chain(&whole[..end]), None, "{end}");
        }
    }
}
