//! Configuration: every value of the gateway, checked once at start, immutable afterwards. Not a place where anything is
//! looked up at run time by name. Invariant: a `Config` that exists is valid as a whole.
//!
//! `flags` lists the settings, `load` reads the sources, `sources` lays them over each other, `sections` and `services` judge
//! the values, `build` puts them together.

mod build;
mod dotenv;
mod file;
mod flags;
mod load;
mod nearest;
mod parse;
mod print;
mod problem;
mod reader;
mod sections;
mod services;
mod settings;
mod snapshot;
mod sources;
mod table;
mod tls;
mod url;

pub use build::{Loaded, auth_from_sources, listen_from_sources, proxy_protocol_from_sources};
pub use flags::{
    Authentication, Clients, Encryption, Flags, Listening, Logging, RateLimits, Raw, Services,
    Times,
};
pub use load::{
    Forced, load, load_auth, load_demo_listen, load_is_tls, load_listen, load_proxy_protocol,
    load_with,
};
pub use problem::Problem;
pub use settings::*;
pub use snapshot::{
    Address, Rules, Snapshot, Times as TimeLimits, balance_settings, identity_settings,
    limit_settings, ms,
};
pub use sources::{Source, Sources};
pub use table::{Row, markdown_table, table};
