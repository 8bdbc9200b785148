//! A gateway on Pingora with the work of the others: verify the JWT (HS256, expiry), limit each organization and each address with
//! pingora-limits, tell the service who asks. One worker thread, upstream connections kept by Pingora's own pool.

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jsonwebtoken::{decode, Algorithm, DecodingKey, Validation};
use pingora_core::prelude::*;
use pingora_core::server::configuration::ServerConf;
use pingora_http::RequestHeader;
use pingora_limits::rate::Rate;
use pingora_proxy::{http_proxy_service, ProxyHttp, Session};
use serde::Deserialize;

#[derive(Deserialize)]
struct Claims {
    organization_id: u64,
    user_id: u64,
    #[serde(default)]
    role: String,
}

#[derive(Default)]
struct Context {
    claims: Option<Claims>,
    address: String,
}

struct Gateway {
    origin: String,
    key: DecodingKey,
    validation: Validation,
    organizations: Rate,
    addresses: Rate,
    per_window: isize,
    requests: AtomicU64,
}

impl Gateway {
    fn identify(&self, session: &Session) -> Option<Claims> {
        let field = session.req_header().headers.get("authorization")?;
        let token = field.to_str().ok()?.strip_prefix("Bearer ")?;
        let data = decode::<Claims>(token, &self.key, &self.validation).ok()?;
        Some(data.claims)
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        let Some(claims) = self.identify(session) else {
            session.respond_error(401).await?;
            return Ok(true);
        };
        if let Some(address) = session.client_addr().and_then(|address| address.as_inet()) {
            context.address = address.ip().to_string();
        }
        let organization = self.organizations.observe(&claims.organization_id, 1);
        let address = self.addresses.observe(&context.address, 1);
        if organization > self.per_window || address > self.per_window {
            session.respond_error(429).await?;
            return Ok(true);
        }
        context.claims = Some(claims);
        Ok(false)
    }

    async fn upstream_peer(&self, _session: &mut Session, _context: &mut Context) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.origin.as_str(), false, String::new());
        peer.options.idle_timeout = Some(Duration::from_secs(60));
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        head: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        let host = head.headers.get("host").map(|host| host.as_bytes().to_vec());
        if let Some(claims) = &context.claims {
            head.insert_header("X-Organization-ID", claims.organization_id.to_string())?;
            head.insert_header("X-User-ID", claims.user_id.to_string())?;
            head.insert_header("X-User-Role", claims.role.as_str())?;
        }
        head.insert_header("X-Forwarded-For", context.address.as_str())?;
        head.insert_header("X-Forwarded-Proto", "http")?;
        head.insert_header("X-Forwarded-Host", host.unwrap_or_default())?;
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        head.insert_header("X-Request-ID", format!("{number:032x}"))?;
        head.insert_header("Host", self.origin.as_str())?;
        Ok(())
    }
}

fn main() {
    let text = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let number = |name: &str| text(name).parse::<u64>().unwrap_or_else(|_| panic!("{name} is not a number"));
    let mut validation = Validation::new(Algorithm::HS256);
    validation.leeway = 0;
    let window = Duration::from_secs(60);
    let gateway = Gateway {
        origin: format!("127.0.0.1:{}", number("ORIGIN_PORT")),
        key: DecodingKey::from_secret(text("JWT_SECRET_KEY").as_bytes()),
        validation,
        organizations: Rate::new(window),
        addresses: Rate::new(window),
        per_window: (number("RATE_LIMIT_RPM") + number("RATE_LIMIT_BURST")) as isize,
        requests: AtomicU64::new(1),
    };
    let mut conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: 1000,
        ..ServerConf::default()
    };
    conf.grace_period_seconds = Some(0);
    conf.graceful_shutdown_timeout_seconds = Some(1);
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&Arc::clone(&server.configuration), gateway);
    service.add_tcp(&format!("127.0.0.1:{}", number("PORT")));
    server.add_service(service);
    server.run_forever();
}
