//! Values and names that nobody can have meant: quotes, templates, misspelt variables, secrets with a line end; and how origins and
//! encoded secrets are read. Not about the ranges of values (`config_wrong`). Invariant: no test here touches the process environment
//! or the disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test may fail loudly, and tables are long"
)]

use dbpower_gateway::config::{Config, Sources, table};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn load(variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let mut sources = Sources {
        cpus: 8,
        ..Sources::default()
    };
    let has_secret = variables.iter().any(|(name, _)| *name == "JWT_SECRET_KEY");
    if !has_secret {
        let secret = ("JWT_SECRET_KEY".into(), SECRET.into());
        sources.environment.push(secret);
    }
    let given = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    sources.environment.extend(given);
    Config::from_sources(&sources)
        .map(|loaded| loaded.config)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

/// (variable, value, what the line says of it).
const SLIPS: &[(&str, &str, &str)] = &[
    (
        "JWT_ORGANIZATION_CLAIMS",
        "\"organization_id\"",
        "must be one or more names with commas between (it begins with a quote, which is part of the value",
    ),
    (
        "JWT_ORGANIZATION_CLAIMS",
        "org,'tenant'",
        "(it begins with a quote",
    ),
    ("JWT_USER_CLAIMS", "[\"sub\"]", "(it begins with a bracket"),
    (
        "JWT_USER_CLAIMS",
        "{{ claims }}",
        "(it begins with a bracket",
    ),
    (
        "JWT_ROLE_CLAIMS",
        "${ROLE_CLAIMS}",
        "(it begins with a template's mark",
    ),
    (
        "JWT_ROLE_CLAIMS",
        "role,$(roles)",
        "(it begins with a template's mark",
    ),
    ("JWT_ROLE_CLAIMS", "`roles`", "(it begins with a backtick"),
    (
        "JWT_AUDIENCE",
        "None",
        "(a program writes so that there is no value: leave the setting out",
    ),
    ("JWT_AUDIENCE", "null", "(a program writes so"),
    ("JWT_ISSUER", "<your issuer>", "(it begins with a bracket"),
    (
        "JWT_ISSUER",
        "https://a.example,undefined",
        "(a program writes so",
    ),
    ("ADMIN_ROLES", "null", "must be none, or one or more names"),
    ("ADMIN_ROLES", "admin,none", "(a program writes so"),
    (
        "ADMIN_ROLES",
        "\u{201c}admin\u{201d}",
        "(it begins with a quote",
    ),
    ("PUBLIC_PATHS", "\"/status\"", "(it begins with a quote"),
    ("TRUSTED_PROXIES", "None", "(a program writes so"),
    (
        "TRUSTED_PROXIES",
        "[\"10.0.0.0/8\"]",
        "(it begins with a bracket",
    ),
    ("BACKEND_URL", "'http://backend'", "(it begins with a quote"),
    (
        "AI_ANALYZER_URL",
        "${ANALYZER}",
        "(it begins with a template's mark",
    ),
    ("GATEWAY_HOST", "\"::\"", "(it begins with a quote"),
    ("LOG_LEVEL", "\"INFO\"", "(it begins with a quote"),
    ("TLS_CERT", "None", "(a program writes so"),
    ("TLS_CLIENT_CA", "\"ca.pem\"", "(it begins with a quote"),
];

#[test]
fn marks_of_another_place_are_errors() {
    for (variable, value, expected) in SLIPS {
        let problems = load(&[(variable, value)]).expect_err(variable);
        let [line] = problems.as_slice() else {
            panic!("{variable}={value}: {problems:#?}")
        };
        let begin = format!("{variable}={value} (environment): must be ");
        assert!(line.starts_with(&begin), "{line}");
        assert!(line.contains(expected), "{line}\n  lacks {expected}");
    }
}

#[test]
fn a_value_that_only_looks_like_a_slip_is_taken() {
    for (variable, value) in [
        ("GATEWAY_HOST", "[::]"),
        ("OPS_HOST", "[::1]"),
        ("ADMIN_ROLES", "None"),
        ("ADMIN_ROLES", "none"),
        ("CORS_ORIGINS", "NONE"),
        ("JWT_ISSUER", "$HOME"),
        ("JWT_AUDIENCE", "nobody,nonesuch"),
        ("JWT_USER_CLAIMS", "http://a.example/claims/{user}"),
    ] {
        let config = load(&[(variable, value)]).unwrap();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}

#[test]
fn origins_are_brought_to_the_form_that_browsers_send() {
    for (text, origins) in [
        ("https://a.example:443", &["https://a.example"][..]),
        ("http://a.example:80", &["http://a.example"]),
        ("http://a.example:443", &["http://a.example:443"]),
        ("HTTPS://A.Example", &["https://a.example"]),
        (
            "http://[::1]:3000, http://[::1]",
            &["http://[::1]:3000", "http://[::1]"],
        ),
        ("chrome-extension://abc", &["chrome-extension://abc"]),
        ("https://*.example.com:443", &["https://*.example.com"]),
        ("http://*.localhost:3000", &["http://*.localhost:3000"]),
        ("*", &["*"]),
        ("none", &[]),
        ("None", &[]),
    ] {
        let config = load(&[("CORS_ORIGINS", text)]).unwrap();
        assert_eq!(config.cors_origins, origins, "{text}");
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
    let wide = load(&[("CORS_ORIGINS", "https://*.com")]).unwrap();
    assert!(wide.warnings[0].starts_with("CORS_ORIGINS has https://*.com: "));
}

#[test]
fn an_encoded_secret_is_the_key_that_it_stands_for() {
    let key: Vec<u8> = (0_u8..33)
        .map(|at| at.wrapping_mul(7).wrapping_add(128))
        .collect();
    for (encoding, text) in [
        ("base64", "gIeOlZyjqrG4v8bN1Nvi6fD3/gUMExohKC82PURLUllg"),
        ("base64url", "gIeOlZyjqrG4v8bN1Nvi6fD3_gUMExohKC82PURLUllg"),
        (
            "HEX",
            "80878e959ca3aab1b8bfc6cdd4dbe2e9f0f7fe050c131a21282f363d444b525960",
        ),
        ("Base64", " gIeOlZyjqrG4v8bN1Nvi6fD3/gUMExohKC82PURLUllg\n"),
    ] {
        let config = load(&[("JWT_SECRET_ENCODING", encoding), ("JWT_SECRET_KEY", text)]).unwrap();
        assert_eq!(config.auth.key(), Some(key.clone()), "{encoding}");
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
    assert_eq!(
        load(&[]).unwrap().auth.key(),
        Some(SECRET.as_bytes().to_vec())
    );
    for (encoding, text, expected) in [
        ("base64", "not base64!", "must be base64 (A-Z a-z 0-9 + /)"),
        ("base64", "gIeO_w", "JWT_SECRET_ENCODING=base64url"),
        ("base64url", "gIeO/w", "JWT_SECRET_ENCODING=base64)"),
        (
            "hex",
            "abc",
            "must be hexadecimal digits, two for each byte",
        ),
        ("hex", "\"ab\"", "(it begins with a quote"),
    ] {
        let problems =
            load(&[("JWT_SECRET_ENCODING", encoding), ("JWT_SECRET_KEY", text)]).unwrap_err();
        let begin = "JWT_SECRET_KEY=*** (environment): must be ";
        assert!(
            problems.len() == 1 && problems[0].starts_with(begin),
            "{problems:?}"
        );
        assert!(problems[0].contains(expected), "{problems:?}");
    }
    let short = load(&[("JWT_SECRET_ENCODING", "hex"), ("JWT_SECRET_KEY", SECRET)]).unwrap();
    assert_eq!(
        short.warnings,
        ["JWT_SECRET_KEY has 16 bytes: fewer than 32 can be guessed"]
    );
}

#[test]
fn a_secret_that_carries_marks_of_its_place_is_warned_of() {
    for (secret, expected) in [
        (format!("\"{SECRET}\""), "it begins with a quote"),
        (format!("'{SECRET}'"), "it begins with a quote"),
        (format!("`{SECRET}`"), "it begins with a backtick"),
        (format!("<{SECRET}>"), "it begins with a bracket"),
        (format!("[{SECRET}"), "it begins with a bracket"),
        (format!("${{{SECRET}}}"), "it begins with a template's mark"),
        (
            format!("\u{feff}{SECRET}"),
            "it begins with a byte order mark",
        ),
        (format!("{SECRET}\n"), "it ends with a line end"),
        (format!("{SECRET}\r\n"), "it ends with a line end"),
        (format!(" {SECRET}"), "it has blanks around it"),
        (format!("{SECRET}\t"), "it has blanks around it"),
    ] {
        let config = load(&[("JWT_SECRET_KEY", &secret)]).unwrap();
        let [warning] = config.warnings.as_slice() else {
            panic!("{:?}", config.warnings)
        };
        let begin = format!("JWT_SECRET_KEY (environment): {expected}");
        assert!(warning.starts_with(&begin), "{warning}");
        assert!(!warning.contains(SECRET), "{warning}");
        // It may be meant, and is taken as it is.
        assert_eq!(config.auth.key(), Some(secret.into_bytes()));
    }
    let null = load(&[("JWT_SECRET_KEY", "null")]).unwrap().warnings;
    assert!(
        null.len() == 2 && null[1].contains("a program writes so that there is no value"),
        "{null:?}"
    );
    for fine in [
        "$5$rounds=1000$abcdefghijklmnopqrstuvwxyz",
        "a\"b'c`d${e}[f]<g> h=abcdefghijklmnop",
    ] {
        let config = load(&[("JWT_SECRET_KEY", fine)]).unwrap();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}

#[test]
fn near_misses_of_every_name_warn() {
    let warnings = |name: &str, value: &str| load(&[(name, value)]).unwrap().warnings;
    let mut cases: Vec<(String, String)> = [
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("PUBLIC_PATH", "PUBLIC_PATHS"),
        ("ADMIN_ROLE", "ADMIN_ROLES"),
        ("JWT_USER_CLAIM", "JWT_USER_CLAIMS"),
        ("JWT_AUDIENCES", "JWT_AUDIENCE"),
        ("BACKEND_URLS", "BACKEND_URL"),
        ("Cors-Origins", "CORS_ORIGINS"),
        ("log.level", "LOG_LEVEL"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("BACKEND_ULR", "BACKEND_URL"),
        ("JWT_SECRET", "JWT_SECRET_KEY"),
    ]
    .map(|(name, meant)| (name.to_owned(), meant.to_owned()))
    .into();
    let known: Vec<String> = table().into_iter().map(|row| row.variable).collect();
    for name in &known {
        cases.push((name.to_ascii_lowercase(), name.clone()));
        // An edit in the middle.
        let (left, right) = name.split_at(name.len() / 2);
        cases.push((format!("{left}Q{right}"), name.clone()));
    }
    for (name, meant) in cases {
        let expected =
            format!("unknown variable {name} (environment) is ignored; did you mean {meant}?");
        assert_eq!(warnings(&name, "x"), [expected]);
    }
    for part in [
        "REDIS_HOST",
        "REDIS_PORT",
        "REDIS_PASSWORD",
        "redis_password",
        "REDIS_DB",
    ] {
        let [warning] = <[String; 1]>::try_from(warnings(part, "hunter2")).unwrap();
        assert!(
            warning.contains("it belongs into REDIS_URL: redis://"),
            "{warning}"
        );
        assert!(!warning.contains("hunter2"), "{warning}");
    }
}

#[test]
fn a_near_miss_is_told_beside_what_is_missing() {
    let sources = Sources {
        environment: vec![("jwt_secret_key".into(), SECRET.into())],
        ..Sources::default()
    };
    let problems = Config::from_sources(&sources).unwrap_err();
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("JWT_SECRET_KEY is not set"), "{said:?}");
    assert_eq!(
        said[1],
        "unknown variable jwt_secret_key (environment) is ignored; did you mean JWT_SECRET_KEY?"
    );
}

#[test]
fn other_programs_variables_are_not_spoken_of() {
    // A shell's, a container's and Kubernetes's environment, and what base images and neighbours put there.
    let foreign = "PATH=/bin HOME=/root USER=root LOGNAME=root SHELL=/bin/sh PWD=/ OLDPWD=/ SHLVL=1 TERM=xterm LANG=C.UTF-8 LC_ALL=C \
        TZ=UTC HOSTNAME=api-gateway-7d9 EDITOR=vi TMPDIR=/tmp XDG_RUNTIME_DIR=/run SSH_AUTH_SOCK=/s MAIL=/m DISPLAY=:0 _=/bin/env \
        INVOCATION_ID=1 JOURNAL_STREAM=8:1 NOTIFY_SOCKET=/n CREDENTIALS_DIRECTORY=/c LISTEN_FDS=1 LISTEN_PID=1 WATCHDOG_USEC=1 \
        HTTP_PROXY=http://p HTTPS_PROXY=http://p NO_PROXY=.local http_proxy=http://p no_proxy=.local SSL_CERT_FILE=/c SSL_CERT_DIR=/d \
        RUST_LOG=info RUST_BACKTRACE=1 CARGO_HOME=/c GPG_KEY=1 PYTHON_VERSION=3 NODE_ENV=production JAVA_HOME=/j GOPATH=/g PORT=80 \
        LOG_FILE=/l LOG_DIR=/l TLS_VERSION=1.3 SECRET_KEY=x API_KEY=x DATABASE_URL=postgres://p TIMEOUT=30 WORKERS=4 HOST=h DEBUG=1 \
        DOCKER_HOST=unix:///d COMPOSE_PROJECT_NAME=c AWS_REGION=eu OTEL_SERVICE_NAME=g PROMETHEUS_PORT=9090 MAX_MEMORY=1 \
        KUBERNETES_PORT=tcp://10.0.0.1:443 KUBERNETES_SERVICE_HOST=10.0.0.1 KUBERNETES_SERVICE_PORT_HTTPS=443 \
        KUBERNETES_PORT_443_TCP=tcp://10.0.0.1:443 KUBERNETES_PORT_443_TCP_PROTO=tcp \
        BACKEND_PORT=tcp://10.0.0.2:80 BACKEND_SERVICE_HOST=10.0.0.2 BACKEND_PORT_80_TCP_ADDR=10.0.0.2 \
        REDIS_PORT=tcp://10.0.0.3:6379 REDIS_SERVICE_PORT_REDIS=6379 REDIS_PORT_6379_TCP_PORT=6379 REDIS_NAME=/api/redis \
        REDIS_ENV_REDIS_VERSION=7 GATEWAY_SERVICE_HOST=10.0.0.4 GATEWAY_PORT_8000_TCP_PROTO=tcp API_GATEWAY_PORT=tcp://10.0.0.5:80";
    let foreign: Vec<(&str, &str)> = foreign
        .split_whitespace()
        .map(|pair| pair.split_once('=').unwrap())
        .collect();
    let warnings = load(&foreign).unwrap().warnings;
    assert!(warnings.is_empty(), "{warnings:#?}");
}
