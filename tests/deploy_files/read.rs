//! Readers for the formats of the deployment files, all into plain values. Not validators: what a file must say is judged in
//! `deploy_files.rs`. Invariant: a file that does not parse fails the test with its name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode, ScalarOwned, YamlOwned};
use serde_json::{Map, Value};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn path(name: &str) -> PathBuf {
    root().join(name)
}

pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|problem| panic!("{name}: {problem}"))
}

pub(crate) fn json(name: &str) -> Value {
    serde_json::from_str(&text(name)).unwrap_or_else(|problem| panic!("{name}: {problem}"))
}

/// All documents of a YAML file.
pub(crate) fn yaml(name: &str) -> Vec<Value> {
    let documents =
        YamlOwned::load_from_str(&text(name)).unwrap_or_else(|problem| panic!("{name}: {problem}"));
    documents.iter().map(value).collect()
}

fn value(node: &YamlOwned) -> Value {
    match node {
        YamlOwned::Value(ScalarOwned::Null) => Value::Null,
        YamlOwned::Value(ScalarOwned::Boolean(truth)) => Value::from(*truth),
        YamlOwned::Value(ScalarOwned::Integer(number)) => Value::from(*number),
        YamlOwned::Value(ScalarOwned::FloatingPoint(number)) => Value::from(number.into_inner()),
        YamlOwned::Value(ScalarOwned::String(text)) => Value::from(text.as_str()),
        YamlOwned::Sequence(items) => items.iter().map(value).collect(),
        YamlOwned::Mapping(entries) => {
            let mut map = Map::new();
            for (key, entry) in entries {
                let key = key.as_str().expect("keys are text").to_owned();
                map.insert(key, value(entry));
            }
            Value::Object(map)
        }
        other => panic!("not used in these files: {other:?}"),
    }
}

/// A systemd unit: section and key to all values, in order.
pub(crate) fn unit(name: &str) -> BTreeMap<(String, String), Vec<String>> {
    let mut found: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let mut section = String::new();
    for line in text(name).lines().map(str::trim) {
        if let Some(title) = line.strip_prefix('[') {
            section = title
                .strip_suffix(']')
                .expect("a section ends with ]")
                .to_owned();
        } else if !line.is_empty() && !line.starts_with('#') {
            let (key, value) = line
                .split_once('=')
                .unwrap_or_else(|| panic!("{name}: {line}"));
            let place = (section.clone(), key.to_owned());
            found.entry(place).or_default().push(value.to_owned());
        }
    }
    found
}

/// A Dockerfile's instructions, continuation lines joined and comments left out: (instruction, rest).
pub(crate) fn dockerfile(name: &str) -> Vec<(String, String)> {
    let text = text(name);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect();
    lines
        .join("\n")
        .replace("\\\n", " ")
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let (instruction, rest) = line
                .trim()
                .split_once(' ')
                .expect("an instruction has an argument");
            (instruction.to_owned(), rest.trim().to_owned())
        })
        .collect()
}

/// The fenced blocks of a Markdown file in this language.
pub(crate) fn fenced(name: &str, language: &str) -> Vec<String> {
    let open = format!("```{language}");
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in text(name).lines() {
        match &mut block {
            None if line == open => block = Some(String::new()),
            None => {}
            Some(_) if line == "```" => blocks.extend(block.take()),
            Some(inside) => {
                inside.push_str(line);
                inside.push('\n');
            }
        }
    }
    assert!(block.is_none(), "{name}: a block is not closed");
    blocks
}
