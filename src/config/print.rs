//! Writes the effective configuration: `NAME=value  # source`, then services and routes as comments. For people and for `.env`.
//! Invariant: no secret and no password in the output.

use std::fmt::Write as _;

use super::problem::shown;
use super::sources::Entry;
use super::{Config, Loaded};

/// Column that the sources stand in.
const SOURCE_COLUMN: usize = 44;

impl Loaded {
    /// The text of `--print-config`.
    pub fn print(&self) -> String {
        let mut text = String::new();
        let mut group = "";
        for entry in &self.entries {
            if entry.row.group != group {
                group = &entry.row.group;
                let gap = if text.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{gap}# {group}");
            }
            let _ = writeln!(text, "{}", line(entry, &self.config));
        }
        let _ = writeln!(text, "\n# Services and routes");
        for service in &self.config.services {
            let (name, urls, health) = (&service.name, service.urls(), &service.health_path);
            let _ = writeln!(text, "# {name}: {urls} (health at {health})");
        }
        for rule in &self.config.routes {
            let name = self
                .config
                .services
                .get(rule.service)
                .map_or("?", |service| service.name.as_str());
            let path = if rule.strip {
                "prefix stripped"
            } else {
                "path kept"
            };
            let token = if rule.public {
                "public"
            } else {
                "token required"
            };
            let _ = writeln!(text, "# {}/* -> {name} ({path}, {token})", rule.prefix);
        }
        text
    }
}

fn line(entry: &Entry, config: &Config) -> String {
    let name = &entry.row.variable;
    let Some((text, source)) = &entry.value else {
        return format!("# {name} is not set");
    };
    let value = quoted(&shown_whole(entry, text));
    let in_effect = match name.as_str() {
        // `auto`, or more than there are CPUs: the text is not what runs.
        "GATEWAY_WORKERS" if *text != config.workers.to_string() => {
            format!(", {} in effect", config.workers)
        }
        _ => String::new(),
    };
    format!(
        "{:<SOURCE_COLUMN$} # {source}{in_effect}",
        format!("{name}={value}")
    )
}

/// Public values in full, however long; secrets masked.
fn shown_whole(entry: &Entry, text: &str) -> String {
    let is_plain = !entry.row.secret && !matches!(entry.row.kind.as_str(), "URL" | "URLS");
    if is_plain {
        text.to_owned()
    } else {
        shown(&entry.row, text)
    }
}

/// A value that `.env` reads back as it is.
fn quoted(text: &str) -> String {
    if !text.contains(|c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '#' | '"' | '\'' | '\\')
    }) {
        return text.to_owned();
    }
    let mut value = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => value.extend(['\\', c]),
            '\n' => value.push_str("\\n"),
            '\r' => value.push_str("\\r"),
            '\t' => value.push_str("\\t"),
            // `.env` has no escape for it, and a terminal would obey it.
            c if c.is_control() => value.push('?'),
            c => value.push(c),
        }
    }
    value.push('"');
    value
}
