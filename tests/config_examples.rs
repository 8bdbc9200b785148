//! `.env.example` and `gateway.example.toml` are complete and valid. Not about the settings themselves. Invariant: an example shows
//! a setting's default unless it is listed here with another value.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::path::PathBuf;

use dbpower_gateway::config::{Config, Sources, table};

const DOTENV: &str = include_str!("../.env.example");
const TOML: &str = include_str!("../gateway.example.toml");
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The `NAME=value` that a line sets, or would set without the `#` in front.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.trim_start_matches("# ").split_once('=')?;
    let is_name = name
        .bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    is_name.then_some((name, value))
}

#[test]
fn dotenv_example_names_every_variable_once_with_its_default() {
    let shown: Vec<(&str, &str)> = DOTENV.lines().filter_map(assignment).collect();
    for row in table() {
        let found: Vec<&str> = shown
            .iter()
            .filter(|(name, _)| *name == row.variable)
            .map(|(_, value)| *value)
            .collect();
        let [value] = found.as_slice() else {
            panic!(
                "{} stands {} times in .env.example",
                row.variable,
                found.len()
            );
        };
        if let Some(default) = row.default {
            assert_eq!(*value, default, "{}", row.variable);
        }
    }
    assert_eq!(shown.len(), table().len(), "names that are no variables");
}

#[test]
fn dotenv_example_is_valid_once_it_has_a_secret() {
    let text = DOTENV.replace(
        "\nJWT_SECRET_KEY=\n",
        &format!("\nJWT_SECRET_KEY={SECRET}\n"),
    );
    let sources = Sources {
        dotenv: Some(text),
        cpus: 4,
        ..Sources::default()
    };
    let config = Config::from_sources(&sources).expect("valid").config;
    assert_eq!(config.public_paths, ["/api/v1/auth/refresh"]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let without = Sources {
        dotenv: Some(DOTENV.to_owned()),
        ..Sources::default()
    };
    let problems = Config::from_sources(&without).unwrap_err();
    assert_eq!(
        problems.len(),
        1,
        "only the secret is missing: {problems:?}"
    );
    // What stands in front of a # is an example of a valid value too.
    let all: String = DOTENV
        .lines()
        .filter_map(assignment)
        // Files of certificates are read, and no example's are there.
        .filter(|(name, _)| {
            let file = matches!(&**name, "TLS_KEY" | "UPSTREAM_KEY");
            !file && !name.ends_with("_CA") && !name.ends_with("_CERT")
        })
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    let all = all
        .replace("_FILE=", "_FILE_UNUSED=")
        .replace("JWT_SECRET_KEY=", &format!("JWT_SECRET_KEY={SECRET}"));
    let sources = Sources {
        dotenv: Some(all),
        ..Sources::default()
    };
    Config::from_sources(&sources).expect("every example value is valid");
}

#[test]
fn toml_example_is_valid() {
    let toml = Some((PathBuf::from("gateway.example.toml"), TOML.to_owned()));
    let forced = vec![("JWT_SECRET_KEY", SECRET.to_owned())];
    let config = Config::from_sources(&Sources {
        toml,
        forced,
        ..Sources::default()
    })
    .expect("valid")
    .config;
    let prefixes: Vec<&str> = config
        .routes
        .iter()
        .map(|rule| rule.prefix.as_str())
        .collect();
    assert_eq!(
        prefixes,
        ["/api/v1", "/analyzer", "/reports", "/status-page"]
    );
}
