//! One line (in text: two) per request, written into a worker's own buffer and handed to a writer thread when it is full.
//! Not the diagnostics (`tracing` is). Invariant: nothing here blocks or grows; a line without room is dropped and counted.

mod buffer;
mod escape;
mod line;
mod stamp;
#[cfg(test)]
mod tests;

pub use buffer::{BUFFER_BYTES, BUFFERS_PER_CORE, CoreLog, Drain, StopHandle, channel};
pub use line::{LINE_BYTES_MAX, Line, write_json, write_text};
pub use stamp::Stamp;

/// Shape of access lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The seed's text lines.
    Text,
    /// One JSON object per line.
    Json,
}
