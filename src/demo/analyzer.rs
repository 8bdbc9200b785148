//! The demo analyzer: four pattern checks on a piece of SQL, and it says that it is no more than that. Not a parser and not a
//! model. Invariant: its answer depends on nothing but the text it was given.

use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};

use super::refusal;

/// Largest request body.
const SQL_BYTES_MAX: usize = 256 * 1024;

/// Something worth saying about a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) rule: &'static str,
    severity: &'static str,
    message: &'static str,
    suggestion: &'static str,
}

const SELECT_STAR: Finding = Finding {
    rule: "select-star",
    severity: "warning",
    message: "SELECT * reads every column, also those nobody uses.",
    suggestion: "Name the columns that you need.",
};
const LEADING_WILDCARD: Finding = Finding {
    rule: "leading-wildcard",
    severity: "warning",
    message: "LIKE with a wildcard in front cannot use an ordinary index.",
    suggestion: "Match from the front, or use a text or trigram index.",
};
const WRITE_WITHOUT_WHERE: Finding = Finding {
    rule: "write-without-where",
    severity: "critical",
    message: "UPDATE or DELETE without WHERE touches every row.",
    suggestion: "Add a WHERE clause, or TRUNCATE if every row is meant.",
};
const UNBOUNDED_SELECT: Finding = Finding {
    rule: "unbounded-select",
    severity: "info",
    message: "SELECT from a table without WHERE or LIMIT reads the whole table.",
    suggestion: "Add WHERE or LIMIT.",
};

/// The base path is free: the gateway may be told `http://ai-analyzer:8001` or `…:8001/api/v1`, so only the path's end counts.
pub(super) fn router() -> Router {
    Router::new().fallback(answer)
}

async fn answer(method: Method, uri: Uri, request: Request) -> Response {
    if !uri.path().ends_with("/analyze") {
        return refusal(StatusCode::NOT_FOUND, "The demo analyzer has no such path");
    }
    if method != Method::POST {
        return refusal(StatusCode::METHOD_NOT_ALLOWED, "Send the SQL with POST");
    }
    let Ok(body) = axum::body::to_bytes(request.into_body(), SQL_BYTES_MAX).await else {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "The SQL is at most 256 KiB");
    };
    let fields = serde_json::from_slice::<Value>(&body).unwrap_or(Value::Null);
    // The documented name first; the others are what people try.
    let Some(sql) = ["sql_query", "query", "sql"]
        .iter()
        .find_map(|key| fields.get(key)?.as_str())
    else {
        let message = r#"Send {"sql_query": "SELECT …", "database_type": "postgresql"}"#;
        return refusal(StatusCode::BAD_REQUEST, message);
    };
    let findings = analyze(sql);
    let database = fields.get("database_type").and_then(Value::as_str);
    Json(json!({
        "service": "demo-ai-analyzer",
        "demo": true,
        "note": "Pattern checks of a demo, not the analysis of a real service.",
        "sql_query": sql,
        "database_type": database,
        "statements": words(sql).split(|word| word == ";").filter(|words| !words.is_empty()).count(),
        "findings": findings,
    }))
    .into_response()
}

/// What the checks find in `sql`, statement by statement, each rule at most once.
pub(super) fn analyze(sql: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for statement in words(sql).split(|word| word == ";") {
        for (finding, applies) in [
            (SELECT_STAR, selects_star(statement)),
            (LEADING_WILDCARD, leading_wildcard(statement)),
            (WRITE_WITHOUT_WHERE, writes_all(statement)),
            (UNBOUNDED_SELECT, reads_all(statement)),
        ] {
            if applies && !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    findings
}

fn selects_star(statement: &[String]) -> bool {
    statement.windows(2).any(|pair| {
        let [before, star] = pair else { return false };
        star == "*" && (before == "SELECT" || before == "DISTINCT" || before == "ALL")
    })
}

fn leading_wildcard(statement: &[String]) -> bool {
    statement.windows(2).any(|pair| {
        let [like, pattern] = pair else { return false };
        (like == "LIKE" || like == "ILIKE")
            && (pattern.starts_with("'%") || pattern.starts_with("'_"))
    })
}

fn writes_all(statement: &[String]) -> bool {
    let writes = statement
        .first()
        .is_some_and(|verb| verb == "UPDATE" || verb == "DELETE");
    writes && !has(statement, "WHERE")
}

fn reads_all(statement: &[String]) -> bool {
    let reads = statement.first().is_some_and(|verb| verb == "SELECT") && has(statement, "FROM");
    reads
        && !["WHERE", "LIMIT", "FETCH", "TOP"]
            .iter()
            .any(|word| has(statement, word))
}

fn has(statement: &[String], word: &str) -> bool {
    statement.iter().any(|found| found == word)
}

/// Splits SQL into upper-case words, single marks, and string literals (kept as written after one quote, so that a keyword
/// inside a literal is not taken for one). Comments vanish.
pub(super) fn words(sql: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '\'' | '"' => {
                let inside = rest.get(1..).unwrap_or("");
                let length = inside.find(first).map_or(rest.len(), |end| end + 2);
                found.push(rest.get(..length).unwrap_or(rest).to_owned());
                length
            }
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            letter if letter.is_alphanumeric() || letter == '_' => {
                let length = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                found.push(rest.get(..length).unwrap_or(rest).to_uppercase());
                length
            }
            blank if blank.is_whitespace() => blank.len_utf8(),
            mark => {
                found.push(mark.to_string());
                mark.len_utf8()
            }
        };
        rest = rest.get(taken..).unwrap_or("");
    }
    found
}
