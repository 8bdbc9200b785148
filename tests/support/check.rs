//! What holds for every answer of the gateway, whatever asked for it. Not what particular endpoints say. Invariant: a check
//! fails with the value that it did not like.

use super::Answer;

/// What DESIGN.md promises of every response; the request had an `Origin`.
pub fn check_own_fields(answer: &Answer) {
    let time = answer.must("x-response-time");
    let millis = time.strip_suffix("ms").unwrap_or_else(|| panic!("{time}"));
    let (whole, part) = millis.split_once('.').unwrap_or_else(|| panic!("{time}"));
    assert!(
        whole.parse::<u64>().is_ok() && part.len() == 2 && part.parse::<u64>().is_ok(),
        "{time}"
    );
    assert!(!answer.must("x-request-id").is_empty());
    assert_eq!(answer.must("access-control-allow-origin"), "*");
    assert!(answer.must("date").ends_with(" GMT"));
}

/// A refusal: its status, JSON with two texts, and the fields of every answer.
pub fn check_error(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    check_own_fields(answer);
    assert!(answer.must("content-type").starts_with("application/json"));
    let body = answer.json();
    assert!(body["error"].is_string(), "{body}");
    body["message"]
        .as_str()
        .unwrap_or_else(|| panic!("{body}"))
        .to_owned()
}
