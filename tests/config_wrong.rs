//! What is said of every wrong value. Not about accepted ones (`config_values`). Invariant: the table covers every row of the
//! settings table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test may fail loudly, and tables are long"
)]

use std::collections::BTreeSet;

use dbpower_gateway::config::{Config, Sources, table};

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

/// (variable, wrong value, what the line says after `VARIABLE=value (environment): `).
const WRONG: &[(&str, &str, &str)] = &[
    (
        "GATEWAY_HOST",
        "example.com",
        "must be an IP address such as 0.0.0.0, 127.0.0.1 or ::, or localhost",
    ),
    ("GATEWAY_HOST", "1.2.3", "must be an IP address"),
    ("GATEWAY_HOST", "[::1", "must be an IP address"),
    ("GATEWAY_PORT", "65536", "must be a port from 0 to 65535"),
    ("GATEWAY_PORT", "-1", "must be a port from 0 to 65535"),
    (
        "GATEWAY_PORT",
        "tcp://10.0.0.1:80",
        "enableServiceLinks: false",
    ),
    (
        "GATEWAY_WORKERS",
        "0",
        "must be auto or a whole number from 1 to 4096",
    ),
    ("GATEWAY_WORKERS", "many", "must be auto or a whole number"),
    ("OPS_HOST", "metrics", "must be an IP address"),
    ("OPS_PORT", "http", "must be a port"),
    (
        "OPS_PORT",
        "8000",
        "must differ from GATEWAY_PORT; 0 switches the operations port off",
    ),
    (
        "MAX_CONNECTIONS",
        "0",
        "must be a whole number from 1 to 100000000",
    ),
    ("MAX_CONNECTIONS_PER_IP", "many", "must be a whole number"),
    ("STREAM_IDLE_TIMEOUT", "soon", "seconds"),
    ("HANDSHAKE_TIMEOUT", "0", "seconds"),
    ("TLS_CERT", ",", "one or more names"),
    ("TLS_KEY", ",", "one or more names"),
    ("TLS_CLIENT_CA", "ca.pem", "a file that can be read"),
    ("TLS_CLIENT_AUTH", "maybe", "optional or required"),
    ("UPSTREAM_CA", "/none.pem", "cannot be read"),
    ("UPSTREAM_CERT", "/none.pem", "a file that can be read"),
    ("UPSTREAM_KEY", "/none.pem", "a file that can be read"),
    ("TUNNEL_IDLE_TIMEOUT", "0", "seconds"),
    ("MAX_IN_FLIGHT_PER_ORG", "-1", "must be a whole number"),
    (
        "MAX_CONNECTIONS_PER_IP",
        "-1",
        "must be a whole number from 0 to 100000000; 0 is off",
    ),
    (
        "MAX_IN_FLIGHT_PER_ORG",
        "ten",
        "must be a whole number from 0 to 100000000; 0 is off",
    ),
    (
        "MAX_BODY_BYTES",
        "64MiB",
        "must be a whole number from 0 to 9223372036854775807 bytes; 0 is off",
    ),
    (
        "BACKEND_URL",
        "backend:8000",
        "must be http://host[:port][/path]",
    ),
    (
        "BACKEND_URL",
        "https://backend:0",
        "must be http://host[:port][/path] with a valid host and port",
    ),
    (
        "BACKEND_URL",
        "ftp://backend",
        "must be http://host[:port][/path]",
    ),
    ("BACKEND_URL", "http://", "with a valid host and port"),
    (
        "BACKEND_URL",
        "http://backend:0",
        "with a valid host and port",
    ),
    (
        "BACKEND_URL",
        "http://backend:",
        "with a valid host and port",
    ),
    (
        "BACKEND_URL",
        "http://backend:65536",
        "with a valid host and port",
    ),
    (
        "BACKEND_URL",
        "http://back end",
        "with a valid host and port",
    ),
    (
        "BACKEND_URL",
        "http://10.0.0.300",
        "with a valid host and port",
    ),
    ("BACKEND_URL", "http://[::1", "with a valid host and port"),
    ("BACKEND_URL", "http://::1", "with a valid host and port"),
    (
        "BACKEND_URL",
        "http://backend?x=1",
        "without a query or a fragment",
    ),
    (
        "BACKEND_URL",
        "http://backend/#top",
        "without a query or a fragment",
    ),
    (
        "BACKEND_URL",
        "http://one/a,http://two:81/b",
        "all with the same path (http://one/a and http://two:81/b differ)",
    ),
    (
        "BACKEND_URL",
        "http://one,https://one",
        "(http://one and https://one differ)",
    ),
    (
        "BACKEND_URL",
        "http://one,http://two,http://one:80/",
        "must be different URLs (http://one is there twice)",
    ),
    (
        "BACKEND_URL",
        "http://one, two:80",
        "must be http://host[:port][/path]",
    ),
    ("BACKEND_URL", ",", "must be http://host[:port][/path]"),
    ("BACKEND_URL", "http://backend/a/../b", "with a plain path"),
    ("BACKEND_URL", "http://backend/a%2fb", "with a plain path"),
    (
        "BACKEND_HEALTH_PATH",
        "health",
        "must be a path that begins with /, such as /health",
    ),
    (
        "AI_ANALYZER_URL",
        "//ai",
        "must be http://host[:port][/path]",
    ),
    (
        "AI_ANALYZER_HEALTH_PATH",
        "/he alth",
        "must be a path that begins with /",
    ),
    (
        "REDIS_ENABLED",
        "maybe",
        "must be true or false (also 1/0, yes/no, on/off)",
    ),
    (
        "REDIS_URL",
        "redis://redis:port/0",
        "must be redis://[user:password@]host[:port][/db] (or rediss://, valkey://, valkeys://)",
    ),
    ("REDIS_URL", "redis://redis/db", "must be redis://"),
    ("REDIS_CA", "/none.pem", "cannot be read"),
    ("REDIS_TIMEOUT", "0", "from 0.005 to 2"),
    ("REDIS_TIMEOUT", "50ms", "from 0.005 to 2"),
    ("REDIS_TIMEOUT", "50", "from 0.005 to 2"),
    (
        "REDIS_URL",
        "redis://redis?ssl_cert_reqs=none",
        "with no query but ?protocol=resp2 or ?protocol=resp3",
    ),
    (
        "REDIS_URL",
        "redis://redis/0?protocol=resp3&db=1",
        "with no query but",
    ),
    (
        "REDIS_URL",
        "redis://redis?protocol=resp4",
        "with no query but",
    ),
    (
        "REDIS_URL",
        "rediss://redis/#insecure",
        "without a fragment",
    ),
    (
        "REDIS_URL",
        "\"redis://redis/0\"",
        "(it begins with a quote",
    ),
    (
        "REDIS_URL",
        "${REDIS_URL}",
        "(it begins with a template's mark",
    ),
    (
        "RATE_LIMIT_RPM",
        "0",
        "must be a whole number from 1 to 16777215; to switch limits off set RATE_LIMIT_PER_ORG=false",
    ),
    ("RATE_LIMIT_RPM", "1.5", "must be a whole number"),
    ("RATE_LIMIT_RPM", "+5", "must be a whole number"),
    (
        "RATE_LIMIT_RPM",
        "99999999999999999999999",
        "must be a whole number",
    ),
    (
        "RATE_LIMIT_RPM",
        "16777200",
        "must be below 16777216 (here 16777220)",
    ),
    (
        "RATE_LIMIT_BURST",
        "-1",
        "must be a whole number from 0 to 16777214",
    ),
    ("RATE_LIMIT_PER_ORG", "2", "must be true or false"),
    ("RATE_LIMIT_PER_IP", "none", "must be true or false"),
    (
        "RATE_LIMIT_BLOCK_DURATION",
        "-1",
        "must be a number of seconds from 0 to 604800, such as 2 or 0.5",
    ),
    (
        "RATE_LIMIT_KEYS_MAX",
        "10",
        "must be a whole number from 1024 to 67108864",
    ),
    (
        "RATE_LIMIT_ON_OUTAGE",
        "fail",
        "must be share, closed or open",
    ),
    (
        "RATE_LIMIT_NODES",
        "0",
        "must be a whole number from 1 to 65536",
    ),
    ("REDIS_CLUSTER", "maybe", "must be true or false"),
    ("REQUIRE_AUTHENTICATION", "yep", "must be true or false"),
    ("JWT_ALGORITHM", "RS256", "must be HS256, HS384 or HS512"),
    ("JWT_ALGORITHM", "none", "must be HS256, HS384 or HS512"),
    (
        "JWT_ORGANIZATION_CLAIMS",
        ",",
        "must be one or more names with commas between",
    ),
    ("JWT_USER_CLAIMS", ", ,", "must be one or more names"),
    ("JWT_ROLE_CLAIMS", ",,", "must be one or more names"),
    (
        "PUBLIC_PATHS",
        "status",
        "must be absolute paths such as /status or /public/*",
    ),
    ("PUBLIC_PATHS", "/a/*/b", "must be absolute paths"),
    ("PUBLIC_PATHS", "/ok,/a/../b", "must be absolute paths"),
    ("PUBLIC_PATHS", "/a%2fb", "must be absolute paths"),
    ("PUBLIC_PATHS", "/a?b", "must be absolute paths"),
    (
        "CORS_ORIGINS",
        "https://a.example/",
        "must be * alone, none, or origins such as https://app.example.com",
    ),
    ("CORS_ORIGINS", "*,https://a.example", "must be * alone"),
    ("CORS_ORIGINS", "a.example", "must be * alone"),
    ("CORS_ORIGINS", "https://a.example:0", "must be * alone"),
    ("CORS_ORIGINS", "https://a.example:0443", "must be * alone"),
    ("CORS_ORIGINS", "https://a.example:", "must be * alone"),
    ("CORS_ORIGINS", "https://*", "must be * alone"),
    ("CORS_ORIGINS", "https://*.", "must be * alone"),
    ("CORS_ORIGINS", "https://a.*.example", "must be * alone"),
    ("CORS_ORIGINS", "https://*.*.example", "must be * alone"),
    ("CORS_ORIGINS", "*.example.com", "must be * alone"),
    ("CORS_ORIGINS", "https://*.[::1]", "must be * alone"),
    ("CORS_ORIGINS", "null", "must be * alone"),
    (
        "CORS_ORIGINS",
        "\"https://a.example\"",
        "(it begins with a quote, which is part of the value",
    ),
    ("PROXY_PROTOCOL", "v2", "must be true or false"),
    (
        "BACKEND_HOST",
        "back end",
        "must be service, preserve, or a name such as backend.internal",
    ),
    (
        "AI_ANALYZER_HOST",
        "http://analyzer",
        "must be service, preserve, or a name such as backend.internal",
    ),
    (
        "ALLOWED_HOSTS",
        "api.example.com:443",
        "must be names without scheme, port and path, such as api.example.com or *.example.com",
    ),
    (
        "ALLOWED_HOSTS",
        "a,https://b",
        "must be names without scheme, port and path",
    ),
    (
        "DROP_FIELDS",
        "X-A,X B:",
        "must be none, or names of header fields with commas between",
    ),
    ("HEALTH_DETAILS", "full", "must be true or false"),
    (
        "JWT_SECRET_ENCODING",
        "base32",
        "must be text, base64, base64url or hex",
    ),
    ("JWT_AUDIENCE", "None", "must be one or more names"),
    ("JWT_ISSUER", "null", "must be one or more names"),
    (
        "ADMIN_ROLES",
        "[admin]",
        "must be none, or one or more names",
    ),
    (
        "BREAKER_FAILURES",
        "-1",
        "must be a whole number from 0 to 1000000; 0 is off",
    ),
    (
        "BREAKER_OPEN_TIME",
        "0",
        "must be a number of seconds from 0.1 to 3600",
    ),
    (
        "TRUSTED_PROXIES",
        "10.0.0.0/33",
        "must be addresses or networks such as 10.0.0.0/8",
    ),
    ("TRUSTED_PROXIES", "proxy", "must be addresses or networks"),
    (
        "LOG_LEVEL",
        "TRACE",
        "must be DEBUG, INFO, WARNING (or WARN), ERROR or CRITICAL",
    ),
    ("LOG_REQUESTS", "1.0", "must be true or false"),
    ("LOG_FORMAT", "xml", "must be text or json"),
    (
        "HEAD_TIMEOUT",
        "0",
        "must be a number of seconds from 0.01 to 3600, such as 2 or 0.5",
    ),
    ("HEAD_TIMEOUT", "10s", "must be a number of seconds"),
    ("HEAD_TIMEOUT", "inf", "must be a number of seconds"),
    ("HEAD_TIMEOUT", "1e1", "must be a number of seconds"),
    ("HEAD_TIMEOUT", ".", "must be a number of seconds"),
    (
        "IDLE_TIMEOUT",
        "86401",
        "must be a number of seconds from 0.01 to 86400",
    ),
    ("BODY_TIMEOUT", "never", "must be a number of seconds"),
    (
        "CONNECT_TIMEOUT",
        "301",
        "must be a number of seconds from 0.01 to 300",
    ),
    ("RESPONSE_TIMEOUT", "-2", "must be a number of seconds"),
    (
        "ANALYZER_RESPONSE_TIMEOUT",
        "2m",
        "must be a number of seconds",
    ),
    ("READ_TIMEOUT", "0.001", "must be a number of seconds"),
    ("WRITE_TIMEOUT", "1,5", "must be a number of seconds"),
    (
        "DRAIN_TIMEOUT",
        "3601",
        "must be a number of seconds from 0 to 3600",
    ),
];

