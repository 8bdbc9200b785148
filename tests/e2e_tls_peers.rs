//! Client certificates at the edge, services behind TLS, the health check of a TLS port, and what is wrong with the files. Not the
//! edge itself (`e2e_tls`). Invariant: who is not who it must be gets nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;
mod support_tls;
mod support_ws;

use std::sync::Arc;

use base64::Engine as _;
use rcgen::DnType;
use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use support::{Plan, Upstream, gateway, upstream};
use support_tls::{Authority, Issued, Secure, config, config_of, der};
use tungstenite::Message;
use tungstenite::client::IntoClientRequest as _;

const FORGED: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: localhost\r\nClient-Cert: :AAAA:\r\n\
    client_cert: :AAAA:\r\nClient-Cert-Chain: :AAAA:\r\nX-Client-Cert-Subject: CN=root\r\n\
    x_client_cert-subject: CN=root\r\n\r\n";

const HEALTH: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// rcgen's names begin with a common name of its own, which is replaced.
const SUBJECT: &str = "O=Example\\, Inc.,CN=device-7\\0D\\0AX-User-ID: 1";

fn plan(up: &Upstream) -> Plan {
    gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
}

fn edge(plan: Plan, issued: &Issued) -> Plan {
    plan.file("edge.crt", &issued.cert)
        .file("edge.key", &issued.key)
        .env("TLS_CERT", "edge.crt")
        .env("TLS_KEY", "edge.key")
}

#[test]
fn a_client_certificate_reaches_the_service_and_an_inbound_copy_does_not() {
    let (up, ca, clients) = (upstream(), Authority::new(), Authority::new());
    let known = clients.issue_as(&["client.test"], |params| {
        let name = &mut params.distinguished_name;
        name.push(DnType::OrganizationName, "Example, Inc.");
        name.push(DnType::CommonName, "device-7\r\nX-User-ID: 1");
    });
    let stranger = Authority::new().issue(&["client.test"]);
    for required in [true, false] {
        let gw = edge(plan(&up), &ca.issue(&["localhost"]))
            .file("clients.pem", clients.pem())
            .env("TLS_CLIENT_CA", "clients.pem")
            .env(
                "TLS_CLIENT_AUTH",
                if required { "required" } else { "optional" },
            )
            .start();
        let ask_with =
            |config: &Arc<ClientConfig>| Secure::to(gw.port, "localhost", config).try_ask(FORGED);
        let ask = |own: Option<&Issued>| ask_with(&config(&ca, own));
        let expected = base64::engine::general_purpose::STANDARD.encode(der(&known));
        // The second time its ticket speaks for it.
        let same = config(&ca, Some(&known));
        for _ in 0..2 {
            assert!(ask_with(&same).unwrap().contains("200 OK"));
            let seen = up.last();
            assert_eq!(
                seen.field("client-cert"),
                Some(format!(":{expected}:").as_str())
            );
            assert_eq!(seen.field("x-client-cert-subject"), Some(SUBJECT));
            for name in [
                "client-cert-chain",
                "client_cert",
                "x_client_cert-subject",
                "x-user-id",
            ] {
                assert_eq!(seen.field(name), None, "{name}");
            }
        }
        let resumed = gw.metric("dbpower_tls_handshakes_total", &["kind=\"resumed\""]);
        assert_eq!(resumed, 1.0);
        up.forget();
        assert!(
            ask(Some(&stranger)).is_err(),
            "an authority that nobody named"
        );
        let refused = |what: &str| {
            gw.log_line("the refusal", |line| {
                line.contains("a TLS handshake failed") && line.contains(what)
            })
        };
        refused("UnknownIssuer");
        match ask(None) {
            Ok(answer) => {
                assert!(!required && answer.contains("200 OK"), "{answer}");
                assert_eq!(up.only().field("client-cert"), None);
                assert_eq!(up.only().field("x-client-cert-subject"), None);
            }
            Err(_) => {
                assert!(required && up.requests().is_empty());
                refused("no certificates");
            }
        }
        // The health check has no certificate, and the gateway is well.
        let check = edge(plan(&up), &ca.issue(&["localhost"]))
            .env("GATEWAY_PORT", gw.port)
            .arg("healthcheck")
            .run();
        assert_eq!(check.code(), Some(0), "{}", check.stderr);
    }
}

