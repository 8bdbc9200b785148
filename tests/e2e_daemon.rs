//! The process as a daemon: signals that must not end it, warnings that an operator needs, what it shows of itself, where the demo
//! listens. Not draining (see `e2e_process`). Invariant: nothing but SIGTERM, SIGINT and SIGQUIT ends it, and a warning comes once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;
mod support_tls;

use std::net::{Ipv4Addr, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use rustix::process::Signal;
use support::{Gateway, Next, OK, Plan, Upstream, gateway, token, until, upstream};
use support_tls::{Authority, Issued, Secure, config, der};

const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n\r\n";

const HARMLESS: [Signal; 3] = [Signal::HUP, Signal::USR1, Signal::USR2];

fn plan(up: &Upstream) -> Plan {
    gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
}

/// Lines of the log that hold this.
fn lines(gw: &Gateway, part: &str) -> Vec<String> {
    let log = gw.log();
    let found = log.lines().filter(|line| line.contains(part));
    found.map(str::to_owned).collect()
}

#[test]
fn no_other_signal_ends_it_from_its_first_line_on() {
    let up = upstream();
    let mut gw = plan(&up).spawn();
    gw.log_line("the first one", |line| line.contains("gateway starts"));
    for signal in HARMLESS {
        gw.signal(signal);
    }
    until("readiness", || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, gw.ops_port)).is_ok()
            && gw.ops("/readyz").status == 200
    });
    let mut wire = gw.wire();
    for signal in HARMLESS {
        gw.signal(signal);
        assert_eq!(wire.send(GET).answer().status, 200, "{signal:?}");
    }
    gw.log_line("what SIGHUP did", |line| line.contains("SIGHUP"));
    assert!(gw.running());
    gw.signal(Signal::TERM);
    assert_eq!(gw.wait_exit().code(), Some(0));
}

#[test]
fn sigquit_drains_and_a_sighup_meanwhile_loses_nothing() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let up = upstream().script(move |exchange| {
        let _ = wait.lock().unwrap().recv_timeout(support::PATIENCE);
        exchange.answer(OK)
    });
    let mut gw = plan(&up).start();
    let mut wire = gw.wire();
    wire.send(GET);
    up.wait_requests(1);
    gw.signal(Signal::QUIT);
    until("readiness to be taken back", || {
        gw.ops("/readyz").status == 503
    });
    for signal in HARMLESS {
        gw.signal(signal);
    }
    assert!(gw.running());
    drop(go);
    let answer = wire.answer();
    assert_eq!((answer.status, answer.says_close()), (200, true));
    assert_eq!(gw.wait_exit().code(), Some(0));
    // A second one ends it at once, as of SIGTERM.
    let stuck = upstream().script(|_| {
        support::pause(std::time::Duration::from_secs(20));
        Next::Close
    });
    let mut gw = plan(&stuck).start();
    let mut wire = gw.wire();
    wire.send(GET);
    stuck.wait_requests(1);
    gw.signal(Signal::TERM);
    until("readiness to be taken back", || {
        gw.ops("/readyz").status == 503
    });
    gw.signal(Signal::QUIT);
    assert_eq!(gw.wait_exit().code(), Some(1));
}

#[test]
fn a_proxy_that_nobody_trusts_is_spoken_of_once() {
    const WARNING: &str = "all clients behind it share one limit";
    let up = upstream();
    for name in ["X-Forwarded-For", "Forwarded", "X-Real-IP"] {
        let gw = plan(&up).start();
        assert_eq!(gw.get("/api/v1/open/x").send().status, 200);
        assert!(lines(&gw, WARNING).is_empty(), "nobody said anything");
        for n in 0..20 {
            let value = if name == "Forwarded" {
                format!("for=203.0.113.{n}")
            } else {
                format!("203.0.113.{n}")
            };
            let ask = gw.get("/api/v1/open/x").field(name, &value);
            assert_eq!(ask.send().status, 200);
        }
        let line = gw.log_line("the warning", |line| line.contains(WARNING));
        for part in ["WARNING", "TRUSTED_PROXIES", "127.0.0.1"] {
            assert!(line.contains(part), "{line}");
        }
        assert!(!line.contains("203.0.113"), "{line}");
        assert_eq!(lines(&gw, WARNING).len(), 1, "{name}: {}", gw.log());
    }
    let trusted = plan(&up).env("TRUSTED_PROXIES", "127.0.0.0/8").start();
    for _ in 0..5 {
        let ask = trusted.get("/api/v1/open/x");
        ask.field("X-Forwarded-For", "203.0.113.9").send();
    }
    assert!(lines(&trusted, WARNING).is_empty(), "{}", trusted.log());
}

