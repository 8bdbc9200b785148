//! Stand-in for the gateway itself. Starts nothing.

use crate::config::Config;

/// Why the gateway could not start.
#[derive(Debug)]
pub struct StartError(String);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs until the process is told to stop.
pub fn run(_config: Config) -> Result<(), StartError> {
    Err(StartError("not built yet".to_owned()))
}
