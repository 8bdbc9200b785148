//! Values that the tests of this wing share.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
use std::time::Duration;

use crate::config::Service;

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

pub(super) fn service(host: &str, port: u16) -> Service {
    Service {
        name: "backend".to_owned(),
        host: host.to_owned(),
        port,
        authority: format!("{host}:{port}"),
        base_path: String::new(),
        health_path: "/health".to_owned(),
        response_timeout: Duration::from_secs(30),
    }
}
