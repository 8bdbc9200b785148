//! The harness's side of the generator's process: start it, let it begin, hear what came of it. Invariant: the process is ended with
//! its handle.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::{Load, Outcome};
use crate::process::pinned;

/// A generator whose connections are warm.
#[derive(Debug)]
pub(crate) struct Generator {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// A generator that measures.
#[derive(Debug)]
pub(crate) struct Waiting(Generator);

impl Generator {
    /// Starts it on `core`; returns when the warm-up is over.
    pub(crate) fn start(load: &Load, core: Option<usize>) -> io::Result<Self> {
        let mut inner = Command::new(std::env::current_exe()?);
        inner.arg("load");
        let mut outer = pinned(&inner, core)?;
        let mut child = outer.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the generator has no pipes"));
        };
        let mut generator = Self {
            child,
            input: Some(input),
            output: BufReader::new(output),
        };
        generator.tell(&serde_json::to_string(load)?)?;
        generator.line()?;
        Ok(generator)
    }

    /// Lets it begin.
    pub(crate) fn go(mut self) -> io::Result<Waiting> {
        self.tell("go")?;
        Ok(Waiting(self))
    }

    fn tell(&mut self, line: &str) -> io::Result<()> {
        match &mut self.input {
            Some(input) => writeln!(input, "{line}"),
            None => Ok(()),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the load generator ended early"));
        }
        Ok(line)
    }
}

impl Waiting {
    /// What came of it; its connections stay open until the generator is dropped.
    pub(crate) fn outcome(mut self) -> io::Result<(Outcome, Generator)> {
        let line = self.0.line()?;
        Ok((serde_json::from_str(&line)?, self.0))
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
