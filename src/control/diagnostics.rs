//! Diagnostics: `tracing` events as the seed's text lines or as JSON, written to stderr by a thread of their own. Not the access
//! log. Invariant: saying something never waits, for workers say things too; a line without room is dropped and counted.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::access_log::Stamp;
use crate::config::{Level, Log, LogFormat};

/// Lines that may wait for the writer.
const LINES_MAX: usize = 4096;

/// Target of events that end the process: `tracing` has no level above ERROR, the seed has CRITICAL.
pub const CRITICAL: &str = "critical";

/// Lines dropped since the process began; one number, because the subscriber is one per process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines dropped because the writer was behind.
pub fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// The writer thread.
#[derive(Debug)]
pub struct Writer {
    queue: SyncSender<Option<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Writes what was said before and ends the thread.
    pub fn finish(self) {
        // Waits for room: at the end the last lines are worth it.
        let _ = self.queue.send(None);
        let _ = self.thread.join();
    }
}

/// Makes `tracing` events lines on stderr. `unix_ms` is the wall clock.
///
/// # Errors
/// The thread cannot be started, or the process has a subscriber already.
pub fn start(log: Log, unix_ms: fn() -> u64) -> io::Result<Writer> {
    let (layer, queue, lines) = layer(log, unix_ms);
    let thread = std::thread::Builder::new()
        .name("diagnostics".to_owned())
        .spawn(move || write_all(&lines, io::stderr()))?;
    tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .map_err(io::Error::other)?;
    Ok(Writer { queue, thread })
}

type Queue = SyncSender<Option<Vec<u8>>>;

fn layer(log: Log, unix_ms: fn() -> u64) -> (Lines, Queue, Receiver<Option<Vec<u8>>>) {
    let (queue, lines) = sync_channel(LINES_MAX);
    let layer = Lines {
        log,
        unix_ms,
        queue: queue.clone(),
    };
    (layer, queue, lines)
}

fn write_all(lines: &Receiver<Option<Vec<u8>>>, mut out: impl Write) {
    while let Ok(Some(line)) = lines.recv() {
        // There is nobody left to tell that stderr is broken.
        let _ = out.write_all(&line);
    }
}

/// Turns events into lines.
struct Lines {
    log: Log,
    unix_ms: fn() -> u64,
    queue: Queue,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Crates below us have their own idea of what is worth saying.
        let ours = metadata.target().starts_with("dbpower") || metadata.target() == CRITICAL;
        ours && level_of(metadata) >= self.log.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // With the hint, an event that is not wanted costs a comparison; workers meet such events too.
        Some(match self.log.level {
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warning => LevelFilter::WARN,
            Level::Error | Level::Critical => LevelFilter::ERROR,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = level_name(level_of(event.metadata()));
        let mut said = Said::default();
        event.record(&mut said);
        let unix_ms = (self.unix_ms)();
        let line = match self.log.format {
            LogFormat::Text => said.text(level, unix_ms),
            LogFormat::Json => said.json(level, unix_ms),
        };
        if self.queue.try_send(Some(line)).is_err() {
            DROPPED.fetch_add(1, Relaxed);
        }
    }
}

fn level_of(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::ERROR if metadata.target() == CRITICAL => Level::Critical,
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warning,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG | tracing::Level::TRACE => Level::Debug,
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
        Level::Critical => "CRITICAL",
    }
}

/// An event's message and fields.
#[derive(Debug, Default)]
struct Said {
    message: String,
    fields: Map<String, Value>,
}

impl Said {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }

    /// `2024-01-15 10:30:00 - WARNING - message key=value`
    fn text(&self, level: &str, unix_ms: u64) -> Vec<u8> {
        let mut line = Stamp::new().text(unix_ms).to_vec();
        let mut rest = format!(" - {level} - ");
        escape(&self.message, &mut rest);
        for (name, value) in &self.fields {
            let _ = write!(rest, " {name}=");
            if let Value::String(text) = value {
                quote(text, &mut rest);
            } else {
                let _ = write!(rest, "{value}");
            }
        }
        rest.push('\n');
        line.extend_from_slice(rest.as_bytes());
        line
    }

    fn json(self, level: &str, unix_ms: u64) -> Vec<u8> {
        let mut time = Vec::new();
        Stamp::new().write_rfc3339(unix_ms, &mut time);
        let time = String::from_utf8_lossy(&time).into_owned();
        let mut object = Map::new();
        for (name, value) in [
            ("time", time),
            ("level", level.to_owned()),
            ("message", self.message),
        ] {
            object.insert(name.to_owned(), Value::String(value));
        }
        for (name, value) in self.fields {
            // A field named like one of the three must not take its place.
            object.entry(name).or_insert(value);
        }
        let mut line = Value::Object(object).to_string().into_bytes();
        line.push(b'\n');
        line
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

/// A value by itself when it cannot be taken for two, otherwise in quotes.
fn quote(text: &str, out: &mut String) {
    let plain = !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'='));
    if plain {
        escape(text, out);
        return;
    }
    out.push('"');
    for part in text.split_inclusive('"') {
        let (before, mark) = part.strip_suffix('"').map_or((part, ""), |p| (p, "\\\""));
        escape(before, out);
        out.push_str(mark);
    }
    out.push('"');
}