/// One end, seen by a connection that stands, a tunnel, and everybody who comes back with a ticket.
#[test]
fn a_client_certificate_ends_wherever_it_speaks() {
    let (echo, ca, clients) = (support_ws::echo(), Authority::new(), Authority::new());
    let gateways = ["required", "optional"].map(|auth| {
        edge(
            echo.behind(gateway()).unlimited(),
            &ca.issue(&["localhost"]),
        )
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .file("clients.pem", clients.pem())
        .env("TLS_CLIENT_CA", "clients.pem")
        .env("TLS_CLIENT_AUTH", auth)
        .start()
    });
    // Time for a dozen handshakes; the tunnels tell when it is over.
    let ending = clients.issue_as(&["client.test"], support_tls::ends_in(8));
    let mut standing = Vec::new();
    for gw in &gateways {
        for version in [&TLS12, &TLS13] {
            let config = config_of(&[version], &ca, Some(&ending));
            let open = || Secure::to(gw.port, "localhost", &config);
            let mut first = open();
            assert!(first.ask(HEALTH).contains("200 OK"), "{}", gw.log());
            let mut again = open();
            assert!(again.ask(HEALTH).contains("200 OK"));
            let kind = again.0.conn.handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Resumed), "{version:?}");
            let request = format!("wss://localhost:{}/api/v1/open/ws", gw.port);
            let request = request.into_client_request().unwrap();
            let (mut tunnel, _) = tungstenite::client(request, open().0).unwrap();
            tunnel.send(Message::text("still there")).unwrap();
            assert_eq!(tunnel.read().unwrap(), Message::text("still there"));
            standing.push((gw, config, first, tunnel));
        }
    }
    for (gw, config, mut first, mut tunnel) in standing {
        let end = tunnel.read().unwrap();
        let Message::Close(Some(close)) = end else {
            panic!("no close frame: {end:?}")
        };
        assert_eq!(u16::from(close.code), 1008);
        assert_eq!(close.reason.as_str(), "Client certificate has expired");
        // One that stood gets no further answer, but an end that is said.
        assert_eq!(first.try_ask(HEALTH).unwrap(), "");
        // And its ticket does not speak for it any more.
        let refused = Secure::to(gw.port, "localhost", &config).try_ask(HEALTH);
        let why = refused.expect_err("the gateway's refusal").to_string();
        assert!(why.contains("CertificateExpired"), "{why}");
        gw.log_line("the reason", |line| {
            line.contains("a TLS handshake failed") && line.contains("has expired")
        });
    }
    for gw in &gateways {
        let labels = ["reason=\"certificate_expired\""];
        let closed = gw.metric("dbpower_connections_closed_total", &labels);
        assert_eq!(closed, 4.0, "two that stood and two tunnels");
    }
}

#[test]
fn a_session_does_not_outlive_the_authority_of_its_client() {
    let (up, ca) = (upstream(), Authority::new());
    let (old, new) = (Authority::new(), Authority::new());
    let (of_old, of_new) = (old.issue(&["client.test"]), new.issue(&["client.test"]));
    let gw = edge(plan(&up), &ca.issue(&["localhost"]))
        .file("clients.pem", old.pem())
        .env("TLS_CLIENT_CA", "clients.pem")
        .start();
    let configs = [&TLS12, &TLS13].map(|version| config_of(&[version], &ca, Some(&of_old)));
    for config in &configs {
        for _ in 0..2 {
            let mut client = Secure::to(gw.port, "localhost", config);
            assert!(client.ask(HEALTH).contains("200 OK"));
        }
    }
    let resumed = || gw.metric("dbpower_tls_handshakes_total", &["kind=\"resumed\""]);
    assert_eq!(resumed(), 2.0);
    std::fs::write(gw.path("clients.pem"), new.pem()).unwrap();
    gw.signal(Signal::HUP);
    gw.log_line("the renewal", |line| line.contains("certificates renewed"));
    for config in &configs {
        let refused = Secure::to(gw.port, "localhost", config).try_ask(HEALTH);
        assert!(refused.is_err(), "{refused:?}");
    }
    assert_eq!(resumed(), 2.0);
    let mut client = Secure::to(gw.port, "localhost", &config(&ca, Some(&of_new)));
    assert!(client.ask(HEALTH).contains("200 OK"));
}

