//! The reloadable part of the configuration, made ready for use: rooms are built from plain values here, once. Not the place
//! for anything that changes per request. Invariant: immutable; a change is a new snapshot, swapped whole.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Algorithm, Auth, Config, Endpoint, Service, Timeouts};
use crate::http1::FieldSet;
use crate::identity::{self, Verifier};
use crate::net::Secure;
use crate::{balance, cors, forwarded, limit, rewrite, route, tls};

/// What a worker needs to judge and route a request.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Rules that change by reload only.
    pub rules: Arc<Rules>,
    /// Addresses of each service, as last resolved; empty while a name has never resolved.
    pub addresses: Vec<Vec<Address>>,
}

/// An address of a service, and what its last health probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Where to connect to.
    pub at: SocketAddr,
    /// Which of the service's URLs leads there; over TLS its host is the name that is checked.
    pub url: usize,
    /// False when the last probe failed; true before the first.
    pub healthy: bool,
}

impl From<SocketAddr> for Address {
    /// One of the first URL that was not probed yet.
    fn from(at: SocketAddr) -> Self {
        Self {
            at,
            url: 0,
            healthy: true,
        }
    }
}

impl Snapshot {
    /// A snapshot with addresses that were not probed yet.
    pub fn new(rules: Arc<Rules>, addresses: Vec<Vec<SocketAddr>>) -> Self {
        let services = &rules.config.services;
        let unprobed = |(service, set): (usize, Vec<SocketAddr>)| {
            // Which URL an address is of decides whose certificate it must show.
            let url = |at: SocketAddr| {
                let urls = services.get(service).map(|service| &service.endpoints);
                let mut urls = urls.into_iter().flatten();
                urls.position(|url| url.literal() == Some(at)).unwrap_or(0)
            };
            let address = |at| Address {
                url: url(at),
                ..Address::from(at)
            };
            set.into_iter().map(address).collect()
        };
        let addresses = addresses.into_iter().enumerate().map(unprobed).collect();
        Self { rules, addresses }
    }

    /// The URL that an address of a service belongs to.
    pub fn endpoint(&self, service: usize, at: SocketAddr) -> Option<&Endpoint> {
        let endpoints = &self.rules.config.services.get(service)?.endpoints;
        let mut addresses = self.addresses.get(service).into_iter().flatten();
        let known = addresses.find(|known| known.at == at);
        // One that has left the list meanwhile is the first URL's: it is asked once more at most.
        endpoints.get(known.map_or(0, |known| known.url))
    }

    /// The same, where the endpoints of a service are sent different `Host`s; `None` for every other service.
    pub fn endpoint_of_several(&self, service: usize, at: SocketAddr) -> Option<&Endpoint> {
        let differs = self.rules.hosts_differ.get(service).copied();
        differs.filter(|differs| *differs)?;
        self.endpoint(service, at)
    }

    /// How an address of a service is spoken to over TLS; `None`: the service speaks plain HTTP.
    pub fn secure(&self, service: usize, at: SocketAddr) -> Option<&Secure> {
        let ways = self.rules.secure.get(service)?;
        let mut addresses = self.addresses.get(service).into_iter().flatten();
        let known = addresses.find(|known| known.at == at);
        // One that has left the list meanwhile is not spoken to in the clear either.
        let way = known.and_then(|known| ways.get(known.url));
        way.or_else(|| ways.first())
    }
}

/// Rules built from the configuration.
#[derive(Debug)]
pub struct Rules {
    /// The values themselves.
    pub config: Arc<Config>,
    /// Path → route.
    pub routes: route::Table,
    /// Cross-origin answers.
    pub cors: cors::Policy,
    /// Whose forwarding fields are believed.
    pub trust: forwarded::Trust,
    /// Token verification; `None` when no secret is set and authentication is not required.
    pub verifier: Option<Verifier>,
    /// Time limits in milliseconds.
    pub times: Times,
    /// `ALLOWED_HOSTS`; `None`: any.
    pub allowed_hosts: Option<route::Hosts>,
    /// `DROP_FIELDS`.
    pub drop_fields: Arc<FieldSet>,
    /// Where each service's endpoints are, for its redirects.
    authorities: Vec<Vec<rewrite::Authority>>,
    /// Whether each service's endpoints are sent different `Host`s.
    hosts_differ: Vec<bool>,
    /// What all `https` services are spoken to with; `None` where there is none. Its sessions are behind a lock that is
    /// taken once for each new connection.
    pub services_tls: Option<Arc<tls::Services>>,
    /// How each URL of each service is spoken to over TLS; none for a service that speaks plain HTTP.
    secure: Vec<Vec<Secure>>,
}

/// Time limits in milliseconds, as the worker compares them.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// A head, from its first byte.
    pub head: u64,
    /// TLS's handshake, from accepting a connection.
    pub handshake: u64,
    /// Between requests.
    pub idle: u64,
    /// Between bytes of a request body.
    pub body: u64,
    /// To open an upstream connection.
    pub connect: u64,
    /// Between bytes of a response.
    pub read: u64,
    /// Between bytes of an event stream.
    pub stream_idle: u64,
    /// Without a byte in a tunnel.
    pub tunnel_idle: u64,
    /// For a client to take a piece of the answer.
    pub write: u64,
}

