//! Configuration: every value of the gateway, checked once at start, immutable afterwards. Not a place where anything is
//! looked up at run time by name. Invariant: a `Config` that exists is valid as a whole.

mod settings;

pub use settings::*;
