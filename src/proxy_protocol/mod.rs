//! The PROXY protocol, versions 1 and 2: the header by which a load balancer says whose connection it passes on. Not reading it off
//! a socket (`worker/preamble.rs`) and not the question whether its sender is believed. Invariants: a header that is not whole yet is no
//! error; what `Step::Need` says never reaches beyond the header's end, so that the bytes behind it stay where they are.

mod binary;
mod line;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

/// The most that a header's extensions may take. We have no use for them, but balancers write certificates and names of their
/// private links there; the specification (2.2) sets no bound but that of its length field.
const EXTENSION_BYTES_MAX: usize = 4096;

/// The longest header that is read: 16 fixed bytes, two addresses (of UNIX sockets: 108 bytes each), extensions.
pub const HEADER_BYTES_MAX: usize = 16 + 2 * 108 + EXTENSION_BYTES_MAX;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The peer's own: a health check of the balancer (`LOCAL`), or it does not know (`UNKNOWN`), or it was no TCP.
    Peer,
    /// This client's.
    Address(IpAddr),
}

/// What the bytes so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// At least so many bytes of the header are still missing.
    Need(usize),
    /// The header is whole.
    Whole {
        /// Its length in bytes.
        length: usize,
        /// What it says.
        source: Source,
    },
}

/// The bytes are no such header; why, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Reads the header in front of `bytes`.
///
/// # Errors
/// Whatever follows, this will not be a header that we read.
pub fn parse(bytes: &[u8]) -> Result<Step, Malformed> {
    let is_begun = |start: &[u8]| bytes.iter().zip(start).all(|(byte, known)| byte == known);
    if is_begun(line::BEGIN) {
        line::parse(bytes)
    } else if is_begun(&binary::SIGNATURE) {
        binary::parse(bytes)
    } else {
        Err(Malformed("it does not begin with a PROXY protocol header"))
    }
}
