//! The thread that writes access lines. Not their format nor their buffers (`access_log` owns both). Invariant: it alone waits
//! for the disk; every buffer goes back, written or not.

use std::io::{self, Write};
use std::thread::JoinHandle;

use crate::access_log::{Drain, StopHandle};

/// The running thread.
#[derive(Debug)]
pub struct LogWriter {
    stop: StopHandle,
    thread: JoinHandle<()>,
}

/// Starts the thread; lines go to `out` (the gateway's stdout).
///
/// # Errors
/// The thread cannot be started.
pub fn start_writer(
    drain: Drain,
    stop: StopHandle,
    out: impl Write + Send + 'static,
) -> io::Result<LogWriter> {
    let thread = std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || write_all(&drain, out))?;
    Ok(LogWriter { stop, thread })
}

impl LogWriter {
    /// Writes what was handed over before and ends the thread. Workers call `CoreLog::finish` first.
    pub fn finish(self) {
        self.stop.stop();
        // A writer that panicked has nothing left to write.
        let _ = self.thread.join();
    }
}

fn write_all(drain: &Drain, mut out: impl Write) {
    let mut failing = false;
    while let Some((core, lines)) = drain.next() {
        let written = out.write_all(&lines).and_then(|()| out.flush());
        drain.give_back(core, lines);
        match written {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "access lines cannot be written");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    //! Lines reach the output whole and in order, and a broken output stops nobody.
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use std::sync::mpsc;

    use super::*;
    use crate::access_log::{Format, Line, channel};

    struct Out(mpsc::Sender<Vec<u8>>, bool);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(path: &[u8]) -> Line<'_> {
        Line {
            method: b"GET",
            path,
            org: None,
            user: None,
            status: 200,
            micros: 10,
            request_id: b"r",
            client_ip: "192.0.2.1",
            route: "own",
            bytes_in: 0,
            bytes_out: 0,
            closed: None,
        }
    }

    fn run(broken: bool) -> Vec<u8> {
        let (mut logs, drain, stop) = channel(1, Format::Json);
        let (sent, written) = mpsc::channel();
        let writer = start_writer(drain, stop, Out(sent, broken)).unwrap();
        let mut log = logs.pop().unwrap();
        for number in 0..200 {
            log.record(&line(format!("/{number}").as_bytes()), 0);
            if number % 7 == 0 {
                log.flush();
            }
        }
        log.finish();
        writer.finish();
        written.iter().flatten().collect()
    }

    #[test]
    fn everything_handed_over_is_written_in_order() {
        let text = String::from_utf8(run(false)).unwrap();
        let paths: Vec<String> = text
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].to_string()
            })
            .collect();
        let expected: Vec<String> = (0..200).map(|number| format!("\"/{number}\"")).collect();
        assert_eq!(paths, expected);
    }

    #[test]
    fn a_broken_output_stops_nobody() {
        assert!(run(true).is_empty());
    }
}