impl From<&Timeouts> for Times {
    fn from(from: &Timeouts) -> Self {
        Self {
            head: ms(from.head),
            handshake: ms(from.handshake),
            idle: ms(from.idle),
            body: ms(from.body),
            connect: ms(from.connect),
            read: ms(from.read),
            stream_idle: ms(from.stream_idle),
            tunnel_idle: ms(from.tunnel_idle),
            write: ms(from.write),
        }
    }
}

/// Whole milliseconds, at least 1.
pub fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// What the identity room is told.
pub fn identity_settings(auth: &Auth) -> Option<identity::Settings> {
    let secret_text = auth.secret.as_ref()?.reveal().to_owned();
    Some(identity::Settings {
        algorithm: match auth.algorithm {
            Algorithm::Hs256 => identity::Hmac::Hs256,
            Algorithm::Hs384 => identity::Hmac::Hs384,
            Algorithm::Hs512 => identity::Hmac::Hs512,
        },
        secret: auth.key()?,
        secret_text,
        audience: auth.audience.clone(),
        issuer: auth.issuer.clone(),
        organization_claims: auth.organization_claims.clone(),
        user_claims: auth.user_claims.clone(),
        role_claims: auth.role_claims.clone(),
        admin_roles: auth.admin_roles.clone(),
    })
}

/// What the balancers are told.
pub fn balance_settings(config: &Config) -> balance::Settings {
    balance::Settings {
        failures_max: config.breaker.failures_max,
        open_ms: ms(config.breaker.open),
    }
}

/// What the limiter is told.
pub fn limit_settings(config: &Config) -> limit::Settings {
    limit::Settings {
        rpm: config.limits.rpm,
        burst: config.limits.burst,
        block_ms: u64::try_from(config.limits.block.as_millis()).unwrap_or(u64::MAX),
        per_org: config.limits.per_org,
        per_ip: config.limits.per_ip,
        keys_max: config.limits.keys_max,
        cores: config.workers,
        slices: true,
    }
}

impl Rules {
    /// Where a service's endpoints are.
    pub fn authorities(&self, service: usize) -> &[rewrite::Authority] {
        self.authorities.get(service).map_or(&[], Vec::as_slice)
    }

    /// Builds the rooms.
    ///
    /// # Errors
    /// A room refused its part; the text names it.
    pub fn new(config: Arc<Config>) -> Result<Self, String> {
        let rules = config.routes.iter().map(|rule| route::Rule {
            prefix: rule.prefix.clone(),
            service: rule.service,
            strip: rule.strip,
            public: rule.public,
            base_path: config
                .services
                .get(rule.service)
                .map(|service| service.base_path.clone())
                .unwrap_or_default(),
        });
        let routes = route::Table::new(rules.collect(), config.public_paths.clone())
            .map_err(|error| error.to_string())?;
        let verifier = identity_settings(&config.auth)
            .map(Verifier::new)
            .transpose()
            .map_err(|error| format!("JWT_SECRET_KEY: {error}"))?;
        let services_tls = services_tls(&config)?;
        Ok(Self {
            routes,
            cors: cors::Policy::new(config.cors_origins.clone()),
            trust: forwarded::Trust::new(config.trusted_proxies.clone()),
            verifier,
            times: Times::from(&config.timeouts),
            allowed_hosts: config.allowed_hosts.as_deref().map(route::Hosts::new),
            drop_fields: Arc::new(FieldSet::new(config.drop_fields.iter().map(String::as_str))),
            authorities: config.services.iter().map(authorities).collect(),
            hosts_differ: config
                .services
                .iter()
                .map(Service::has_several_hosts)
                .collect(),
            secure: secure(&config, services_tls.as_ref())?,
            services_tls,
            config,
        })
    }
}

fn authorities(service: &Service) -> Vec<rewrite::Authority> {
    let endpoints = service.endpoints.iter();
    let parse = |endpoint: &Endpoint| rewrite::Authority::parse(&endpoint.authority, service.tls);
    endpoints.filter_map(parse).collect()
}

/// What `https` services are spoken to with.
fn services_tls(config: &Config) -> Result<Option<Arc<tls::Services>>, String> {
    if !config.services.iter().any(|service| service.tls) {
        return Ok(None);
    }
    let built = tls::Services::new(&config.service_files, |path| std::fs::read(path));
    let said = |trouble: tls::Trouble| format!("{}: {}", trouble.setting, trouble.what);
    built
        .map(|services| Some(Arc::new(services)))
        .map_err(|troubles| {
            let lines: Vec<_> = troubles.into_iter().map(said).collect();
            lines.join("; ")
        })
}

fn secure(
    config: &Config,
    services_tls: Option<&Arc<tls::Services>>,
) -> Result<Vec<Vec<Secure>>, String> {
    let one = |endpoint: &super::Endpoint, services: &Arc<tls::Services>| {
        let host = &endpoint.host;
        let name = host.clone().try_into();
        let name = name.map_err(|_| format!("{host}: no certificate can have this name"))?;
        Ok(Secure::new(Arc::clone(services), name))
    };
    let of_service = |service: &super::Service| {
        let services = services_tls.filter(|_| service.tls);
        let each = |services| service.endpoints.iter().map(move |url| one(url, services));
        services.into_iter().flat_map(each).collect()
    };
    config.services.iter().map(of_service).collect()
}
