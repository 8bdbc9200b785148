//! How often an organization's administrator resets its own organization, in memory mode (with Redis the store knows it for all nodes).
//! Not the reset, no clock. Invariant: at most `KEYS_MAX` organizations are remembered, each for `GAP_MS`; one that cannot be
//! remembered waits, so that nobody resets more often by being many.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The shortest time between two resets of one organization by its own administrators.
pub(super) const GAP_MS: u64 = 60_000;
const GAP_NS: u64 = GAP_MS * 1_000_000;
/// So many organizations a minute have an administrator in a hurry.
const KEYS_MAX: usize = 4_096;

/// When which organization was reset by its own administrator.
#[derive(Debug, Default)]
pub(super) struct ResetGap(Mutex<HashMap<Box<str>, u64>>);

impl ResetGap {
    /// Notes a reset.
    ///
    /// # Errors
    /// The ms to wait: it is too soon.
    pub(super) fn begin(&self, organization: &str, now_ns: u64) -> Result<(), u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left_ms = |at: u64| at.saturating_add(GAP_NS).saturating_sub(now_ns) / 1_000_000;
        if let Some(at) = last.get(organization)
            && left_ms(*at) > 0
        {
            return Err(left_ms(*at));
        }
        if last.len() >= KEYS_MAX {
            last.retain(|_, at| left_ms(*at) > 0);
        }
        if last.len() >= KEYS_MAX {
            return Err(GAP_MS);
        }
        last.insert(organization.into(), now_ns);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn once_a_minute_for_each() {
        let gap = ResetGap::default();
        for (organization, at_s, expected) in [
            ("1", 100, Ok(())),
            ("1", 101, Err(59_000)),
            ("2", 101, Ok(())),
            ("1", 159, Err(1_000)),
            ("1", 160, Ok(())),
            ("1", 161, Err(59_000)),
        ] {
            let found = gap.begin(organization, at_s * S);
            assert_eq!(found, expected, "{organization} at {at_s} s");
        }
    }

    #[test]
    fn many_organizations_take_bounded_memory_and_nobody_forgets_another_one() {
        let gap = ResetGap::default();
        let made = (0..2 * KEYS_MAX).filter(|n| gap.begin(&n.to_string(), S).is_ok());
        assert_eq!(made.count(), KEYS_MAX);
        assert!(gap.begin("0", 30 * S).is_err());
        assert_eq!(gap.begin("new", 62 * S), Ok(()));
        assert_eq!(gap.0.lock().map_or(0, |last| last.len()), 1);
    }
}
