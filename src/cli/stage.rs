//! Sets the stage for `demo`: two built-in services, a secret and tokens made for the occasion, and the configuration of a gateway in
//! front of them. Does not run the gateway. Invariant: nothing of it outlives the process, and no secret of the user's is used.

use std::io;
use std::net::{SocketAddr, TcpListener};

use serde_json::{Map, json};

use super::{Outcome, arguments::Demo};
use crate::config::{self, Algorithm, Config, Forced, Ops, Raw};
use crate::demo::{self, Kind, Login, Running};
use crate::identity;

/// Lifetime of the printed tokens: a working day.
const TOKEN_SECONDS: u64 = 8 * 3_600;

/// All that a demo needs besides the gateway.
#[derive(Debug)]
pub struct Stage {
    /// What the gateway is to run with.
    pub config: Config,
    /// Lines to paste, for standard output.
    pub banner: String,
    /// The services; they end when this is dropped.
    pub services: Vec<Running>,
}

/// Runs one of the demo services alone until a signal ends it; `None` when the whole demo is asked for.
pub fn demo_service(demo: &Demo, flags: &Raw) -> Option<Outcome> {
    let kind = demo.service?;
    let port = match kind {
        Kind::Backend => 8000,
        Kind::Analyzer => 8001,
    };
    let listen = demo
        .listen
        .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], port)));
    // Without a secret the login answers 503; all else works.
    let auth = match config::load_auth(flags, vec![("REQUIRE_AUTHENTICATION", "false".to_owned())])
    {
        Ok(auth) => auth,
        Err(problems) => return Some(Outcome::misconfigured(&problems)),
    };
    let login = auth.key().map(|key| Login {
        key,
        algorithm: auth.algorithm,
    });
    Some(match demo::run_service(kind, listen, login) {
        Ok(()) => Outcome::default(),
        Err(error) => Outcome::failed(&format!("{} on {listen}: {error}", kind.name())),
    })
}

/// Starts the services and makes everything else ready.
pub fn stage(flags: &Raw, now_ms: u64) -> Result<Stage, Outcome> {
    let failed = |error: io::Error| Outcome::failed(&format!("demo services: {error}"));
    let mut key = [0; 32];
    getrandom::fill(&mut key)
        .map_err(|error| Outcome::failed(&format!("no random secret: {error}")))?;
    let secret: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let login = Login {
        key: secret.as_bytes().to_vec(),
        algorithm: Algorithm::Hs256,
    };
    let backend = serve(Kind::Backend, Some(login)).map_err(failed)?;
    let analyzer = serve(Kind::Analyzer, None).map_err(failed)?;
    let listen = free_address(flags)?;
    let forced = forced(secret, backend.address(), analyzer.address(), listen);
    let loaded =
        config::load_with(flags, forced).map_err(|problems| Outcome::misconfigured(&problems))?;
    let config = loaded.config;
    let token = |role: &str| token(&config, role, now_ms);
    let ops = match config.ops {
        Some(ops) => promised(ops)?,
        None => None,
    };
    let banner = demo::lines(config.listen, ops, &token("user")?, &token("admin")?);
    Ok(Stage {
        config,
        banner,
        services: vec![backend, analyzer],
    })
}

fn serve(kind: Kind, login: Option<Login>) -> io::Result<Running> {
    demo::serve(kind, TcpListener::bind(("127.0.0.1", 0))?, login)
}

/// Where the gateway will listen, with a real port for 0: the banner's lines have to name it, and a port that is taken has to be said
/// instead of a banner.
fn free_address(flags: &Raw) -> Result<SocketAddr, Outcome> {
    let listen =
        config::load_demo_listen(flags).map_err(|problems| Outcome::misconfigured(&problems))?;
    TcpListener::bind(listen)
        .and_then(|listener| listener.local_addr())
        .map_err(|error| {
            Outcome::failed(&format!(
                "cannot listen on {listen}: {error} (GATEWAY_HOST, GATEWAY_PORT)"
            ))
        })
}

/// Where the banner may promise metrics. A port that somebody asked for and that is taken ends it, before any line promises more.
fn promised(ops: Ops) -> Result<Option<SocketAddr>, Outcome> {
    match TcpListener::bind(ops.listen) {
        Ok(_) => Ok(Some(ops.listen)),
        Err(error) if ops.explicit => Err(Outcome::failed(&format!(
            "cannot listen on {}: {error} (OPS_HOST, OPS_PORT)",
            ops.listen
        ))),
        Err(_) => Ok(None),
    }
}

/// What the demo insists on, so that no `.env` around it makes its own lines fail.
fn forced(secret: String, backend: SocketAddr, analyzer: SocketAddr, listen: SocketAddr) -> Forced {
    let text = str::to_owned;
    vec![
        ("GATEWAY_HOST", listen.ip().to_string()),
        ("GATEWAY_PORT", listen.port().to_string()),
        ("BACKEND_URL", format!("http://{backend}")),
        ("BACKEND_HEALTH_PATH", text("/health")),
        ("AI_ANALYZER_URL", format!("http://{analyzer}")),
        ("AI_ANALYZER_HEALTH_PATH", text("/health")),
        ("REDIS_ENABLED", text("false")),
        ("REDIS_URL", text("redis://localhost")),
        ("REQUIRE_AUTHENTICATION", text("true")),
        ("JWT_SECRET_KEY", secret),
        ("JWT_SECRET_ENCODING", text("text")),
        ("JWT_ALGORITHM", text("HS256")),
        ("JWT_AUDIENCE", String::new()),
        ("JWT_ISSUER", String::new()),
        ("JWT_ORGANIZATION_CLAIMS", text("organization_id")),
        ("JWT_USER_CLAIMS", text("user_id")),
        ("JWT_ROLE_CLAIMS", text("role")),
        ("ADMIN_ROLES", text("admin,super_admin,org_admin,superuser")),
    ]
}

fn token(config: &Config, role: &str, now_ms: u64) -> Result<String, Outcome> {
    let now = now_ms / 1000;
    let claims = [
        ("organization_id", json!(demo::ORGANIZATION)),
        ("user_id", json!(demo::USER)),
        ("role", json!(role)),
        ("iat", json!(now)),
        ("exp", json!(now + TOKEN_SECONDS)),
    ];
    let claims: Map<_, _> = claims
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect();
    let settings = config::identity_settings(&config.auth)
        .ok_or_else(|| Outcome::failed("demo: no secret"))?;
    identity::mint(&settings, claims)
        .map_err(|error| Outcome::failed(&format!("demo tokens: {error}")))
}
