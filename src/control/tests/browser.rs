//! The documentation pages in a real browser with no way out: what it shows, and that it complains of nothing. Skipped, aloud,
//! where there is no Chromium.

use std::io::Read;
use std::process::{Command, Stdio};

use super::super::ops;
use super::*;

const BROWSERS: [&str; 3] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
];

/// Serves the operations port's router on a thread, for as long as the test runs.
fn serve() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let stage = stage(|_| {});
        runtime().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            ops::serve(listener, stage.routers.ops).await;
        });
    });
    port
}

/// What the browser made of a page: its document as text, and what it wrote to its log.
fn browse(browser: &str, url: &str) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let mut child = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args([
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
            "--virtual-time-budget=20000",
            "--timeout=60000",
        ])
        // Any name but the test's own address leads nowhere: nothing can come from outside.
        .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom", url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = log.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let output = child.wait_with_output().unwrap();
    let document = String::from_utf8_lossy(&output.stdout).into_owned();
    (document, reader.join().unwrap())
}

#[test]
fn a_browser_shows_both_pages_and_loads_nothing_else() {
    let Some(browser) = BROWSERS
        .iter()
        .find(|path| std::path::Path::new(path).exists())
    else {
        eprintln!("skipped: there is no Chromium here");
        return;
    };
    let port = serve();
    for path in ["/docs", "/redoc"] {
        let (document, log) = browse(browser, &format!("http://127.0.0.1:{port}{path}"));
        // The bundles are scripts; what they made of the document is outside of them.
        let shown = without_scripts(&document);
        for endpoint in ["/rate-limit/info", "/admin/rate-limit/reset", "/health"] {
            assert!(
                shown.contains(endpoint),
                "{path} does not show {endpoint}: {shown:.2000}\n{log}"
            );
        }
        for load in ["src=\"http", "url(http", "url(&quot;http"] {
            assert!(!shown.contains(load), "{path} loads something: {load}");
        }
        let complaints: Vec<&str> = log
            .lines()
            .filter(|line| {
                line.contains("CONSOLE")
                    && (line.contains("Refused")
                        || line.contains("violates")
                        || line.contains("Failed to load"))
            })
            .collect();
        assert!(complaints.is_empty(), "{path}: {complaints:#?}");
    }
}

fn without_scripts(document: &str) -> String {
    let mut shown = String::new();
    let mut rest = document;
    while let Some((before, script)) = rest.split_once("<script>") {
        shown.push_str(before);
        rest = script
            .split_once("</script>")
            .map_or("", |(_, after)| after);
    }
    shown + rest
}
