//! A set of field names, asked for each field of a request. Not the names that the gateway acts on itself (`Name` has them).
//! Invariant: a name is in the set in every spelling that a CGI-like service reads as the same variable.

use super::field::fold;

/// One place for each letter that a name may begin with, and one for all other characters.
const FIRSTS: usize = 27;

/// Lengths from this one on share a bit.
const LENGTH_MAX: usize = 63;

/// Names of fields that are dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// For each first letter, one bit per length of a name in the set: two loads tell that nearly every field is not in it.
    lengths: [u64; FIRSTS],
    /// Folded names.
    names: Vec<Box<[u8]>>,
}

impl FieldSet {
    /// The set of these names, in any spelling.
    #[must_use]
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let mut set = Self::default();
        for name in names {
            let folded: Box<[u8]> = name.bytes().map(fold).collect();
            if let Some(lengths) = place(&folded).and_then(|at| set.lengths.get_mut(at)) {
                *lengths |= bit(folded.len());
                set.names.push(folded);
            }
        }
        set
    }

    /// Whether a field of this name is in the set.
    #[must_use]
    #[inline]
    pub fn contains(&self, name: &[u8]) -> bool {
        let lengths = place(name).and_then(|at| self.lengths.get(at));
        lengths.is_some_and(|lengths| lengths & bit(name.len()) != 0) && self.has(name)
    }

    #[cold]
    fn has(&self, name: &[u8]) -> bool {
        let same = |known: &[u8]| {
            known.len() == name.len() && known.iter().zip(name).all(|(&k, &byte)| k == fold(byte))
        };
        self.names.iter().any(|known| same(known))
    }
}

#[inline]
fn place(name: &[u8]) -> Option<usize> {
    let letter = usize::from((name.first()? | 0x20).wrapping_sub(b'a'));
    Some(letter.min(FIRSTS - 1))
}

#[inline]
fn bit(length: usize) -> u64 {
    1 << length.min(LENGTH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_name_is_in_the_set() {
        let long = "x".repeat(100);
        let set = FieldSet::new(["X-Original-URL", "Proxy", "remote_user", "1-a", &long]);
        let table = [
            ("X-Original-URL", true),
            ("x-original-url", true),
            ("X_Original.URL", true),
            ("x!original~url", true),
            ("proxy", true),
            ("Remote-User", true),
            ("1.a", true),
            (&long, true),
            (&long[1..], false),
            ("X-Original-URI", false),
            ("X-Original-URLs", false),
            ("Pr0xy", false),
            ("prox", false),
            ("", false),
            ("User-Agent", false),
        ];
        for (name, expected) in table {
            assert_eq!(set.contains(name.as_bytes()), expected, "{name}");
        }
        assert!(!FieldSet::default().contains(b"proxy"));
    }
}
