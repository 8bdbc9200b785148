//! What the upload and the download of one exchange tell each other, within one task. Not their work (`forward`). Invariant:
//! nothing of ours is written to the client between two bytes of an answer.

use std::cell::Cell;

/// What the two directions of an exchange tell each other.
pub(super) struct Progress {
    /// When the service must have begun its answer; not before the request is sent whole (`u64::MAX` until then).
    pub(super) answer_by: Cell<u64>,
    /// The final head is there: from then on the answer's own pace counts.
    pub(super) answered: Cell<bool>,
    /// The client has been told to send its body, or needs not be told any more.
    pub(super) told: Cell<bool>,
    /// An interim answer is being written: bytes of ours would stand in its middle.
    pub(super) speaking: Cell<bool>,
}

impl Progress {
    pub(super) fn without_upload(answer_by: u64) -> Self {
        Self {
            answer_by: Cell::new(answer_by),
            answered: Cell::new(false),
            told: Cell::new(true),
            speaking: Cell::new(false),
        }
    }

    pub(super) fn with_upload(withheld: bool) -> Self {
        Self {
            told: Cell::new(!withheld),
            ..Self::without_upload(u64::MAX)
        }
    }
}
