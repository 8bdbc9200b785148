//! Every setting's default and the accepted spellings. Not about wrong values (`config_wrong`) nor about where values come from
//! (`config_sources`). Invariant: no test here touches the process environment or the disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test may fail loudly, and tables are long"
)]

use std::time::Duration;

use dbpower_gateway::config::{Algorithm, Config, Level, LogFormat, Sources};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn load(variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let mut sources = Sources {
        cpus: 8,
        ..Sources::default()
    };
    if !variables
        .iter()
        .any(|(name, _)| name.starts_with("JWT_SECRET_KEY"))
    {
        sources
            .environment
            .push(("JWT_SECRET_KEY".into(), SECRET.into()));
    }
    sources.environment.extend(
        variables
            .iter()
            .map(|(name, value)| (name.into(), value.into())),
    );
    Config::from_sources(&sources)
        .map(|loaded| loaded.config)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn defaults_are_those_of_the_predecessor() {
    let config = load(&[]).unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:8000");
    assert_eq!(config.workers, 4);
    let ops = config.ops.unwrap();
    assert_eq!(
        (ops.listen.to_string().as_str(), ops.explicit),
        ("127.0.0.1:9090", false)
    );
    let services: Vec<_> = config
        .services
        .iter()
        .map(|service| {
            let path = (service.base_path.as_str(), service.health_path.as_str());
            let time = service.response_timeout.as_secs();
            (
                service.name.as_str(),
                service.endpoints[0].host.as_str(),
                service.endpoints[0].port,
                service.endpoints[0].authority.as_str(),
                path,
                time,
            )
        })
        .collect();
    let expected = [
        (
            "backend",
            "backend",
            8000,
            "backend:8000",
            ("", "/health"),
            30,
        ),
        (
            "ai-analyzer",
            "ai-analyzer",
            8001,
            "ai-analyzer:8001",
            ("", "/health"),
            120,
        ),
    ];
    assert_eq!(services, expected);
    let routes: Vec<_> = config
        .routes
        .iter()
        .map(|rule| (rule.prefix.as_str(), rule.service, rule.strip, rule.public))
        .collect();
    assert_eq!(
        routes,
        [("/api/v1", 0, false, false), ("/analyzer", 1, true, false)]
    );
    assert!(config.redis.enabled);
    assert_eq!(config.redis.url.reveal(), "redis://redis:6379/0");
    let limits = config.limits;
    assert_eq!(
        (limits.rpm, limits.burst, limits.block),
        (100, 20, Duration::from_secs(60))
    );
    assert_eq!(
        (limits.per_org, limits.per_ip, limits.keys_max),
        (true, true, 262_144)
    );
    let auth = &config.auth;
    assert!(auth.required);
    assert_eq!(auth.secret.as_ref().unwrap().reveal(), SECRET);
    assert_eq!(auth.algorithm, Algorithm::Hs256);
    assert!(auth.audience.is_empty() && auth.issuer.is_empty());
    assert_eq!(
        auth.organization_claims,
        ["organization_id", "org_id", "tenant_id"]
    );
    assert_eq!(auth.user_claims, ["user_id", "sub"]);
    assert_eq!(auth.role_claims, ["role", "roles"]);
    assert_eq!(
        auth.admin_roles,
        ["admin", "super_admin", "org_admin", "superuser"]
    );
    assert_eq!(config.cors_origins, ["*"]);
    assert!(config.public_paths.is_empty() && config.trusted_proxies.is_empty());
    assert_eq!(
        (config.log.level, config.log.requests, config.log.format),
        (Level::Info, true, LogFormat::Text)
    );
    let times = config.timeouts;
    let seconds = [
        times.head,
        times.idle,
        times.body,
        times.connect,
        times.read,
        times.stream_idle,
        times.tunnel_idle,
        times.write,
        times.drain,
    ]
    .map(|time| time.as_secs());
    assert_eq!(seconds, [10, 75, 30, 2, 60, 3600, 3600, 60, 25]);
    assert_eq!(
        (config.bounds.connections_max, config.bounds.body_bytes_max),
        (None, Some(64 << 20))
    );
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn accepted_spellings() {
    let boolean = |text| load(&[("REDIS_ENABLED", text)]).unwrap().redis.enabled;
    for text in ["true", "TRUE", "1", "yes", "Yes", "on", "oN", " true "] {
        assert!(boolean(text), "{text}");
    }
    for text in ["false", "False", "0", "no", "NO", "off"] {
        assert!(!boolean(text), "{text}");
    }
    let listen = |text| {
        load(&[("GATEWAY_HOST", text)])
            .unwrap()
            .listen
            .ip()
            .to_string()
    };
    for (text, ip) in [
        ("::", "::"),
        ("[::1]", "::1"),
        ("localhost", "127.0.0.1"),
        ("LOCALHOST", "127.0.0.1"),
    ] {
        assert_eq!(listen(text), ip);
    }
    for (text, level) in [
        ("debug", Level::Debug),
        ("WARN", Level::Warning),
        ("Warning", Level::Warning),
    ] {
        assert_eq!(load(&[("LOG_LEVEL", text)]).unwrap().log.level, level);
    }
    assert_eq!(
        load(&[("LOG_LEVEL", "critical")]).unwrap().log.level,
        Level::Critical
    );
    assert_eq!(
        load(&[("LOG_FORMAT", "JSON")]).unwrap().log.format,
        LogFormat::Json
    );
    assert_eq!(
        load(&[("JWT_ALGORITHM", "hs512")]).unwrap().auth.algorithm,
        Algorithm::Hs512
    );
    assert_eq!(
        load(&[("HEAD_TIMEOUT", "0.25")]).unwrap().timeouts.head,
        Duration::from_millis(250)
    );
    assert_eq!(
        load(&[("DRAIN_TIMEOUT", "0")]).unwrap().timeouts.drain,
        Duration::ZERO
    );
    assert_eq!(
        load(&[("RATE_LIMIT_BLOCK_DURATION", "0")])
            .unwrap()
            .limits
            .block,
        Duration::ZERO
    );
    assert_eq!(
        load(&[("MAX_BODY_BYTES", "0")])
            .unwrap()
            .bounds
            .body_bytes_max,
        None
    );
    let bounds = load(&[
        ("MAX_CONNECTIONS_PER_IP", "6"),
        ("MAX_IN_FLIGHT_PER_ORG", "7"),
    ]);
    let bounds = bounds.unwrap().bounds;
    assert_eq!(bounds.connections_per_address_max, 6);
    assert_eq!(bounds.in_flight_per_organization_max, 7);
    assert_eq!(
        load(&[("MAX_CONNECTIONS", "5")])
            .unwrap()
            .bounds
            .connections_max,
        Some(5)
    );
    assert_eq!(
        load(&[("RATE_LIMIT_RPM", "16777195")]).unwrap().limits.rpm,
        16_777_195
    );
    assert!(load(&[("OPS_PORT", "0")]).unwrap().ops.is_none());
    assert!(load(&[("OPS_PORT", "9090")]).unwrap().ops.unwrap().explicit);
    assert!(
        load(&[("CORS_ORIGINS", "none")])
            .unwrap()
            .cors_origins
            .is_empty()
    );
    assert!(
        load(&[("ADMIN_ROLES", "none")])
            .unwrap()
            .auth
            .admin_roles
            .is_empty()
    );
    let origins = load(&[("CORS_ORIGINS", " https://A.example , http://b:3000,")])
        .unwrap()
        .cors_origins;
    assert_eq!(origins, ["https://a.example", "http://b:3000"]);
    let paths = load(&[("PUBLIC_PATHS", "/status, /public/*")])
        .unwrap()
        .public_paths;
    assert_eq!(paths, ["/status", "/public/*"]);
    let proxies = load(&[("TRUSTED_PROXIES", "10.0.0.0/8,192.168.0.1,fd00::/8")])
        .unwrap()
        .trusted_proxies;
    let proxies: Vec<String> = proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.168.0.1/32", "fd00::/8"]);
    assert_eq!(
        load(&[("JWT_AUDIENCE", "a,b")]).unwrap().auth.audience,
        ["a", "b"]
    );
}

#[test]
fn service_urls() {
    let cases = [
        ("http://backend", "backend", 80, "backend", ""),
        ("http://backend:80/", "backend", 80, "backend", ""),
        ("HTTP://Backend:8000", "backend", 8000, "backend:8000", ""),
        (
            "http://my_service.internal:9/api/v1/",
            "my_service.internal",
            9,
            "my_service.internal:9",
            "/api/v1",
        ),
        (
            "http://10.0.0.3:8000/x",
            "10.0.0.3",
            8000,
            "10.0.0.3:8000",
            "/x",
        ),
        ("http://[::1]", "::1", 80, "[::1]", ""),
        (
            "http://[2001:DB8::1]:8000/a",
            "2001:db8::1",
            8000,
            "[2001:db8::1]:8000",
            "/a",
        ),
    ];
    for (url, host, port, authority, base_path) in cases {
        let config = load(&[("BACKEND_URL", url)]).unwrap();
        let service = &config.services[0];
        let read = (
            service.endpoints[0].host.as_str(),
            service.endpoints[0].port,
            service.endpoints[0].authority.as_str(),
            service.base_path.as_str(),
        );
        assert_eq!(read, (host, port, authority, base_path), "{url}");
    }
    let several = "http://one/a/, http://10.0.0.2:81/a,http://[::1]:82/a";
    let config = load(&[("AI_ANALYZER_URL", several)]).unwrap();
    let service = &config.services[1];
    let read: Vec<_> = service
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.host.as_str(), endpoint.port))
        .collect();
    assert_eq!(read, [("one", 80), ("10.0.0.2", 81), ("::1", 82)]);
    assert_eq!(
        (
            service.endpoints[0].authority.as_str(),
            service.base_path.as_str()
        ),
        ("one", "/a")
    );
    assert_eq!(
        service.urls(),
        "http://one/a,http://10.0.0.2:81/a,http://[::1]:82/a"
    );
    let literal: Vec<String> = service
        .literal_addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(literal, ["10.0.0.2:81", "[::1]:82"]);
    for url in [
        "redis://r",
        "redis://:p%40ss@r:1/3",
        "rediss://u:p@[::1]:6380",
        "redis://r/0?protocol=resp3",
        "redis://r/0?",
        "valkey://r:6379/2",
        "valkeys://u:p@r",
    ] {
        assert_eq!(load(&[("REDIS_URL", url)]).unwrap().redis.url.reveal(), url);
        let blanks = format!(" {url}\t\n");
        let trimmed = load(&[("REDIS_URL", &blanks)]).unwrap().redis.url;
        assert_eq!(trimmed.reveal(), url);
    }
}

