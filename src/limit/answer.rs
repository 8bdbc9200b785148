//! What a decision says: a permit with its numbers or a refusal with its wait. Not the answer's bytes beyond the two fields of a
//! permitted one. Invariant: a permit is made only by `Core::take`, after both keys were charged.

/// Which limit refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The organization's.
    Organization,
    /// The client address's.
    Ip,
}

/// A request that may not pass. It took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The limit that refused.
    pub policy: Policy,
    /// L.
    pub limit: u32,
    /// Seconds, at least 1; also `X-RateLimit-Reset`.
    pub retry_after_s: u32,
}

/// Proof that a request was charged, with the numbers of the binding key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Permit {
    /// Limit and remaining; None when no limit applied.
    numbers: Option<(u32, u32)>,
}

impl Permit {
    pub(super) fn new(numbers: Option<(u32, u32)>) -> Self {
        Self { numbers }
    }

    /// (limit, remaining) of the key with the smaller remaining; None when no limit applied.
    #[must_use]
    pub fn numbers(&self) -> Option<(u32, u32)> {
        self.numbers
    }

    /// Appends `X-RateLimit-Limit` and `X-RateLimit-Remaining` with their line ends, or nothing.
    pub fn write_fields(&self, out: &mut Vec<u8>) {
        let Some((limit, remaining)) = self.numbers else {
            return;
        };
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(b"X-RateLimit-Limit: ");
        out.extend_from_slice(digits.format(limit).as_bytes());
        out.extend_from_slice(b"\r\nX-RateLimit-Remaining: ");
        out.extend_from_slice(digits.format(remaining).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let table: [(_, &[u8]); 2] = [
            (None, b""),
            (
                Some((100, 99)),
                b"X-RateLimit-Limit: 100\r\nX-RateLimit-Remaining: 99\r\n",
            ),
        ];
        for (numbers, expected) in table {
            let mut out = Vec::new();
            Permit::new(numbers).write_fields(&mut out);
            assert_eq!(out, expected);
        }
    }
}