/// Settings that take any text, or are no values but paths to them (`config_sources`).
const ANY_TEXT: [&str; 4] = [
    "GATEWAY_CONFIG",
    "JWT_SECRET_KEY",
    "JWT_SECRET_KEY_FILE",
    "REDIS_URL_FILE",
];

#[test]
fn every_wrong_value_has_its_line() {
    for (variable, value, expected) in WRONG {
        let problems = load(&[(variable, value)]).expect_err(variable);
        let [line] = problems.as_slice() else {
            panic!("{variable}={value}: {problems:#?}")
        };
        let shown = match (*variable, value.split_once("://")) {
            // Of a URL that may hold a password nothing is sure to be free of it but the scheme.
            ("REDIS_URL", Some(("redis", _))) => "redis://***",
            ("REDIS_URL", Some(("rediss", _))) => "rediss://***",
            ("REDIS_URL", _) => "***",
            (_, _) => value.trim(),
        };
        let begin = format!("{variable}={shown} (environment): ");
        assert!(line.starts_with(&begin), "{line}");
        assert!(line.contains(expected), "{line}\n  lacks {expected}");
    }
}

#[test]
fn a_password_that_breaks_its_url_is_not_shown_and_the_encoding_is_named() {
    for url in [
        "redis://:p/w@redis",
        "valkey://u:p#w@redis",
        "rediss://:p?w@redis:6379/0",
    ] {
        let problems = load(&[("REDIS_URL", url)]).expect_err(url);
        let hint = "percent-encoded (@ is %40, / is %2F, # is %23, ? is %3F)";
        assert!(problems[0].contains(hint), "{problems:?}");
        let (shown, _) = problems[0].split_once(" (environment)").expect("the value");
        let parts = ["p/w", "p#w", "p?w", ":p", "w@"];
        assert!(parts.iter().all(|part| !shown.contains(part)), "{shown}");
    }
}

#[test]
fn tables_cover_every_setting() {
    let rows: BTreeSet<String> = table().into_iter().map(|row| row.variable).collect();
    let covered: BTreeSet<String> = WRONG
        .iter()
        .map(|(variable, _, _)| *variable)
        .chain(ANY_TEXT)
        .map(str::to_owned)
        .collect();
    assert_eq!(rows, covered);
}

#[test]
fn all_problems_show_at_once() {
    let one_each: Vec<(&str, &str)> = {
        let mut seen = BTreeSet::new();
        WRONG
            .iter()
            .filter(|(name, ..)| seen.insert(*name))
            .map(|(name, value, _)| (*name, *value))
            .collect()
    };
    let problems = load(&one_each).unwrap_err();
    assert_eq!(problems.len(), one_each.len(), "{problems:#?}");
    for (variable, _) in one_each {
        assert!(
            problems
                .iter()
                .any(|line| line.starts_with(&format!("{variable}="))),
            "{variable}"
        );
    }
}
