//! HTTP/1.1 on bytes: heads, framing, chunks, and what we write. Not I/O: every function takes bytes and gives values, and
//! incomplete input is not an error. Invariant: a message that two readers could read differently is a `Fault`, never repaired.
//!
//! The way of a message: `head_end` finds where its head stops, `parse_request` / `parse_response` read that head in one
//! go, `RequestBody` / `ResponseBody` say what follows, `chunked::Decoder` reads it when it is chunked, and `write` puts
//! down the one form in which we pass anything on.

mod blame;
pub mod chunked;
pub mod fault;
pub mod field;
mod field_set;
pub mod framing;
pub mod head;
mod hop;
mod host;
mod request;
pub mod response;
mod scratch;
mod target;
#[cfg(test)]
mod tests;
pub mod websocket;
pub mod write;

pub use chunked::{Decoder, Step};
pub use fault::Fault;
pub use field::{Field, Name};
pub use field_set::FieldSet;
pub use framing::{RequestBody, ResponseBody};
pub use head::{
    FIELDS_MAX, HEAD_BYTES_MAX, RESPONSE_FIELDS_MAX, RESPONSE_HEAD_BYTES_MAX, TARGET_BYTES_MAX,
    head_end, too_long,
};
pub use host::is_authority;
pub use request::{Method, Request, parse_request};
pub use response::{Response, parse_handshake_response, parse_response};
pub use scratch::Scratch;
