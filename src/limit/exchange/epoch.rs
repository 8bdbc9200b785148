//! The name of one life of a bucket in the store, kept in little memory. Not its meaning: the script makes and compares epochs.
//! Invariant: an epoch is sent back letter by letter as it was read.
use std::fmt;

/// `<time>-<number>` in 24 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Epoch {
    /// None: the store is told nothing of what this node remembers.
    #[default]
    Unknown,
    Numbers(u64, u64),
    /// As another version of the script writes it.
    Text(Box<str>),
}

const _: () = assert!(size_of::<Epoch>() <= 24);

impl Epoch {
    pub(super) fn read(text: &str) -> Self {
        let number = |part: &str| {
            let number: u64 = part.parse().ok()?;
            // "007" and "+7" are no numbers here: they would be sent back as others.
            let is_same = itoa::Buffer::new().format(number) == part;
            is_same.then_some(number)
        };
        let numbers = text
            .split_once('-')
            .and_then(|(time, rest)| Some((number(time)?, number(rest)?)));
        match numbers {
            Some((time, rest)) => Self::Numbers(time, rest),
            None if text == "0" => Self::Unknown,
            None => Self::Text(text.into()),
        }
    }

    pub(super) fn is_known(&self) -> bool {
        *self != Self::Unknown
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("0"),
            Self::Numbers(time, rest) => write!(f, "{time}-{rest}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_written_again() {
        let (numbers, text) = (true, false);
        for (epoch, kind) in [
            ("1800000000000-9007199254740991", numbers),
            ("0-0", numbers),
            ("1800000000000-00000000000000ab-7", text),
            ("1800000000000-07", text),
            ("+1-2", text),
            ("1-2-3", text),
            ("18446744073709551616-1", text),
            ("epoch", text),
            ("", text),
        ] {
            let read = Epoch::read(epoch);
            assert_eq!(read.to_string(), epoch);
            assert_eq!(matches!(read, Epoch::Numbers(..)), kind, "{epoch}");
            assert!(read.is_known());
        }
        assert_eq!(Epoch::read("0"), Epoch::Unknown);
        assert_eq!(Epoch::Unknown.to_string(), "0");
    }
}