fn edge(up: &Upstream, own: &Issued) -> Plan {
    plan(up)
        .file("edge.crt", &own.cert)
        .file("edge.key", &own.key)
        .env("TLS_CERT", "edge.crt")
        .env("TLS_KEY", "edge.key")
}

fn ends(ca: &Authority, year: i32) -> Issued {
    ca.issue_as(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
    })
}

#[test]
fn an_expired_certificate_is_warned_of_and_a_renewed_one_is_not() {
    let (up, ca) = (upstream(), Authority::new());
    let gw = edge(&up, &ends(&ca, 2021)).start();
    let line = gw.log_line("the warning", |line| {
        line.contains("the certificate has expired ")
    });
    for part in ["WARNING", "TLS_CERT", "edge.crt", "days ago"] {
        assert!(line.contains(part), "{line}");
    }
    let good = ends(&ca, 2090);
    std::fs::write(gw.path("edge.crt"), &good.cert).unwrap();
    std::fs::write(gw.path("edge.key"), &good.key).unwrap();
    gw.signal(Signal::HUP);
    until("the new certificate", || {
        gw.log().contains("certificates renewed")
    });
    let mut client = Secure::to(gw.port, "localhost", &config(&ca, None));
    assert!(client.ask(GET).contains(" 200 "));
    assert_eq!(lines(&gw, "the certificate ").len(), 1, "{}", gw.log());
}

#[test]
fn a_certificate_file_that_is_gone_keeps_the_old_one() {
    let (up, ca) = (upstream(), Authority::new());
    let own = ca.issue(&["localhost"]);
    for gone in ["edge.crt", "edge.key"] {
        let mut gw = edge(&up, &own).start();
        std::fs::remove_file(gw.path(gone)).unwrap();
        let line = gw.log_line("the warning", |line| line.contains("not renewed"));
        for part in ["WARNING", gone, "cannot be read", "the old ones are kept"] {
            assert!(line.contains(part), "{line}");
        }
        let mut client = Secure::to(gw.port, "localhost", &config(&ca, None));
        assert!(client.ask(GET).contains(" 200 "));
        assert_eq!(client.shown(), der(&own));
        // And when it is back, it is taken again.
        let new = ca.issue(&["localhost"]);
        std::fs::write(gw.path("edge.crt"), &new.cert).unwrap();
        std::fs::write(gw.path("edge.key"), &new.key).unwrap();
        until("the new certificate", || {
            let mut client = Secure::to(gw.port, "localhost", &config(&ca, None));
            assert!(client.ask(GET).contains(" 200 "));
            client.shown() == der(&new)
        });
        assert!(gw.running());
    }
}

