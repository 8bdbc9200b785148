//! When our own certificates end, and when that is worth a line in the log: at start, when it changes for the worse, and then daily.
//! Not their renewal (`renewal`). Invariant: a certificate that stays as it is makes one line a day at most.

use super::certificate::Certificate;
use super::{Files, Read, pem};

const DAY_MS: u64 = 86_400_000;

/// A certificate that ends within so many days is spoken of at start: those who issue for 90 days advise to renew 30 days ahead.
const SOON_DAYS: u64 = 30;

/// From when to when a certificate is valid, in unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    from_s: u64,
    until_s: u64,
}

/// One of our certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dated {
    file: String,
    /// From 0; the certificate of the name itself stands first.
    place: usize,
    validity: Validity,
}

/// How a certificate stands to a moment, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Good,
    /// It ends within `SOON_DAYS`.
    Soon,
    NotYet,
    Ended,
}

/// What was said of the certificates so far.
#[derive(Debug, Default)]
pub(super) struct Reminder {
    said: Vec<State>,
    daily_ms: u64,
}

/// All certificates of the files, as far as they can be read.
pub(super) fn dated(files: &Files, read: Read) -> Vec<Dated> {
    let mut found = Vec::new();
    for (file, _) in &files.pairs {
        let chain = pem::certificates("TLS_CERT", file, read).unwrap_or_default();
        for (place, certificate) in chain.iter().enumerate() {
            found.extend(validity(certificate).map(|validity| Dated {
                file: file.clone(),
                place,
                validity,
            }));
        }
    }
    found
}

/// Reads the validity out of a certificate (RFC 5280 4.1). `None`: it is none.
pub(super) fn validity(der: &[u8]) -> Option<Validity> {
    let certificate = Certificate::parse(der)?;
    Some(Validity {
        from_s: certificate.not_before,
        until_s: certificate.not_after,
    })
}

impl Validity {
    fn state(self, now_ms: u64) -> State {
        let now_s = now_ms / 1000;
        if now_s > self.until_s {
            State::Ended
        } else if now_s < self.from_s {
            State::NotYet
        } else if self.until_s - now_s < SOON_DAYS * DAY_MS / 1000 {
            State::Soon
        } else {
            State::Good
        }
    }

    /// Whether it is said again every day. Whoever has certificates for a few days gets new ones in their last third: that many
    /// lines would say nothing.
    fn is_pressing(self, now_ms: u64) -> bool {
        let left_s = self.until_s.saturating_sub(now_ms / 1000);
        left_s < self.until_s.saturating_sub(self.from_s) / 3
    }
}

impl Dated {
    fn line(&self, state: State, now_ms: u64) -> String {
        let now_s = now_ms / 1000;
        let Validity { from_s, until_s } = self.validity;
        let which = match self.place {
            0 => "the certificate".to_owned(),
            place => format!("certificate {} of the chain", place + 1),
        };
        match state {
            State::Ended => format!(
                "{which} has expired {} ago: clients refuse it",
                span(now_s.saturating_sub(until_s))
            ),
            State::NotYet => format!(
                "{which} is valid only in {}: clients refuse it until then",
                span(from_s.saturating_sub(now_s))
            ),
            State::Soon | State::Good => {
                format!("{which} expires in {}", span(until_s.saturating_sub(now_s)))
            }
        }
    }
}

/// Days, or hours, or minutes.
fn span(seconds: u64) -> String {
    match seconds {
        0..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

impl Reminder {
    /// Forgets what was said: the certificates are new.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// The lines that are due now, each with its file.
    pub(super) fn due<'a>(
        &mut self,
        certificates: &'a [Dated],
        now_ms: u64,
    ) -> Vec<(&'a str, String)> {
        let is_daily = now_ms >= self.daily_ms;
        if is_daily {
            self.daily_ms = now_ms + DAY_MS;
        }
        let is_first = self.said.len() != certificates.len();
        if is_first {
            self.said = vec![State::Good; certificates.len()];
        }
        let mut lines = Vec::new();
        for (certificate, said) in certificates.iter().zip(&mut self.said) {
            let state = certificate.validity.state(now_ms);
            let again = is_daily && certificate.validity.is_pressing(now_ms);
            if state > *said || (again && state != State::Good) {
                lines.push((certificate.file.as_str(), certificate.line(state, now_ms)));
            }
            *said = state;
        }
        lines
    }
}
