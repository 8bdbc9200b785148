//! A core's slices: tokens of busy keys that this core takes without a shared write. Not the bucket they come from.
//! Invariant: a slice's tokens + taken are what its slot counts as `lent`, from its filling until it settles.
use super::table::Place;

const SLICES_MAX: usize = 16_384;
/// A slice serves this long at most; the worker's tick, every 20 ms, settles the idle ones.
const HOLD_NS: u64 = 20_000_000;
/// One slice is at most this: half a millisecond of a core that does nothing else.
const SHARE_MAX: u32 = 64;
/// A smaller pool is left to everybody.
const POOL_MIN: u32 = 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    pub(super) place: Place,
    pub(super) tokens: u32,
    pub(super) taken: u32,
    /// Tells this slice from those that this core fills of the same key before and after it; never 0.
    pub(super) serial: u64,
    /// The index entry that names this slice.
    entry: u32,
    ends_ns: u64,
}

impl Slice {
    pub(super) fn lent(&self) -> u32 {
        self.tokens + self.taken
    }

    pub(super) fn affords(&self, cost: u32, now: u64) -> bool {
        self.tokens >= cost && now < self.ends_ns
    }

    pub(super) fn spend(&mut self, cost: u32) {
        self.tokens -= cost;
        self.taken += cost;
    }

    /// Puts back what was taken from this very slice.
    pub(super) fn unspend(&mut self, cost: u32) -> bool {
        let back = self.taken >= cost;
        if back {
            self.taken -= cost;
            self.tokens += cost;
        }
        back
    }
}

/// How many tokens go to a slice when `pool` are left: 20 ms of this core's demand, and never so many that the cores together
/// empty the pool. A slice of one token would cost two writes to save one.
pub(super) fn share(pool: u32, demand_20ms: u32, cores: u32) -> u32 {
    if pool <= POOL_MIN {
        return 0;
    }
    let share = demand_20ms
        .min(pool / cores.max(1).saturating_mul(2))
        .min(SHARE_MAX);
    if share < 2 { 0 } else { share }
}

/// Names one slice of this core; 0 = none.
pub(super) type SliceId = u16;

/// At most 16,384 slices; a freed one is used again, so memory grows with the busiest moment and no further.
#[derive(Debug, Default)]
pub(super) struct Slices {
    slices: Vec<Option<Slice>>,
    free: Vec<SliceId>,
    live: usize,
    opened: u64,
}

impl Slices {
    pub(super) fn bytes_max() -> usize {
        // A vector that grows by doubling may hold twice its content, and the old half for a moment.
        3 * SLICES_MAX * (size_of::<Option<Slice>>() + size_of::<SliceId>())
    }

    pub(super) fn has_room(&self) -> bool {
        self.live < SLICES_MAX
    }

    pub(super) fn open(&mut self, place: Place, tokens: u32, entry: u32, now: u64) -> SliceId {
        self.opened += 1;
        let slice = Slice {
            place,
            tokens,
            taken: 0,
            serial: self.opened,
            entry,
            ends_ns: now.saturating_add(HOLD_NS),
        };
        let id = self.free.pop().or_else(|| {
            self.slices.push(None);
            SliceId::try_from(self.slices.len()).ok()
        });
        let Some(id) = id else { return 0 };
        if let Some(free) = self.at(id) {
            *free = Some(slice);
            self.live += 1;
        }
        id
    }

    fn at(&mut self, id: SliceId) -> Option<&mut Option<Slice>> {
        self.slices.get_mut(usize::from(id).checked_sub(1)?)
    }

    pub(super) fn of(&mut self, id: SliceId) -> Option<&mut Slice> {
        self.at(id)?.as_mut()
    }

    /// Ends a slice; the caller settles it.
    pub(super) fn close(&mut self, id: SliceId) -> Option<Slice> {
        let slice = self.at(id)?.take()?;
        self.free.push(id);
        self.live -= 1;
        Some(slice)
    }

    /// Closes every slice, each with the index entry that named it.
    pub(super) fn close_all(&mut self, mut settle: impl FnMut(u32, Slice)) {
        if self.live == 0 {
            return;
        }
        for (at, held) in self.slices.iter_mut().enumerate() {
            let Some(slice) = held.take() else { continue };
            self.live -= 1;
            if let Ok(id) = SliceId::try_from(at + 1) {
                self.free.push(id);
            }
            settle(slice.entry, slice);
        }
    }
}
