//! Hands values to the sections and collects what is wrong with them. Stops at nothing: a wrong value yields `None` and a
//! problem, and reading goes on. Invariant: whoever gets `None` from `read` finds at least one problem recorded.

use super::problem::shown_wrong;
use super::sources::{Entry, Settled, Source};
use super::{Problem, parse};

/// Reads settings by variable.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) settled: Settled,
}

impl Reader {
    pub(super) fn new(settled: Settled) -> Self {
        Self { settled }
    }

    /// A value that must be there.
    pub(super) fn read<T>(
        &mut self,
        variable: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let found = self.read_optional(variable, parse)?;
        if found.is_none() {
            // A value that could not even be taken as text was named already.
            let is_named = self
                .settled
                .problems
                .iter()
                .any(|problem| problem.variable == variable);
            if !is_named {
                self.complain(variable, "must be set");
            }
        }
        found
    }

    /// A value that may be missing: `Some(None)`.
    pub(super) fn read_optional<T>(
        &mut self,
        variable: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let Some((text, source)) = self.entry(variable).and_then(|entry| entry.value.clone())
        else {
            return Some(None);
        };
        if text.is_empty() && matches!(source, Source::SecretFile(_)) {
            return None;
        }
        // A secret's text is taken as it is; elsewhere blanks around a value are an accident of quoting.
        let is_verbatim = self
            .entry(variable)
            .is_some_and(|entry| entry.row.secret && entry.row.kind == "TEXT");
        let text = if is_verbatim { &text } else { text.trim() };
        match parse(text) {
            Ok(value) => Some(Some(value)),
            Err(expected) => {
                let hint = parse::slip(text)
                    .filter(|slip| !expected.contains(slip))
                    .map_or_else(String::new, |slip| format!(" ({slip})"));
                self.complain(variable, &format!("must be {expected}{hint}"));
                None
            }
        }
    }

    /// Warns of marks in a secret's text that are rather not part of it. A secret may hold anything, so they are no problem.
    pub(super) fn warn_of_slips(&mut self, variable: &str) {
        let Some((text, source)) = self.entry(variable).and_then(|entry| entry.value.clone())
        else {
            return;
        };
        let text = text.as_str();
        let trimmed = text.trim();
        let around = if text.ends_with(['\n', '\r']) {
            Some(
                "it ends with a line end, which is part of the secret (printf writes none, echo does)",
            )
        } else if trimmed.len() < text.len() {
            Some("it has blanks around it, which are part of the secret")
        } else {
            None
        };
        for slip in [around, parse::slip(trimmed)].into_iter().flatten() {
            self.warn(format!("{variable} ({source}): {slip}"));
        }
    }

    /// Records that a variable's value will not do.
    pub(super) fn complain(&mut self, variable: &str, what: &str) {
        let Some(entry) = self.entry(variable) else {
            return;
        };
        let line = match &entry.value {
            Some((text, source)) => {
                format!(
                    "{variable}={} ({source}): {what}",
                    shown_wrong(&entry.row, text)
                )
            }
            None => format!("{variable} is not set: {what}"),
        };
        self.settled.problems.push(Problem::of(variable, line));
    }

    /// Records something the operator should know.
    pub(super) fn warn(&mut self, what: String) {
        self.settled.warnings.push(what);
    }

    /// Whether somebody set it, as against the default.
    pub(super) fn is_explicit(&self, variable: &str) -> bool {
        let value = self.entry(variable).and_then(|entry| entry.value.as_ref());
        value.is_some_and(|(_, source)| *source != Source::Default)
    }

    fn entry(&self, variable: &str) -> Option<&Entry> {
        self.settled
            .entries
            .iter()
            .find(|entry| entry.row.variable == variable)
    }
}