/// Characters that could end a line, move a cursor or turn the direction of reading are written as escapes.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c == '\\' {
            out.push_str("\\\\");
        } else if c.is_control() || turns {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    //! What events look like, which are said, and that nobody can forge a line or wait for one.
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    const T: fn() -> u64 = || 1_705_314_600_042;

    fn said(level: Level, format: LogFormat, say: impl FnOnce()) -> Vec<String> {
        let log = Log {
            level,
            requests: true,
            format,
        };
        let (layer, queue, lines) = layer(log, T);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        drop(queue);
        lines
            .try_iter()
            .flatten()
            .map(|line| String::from_utf8(line).unwrap())
            .collect()
    }

    #[test]
    fn text_lines_are_the_seeds() {
        let lines = said(Level::Debug, LogFormat::Text, || {
            tracing::warn!(
                service = "backend",
                reason = "cannot connect",
                n = 3,
                up = false,
                "the service is unhealthy"
            );
            tracing::info!("plain");
            tracing::debug!(x = ?Some(1), "d");
            tracing::error!("e");
            tracing::error!(target: CRITICAL, "c");
        });
        let expected = [
            "2024-01-15 10:30:00 - WARNING - the service is unhealthy service=backend reason=\"cannot connect\" n=3 up=false\n",
            "2024-01-15 10:30:00 - INFO - plain\n",
            "2024-01-15 10:30:00 - DEBUG - d x=Some(1)\n",
            "2024-01-15 10:30:00 - ERROR - e\n",
            "2024-01-15 10:30:00 - CRITICAL - c\n",
        ];
        let sorted = |line: &str| {
            let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            words.sort();
            words.join(" ").replace('\n', "")
        };
        assert_eq!(lines.len(), expected.len());
        for (line, expected) in lines.iter().zip(expected) {
            assert_eq!(sorted(line), sorted(expected));
        }
    }

    #[test]
    fn levels_silence_what_is_below() {
        let all = || {
            tracing::debug!("debug");
            tracing::info!("info");
            tracing::warn!("warning");
            tracing::error!("error");
            tracing::error!(target: CRITICAL, "critical");
            tracing::error!(target: "hyper", "not ours");
        };
        for (level, count) in [
            (Level::Debug, 5),
            (Level::Info, 4),
            (Level::Warning, 3),
            (Level::Error, 2),
            (Level::Critical, 1),
        ] {
            assert_eq!(said(level, LogFormat::Text, all).len(), count, "{level:?}");
        }
    }

    #[test]
    fn json_lines_keep_types_and_cannot_be_overwritten() {
        let lines = said(Level::Info, LogFormat::Json, || {
            tracing::warn!(n = 3, ok = true, level = "forged", text = "a\n\"b\"", "m");
        });
        let value: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(value["time"], "2024-01-15T10:30:00.042Z");
        assert_eq!(value["level"], "WARNING");
        assert_eq!(value["message"], "m");
        assert_eq!(value["n"], 3);
        assert_eq!(value["ok"], true);
        assert_eq!(value["text"], "a\n\"b\"");
        assert_eq!(lines[0].matches('\n').count(), 1);
    }

    #[test]
    fn nobody_forges_a_line() {
        let attack = "x\r\n2024-01-15 10:30:00 - INFO - forged\u{1b}[2J\u{202e}\u{85}\" a=b";
        let lines = said(Level::Info, LogFormat::Text, || {
            tracing::warn!(attack, "{attack}")
        });
        assert_eq!(lines.len(), 1);
        let line = lines[0].strip_suffix('\n').unwrap();
        assert!(
            line.chars().all(|c| !c.is_control() && c != '\u{202e}'),
            "{line}"
        );
        assert!(line.contains("attack=\"x\\u{d}\\u{a}2024"), "{line}");
        assert!(line.ends_with("\\\" a=b\""), "{line}");
    }

    #[test]
    fn without_room_lines_are_dropped_and_counted() {
        let before = dropped();
        let lines = said(Level::Info, LogFormat::Text, || {
            for _ in 0..LINES_MAX + 10 {
                tracing::info!("again");
            }
        });
        assert_eq!(lines.len(), LINES_MAX);
        assert!(dropped() >= before + 10);
    }

    #[test]
    fn the_writer_writes_and_ends() {
        let (queue, lines) = sync_channel(4);
        queue.send(Some(b"a\n".to_vec())).unwrap();
        queue.send(Some(b"b\n".to_vec())).unwrap();
        queue.send(None).unwrap();
        let mut out = Vec::new();
        write_all(&lines, &mut out);
        assert_eq!(out, b"a\nb\n");
    }
}
