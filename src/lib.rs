//! The DBPower API gateway as a library: the house that `main.rs` opens the door of.
#![deny(unsafe_code)]

pub mod access_log;
pub mod cli;
pub mod config;
pub mod control;
pub mod cors;
pub mod demo;
pub mod forwarded;
pub mod gateway;
pub mod http1;
pub mod identity;
pub mod limit;
pub mod mailbox;
pub mod metrics;
pub mod net;
pub mod reject;
pub mod route;
pub mod testing;
pub mod worker;
