//! Runs Python's h11, an HTTP/1.1 parser that shares no code with ours, over many messages in one process. Not a judge.
//! Invariant: it runs or the test fails; a machine without Python or without a way to the package index is told so.

pub mod drive;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// The release that the tables' `h11_differs` reasons were written against.
const H11: &str = "h11==0.16.0";

/// One message for h11.
pub struct Question<'q> {
    pub name: &'q str,
    pub bytes: &'q [u8],
    /// `request`, `response`, or `response to HEAD`.
    pub kind: &'q str,
}

/// The answers, one JSON object a question, in their order.
pub fn ask(questions: &[Question<'_>]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support_h11/h11_oracle.py");
    let mut child = Command::new(python())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the venv's python runs");
    let mut lines = String::new();
    for question in questions {
        let line =
            json!({"name": question.name, "kind": question.kind, "hex": hex(question.bytes)});
        lines.push_str(&format!("{line}\n"));
    }
    // Python reads all of its input before it writes, so neither side waits for the other's pipe.
    let mut input = child.stdin.take().expect("stdin is piped");
    input.write_all(lines.as_bytes()).expect("the oracle reads");
    drop(input);
    let output = child.wait_with_output().expect("the oracle ends");
    assert!(
        output.status.success(),
        "the oracle failed: {}",
        output.status
    );
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let answers: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect();
    assert_eq!(answers.len(), questions.len());
    answers
}

/// The bytes of a hex string of an answer.
pub fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("a hex string").as_bytes();
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("hex is ASCII");
        u8::from_str_radix(text, 16).expect("hex digits")
    };
    text.chunks(2).map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The interpreter of a virtual environment with h11, made on first use.
fn python() -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("h11-venv");
    let python = venv.join("bin/python");
    let ready = |python: &Path| {
        let version = "import h11,sys; sys.exit('h11==' + h11.__version__ != sys.argv[1])";
        let check = Command::new(python)
            .args(["-c", version, H11])
            .stderr(Stdio::null())
            .status();
        check.is_ok_and(|status| status.success())
    };
    if !ready(&python) {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&venv));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", H11]));
    }
    assert!(ready(&python), "{H11} is installed but does not load");
    python
}

fn run(command: &mut Command) {
    let status = command.status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{command:?} gave {status:?}: the second opinion on HTTP needs python3 with venv, and pip a way to {H11}"
    );
}
