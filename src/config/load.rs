//! The one place where the configuration touches the world: environment, `.env`, the TOML file, CPU count. Judges no value.
//! Invariant: nothing here runs after start.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::build::{
    auth_from_sources, demo_listen_from_sources, is_tls_from_sources, listen_from_sources,
    proxy_protocol_from_sources,
};
use super::dotenv::DOTENV_NAME;
use super::{Auth, Config, Loaded, Problem, Raw, Sources, parse};

/// Values that outrank every source; see `Sources::forced`.
pub type Forced = Vec<(&'static str, String)>;

/// The gateway's configuration.
pub fn load(flags: &Raw) -> Result<Loaded, Vec<Problem>> {
    load_with(flags, Vec::new())
}

/// The same with values that the program insists on.
pub fn load_with(flags: &Raw, forced: Forced) -> Result<Loaded, Vec<Problem>> {
    Config::from_sources(&gather(flags, forced)?)
}

/// The public listener's address alone.
pub fn load_listen(flags: &Raw) -> Result<SocketAddr, Vec<Problem>> {
    listen_from_sources(&gather(flags, Vec::new())?)
}

/// The same for the demo: the machine itself alone, unless somebody named an address.
pub fn load_demo_listen(flags: &Raw) -> Result<SocketAddr, Vec<Problem>> {
    demo_listen_from_sources(&gather(flags, Vec::new())?)
}

/// Whether the public listener speaks TLS; the files may be another user's and are not looked at.
pub fn load_is_tls(flags: &Raw) -> Result<bool, Vec<Problem>> {
    is_tls_from_sources(&gather(flags, Vec::new())?)
}

/// Whether connections to the gateway begin with a PROXY protocol header.
pub fn load_proxy_protocol(flags: &Raw) -> bool {
    gather(flags, Vec::new()).is_ok_and(|sources| proxy_protocol_from_sources(&sources))
}

/// The identity settings alone.
pub fn load_auth(flags: &Raw, forced: Forced) -> Result<Auth, Vec<Problem>> {
    auth_from_sources(&gather(flags, forced)?)
}

/// Reads all sources; says which cannot be read.
fn gather(flags: &Raw, forced: Forced) -> Result<Sources, Vec<Problem>> {
    let (dotenv, dotenv_unreadable) = match read_dotenv().map_err(|problem| vec![problem])? {
        Ok(text) => (text, None),
        Err(why) => (None, Some(why)),
    };
    let mut sources = Sources {
        forced,
        flags: flags.clone(),
        environment: std::env::vars_os().collect(),
        dotenv,
        dotenv_unreadable,
        toml: None,
        read: |path| std::fs::read(path),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
    };
    if let Some((path, source)) = sources.toml_path()? {
        let problem = |what: String| {
            vec![Problem::of(
                "GATEWAY_CONFIG",
                format!(
                    "GATEWAY_CONFIG={path} ({source}): {what}{}",
                    parse::slip_hint(&path)
                ),
            )]
        };
        let bytes =
            std::fs::read(&path).map_err(|error| problem(format!("cannot be read: {error}")))?;
        let text = text(bytes).map_err(|line| problem(format!("line {line} is not UTF-8 text")))?;
        sources.toml = Some((PathBuf::from(path), text));
    }
    Ok(sources)
}

/// The text of `.env`, or why it cannot be read: as when it belongs to somebody else, in whose folder the gateway was started.
fn read_dotenv() -> Result<Result<Option<String>, String>, Problem> {
    let bytes = match std::fs::read(Path::new(DOTENV_NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Ok(None)),
        Err(error) => {
            let folder = std::env::current_dir().map_or_else(
                |_| "the working directory".to_owned(),
                |folder| folder.display().to_string(),
            );
            let line = format!("{DOTENV_NAME} in {folder} cannot be read: {error}");
            return Ok(Err(line));
        }
    };
    let problem = |line| Problem::of_source(format!("{DOTENV_NAME} line {line}: not UTF-8 text"));
    text(bytes).map(|text| Ok(Some(text))).map_err(problem)
}

/// Bytes as text, or the line that is none.
fn text(bytes: Vec<u8>) -> Result<String, usize> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        error
            .as_bytes()
            .iter()
            .take(valid)
            .filter(|byte| **byte == b'\n')
            .count()
            + 1
    })
}
