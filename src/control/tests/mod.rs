//! Values that the tests of this wing share: a configuration, a limiter that notes what it is asked, and calls by subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test may fail loudly, and a table is as long as its cases"
)]

mod browser;
mod endpoints;
mod wiring;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::Semaphore;

use super::api::{Api, Routers, routers};
use super::caller::{Organization, Role, Subject};
use super::reset_gap::ResetGap;
use super::{LimitInfo, LimitsView, limits};
use crate::config::{
    Algorithm, Auth, Bounds, Breaker, Config, Endpoint, Level, Limits, Log, LogFormat, Redis,
    RouteRule, Secret, Service, Timeouts,
};
use crate::limit::OnOutage;
use crate::metrics::{Registry, State};

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

pub(super) fn service(host: &str, port: u16) -> Service {
    Service {
        name: "backend".to_owned(),
        tls: false,
        endpoints: vec![Endpoint {
            host: host.to_owned(),
            port,
            authority: format!("{host}:{port}"),
        }],
        base_path: String::new(),
        host: crate::config::HostSent::Service,
        health_path: "/health".to_owned(),
        response_timeout: Duration::from_secs(30),
    }
}

pub(super) fn config(services: Vec<Service>) -> Config {
    let second = Duration::from_secs(1);
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        workers: 1,
        ops: None,
        tls: None,
        service_files: crate::tls::ServiceFiles::default(),
        services,
        breaker: Breaker {
            failures_max: 20,
            open: 5 * second,
        },
        routes: vec![RouteRule {
            prefix: "/api/v1".to_owned(),
            service: 0,
            strip: false,
            public: false,
        }],
        redis: Redis {
            enabled: false,
            url: Secret::new(""),
            cluster: false,
            ca: None,
            timeout: second / 20,
        },
        limits: Limits {
            rpm: 100,
            burst: 20,
            block: 60 * second,
            per_org: true,
            per_ip: true,
            keys_max: 1024,
            on_outage: OnOutage::Share,
            nodes: 1,
        },
        auth: Auth {
            required: true,
            secret: None,
            secret_encoding: crate::identity::SecretEncoding::Text,
            algorithm: Algorithm::Hs256,
            audience: vec![],
            issuer: vec![],
            organization_claims: vec![],
            user_claims: vec![],
            role_claims: vec![],
            admin_roles: vec![],
        },
        cors_origins: vec![],
        public_paths: vec![],
        trusted_proxies: vec![],
        allowed_hosts: None,
        drop_fields: Vec::new(),
        proxy_protocol: false,
        health_details: true,
        log: Log {
            level: Level::Info,
            requests: true,
            format: LogFormat::Text,
        },
        timeouts: Timeouts {
            head: second,
            handshake: second,
            idle: second,
            body: second,
            connect: second,
            read: second,
            stream_idle: second,
            tunnel_idle: second,
            write: second,
            drain: second,
        },
        bounds: Bounds {
            connections_max: None,
            connections_per_address_max: 0,
            in_flight_per_organization_max: 0,
            body_bytes_max: None,
        },
        warnings: vec![],
    }
}

/// A limiter that answers the seed's numbers and notes resets.
#[derive(Debug, Default)]
pub(super) struct FixedLimits {
    pub(super) resets: Mutex<Vec<String>>,
    /// Addresses have no token left.
    pub(super) is_short: AtomicBool,
}

impl FixedLimits {
    fn note(&self, what: String) {
        self.resets.lock().unwrap().push(what);
    }
}

impl LimitsView for FixedLimits {
    fn organization(&self, _id: &str, _now_ns: u64) -> LimitInfo {
        LimitInfo {
            current_count: 45,
            limit: 100,
            remaining: 55,
        }
    }

    fn address(&self, _address: IpAddr, _now_ns: u64) -> LimitInfo {
        LimitInfo {
            current_count: 10,
            limit: 100,
            remaining: 90,
        }
    }

    fn reset_organization(&self, id: &str, _now_ns: u64) {
        self.note(format!("o:{id}"));
    }

    fn reset_address(&self, address: IpAddr, _now_ns: u64) {
        self.note(format!("i:{address}"));
    }

    fn reset_all(&self, _now_ns: u64) {
        self.note("all".to_owned());
    }

    fn charge_address(&self, address: IpAddr, _now_ns: u64) -> Result<LimitInfo, u32> {
        self.note(format!("charge {address}"));
        if self.is_short.load(Relaxed) {
            return Err(45);
        }
        Ok(self.address(address, 0))
    }

    fn keys(&self) -> usize {
        7
    }
}

/// Routers with all that they read.
pub(super) struct Stage {
    pub(super) limits: Arc<FixedLimits>,
    pub(super) state: Arc<State>,
    pub(super) metrics: Arc<Registry>,
    pub(super) routers: Routers,
}

pub(super) fn stage(change: impl FnOnce(&mut Config)) -> Stage {
    let mut backend = service("backend", 8000);
    let mut analyzer = service("ai-analyzer", 8001);
    analyzer.name = "ai-analyzer".to_owned();
    backend.base_path = String::new();
    let mut config = config(vec![backend, analyzer]);
    change(&mut config);
    let limits = Arc::new(FixedLimits::default());
    let state = Arc::new(State::new(config.services.len()));
    let rules = ["/api/v1".to_owned()];
    let names: Vec<String> = config.services.iter().map(|s| s.name.clone()).collect();
    let metrics = Arc::new(Registry::new(2, &rules, &names));
    let api = Arc::new(Api {
        config: Arc::new(config),
        state: Arc::clone(&state),
        limits: Arc::clone(&limits) as Arc<dyn LimitsView>,
        store: None,
        metrics: Arc::clone(&metrics),
        clock_ns: || 0,
        start_unix_ms: 1_705_314_600_000,
        diagnostics_dropped: || 3,
        infos: Semaphore::new(limits::INFOS_MAX),
        reset_gap: ResetGap::default(),
        openapi: OnceLock::new(),
    });
    let routers = routers(&api);
    Stage {
        limits,
        state,
        metrics,
        routers,
    }
}

pub(super) fn subject(role: Role, organization: Option<serde_json::Value>) -> Subject {
    Subject {
        address: [192, 168, 1, 1].into(),
        organization: organization.map(|value| Organization {
            text: value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
            value,
        }),
        role,
    }
}

/// One call; its answer whole.
pub(super) fn call(
    router: &Router,
    method: &str,
    path: &str,
    subject: Option<Subject>,
    body: &'static str,
) -> Response<Bytes> {
    use tower::ServiceExt;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::from(body))
        .unwrap();
    if let Some(subject) = subject {
        request.extensions_mut().insert(subject);
    }
    runtime().block_on(async {
        let response = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Response::from_parts(parts, body)
    })
}

pub(super) fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

pub(super) fn field<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}
