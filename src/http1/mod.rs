//! Stub.
/// Stub.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Stub.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;
