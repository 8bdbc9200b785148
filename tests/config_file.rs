//! The TOML file: types, `[[routes]]`, and the lines of its problems. Not about precedence (`config_sources`). Invariant: every
//! problem names the file and the line.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test may fail loudly, and tables are long"
)]

use std::path::PathBuf;
use std::time::Duration;

use dbpower_gateway::config::{Config, Service, Sources};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn from_toml(toml: &str) -> Result<Config, Vec<String>> {
    let sources = Sources {
        forced: vec![("JWT_SECRET_KEY", SECRET.to_owned())],
        toml: Some((PathBuf::from("gateway.toml"), toml.to_owned())),
        ..Sources::default()
    };
    Config::from_sources(&sources)
        .map(|loaded| loaded.config)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn toml_types() {
    let config = from_toml(
        "rate_limit_rpm = 1_000\nrate_limit_burst = 0x10\nhead_timeout = 1.5\nidle_timeout = 1e2\nredis_enabled = false\n\
         log_level = 'debug'\npublic_paths = ['/a', '/b/*']\ncors_origins = []\njwt_audience = 'x, y'\nlog_requests = 0",
    )
    .unwrap();
    assert_eq!((config.limits.rpm, config.limits.burst), (1000, 16));
    assert_eq!(config.timeouts.head, Duration::from_millis(1500));
    assert_eq!(config.timeouts.idle, Duration::from_secs(100));
    assert!(!config.redis.enabled && !config.log.requests);
    assert_eq!(config.public_paths, ["/a", "/b/*"]);
    assert!(config.cors_origins.is_empty());
    assert_eq!(config.auth.audience, ["x", "y"]);
}

#[test]
fn toml_problems_have_lines() {
    let cases = [
        (
            "\nrate_limit_rpn = 1",
            "gateway.toml line 2: unknown key rate_limit_rpn; did you mean rate_limit_rpm?",
        ),
        (
            "RATE_LIMIT_RPM = 1",
            "gateway.toml line 1: unknown key RATE_LIMIT_RPM; did you mean rate_limit_rpm?",
        ),
        ("colour = 1", "gateway.toml line 1: unknown key colour"),
        (
            "gateway_config = 'x'",
            "gateway.toml line 1: unknown key gateway_config",
        ),
        (
            "[rate_limit]\nrpm = 1",
            "gateway.toml line 1: unknown key rate_limit",
        ),
        (
            "log_level = 2024-01-01",
            "gateway.toml line 1: log_level must be a string, a number, or true or false",
        ),
        (
            "log_level = ['INFO']",
            "gateway.toml line 1: log_level must be a string, a number, or true or false",
        ),
        (
            "jwt_secret_key = 12345",
            "gateway.toml line 1: jwt_secret_key must be a string",
        ),
        (
            "jwt_issuer = ['a,b']",
            "gateway.toml line 1: jwt_issuer must be a string or a list of strings without commas",
        ),
        ("\n\nlog_level = ", "gateway.toml line 3: "),
        (
            "log_level = 'INFO'\nlog_level = 'INFO'",
            "gateway.toml line 2: ",
        ),
        (
            "routes = 1",
            "gateway.toml line 1: routes must be tables, each under a [[routes]] of its own",
        ),
        (
            "[routes]\nprefix = '/a'",
            "gateway.toml line 1: routes must be tables",
        ),
        (
            "jwt_user_claims = []",
            "JWT_USER_CLAIMS= (gateway.toml line 1): must be one or more names",
        ),
    ];
    for (text, begin) in cases {
        let problems = from_toml(text).unwrap_err();
        assert!(
            problems.len() == 1 && problems[0].starts_with(begin),
            "{text}: {problems:#?}"
        );
    }
}

#[test]
fn urls_may_be_lists() {
    let config = from_toml(
        "backend_url = ['http://one:81', 'http://two:82']\n\
         [[routes]]\nprefix = '/reports'\nurl = ['http://three/in', 'http://four/in']\n\
         [[routes]]\nprefix = '/files'\nurl = 'http://five,http://six'",
    )
    .unwrap();
    let urls: Vec<String> = config.services.iter().map(Service::urls).collect();
    assert_eq!(
        urls,
        [
            "http://one:81,http://two:82",
            "http://ai-analyzer:8001",
            "http://three/in,http://four/in",
            "http://five,http://six"
        ]
    );
    let problems = from_toml(
        "[[routes]]\nprefix = '/a'\nurl = ['http://one/x', 'http://two/y']\nname = ['b']",
    )
    .unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(
        problems[0].contains("name must be a string"),
        "{problems:#?}"
    );
    let differ = "all with the same path (http://one/x and http://two/y differ)";
    assert!(problems[1].contains(differ), "{problems:#?}");
}

#[test]
fn routes_of_the_file() {
    let config = from_toml(
        "response_timeout = 9\n[[routes]]\nprefix = '/reports/*'\nurl = 'http://reports:81/in'\nstrip = true\n\
         name = 'rep'\nhealth_path = '/up'\nresponse_timeout = 0.5\n\
         [[routes]]\nprefix = '/api/v1/files/'\nurl = 'http://files'\nkeep = true\npublic = true\n\
         [[routes]]\nprefix = '/more'\nurl = 'http://files'\nname = 'api-v1-files'",
    )
    .unwrap();
    let names: Vec<&str> = config
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(names, ["backend", "ai-analyzer", "rep", "api-v1-files"]);
    let rep = &config.services[2];
    assert_eq!(
        (rep.base_path.as_str(), rep.health_path.as_str()),
        ("/in", "/up")
    );
    assert_eq!(rep.response_timeout, Duration::from_millis(500));
    assert_eq!(config.services[3].response_timeout, Duration::from_secs(9));
    let rules: Vec<_> = config
        .routes
        .iter()
        .map(|rule| (rule.prefix.as_str(), rule.service, rule.strip, rule.public))
        .collect();
    let expected = [
        ("/api/v1", 0, false, false),
        ("/analyzer", 1, true, false),
        ("/reports", 2, true, false),
        ("/api/v1/files", 3, false, true),
        ("/more", 3, false, false),
    ];
    assert_eq!(rules, expected);
}

#[test]
fn wrong_routes_have_lines() {
    let cases = [
        ("prefix = '/a'", "line 1: this [[routes]] has no url"),
        ("url = 'http://a'", "line 1: this [[routes]] has no prefix"),
        (
            "prefix = '/a'\nurl = 'http://a'\npubic = true",
            "line 4: unknown key pubic in [[routes]]; did you mean public?",
        ),
        (
            "prefix = '/a'\nurl = 'ftp://a'",
            "line 3: url = ftp://a: must be http://host[:port][/path], or https",
        ),
        (
            "prefix = '/a'\nurl = 'http://u:hunter2@a'",
            "line 3: url = http://***@a: must be http://host[:port][/path]: a user name",
        ),
        (
            "prefix = 'a'\nurl = 'http://a'",
            "line 2: prefix = a: must be an absolute path",
        ),
        (
            "prefix = '/'\nurl = 'http://a'",
            "line 2: prefix = /: must be an absolute path such as /reports",
        ),
        (
            "prefix = '/*'\nurl = 'http://a'",
            "line 2: prefix = /*: must be",
        ),
        (
            "prefix = '/a/../b'\nurl = 'http://a'",
            "line 2: prefix = /a/../b: must be",
        ),
        (
            "prefix = '/a%20'\nurl = 'http://a'",
            "line 2: prefix = /a%20: must be",
        ),
        (
            "prefix = '/health'\nurl = 'http://a'",
            "line 2: prefix = /health: must be",
        ),
        (
            "prefix = '/admin/x'\nurl = 'http://a'",
            "line 2: prefix = /admin/x: must be",
        ),
        (
            "prefix = '/rate-limit/*'\nurl = 'http://a'",
            "line 2: prefix = /rate-limit/*: must be",
        ),
        (
            "prefix = '/analyzer/'\nurl = 'http://a'",
            "line 1: prefix /analyzer is taken by another route",
        ),
        (
            "prefix = '/a'\nurl = 'http://a'\nname = 'backend'",
            "line 1: name backend is taken by another service",
        ),
        (
            "prefix = '/a'\nurl = 'http://a'\nname = 'a b'",
            "line 4: name = a b: must be 1 to 64 letters",
        ),
        (
            "prefix = '/a'\nurl = 'http://a'\nstrip = true\nkeep = true",
            "line 1: strip and keep say the same thing twice",
        ),
        (
            "prefix = '/a'\nurl = 'http://a'\nstrip = 'some'",
            "line 4: strip = some: must be true or false",
        ),
        (
            "prefix = '/a'\nurl = 'http://a'\nresponse_timeout = 0",
            "line 4: response_timeout = 0: must be a number of seconds",
        ),
        (
            "prefix = ['/a']\nurl = 'http://a'",
            "line 2: prefix must be a string",
        ),
    ];
    for (text, begin) in cases {
        let problems = from_toml(&format!("[[routes]]\n{text}")).unwrap_err();
        let begin = format!("gateway.toml {begin}");
        assert!(
            problems.iter().any(|line| line.starts_with(&begin)),
            "{text}: {problems:#?}"
        );
        assert!(
            !problems.iter().any(|line| line.contains("hunter2")),
            "{problems:#?}"
        );
    }
    assert!(from_toml("[[routes]]\nprefix = '/healthy'\nurl = 'http://a'").is_ok());
    let two = "[[routes]]\nprefix = '/a'\nurl = 'http://a'\n[[routes]]\nprefix = '/a/*'\nurl = 'http://b'";
    assert_eq!(
        from_toml(two).unwrap_err(),
        ["gateway.toml line 4: prefix /a is taken by another route"]
    );
}
