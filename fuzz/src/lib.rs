//! What the fuzz targets share: a second reader, the ways a connection splits its bytes, seeds. Not the gateway's code, and a
//! reader here shares none with it. Invariant: every check is a function of the input alone, so a found file is the whole story.

pub mod chunks;
pub mod ours;
pub mod paths;
pub mod peer;
pub mod pieces;
pub mod seeds;
pub mod strict;
pub mod upstream;

/// What a reader makes of the bytes so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read<T> {
    /// Nothing wrong yet, and not the end.
    Incomplete,
    /// No further byte can mend it.
    Wrong,
    /// A whole one.
    Whole(T),
}
