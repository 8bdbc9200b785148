//! The ways in which a connection may split the input. Not random: they follow from the bytes, so that a found file splits
//! the same way whenever it runs. Invariant: the last piece ends where the input does.

/// Inputs up to this length also come byte by byte.
const BYTE_BY_BYTE_MAX: usize = 1024;

/// Lists of offsets, ascending, at each of which a piece ends.
pub fn splits(bytes: &[u8]) -> Vec<Vec<usize>> {
    let mut random = Random::of(bytes);
    let mut splits: Vec<Vec<usize>> = (0..3).map(|_| random.cuts(bytes)).collect();
    if bytes.len() <= BYTE_BY_BYTE_MAX {
        splits.push((1..=bytes.len()).collect());
    }
    splits
}

struct Random(u64);

impl Random {
    /// FNV-1a of the input.
    fn of(bytes: &[u8]) -> Self {
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    /// Up to eight cuts, every other one next to a line's end, where readers keep their state.
    fn cuts(&mut self, bytes: &[u8]) -> Vec<usize> {
        let ends: Vec<usize> = bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| matches!(byte, b'\r' | b'\n'))
            .map(|(at, _)| at)
            .collect();
        let mut cuts = vec![bytes.len()];
        for turn in 0..self.below(8) {
            cuts.push(match ends.get(self.below(ends.len())) {
                Some(end) if turn % 2 == 0 => end + self.below(2),
                _ => self.below(bytes.len() + 1),
            });
        }
        cuts.sort_unstable();
        cuts
    }
}
