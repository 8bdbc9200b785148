//! Lays the sources of a configuration over each other: forced > flag > environment > `.env` > TOML file > default. Judges no
//! value. Invariant: a present entry is not blank unless an empty TOML list said so, and it knows where it came from.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::dotenv::{self, Assignment, DOTENV_NAME};
use super::file::{self, File, FileRoute};
use super::nearest::{is_unknown, variable_hint};
use super::{Problem, Raw, Row, parse, table};

/// Settings whose value may be kept in a file that another variable names.
const SECRET_FILES: [(&str, &str); 2] = [
    ("JWT_SECRET_KEY", "JWT_SECRET_KEY_FILE"),
    ("REDIS_URL", "REDIS_URL_FILE"),
];

/// All that a configuration is made from, already read, so that making it touches nothing outside.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Values the program itself insists on; they outrank all others (`demo`, `token --secret`).
    pub forced: Vec<(&'static str, String)>,
    /// What was typed on the command line.
    pub flags: Raw,
    /// The process environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Text of `.env`, if there is one.
    pub dotenv: Option<String>,
    /// Why `.env` could not be read, with its folder: a warning, unless something is wrong that it may have said.
    pub dotenv_unreadable: Option<String>,
    /// Path and text of the TOML file, if one is named.
    pub toml: Option<(PathBuf, String)>,
    /// Reads a secret's file.
    pub read: fn(&Path) -> std::io::Result<Vec<u8>>,
    /// CPUs the process may use.
    pub cpus: usize,
}

/// Sources that say nothing on a machine with one CPU, to be filled in.
impl Default for Sources {
    fn default() -> Self {
        Self {
            forced: Vec::new(),
            flags: Raw::default(),
            environment: Vec::new(),
            dotenv: None,
            dotenv_unreadable: None,
            toml: None,
            read: |_| Err(std::io::ErrorKind::NotFound.into()),
            cpus: 1,
        }
    }
}

/// Where a value came from, worded for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The program insists.
    Forced,
    /// A flag.
    Flag(String),
    /// The environment.
    Environment,
    /// A line of `.env`.
    DotEnv(usize),
    /// A line of the TOML file.
    File(String, usize),
    /// A secret's file.
    SecretFile(String),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forced => f.write_str("set by the command"),
            Self::Flag(flag) => write!(f, "flag --{flag}"),
            Self::Environment => f.write_str("environment"),
            Self::DotEnv(line) => write!(f, "{DOTENV_NAME} line {line}"),
            Self::File(path, line) => write!(f, "{path} line {line}"),
            Self::SecretFile(path) => write!(f, "file {path}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One setting after all sources were heard.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) row: Row,
    pub(super) value: Option<(String, Source)>,
}

/// All settings, with what is already known to be wrong.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub(super) entries: Vec<Entry>,
    pub(super) routes: Vec<FileRoute>,
    pub(super) file_path: String,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    pub(super) cpus: usize,
    pub(super) read: crate::tls::Read,
}

impl Sources {
    /// Finds each setting's value. Fails only when a source is unreadable: every later complaint would be a guess.
    pub(super) fn settle(&self) -> Result<Settled, Vec<Problem>> {
        let rows = table();
        let assignments = self.assignments()?;
        let (file_path, file) = self.file(&rows)?;
        let mut settled = Settled {
            entries: Vec::new(),
            warnings: self.unknown(&rows, &assignments),
            routes: file.routes.clone(),
            problems: file.problems.clone(),
            file_path,
            cpus: self.cpus,
            read: self.read,
        };
        let environment: HashMap<&OsString, &OsString> =
            self.environment.iter().map(|(k, v)| (k, v)).collect();
        let layers = Layers {
            forced: &self.forced,
            flags: &self.flags,
            environment,
            assignments,
            file,
        };
        for row in rows {
            let value = layers.value(&row, &settled.file_path, &mut settled.problems);
            settled.entries.push(Entry { row, value });
        }
        for (target, pointer) in SECRET_FILES {
            self.read_secret(&mut settled, target, pointer);
        }
        Ok(settled)
    }

    /// The path of the TOML file and who named it, by the same precedence as any other setting.
    pub(super) fn toml_path(&self) -> Result<Option<(String, Source)>, Vec<Problem>> {
        let environment = self.environment.iter().map(|(k, v)| (k, v)).collect();
        let assignments = self.assignments()?;
        // The file cannot say where it is itself.
        let file = File::default();
        let layers = Layers {
            forced: &self.forced,
            flags: &self.flags,
            environment,
            assignments,
            file,
        };
        let row = table()
            .into_iter()
            .find(|row| row.variable == "GATEWAY_CONFIG");
        let mut problems = Vec::new();
        let path = row.and_then(|row| layers.value(&row, "", &mut problems));
        if problems.is_empty() {
            Ok(path)
        } else {
            Err(problems)
        }
    }

    fn assignments(&self) -> Result<Vec<Assignment>, Vec<Problem>> {
        self.dotenv
            .as_deref()
            .map_or_else(|| Ok(Vec::new()), dotenv::parse)
    }

