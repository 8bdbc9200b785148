//! The arguments as clap reads them, and what they ask for. Judges no setting: a wrong value is a configuration problem (78), only
//! an unknown flag or subcommand is misuse (2). Invariant: every setting is a global flag, so it may stand before or after a subcommand.

use std::ffi::OsString;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::config::{Flags, Raw};
use crate::demo::Kind;

/// API gateway: JWT identity, exact rate limits, streaming HTTP/1.1.
///
/// Every setting is a flag, an environment variable, a line in .env and a lower-case key in the TOML file; the first of these that
/// has a value counts. `--help` lists them all, `-h` the commands.
#[derive(Debug, Parser)]
#[command(name = "dbpower-gateway", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    checks: Checks,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Args)]
struct Checks {
    /// Check the configuration and exit: 0 when it is valid, 78 with one line per problem
    #[arg(long, global = true)]
    check_config: bool,
    /// Print the effective configuration and where each value came from, secrets masked, and exit
    #[arg(long, global = true, conflicts_with = "check_config")]
    print_config: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway; the same as no command
    Serve,
    /// Run the gateway in front of two built-in services, with a secret and tokens made for the occasion
    Demo(Demo),
    /// Make a token, or find out why one is refused
    #[command(subcommand)]
    Token(Token),
    /// Ask the running gateway for /health: 0 when it answers 200, otherwise 1 and one line why
    Healthcheck,
}

/// What `demo` is to run.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Demo {
    /// Run only this built-in service, without a gateway: backend or ai-analyzer
    pub service: Option<Kind>,
    /// Where that service listens [default: 0.0.0.0:8000 for backend, 0.0.0.0:8001 for ai-analyzer]
    #[arg(long, value_name = "ADDRESS:PORT", requires = "service")]
    pub listen: Option<std::net::SocketAddr>,
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Print a token signed with the configured secret
    Mint(Mint),
    /// Say why a token would be refused (exit 1), or whom it identifies
    Why(Why),
}

/// What a token is to say.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Mint {
    /// Secret to sign with, in place of JWT_SECRET_KEY; a flag is visible to other users of the machine
    #[arg(long, value_name = "TEXT")]
    pub secret: Option<String>,
    /// Organization; digits become a number
    #[arg(long, value_name = "ID")]
    pub org: Option<String>,
    /// User; digits become a number
    #[arg(long, value_name = "ID")]
    pub user: Option<String>,
    /// Role
    #[arg(long, value_name = "NAME")]
    pub role: Option<String>,
    /// Lifetime; a negative one makes an expired token
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 3600,
        allow_negative_numbers = true
    )]
    pub expires_in: i64,
    /// A further claim; the value is read as JSON if it is JSON, otherwise as text. May be repeated
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    pub claims: Vec<(String, String)>,
}

fn claim(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The token to judge.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Why {
    /// The token, or - to read it from standard input, where other users of the machine cannot see it
    pub token: String,
    /// Secret to check with, in place of JWT_SECRET_KEY
    #[arg(long, value_name = "TEXT")]
    pub secret: Option<String>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Run the gateway.
    Serve,
    /// Run the demo or one of its services.
    Demo(Demo),
    /// Print a token.
    Mint(Mint),
    /// Judge a token.
    Why(Why),
    /// Ask a running gateway how it is.
    Healthcheck,
    /// Check the configuration only.
    CheckConfig,
    /// Print the configuration only.
    PrintConfig,
}

/// A task and the settings typed with it.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// What is to be done.
    pub task: Task,
    /// Settings on the command line.
    pub flags: Raw,
}

/// The whole command, with every setting as a global flag that only the long help lists.
pub fn command() -> clap::Command {
    Arguments::command().mut_args(|argument| {
        if argument.get_env().is_some() {
            argument.global(true).hide_short_help(true)
        } else {
            argument
        }
    })
}

/// Reads the arguments. The error is clap's own: usage, or the text of `--help` and `--version`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let mut matches = command().try_get_matches_from(arguments)?;
    let flags = Raw::from_matches(&matches);
    let Arguments {
        command, checks, ..
    } = Arguments::from_arg_matches_mut(&mut matches)?;
    let task = match (command, checks) {
        (
            _,
            Checks {
                check_config: true, ..
            },
        ) => Task::CheckConfig,
        (
            _,
            Checks {
                print_config: true, ..
            },
        ) => Task::PrintConfig,
        (None | Some(Command::Serve), _) => Task::Serve,
        (Some(Command::Demo(demo)), _) => Task::Demo(demo),
        (Some(Command::Token(Token::Mint(mint))), _) => Task::Mint(mint),
        (Some(Command::Token(Token::Why(why))), _) => Task::Why(why),
        (Some(Command::Healthcheck), _) => Task::Healthcheck,
    };
    Ok(Invocation { task, flags })
}
