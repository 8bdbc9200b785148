//! Whether admissions keep the bound, and what one exact bucket would have done with the same arrivals. Pure values. Invariant: an
//! excess that is told can be proven from what the client saw, whatever happened between its sending and its reading.

use super::bucket::{Bucket, Limit};

/// Between these two moments (ns since the start) a request was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Before its first byte was written.
    pub sent: u64,
    /// After its answer was read.
    pub answered: u64,
}

/// Requests by which admissions of one key exceed C + L*t/W in the worst interval; 0: the bound holds.
///
/// An admission happened somewhere between `sent` and `answered`. It is certainly within [s, e] only if it was sent at s or later and
/// answered at e or before; only such are counted. A bucket that is fed with points in time would have to guess them, and a burst of
/// answers that were late together, or of requests that waited together, would look like an excess. With `sent = answered` this is
/// that bucket: it goes below zero exactly when some interval exceeds the bound.
pub(crate) fn excess(admitted: &[Span], limit: &Limit) -> u64 {
    let mut starts: Vec<u64> = admitted.iter().map(|span| span.sent).collect();
    starts.sort_unstable();
    starts.dedup();
    let mut by_end = admitted.to_vec();
    by_end.sort_unstable_by_key(|span| (span.answered, span.sent));
    // For each start s: tokens of the admissions within [s, e] + L*s/W. The interval's end is the same for all.
    let mut sums = Sums::new(starts.iter().map(|&start| limit.refill(start)));
    let full = i64::from(limit.capacity()) * Limit::token();
    let mut worst = 0;
    for span in by_end {
        let place = starts.partition_point(|&start| start < span.sent);
        sums.begin(place);
        sums.add_up_to(place, Limit::token());
        worst = worst.max(sums.most() - limit.refill(span.answered) - full);
    }
    let tokens = worst.div_euclid(Limit::token()) + i64::from(worst % Limit::token() > 0);
    u64::try_from(tokens).unwrap_or(0)
}

/// A value for each start; adds to the first few at once, and knows the greatest of those that have begun, in logarithmic time.
struct Sums {
    /// Leaves, a power of two.
    size: usize,
    /// The greatest of a node's leaves, without what stands above the node.
    most: Vec<i64>,
    /// Added to all leaves of a node.
    extra: Vec<i64>,
    begun: Vec<bool>,
}

/// What has not begun is far below anything that has.
const ABSENT: i64 = i64::MIN / 4;

impl Sums {
    fn new(values: impl ExactSizeIterator<Item = i64>) -> Self {
        let count = values.len();
        let size = count.next_power_of_two().max(1);
        let mut most = vec![ABSENT; 2 * size];
        for (leaf, value) in most.iter_mut().skip(size).zip(values) {
            *leaf = value + ABSENT;
        }
        let mut sums = Self {
            size,
            most,
            extra: vec![0; 2 * size],
            begun: vec![false; count],
        };
        for node in (1..size).rev() {
            sums.gather(node);
        }
        sums
    }

    fn gather(&mut self, node: usize) {
        self.most[node] = self.most[2 * node].max(self.most[2 * node + 1]) + self.extra[node];
    }

    fn begin(&mut self, place: usize) {
        if std::mem::replace(&mut self.begun[place], true) {
            return;
        }
        let mut node = self.size + place;
        self.most[node] -= ABSENT;
        while node > 1 {
            node /= 2;
            self.gather(node);
        }
    }

    fn add_up_to(&mut self, place: usize, by: i64) {
        let mut node = self.size + place;
        self.most[node] += by;
        while node > 1 {
            if node % 2 == 1 {
                self.most[node - 1] += by;
                self.extra[node - 1] += by;
            }
            node /= 2;
            self.gather(node);
        }
    }

    fn most(&self) -> i64 {
        self.most[1]
    }
}

/// How many of these arrivals of one key an exact bucket admits.
pub(crate) fn exact(arrivals: &[u64], limit: Limit) -> u64 {
    let mut bucket = Bucket::new(limit);
    let admitted = arrivals.iter().filter(|&&at| bucket.take(at));
    u64::try_from(admitted.count()).unwrap_or(0)
}

/// The most whole requests that an exact bucket, charged with what was admitted, still had room for when one was refused. A refusal
/// within a block that began with another one is not judged: the block's first refusal is.
///
/// To be certain, a refusal is taken at its sending, and everything that was sent before its answer as admitted before it.
pub(crate) fn gap(admitted: &[Span], refused: &[Span], limit: Limit) -> u64 {
    let mut sent: Vec<u64> = admitted.iter().map(|span| span.sent).collect();
    sent.sort_unstable();
    let mut refused = refused.to_vec();
    refused.sort_unstable_by_key(|span| span.sent);
    let block = u64::from(limit.block_s) * 1_000_000_000;
    let (mut bucket, mut next, mut blocked_until, mut most) = (Bucket::new(limit), 0, 0, 0);
    for refusal in refused {
        if refusal.sent < blocked_until {
            continue;
        }
        // In a block's last milliseconds the client cannot know; begin to judge again when it is surely over.
        blocked_until = if block > 0 {
            refusal.answered + block
        } else {
            0
        };
        while let Some(&at) = sent.get(next).filter(|&&at| at <= refusal.sent) {
            bucket.charge(at);
            next += 1;
        }
        let mut sure = bucket;
        let later = sent.iter().skip(next);
        let under_way = later.take_while(|&&at| at < refusal.answered).count();
        let tokens = sure.tokens(refusal.sent) - i64::try_from(under_way).unwrap_or(i64::MAX);
        most = most.max(tokens);
    }
    u64::try_from(most).unwrap_or(0)
}
