//! Reads the TOML file into text by variable, and its `[[routes]]`. Judges keys and types only; values are judged with all others.
//! Invariant: whatever comes out carries the line it stood on.

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::nearest::suggestion;
use super::{Problem, Row};

/// Keys of a `[[routes]]` table.
const ROUTE_KEYS: [&str; 9] = [
    "prefix",
    "url",
    "strip",
    "keep",
    "public",
    "name",
    "host",
    "health_path",
    "response_timeout",
];

/// The variable that names the file itself; inside the file it would mean nothing.
const OWN_VARIABLE: &str = "GATEWAY_CONFIG";

/// What the file says.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    pub(super) settings: Vec<FileSetting>,
    pub(super) routes: Vec<FileRoute>,
    pub(super) problems: Vec<Problem>,
}

/// One top-level key.
#[derive(Debug, Clone)]
pub(super) struct FileSetting {
    pub(super) variable: String,
    pub(super) text: String,
    pub(super) line: usize,
    /// An empty list is a value ("none of them"), an empty string is none.
    pub(super) is_empty_list: bool,
}

/// One `[[routes]]`, its values still text.
#[derive(Debug, Clone)]
pub(super) struct FileRoute {
    pub(super) line: usize,
    fields: Vec<(String, String, usize)>,
}

impl FileRoute {
    /// A key's text and line.
    pub(super) fn field(&self, key: &str) -> Option<(&str, usize)> {
        self.fields
            .iter()
            .find(|(name, _, _)| name == key)
            .map(|(_, text, line)| (text.as_str(), *line))
    }
}

/// Reads the whole file; all syntax errors at once if there are any, since nothing after them can be trusted.
pub(super) fn parse(path: &str, text: &str, rows: &[Row]) -> Result<File, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            Problem::of_source(format!(
                "{path} line {line}: {}",
                error.message().replace('\n', "; ")
            ))
        };
        return Err(errors.iter().map(problem).collect());
    }
    let mut reading = Reading {
        path,
        text,
        rows,
        file: File::default(),
    };
    for (key, value) in in_order(document.get_ref()) {
        reading.top_level(key, value);
    }
    Ok(reading.file)
}

struct Reading<'a> {
    path: &'a str,
    text: &'a str,
    rows: &'a [Row],
    file: File,
}

type Key<'a> = &'a Spanned<DeString<'a>>;
type Value<'a> = &'a Spanned<DeValue<'a>>;

impl Reading<'_> {
    fn top_level(&mut self, key: Key<'_>, value: Value<'_>) {
        let line = line_of(self.text, key.span().start);
        let name = key.get_ref().as_ref();
        if name == "routes" {
            return self.routes(line, value);
        }
        let row = self
            .rows
            .iter()
            .find(|row| row.variable != OWN_VARIABLE && row.variable.to_lowercase() == name);
        let Some(row) = row else {
            let mut known: Vec<String> = self
                .rows
                .iter()
                .map(|row| row.variable.to_lowercase())
                .collect();
            known.push("routes".to_owned());
            let hint = suggestion(&name.to_lowercase(), known.iter().map(String::as_str));
            return self.complain(line, &format!("unknown key {name}{hint}"));
        };
        let is_list = matches!(row.kind.as_str(), "LIST" | "URLS");
        let found = value.get_ref();
        let text = if let (DeValue::Array(items), true) = (found, is_list) {
            list(items)
        } else if row.secret {
            // Never a number: `1e3` would come out as `1000`, a key that nobody chose.
            found.as_str().map(str::to_owned)
        } else {
            scalar(found)
        };
        let Some(text) = text else {
            let accepted = match (is_list, row.secret) {
                (true, _) => "a string or a list of strings without commas",
                (_, true) => "a string",
                _ => "a string, a number, or true or false",
            };
            return self.complain(line, &format!("{name} must be {accepted}"));
        };
        let is_empty_list = value.get_ref().is_array() && text.is_empty();
        let variable = row.variable.clone();
        self.file.settings.push(FileSetting {
            variable,
            text,
            line,
            is_empty_list,
        });
    }

    fn routes(&mut self, line: usize, value: Value<'_>) {
        let DeValue::Array(items) = value.get_ref() else {
            return self.complain(
                line,
                "routes must be tables, each under a [[routes]] of its own",
            );
        };
        for item in items.iter() {
            // Tables written with [[routes]] know where they stand; the array as a whole points at the first of them.
            let line = line_of(self.text, item.span().start);
            if let DeValue::Table(table) = item.get_ref() {
                self.route(line, table);
            } else {
                self.complain(
                    line,
                    "routes must be tables, each under a [[routes]] of its own",
                );
            }
        }
    }

    fn route(&mut self, line: usize, table: &DeTable<'_>) {
        let mut route = FileRoute {
            line,
            fields: Vec::new(),
        };
        for (key, value) in in_order(table) {
            let line = line_of(self.text, key.span().start);
            let name = key.get_ref().as_ref();
            let urls = value.get_ref().as_array().filter(|_| name == "url");
            let text = urls.map_or_else(|| scalar(value.get_ref()), list);
            match text {
                _ if !ROUTE_KEYS.contains(&name) => {
                    let hint = suggestion(&name.to_lowercase(), ROUTE_KEYS);
                    self.complain(line, &format!("unknown key {name} in [[routes]]{hint}"));
                }
                Some(text) => route.fields.push((name.to_owned(), text, line)),
                None => self.complain(
                    line,
                    &format!("{name} must be a string, a number, or true or false"),
                ),
            }
        }
        self.file.routes.push(route);
    }

    fn complain(&mut self, line: usize, what: &str) {
        self.file.problems.push(Problem::of_source(format!(
            "{} line {line}: {what}",
            self.path
        )));
    }
}

/// A table's entries as they were written; the parser sorts them by name.
fn in_order<'a>(table: &'a DeTable<'a>) -> Vec<(Key<'a>, Value<'a>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// A single value as the text that an environment variable would hold.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .ok()
            .map(|number| number.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// A list as comma-separated text; an item with a comma would come out as two.
fn list(items: &DeArray<'_>) -> Option<String> {
    let items: Option<Vec<String>> = items
        .iter()
        .map(|item| scalar(item.get_ref()).filter(|text| !text.contains(',')))
        .collect();
    items.map(|items| items.join(","))
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