#[test]
fn a_dotenv_that_cannot_be_read_and_is_not_needed_is_a_warning() {
    let up = upstream();
    // A folder of that name: permissions would not stop a test that runs as root.
    let gw = plan(&up).folder(".env").start();
    let folder = gw.path("").display().to_string();
    let line = gw.log_line("the warning", |line| line.contains(".env in "));
    for part in ["WARNING", folder.trim_end_matches('/'), "cannot be read"] {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(gw.get("/api/v1/open/x").send().status, 200);
    let needed = plan(&up).folder(".env").without_env("JWT_SECRET_KEY").run();
    assert_eq!(needed.code(), Some(78));
    let said: Vec<&str> = needed.stderr.lines().collect();
    assert!(
        said.len() == 2 && said[0].contains(".env in ") && said[1].contains("JWT_SECRET_KEY"),
        "{said:?}"
    );
}

#[test]
fn without_details_the_public_port_shows_no_url_and_no_version() {
    let up = upstream();
    let version = env!("CARGO_PKG_VERSION");
    let hidden = plan(&up).env("HEALTH_DETAILS", "false").start();
    let health = hidden.get("/health").send();
    assert_eq!(health.status, 200);
    let members: Vec<String> = health.json().as_object().unwrap().keys().cloned().collect();
    for name in ["status", "service", "redis", "backend_healthy", "driver"] {
        assert!(members.iter().any(|member| member == name), "{members:?}");
    }
    for name in ["version", "backend", "ai_analyzer"] {
        assert!(members.iter().all(|member| member != name), "{members:?}");
    }
    for path in ["/health", "/livez", "/readyz", "/openapi.json"] {
        let text = hidden.get(path).send().text();
        assert!(!text.contains("127.0.0.1:"), "{path}: {text}");
        assert!(!text.contains(&format!("\"{version}\"")), "{path}: {text}");
    }
    let shown = plan(&up).start();
    for health in [hidden.ops("/health"), shown.get("/health").send()] {
        let health = health.json();
        assert_eq!(health["version"], version);
        assert_eq!(health["backend"], up.url());
        assert_eq!(health["ai_analyzer"], "http://127.0.0.1:1");
    }
    assert_eq!(
        shown.get("/openapi.json").send().json()["info"]["version"],
        version
    );
}

#[test]
fn the_demo_listens_on_loopback_unless_somebody_says_otherwise() {
    let demo = |plan: Plan| {
        let plan = plan
            .without_env("JWT_SECRET_KEY")
            .without_env("BACKEND_URL")
            .without_env("AI_ANALYZER_URL")
            .without_env("REDIS_ENABLED");
        plan.arg("demo").start()
    };
    // Another loopback address: it belongs to this machine, and 127.0.0.1 alone does not answer for it.
    let reaches = |gw: &Gateway| TcpStream::connect((Ipv4Addr::new(127, 0, 0, 2), gw.port)).is_ok();
    let bare = demo(gateway().without_env("GATEWAY_HOST"));
    assert!(!reaches(&bare));
    assert!(bare.wire().serves_another());
    for named in [
        gateway().env("GATEWAY_HOST", "0.0.0.0"),
        gateway()
            .without_env("GATEWAY_HOST")
            .args(&["--gateway-host", "0.0.0.0"]),
        gateway()
            .without_env("GATEWAY_HOST")
            .file(".env", "GATEWAY_HOST=0.0.0.0\n"),
    ] {
        assert!(reaches(&demo(named)));
    }
    // The gateway itself listens as configured.
    assert!(reaches(&gateway().without_env("GATEWAY_HOST").start()));
}

#[test]
fn an_encoded_secret_is_the_issuers_key() {
    // What JHipster keeps in its configuration: base64 of the key's bytes.
    let key = "a key of more than thirty-two bytes, as bytes";
    let encoded = "YSBrZXkgb2YgbW9yZSB0aGFuIHRoaXJ0eS10d28gYnl0ZXMsIGFzIGJ5dGVz";
    let hex: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
    let up = upstream();
    for (encoding, secret, accepted) in [
        ("base64", encoded, true),
        ("base64url", encoded, true),
        ("hex", &hex, true),
        ("text", encoded, false),
    ] {
        let plan = plan(&up)
            .env("JWT_SECRET_KEY", secret)
            .env("JWT_SECRET_ENCODING", encoding);
        let gw = plan.clone().start();
        let issued = token().org(7).secret(key);
        let status = gw.get("/api/v1/x").bearer(&issued).send().status;
        assert_eq!(status, if accepted { 200 } else { 401 }, "{encoding}");
        let mint = plan.clone().args(&["token", "mint", "--org", "8"]).run();
        let minted = mint.stdout.trim();
        assert_eq!(gw.get("/api/v1/x").bearer_text(minted).send().status, 200);
        let why = plan.args(&["token", "why", &issued.mint()]).run();
        assert_eq!(why.code() == Some(0), accepted, "{}", why.stdout);
        let hint = "hint: it matches with JWT_SECRET_ENCODING=base64";
        assert_eq!(why.stdout.contains(hint), !accepted, "{}", why.stdout);
    }
    let wrong = plan(&up).env("JWT_SECRET_ENCODING", "hex").run();
    assert_eq!(wrong.code(), Some(78));
    assert!(
        wrong.stderr.contains("hexadecimal digits"),
        "{}",
        wrong.stderr
    );
}