#[test]
fn redis_is_given_its_time_and_its_authorities() {
    for (text, ms) in [("0.005", 5), ("0.2", 200), ("2", 2_000)] {
        let redis = load(&[("REDIS_TIMEOUT", text)]).unwrap().redis;
        assert_eq!(redis.timeout, Duration::from_millis(ms));
    }
    let redis = load(&[]).unwrap().redis;
    assert_eq!((redis.timeout.as_millis(), redis.ca), (50, None));
    for scheme in ["rediss", "valkeys", "redis"] {
        let url = format!("{scheme}://r:6380");
        let mut sources = Sources {
            read: |_| {
                let names = vec!["redis".to_owned()];
                let certified = rcgen::generate_simple_self_signed(names).unwrap();
                Ok(certified.cert.pem().into_bytes())
            },
            ..Sources::default()
        };
        sources.environment = vec![
            ("JWT_SECRET_KEY".into(), SECRET.into()),
            ("REDIS_URL".into(), url.into()),
            ("REDIS_CA".into(), "ca.pem".into()),
        ];
        match Config::from_sources(&sources) {
            Ok(loaded) => assert_eq!(loaded.config.redis.ca.as_deref(), Some("ca.pem")),
            Err(problems) => {
                let said = problems[0].to_string();
                assert!(
                    said.contains("REDIS_CA has no meaning") || said.contains("rediss://"),
                    "{said}"
                );
                assert_eq!(scheme, "redis");
            }
        }
    }
}

