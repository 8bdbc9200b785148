//! Where values come from: precedence, `.env`, secret files, unknown names, masks. Not about single values (`config_values`) nor
//! the TOML file (`config_file`). Invariant: no test here touches the process environment or the disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test may fail loudly, and tables are long"
)]

use std::path::PathBuf;

use dbpower_gateway::config::{
    Config, Loaded, Raw, Sources, auth_from_sources, listen_from_sources, table,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Sources with a valid secret and these texts.
fn sources(environment: &[(&str, &str)], dotenv: &str, toml: &str) -> Sources {
    let mut sources = Sources {
        forced: vec![("JWT_SECRET_KEY", SECRET.to_owned())],
        dotenv: Some(dotenv.to_owned()),
        toml: Some((PathBuf::from("gateway.toml"), toml.to_owned())),
        ..Sources::default()
    };
    sources.environment = environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    sources
}

fn load(sources: &Sources) -> Result<Loaded, Vec<String>> {
    Config::from_sources(sources)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn from_dotenv(dotenv: &str) -> Result<Config, Vec<String>> {
    load(&sources(&[], dotenv, "")).map(|loaded| loaded.config)
}

#[test]
fn flag_beats_environment_beats_dotenv_beats_file_beats_default() {
    let mut layers = sources(
        &[("RATE_LIMIT_RPM", "2")],
        "RATE_LIMIT_RPM=3",
        "rate_limit_rpm = 4",
    );
    layers.flags.set("RATE_LIMIT_RPM", "1");
    let rpm = |layers: &Sources| load(layers).unwrap().config.limits.rpm;
    assert_eq!(rpm(&layers), 1);
    layers.flags = Raw::default();
    assert_eq!(rpm(&layers), 2);
    layers.environment.clear();
    assert_eq!(rpm(&layers), 3);
    layers.dotenv = None;
    assert_eq!(rpm(&layers), 4);
    layers.toml = None;
    assert_eq!(rpm(&layers), 100);
    layers.forced.push(("RATE_LIMIT_RPM", "7".to_owned()));
    assert_eq!(rpm(&layers), 7);
}

#[test]
fn blank_is_unset_in_every_source() {
    let mut layers = sources(
        &[("RATE_LIMIT_RPM", " ")],
        "RATE_LIMIT_RPM=\nLOG_LEVEL=''",
        "rate_limit_rpm = 4\nlog_format = ''",
    );
    layers.flags.set("RATE_LIMIT_RPM", "");
    let config = load(&layers).unwrap().config;
    assert_eq!(config.limits.rpm, 4);
}

#[test]
fn problems_name_their_source() {
    let mut layers = sources(
        &[("LOG_LEVEL", "loud")],
        "# a comment\nLOG_FORMAT=xml",
        "\nrate_limit_rpm = 0\n",
    );
    layers.flags.set("GATEWAY_PORT", "x");
    let problems = load(&layers).unwrap_err();
    let begins = [
        "GATEWAY_PORT=x (flag --gateway-port): must be",
        "RATE_LIMIT_RPM=0 (gateway.toml line 2): must be",
        "LOG_LEVEL=loud (environment): must be",
        "LOG_FORMAT=xml (.env line 2): must be",
    ];
    assert_eq!(problems.len(), begins.len(), "{problems:#?}");
    for (line, begin) in problems.iter().zip(begins) {
        assert!(line.starts_with(begin), "{line}");
    }
}

#[test]
fn dotenv_lines() {
    let cases = [
        ("JWT_ISSUER=plain", "plain"),
        ("  export JWT_ISSUER = spaced  ", "spaced"),
        ("\u{feff}JWT_ISSUER=bom\r\n", "bom"),
        ("JWT_ISSUER=a#b # comment", "a#b"),
        ("JWT_ISSUER=#b", "#b"),
        ("JWT_ISSUER=$HOME", "$HOME"),
        ("JWT_ISSUER='a $b \\n \"'", "a $b \\n \""),
        ("JWT_ISSUER=\"a \\\"b\\\" \\$c\" # comment", "a \"b\" $c"),
        ("JWT_ISSUER='one\ntwo'\nLOG_LEVEL=INFO", "one\ntwo"),
        ("JWT_ISSUER=first\nJWT_ISSUER=second", "second"),
        ("JWT_ISSUER=a=b", "a=b"),
    ];
    for (text, issuer) in cases {
        assert_eq!(from_dotenv(text).unwrap().auth.issuer, [issuer], "{text}");
    }
    let wrong = [
        (
            "LOG_LEVEL=INFO\nhunter2",
            ".env line 2: expected NAME=value",
        ),
        (
            "1A=b",
            ".env line 1: expected NAME=value, and a name is made of letters, digits and _",
        ),
        ("A='x\nB=y", ".env line 1: the quote is never closed"),
        (
            "A='x\ny' z",
            ".env line 1: unexpected text after the closing quote",
        ),
        ("A='x\ny'\n\nhunter2", ".env line 4: expected NAME=value"),
    ];
    for (text, line) in wrong {
        assert_eq!(from_dotenv(text).unwrap_err(), [line], "{text}");
    }
}

#[test]
fn unknown_names_warn_with_the_nearest() {
    let layers = sources(
        &[
            ("RATE_LIMIT_RPN", "5"),
            ("JWT_KEY_OF_NOBODY_AT_ALL", "x"),
            ("RATELIMIT_RPM", "5"),
            ("REDIS_PORT", "tcp://10.0.0.1:6379"),
            ("REDIS_SERVICE_HOST", "10.0.0.1"),
            ("REDIS_SERVICE_PORT", "6379"),
            ("REDIS_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
            ("REDIS_PORT_6379_TCP_ADDR", "10.0.0.1"),
        ],
        "PATH_OF_SOMEBODY=1\nGATEWAY_HOSTS=x",
        "",
    );
    let expected = [
        "unknown variable GATEWAY_HOSTS (.env line 2) is ignored; did you mean GATEWAY_HOST?",
        "unknown variable JWT_KEY_OF_NOBODY_AT_ALL (environment) is ignored",
        "unknown variable RATELIMIT_RPM (environment) is ignored; did you mean RATE_LIMIT_RPM?",
        "unknown variable RATE_LIMIT_RPN (environment) is ignored; did you mean RATE_LIMIT_RPM?",
    ];
    assert_eq!(load(&layers).unwrap().config.warnings, expected);
}

#[test]
fn an_unreadable_dotenv_matters_only_where_something_is_wrong() {
    let why = ".env in /srv/app cannot be read: Permission denied";
    let mut layers = sources(&[], "", "");
    layers.dotenv = None;
    layers.dotenv_unreadable = Some(why.to_owned());
    assert_eq!(load(&layers).unwrap().config.warnings, [why]);
    assert!(listen_from_sources(&layers).is_ok());
    assert!(auth_from_sources(&layers).is_ok());
    layers.environment.push(("LOG_LEVEL".into(), "loud".into()));
    let problems = load(&layers).unwrap_err();
    assert!(problems.len() == 2 && problems[0] == why, "{problems:?}");
    layers.environment.clear();
    layers.forced.clear();
    let problems = load(&layers).unwrap_err();
    assert!(problems.len() == 2 && problems[0] == why, "{problems:?}");
    let problems = auth_from_sources(&layers).unwrap_err();
    assert!(problems.len() == 2 && problems[0].to_string() == why);
}

#[test]
fn secrets_may_come_from_files() {
    let with = |environment: &[(&str, &str)]| {
        let mut layers = sources(environment, "", "");
        layers.forced.clear();
        layers.read = |path| match path.to_str() {
            Some("/s/line") => Ok(format!("{SECRET}\n").into_bytes()),
            Some("/s/windows") => Ok(format!("{SECRET}\r\n").into_bytes()),
            Some("/s/two") => Ok(format!("{SECRET}\n\n").into_bytes()),
            Some("/s/redis") => Ok(b"redis://:hunter2@r:1/2\n".to_vec()),
            Some("/s/bad-redis") => Ok(b"hunter2".to_vec()),
            Some("/s/empty") => Ok(b"\n".to_vec()),
            Some("/s/binary") => Ok(vec![0xff]),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        load(&layers)
    };
    for (path, secret) in [
        ("/s/line", SECRET.to_owned()),
        ("/s/windows", SECRET.to_owned()),
        ("/s/two", format!("{SECRET}\n")),
    ] {
        let config = with(&[("JWT_SECRET_KEY_FILE", path)]).unwrap().config;
        assert_eq!(config.auth.secret.unwrap().reveal(), secret);
    }
    let both = with(&[
        ("JWT_SECRET_KEY_FILE", "/s/line"),
        ("REDIS_URL_FILE", "/s/redis"),
    ])
    .unwrap();
    assert_eq!(both.config.redis.url.reveal(), "redis://:hunter2@r:1/2");
    assert!(
        both.print().contains("REDIS_URL=redis://***@r:1/2"),
        "{}",
        both.print()
    );
    let quoted = with(&[("JWT_SECRET_KEY_FILE", "\"/s/line\"")]).unwrap_err();
    assert!(quoted[0].contains("(it begins with a quote"), "{quoted:?}");
    let wrong: [(&[(&str, &str)], &str); 5] = [
        (
            &[
                ("JWT_SECRET_KEY", SECRET),
                ("JWT_SECRET_KEY_FILE", "/s/line"),
            ],
            "JWT_SECRET_KEY (environment) and JWT_SECRET_KEY_FILE (environment) are both set: keep one of them",
        ),
        (
            &[("JWT_SECRET_KEY_FILE", "/s/none")],
            "JWT_SECRET_KEY_FILE=/s/none (environment): the file cannot be read: ",
        ),
        (
            &[("JWT_SECRET_KEY_FILE", "/s/empty")],
            "JWT_SECRET_KEY_FILE=/s/empty (environment): the file is empty",
        ),
        (
            &[("JWT_SECRET_KEY_FILE", "/s/binary")],
            "JWT_SECRET_KEY_FILE=/s/binary (environment): the file is not UTF-8 text",
        ),
        (
            &[
                ("JWT_SECRET_KEY", SECRET),
                ("REDIS_URL_FILE", "/s/bad-redis"),
            ],
            "REDIS_URL=*** (file /s/bad-redis): must be redis://",
        ),
    ];
    for (environment, begin) in wrong {
        let problems = with(environment).unwrap_err();
        assert!(
            problems.len() == 1 && problems[0].starts_with(begin),
            "{problems:#?}"
        );
    }
}

#[test]
fn nothing_shown_holds_a_secret() {
    let wrong = [
        ("BACKEND_URL", "http://user:hunter2@backend"),
        ("BACKEND_URL", "http://user:hun/hunter2@backend"),
        ("BACKEND_URL", "user:hunter2@backend"),
        ("AI_ANALYZER_URL", "https://user:hunter2@backend"),
        ("REDIS_URL", "redis://user:hunter2@host:port"),
        ("REDIS_URL", "redis:hunter2"),
        ("REDIS_URL", "http://redis/?password=hunter2"),
        ("REDIS_URL", "redis://user:hun@hunter2@:1"),
        ("REDIS_URL", "redis://:hunter2%40host"),
        ("REDIS_URL", "redis://hunter2@host:port"),
        ("REDIS_URL", "redis://user:hun?hunter2@host"),
        ("REDIS_URL", "redis://user:hun#hunter2@host"),
        ("REDIS_URL", "redis://r/0?password=hunter2"),
        ("REDIS_URL", "hunter2://user@host"),
        ("BACKEND_URL", "http://user:hunter2%40backend"),
    ];
    for (variable, value) in wrong {
        let problems = load(&sources(&[(variable, value)], "", "")).unwrap_err();
        assert!(
            problems.len() == 1 && !problems[0].contains("hunter2"),
            "{problems:?}"
        );
    }
    let mut layers = sources(
        &[("REDIS_URL", "redis://user:hunter2@r/1?protocol=resp3")],
        "",
        "",
    );
    layers.forced = vec![("JWT_SECRET_KEY", "hunter2".repeat(6))];
    let loaded = load(&layers).unwrap();
    assert!(!loaded.print().contains("hunter2"), "{}", loaded.print());
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));
    assert!(loaded.print().contains("JWT_SECRET_KEY=***"));
}

#[test]
fn a_long_or_binary_value_stays_one_line() {
    let long = format!("a\n\u{1b}[31m{}", "x".repeat(500));
    let problems = load(&sources(&[("LOG_LEVEL", &long)], "", "")).unwrap_err();
    assert!(
        problems[0].len() < 300 && !problems[0].contains(['\n', '\u{1b}']),
        "{problems:?}"
    );
}

#[test]
fn printed_configuration_reads_back_the_same() {
    let loaded = load(&sources(
        &[("PUBLIC_PATHS", "/a, /b"), ("JWT_ISSUER", "a \"b\" #c")],
        "",
        "",
    ))
    .unwrap();
    let again = load(&sources(&[], &loaded.print(), "")).unwrap();
    assert_eq!(again.config.public_paths, ["/a", "/b"]);
    assert_eq!(again.config.auth.issuer, ["a \"b\" #c"]);
    for row in table() {
        assert!(loaded.print().contains(&row.variable), "{}", row.variable);
    }
}

#[test]
fn parts_load_whatever_else_is_wrong() {
    let mut layers = sources(&[("BACKEND_URL", "x"), ("GATEWAY_PORT", "81")], "", "");
    assert_eq!(
        auth_from_sources(&layers).unwrap().secret.unwrap().reveal(),
        SECRET
    );
    layers.forced.clear();
    assert_eq!(listen_from_sources(&layers).unwrap().port(), 81);
    assert_eq!(auth_from_sources(&layers).unwrap_err().len(), 1);
    layers.flags.set("GATEWAY_PORT", "x");
    assert_eq!(listen_from_sources(&layers).unwrap_err().len(), 1);
}
