//! The settings as rows, read back from the clap structs, and the README's table made of them. Holds no list of its own.
//! Invariant: a row exists for each field of `Flags` and for nothing else.

use std::fmt::Write as _;

use clap::{Arg, Args, Command};

use super::Flags;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Environment variable, which is also the key in `.env` and, in lower case, in the TOML file.
    pub variable: String,
    /// Long flag without the dashes.
    pub flag: String,
    /// Default as text; `None` when nothing is assumed.
    pub default: Option<String>,
    /// What it does, one sentence.
    pub help: String,
    /// Heading it stands under.
    pub group: String,
    /// Kind of value: `PORT`, `LIST`, `SECONDS` …
    pub kind: String,
    /// Never shown in full.
    pub secret: bool,
    /// clap's own name for it.
    pub(super) id: String,
}

/// All settings in the order of the help text.
pub fn table() -> Vec<Row> {
    let command = Flags::augment_args(Command::new("settings"));
    command.get_arguments().filter_map(row).collect()
}

/// The row of one argument; arguments without a variable are no settings.
fn row(argument: &Arg) -> Option<Row> {
    let kinds = argument.get_value_names().unwrap_or_default();
    Some(Row {
        variable: argument.get_env()?.to_str()?.to_owned(),
        flag: argument.get_long()?.to_owned(),
        default: argument
            .get_default_values()
            .first()
            .map(|value| value.to_string_lossy().into_owned()),
        help: argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default(),
        group: argument.get_help_heading().unwrap_or_default().to_owned(),
        kind: kinds.first().map(ToString::to_string).unwrap_or_default(),
        secret: argument.is_hide_env_values_set(),
        id: argument.get_id().to_string(),
    })
}

/// The README's configuration table: one Markdown table per group.
pub fn markdown_table() -> String {
    let mut text = String::new();
    let mut group = String::new();
    for row in table() {
        if row.group != group {
            group.clone_from(&row.group);
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = write!(
                text,
                "{gap}**{group}**\n\n| Variable | Flag | Default | Meaning |\n|---|---|---|---|\n"
            );
        }
        let default = row
            .default
            .map_or_else(|| "–".to_owned(), |value| format!("`{value}`"));
        let (variable, flag) = (row.variable, row.flag);
        let help = row.help.replace('|', "\\|");
        let _ = writeln!(text, "| `{variable}` | `--{flag}` | {default} | {help} |");
    }
    text
}