#[test]
fn workers_never_exceed_the_usable_cpus() {
    for (text, cpus, workers, warnings) in [
        ("auto", 8, 8, 0),
        ("2", 8, 2, 0),
        ("16", 8, 8, 1),
        ("1", 1, 1, 0),
    ] {
        let mut sources = Sources {
            cpus,
            ..Sources::default()
        };
        sources.environment = vec![
            ("JWT_SECRET_KEY".into(), SECRET.into()),
            ("GATEWAY_WORKERS".into(), text.into()),
        ];
        let config = Config::from_sources(&sources).unwrap().config;
        assert_eq!(
            (config.workers, config.warnings.len()),
            (workers, warnings),
            "{text} on {cpus}"
        );
    }
}

#[test]
fn warnings_name_what_is_valid_and_rarely_meant() {
    let cases = [
        (
            "JWT_SECRET_KEY",
            "short",
            "JWT_SECRET_KEY has 5 bytes: fewer than 32 can be guessed",
        ),
        (
            "PUBLIC_PATHS",
            "/*",
            "PUBLIC_PATHS has /*: no path needs a token any more",
        ),
        (
            "TRUSTED_PROXIES",
            "0.0.0.0/0",
            "TRUSTED_PROXIES covers every address",
        ),
        (
            "GATEWAY_PORT",
            "9090",
            "GATEWAY_PORT takes the default operations port",
        ),
    ];
    for (variable, value, expected) in cases {
        let warnings = load(&[(variable, value)]).unwrap().warnings;
        assert!(
            warnings.len() == 1 && warnings[0].starts_with(expected),
            "{warnings:?}"
        );
    }
}

#[test]
fn a_missing_secret_matters_only_when_tokens_are_required() {
    for absent in [("JWT_SECRET_KEY", ""), ("JWT_SECRET_KEY", "  ")] {
        let problems = load(&[absent]).unwrap_err();
        assert!(
            problems.len() == 1
                && problems[0].starts_with("JWT_SECRET_KEY is not set: must be the secret")
        );
    }
    let config = load(&[("JWT_SECRET_KEY", ""), ("REQUIRE_AUTHENTICATION", "false")]).unwrap();
    assert!(config.auth.secret.is_none() && !config.auth.required);
}