    fn file(&self, rows: &[Row]) -> Result<(String, File), Vec<Problem>> {
        let Some((path, text)) = &self.toml else {
            return Ok((String::new(), File::default()));
        };
        let path = path.display().to_string();
        let file = file::parse(&path, text, rows)?;
        Ok((path, file))
    }

    /// Warns of variables that look like ours: a slip in a name would otherwise leave its default in force in silence.
    fn unknown(&self, rows: &[Row], assignments: &[Assignment]) -> Vec<String> {
        let known: Vec<&str> = rows.iter().map(|row| row.variable.as_str()).collect();
        let warning = |name: &str, place: String| {
            format!(
                "unknown variable {name} ({place}) is ignored{}",
                variable_hint(name, &known)
            )
        };
        let outside = self.environment.iter().filter_map(|(name, value)| {
            let (name, value) = (name.to_str()?, value.to_string_lossy());
            is_unknown(name, &value, &known).then(|| warning(name, Source::Environment.to_string()))
        });
        let inside = assignments
            .iter()
            .filter(|found| is_unknown(&found.name, &found.value, &known))
            .map(|found| warning(&found.name, Source::DotEnv(found.line).to_string()));
        let mut warnings: Vec<String> = outside.chain(inside).collect();
        warnings.sort();
        warnings
    }

    /// Follows `NAME_FILE`. The file is how container platforms hand secrets over; they end it with a line end or not.
    fn read_secret(&self, settled: &mut Settled, target: &str, pointer: &str) {
        let Some((path, source)) = settled.value(pointer) else {
            return;
        };
        match settled.value(target).map(|(_, source)| source) {
            // What the program insists on outranks a file that its surroundings name.
            Some(Source::Forced) => return,
            Some(other) if other != Source::Default => {
                let line = format!(
                    "{target} ({other}) and {pointer} ({source}) are both set: keep one of them"
                );
                settled.problems.push(Problem::of(target, line));
                return;
            }
            Some(_) | None => {}
        }
        let text = match (self.read)(Path::new(&path)) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned()),
            Err(error) => Err(format!("cannot be read: {error}")),
        };
        let text = text.and_then(|text| {
            let line = text.strip_suffix('\n').map_or(text.as_str(), |line| {
                line.strip_suffix('\r').unwrap_or(line)
            });
            if line.is_empty() {
                Err("is empty".to_owned())
            } else {
                Ok(line.to_owned())
            }
        });
        match text {
            Ok(text) => settled.put(target, (text, Source::SecretFile(path))),
            Err(what) => {
                // Named by the target too, so that it is not reported as missing on top.
                settled.put(target, (String::new(), Source::SecretFile(path.clone())));
                settled.problems.push(Problem::of(
                    target,
                    format!(
                        "{pointer}={path} ({source}): the file {what}{}",
                        parse::slip_hint(&path)
                    ),
                ));
            }
        }
    }
}

impl Settled {
    fn value(&self, variable: &str) -> Option<(String, Source)> {
        self.entries
            .iter()
            .find(|entry| entry.row.variable == variable)?
            .value
            .clone()
    }

    fn put(&mut self, variable: &str, value: (String, Source)) {
        if let Some(entry) = self
            .entries
            .iter_mut()
            .find(|entry| entry.row.variable == variable)
        {
            entry.value = Some(value);
        }
    }
}

/// The sources in order of rank.
struct Layers<'a> {
    forced: &'a [(&'static str, String)],
    flags: &'a Raw,
    environment: HashMap<&'a OsString, &'a OsString>,
    assignments: Vec<Assignment>,
    file: File,
}

impl Layers<'_> {
    /// The first source that has something to say; blank text says nothing.
    fn value(
        &self,
        row: &Row,
        path: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<(String, Source)> {
        let name = row.variable.as_str();
        if let Some((_, text)) = self.forced.iter().find(|(forced, _)| *forced == name) {
            return Some((text.clone(), Source::Forced));
        }
        let flag = self
            .flags
            .value(name)
            .map(|text| (text, Source::Flag(row.flag.clone())));
        let variable = self
            .environment
            .get(&OsString::from(name))
            .map(|text| (*text, Source::Environment));
        for (text, source) in [flag, variable].into_iter().flatten() {
            match text.to_str() {
                Some(text) if text.trim().is_empty() => {}
                Some(text) => return Some((text.to_owned(), source)),
                None => {
                    problems.push(Problem::of(
                        name,
                        format!("{name} ({source}): must be UTF-8 text"),
                    ));
                    return None;
                }
            }
        }
        // Of two assignments the later one holds, as in a shell.
        let line = self
            .assignments
            .iter()
            .rev()
            .find(|found| found.name == name && !found.value.trim().is_empty());
        if let Some(found) = line {
            return Some((found.value.clone(), Source::DotEnv(found.line)));
        }
        let key = self.file.settings.iter().find(|key| key.variable == name);
        if let Some(key) = key.filter(|key| key.is_empty_list || !key.text.trim().is_empty()) {
            return Some((key.text.clone(), Source::File(path.to_owned(), key.line)));
        }
        row.default.clone().map(|text| (text, Source::Default))
    }
}