#[test]
fn a_health_check_speaks_tls_to_a_tls_port() {
    let (up, ca) = (upstream(), Authority::new());
    let issued = ca.issue(&["localhost"]);
    let gw = edge(plan(&up), &issued).start();
    let check = |plan: Plan| plan.env("GATEWAY_PORT", gw.port).arg("healthcheck").run();
    let tls = check(edge(plan(&up), &issued));
    assert_eq!(tls.code(), Some(0), "{}", tls.stderr);
    assert_eq!(
        check(plan(&up)).code(),
        Some(1),
        "plain HTTP gets no answer"
    );
}

/// A gateway with an edge is as good a service as any.
#[test]
fn a_service_over_tls_is_believed_by_its_authority_and_its_name() {
    let (up, ca) = (upstream(), Authority::new());
    let service = edge(plan(&up), &ca.issue(&["localhost"])).start();
    let front = |host: &str, authority: &Authority| {
        plan(&up)
            .env("BACKEND_URL", format!("https://{host}:{}", service.port))
            .file("ca.pem", authority.pem())
            .env("UPSTREAM_CA", "ca.pem")
            .start()
    };
    let gw = front("localhost", &ca);
    for _ in 0..5 {
        let answer = gw.post("/api/v1/open/x").body("x".repeat(100_000)).send();
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        assert_eq!(up.last().body.len(), 100_000);
    }
    let events = |event: &str| {
        gw.metric(
            "dbpower_upstream_events_total",
            &["service=\"backend\"", &format!("event=\"{event}\"")],
        )
    };
    assert!(events("reused") >= 1.0, "connections are kept");
    support::until("the probe to find it healthy", || {
        gw.get("/health").send().json()["status"] == "healthy"
            || gw.log().contains("the service is healthy")
    });
    for (host, authority) in [("localhost", &Authority::new()), ("127.0.0.1", &ca)] {
        let gw = front(host, authority);
        let answer = gw.get("/api/v1/open/x").send();
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert!(answer.text().contains("TLS"), "{}", answer.text());
        gw.log_line("why", |line| line.contains("TLS handshake failed"));
    }
}

#[test]
fn whatever_is_wrong_with_the_files_is_said_at_once() {
    let (ca, up) = (Authority::new(), upstream());
    let (one, two) = (ca.issue(&["a"]), ca.issue(&["b"]));
    let ended = plan(&up)
        .file("one.crt", &one.cert)
        .file("two.key", &two.key)
        .file("no.pem", "nothing")
        .env("TLS_CERT", "one.crt,missing.crt,no.pem")
        .env("TLS_KEY", "two.key,missing.key,no.pem")
        .env("TLS_CLIENT_CA", "no.pem")
        .env("TLS_CLIENT_AUTH", "required")
        .env("UPSTREAM_CA", "missing.pem")
        .run();
    assert_eq!(ended.code(), Some(78));
    for part in [
        "two.key: is not the key of the first certificate in one.crt",
        "missing.crt: cannot be read",
        "missing.key: cannot be read",
        "no.pem: has no PEM certificate",
        "no.pem: has no PEM private key",
        "missing.pem: cannot be read",
    ] {
        assert!(ended.stderr.contains(part), "{part} in {}", ended.stderr);
    }
    for (name, value, part) in [
        ("TLS_CERT", "one.crt", "TLS_KEY is not set"),
        ("TLS_KEY", "two.key", "TLS_CERT is not set"),
        ("TLS_CLIENT_CA", ".env", "a file that can be read"),
        ("TLS_CLIENT_AUTH", "maybe", "optional or required"),
        ("HANDSHAKE_TIMEOUT", "0", "HANDSHAKE_TIMEOUT"),
    ] {
        let ended = plan(&up).env(name, value).run();
        assert!(ended.stderr.contains(part), "{part} in {}", ended.stderr);
    }
}
