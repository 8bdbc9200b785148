//! The bucket's shared word, pool:24 | lent:24 | gen:16, and its steps as pure functions. Not the atomic that holds it.
//! Invariant: no step makes pool + lent greater than the larger of the capacity and what it was before.

/// The largest capacity that the word can hold.
pub(super) const CAPACITY_MAX: u32 = (1 << 24) - 1;

/// One unpacked word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Tokens that any core may take.
    pub(super) pool: u32,
    /// Tokens in core slices, counted in full until the slice settles: too high is safe, too low is not.
    pub(super) lent: u32,
    /// Grows when the slot changes its owner, when a lease ends and when the store takes tokens back: nobody takes from a stranger's
    /// bucket, and no slice settles into a pool that is another than the one it came from.
    pub(super) generation: u16,
}

impl Word {
    pub(super) fn pack(self) -> u64 {
        let [p0, p1, p2, _] = self.pool.to_le_bytes();
        let [l0, l1, l2, _] = self.lent.to_le_bytes();
        let [g0, g1] = self.generation.to_le_bytes();
        u64::from_le_bytes([p0, p1, p2, l0, l1, l2, g0, g1])
    }

    pub(super) fn unpack(bits: u64) -> Self {
        let [p0, p1, p2, l0, l1, l2, g0, g1] = bits.to_le_bytes();
        Self {
            pool: u32::from_le_bytes([p0, p1, p2, 0]),
            lent: u32::from_le_bytes([l0, l1, l2, 0]),
            generation: u16::from_le_bytes([g0, g1]),
        }
    }

    /// All that may still be spent.
    pub(super) fn tokens(self) -> u32 {
        self.pool + self.lent
    }

    /// What refill may add. The cap is C - lent, not C (pitfall 1).
    pub(super) fn room(self, capacity: u32) -> u32 {
        capacity.saturating_sub(self.tokens())
    }

    /// Spends `cost` and moves `lend` more into a slice.
    pub(super) fn take(self, cost: u32, lend: u32) -> Option<Self> {
        let pool = self.pool.checked_sub(cost)?.checked_sub(lend)?;
        let lent = (self.lent + lend).min(CAPACITY_MAX);
        Some(Self { pool, lent, ..self })
    }

    /// Ends a slice of `lent` tokens of which `unspent` are left.
    pub(super) fn settle(self, lent: u32, unspent: u32) -> Self {
        Self {
            pool: (self.pool + unspent).min(CAPACITY_MAX),
            lent: self.lent.saturating_sub(lent),
            ..self
        }
    }

    /// Adds refill or a returned token, as far as there is room.
    pub(super) fn give(self, tokens: u32, capacity: u32) -> Self {
        Self {
            pool: self.pool + tokens.min(self.room(capacity)),
            ..self
        }
    }

    /// Full again; what is lent stays counted.
    pub(super) fn fill(self, capacity: u32) -> Self {
        Self {
            pool: capacity.saturating_sub(self.lent),
            ..self
        }
    }

    /// New limits: the pool moves by the change of C, not below 0.
    pub(super) fn resize(self, from: u32, to: u32) -> Self {
        Self {
            pool: (self.pool + to.saturating_sub(from))
                .saturating_sub(from.saturating_sub(to))
                .min(CAPACITY_MAX),
            ..self
        }
    }

    /// Empty, and of the next owner.
    pub(super) fn evict(self) -> Self {
        Self {
            pool: 0,
            lent: 0,
            generation: self.generation.wrapping_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(pool: u32, lent: u32) -> Word {
        Word {
            pool,
            lent,
            generation: 7,
        }
    }

    #[test]
    fn packs_without_loss() {
        for generation in [0, 1, u16::MAX] {
            for (pool, lent) in [(0, 0), (1, 2), (CAPACITY_MAX, 0), (0, CAPACITY_MAX)] {
                let word = Word {
                    pool,
                    lent,
                    generation,
                };
                assert_eq!(Word::unpack(word.pack()), word);
            }
        }
        assert_eq!(word(5, 3).pack(), 5 | 3 << 24 | 7 << 48);
    }

    #[test]
    fn steps() {
        assert_eq!(word(5, 0).take(5, 0), Some(word(0, 0)));
        assert_eq!(word(5, 0).take(6, 0), None);
        assert_eq!(word(9, 1).take(1, 4), Some(word(4, 5)));
        assert_eq!(word(4, 5).settle(4, 3), word(7, 1));
        assert_eq!(word(4, 5).give(9, 10), word(5, 5));
        assert_eq!(word(4, 5).fill(120), word(115, 5));
        assert_eq!(word(30, 0).resize(120, 220), word(130, 0));
        assert_eq!(word(129, 0).resize(220, 70), word(0, 0));
        assert_eq!(word(4, 0).evict().generation, 8);
    }

    #[test]
    fn no_step_lifts_the_sum_above_the_capacity() {
        let capacity = 12;
        for pool in 0..=capacity {
            for lent in 0..=capacity - pool {
                let word = word(pool, lent);
                for n in 0..=lent {
                    assert!(word.settle(lent, n).tokens() <= capacity);
                }
                for n in 0..20 {
                    assert!(word.give(n, capacity).tokens() <= capacity);
                    assert!(word.take(n, 0).is_none_or(|w| w.tokens() <= capacity));
                }
                assert_eq!(word.fill(capacity).tokens(), capacity);
            }
        }
    }
}
