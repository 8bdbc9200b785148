//! Who is trusted and shown to whom: certificates that are listed themselves, certificates of ours towards services,
//! and the renewal of both; the group of keys that both sides agree on. Not what is said afterwards
//! (`e2e_tls_services`). Invariant: what is not trusted any more gets no further request, and every refusal names the
//! setting that would mend it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;
mod support_tls;

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, IsCa, date_time_ymd};
use rustix::process::Signal;
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, NamedGroup, ServerConfig, ServerConnection};
use support::{Gateway, OK, Plan, gateway, until, upstream};
use support_tls::{
    Authority, Issued, Secure, Served, config, config_of, der, goodbye, openssl_req, self_signed,
    service, service_of,
};

const PATH: &str = "/api/v1/open/x";
const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// One worker, so that there is one pool.
fn plan(port: u16, ca: &str) -> Plan {
    gateway()
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .env("GATEWAY_WORKERS", 1)
        .env("BACKEND_URL", format!("https://localhost:{port}"))
        .file("ca.pem", ca)
        .env("UPSTREAM_CA", "ca.pem")
}

fn ok(_head: &str, stream: &mut Served) -> bool {
    stream.write_all(OK.as_bytes()).is_ok()
}

fn hint(gw: &Gateway, words: &str) {
    gw.log_line(words, |line| {
        line.contains("a service's TLS") && line.contains("hint=") && line.contains(words)
    });
}

fn ca_true(params: &mut rcgen::CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

#[test]
fn a_service_is_believed_whose_certificate_is_listed() {
    let san = &["-addext", "subjectAltName=DNS:localhost"][..];
    let leaf = [san, &["-addext", "basicConstraints=critical,CA:FALSE"]].concat();
    for (what, issued) in [
        ("an authority of its own", openssl_req("localhost", san)),
        ("a common name alone", openssl_req("localhost", &[])),
        ("no authority", openssl_req("localhost", &leaf)),
        (
            "another issuer's",
            Authority::new().issue_as(&["localhost"], |_| {}),
        ),
    ] {
        for version in [&TLS12, &TLS13] {
            let port = service_of(&[version], &issued, None, ok);
            // Among others.
            let list = Authority::new().pem() + &issued.cert;
            let gw = plan(port, &list).start();
            let answer = gw.get(PATH).send();
            assert_eq!(answer.status, 200, "{what}: {}", gw.log());
            until("the probe to find it healthy", || {
                gw.get("/health").send().json()["backend_healthy"] == true
            });
        }
    }
}

/// Without `UPSTREAM_CA` the system's list is that list; where it is, `SSL_CERT_FILE` says.
#[test]
fn a_certificate_in_the_systems_list_is_believed_as_well() {
    let issued = openssl_req("localhost", &[]);
    let port = service(&issued, None, ok);
    let gw = plan(port, &issued.cert)
        .without_env("UPSTREAM_CA")
        .env("SSL_CERT_FILE", "ca.pem")
        .start();
    assert_eq!(gw.get(PATH).send().status, 200, "{}", gw.log());
}

#[test]
fn a_listed_certificate_is_believed_within_its_dates_and_for_its_names() {
    let dated = |from: i32, to: i32| {
        self_signed(&["localhost"], |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        })
    };
    // A name where names belong makes the common name worth nothing.
    let other = ["-addext", "subjectAltName=DNS:other.test"];
    let listed = self_signed(&["localhost"], ca_true);
    let of_leaf = {
        let leaf = Authority::leaf();
        (leaf.issue(&["localhost"]), leaf.pem())
    };
    for (what, shown, list, words) in [
        ("the past", dated(2001, 2002), None, "has expired"),
        ("the future", dated(2090, 2091), None, "not valid yet"),
        (
            "a name",
            openssl_req("localhost", &other),
            None,
            "host of the service's URL",
        ),
        (
            "a common name",
            openssl_req("elsewhere", &[]),
            None,
            "host of the service's URL",
        ),
        (
            "an unlisted authority",
            self_signed(&["localhost"], ca_true),
            Some(listed.cert.clone()),
            "UPSTREAM_CA",
        ),
        (
            "an unlisted certificate",
            self_signed(&["localhost"], |_| {}),
            Some(listed.cert),
            "UPSTREAM_CA",
        ),
        (
            "one that is no authority's to issue",
            of_leaf.0,
            Some(of_leaf.1),
            "UPSTREAM_CA",
        ),
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let port = service(&shown, None, move |head, stream| {
            count.fetch_add(1, Relaxed);
            ok(head, stream)
        });
        let gw = plan(port, &list.unwrap_or(shown.cert)).start();
        for _ in 0..3 {
            assert_eq!(gw.get(PATH).send().status, 502, "{what}");
        }
        hint(&gw, words);
        gw.log_line("the probe's words", |line| {
            line.contains("the service is unhealthy") && line.contains(words)
        });
        assert_eq!(asked.load(Relaxed), 0, "{what}");
        let said = gw.log().matches("a service's TLS handshake failed").count();
        assert_eq!(said, 1, "once in ten seconds");
    }
}

#[test]
fn a_service_that_asks_gets_a_certificate_of_ours() {
    let (ca, clients) = (Authority::new(), Authority::new());
    let ours = clients.issue(&["gateway.test"]);
    let strange = Authority::new().issue(&["gateway.test"]);
    for version in [&TLS12, &TLS13] {
        let (tell, told) = channel();
        let tell = Mutex::new(tell);
        let edge = ca.issue(&["localhost"]);
        let port = service_of(&[version], &edge, Some(&clients), move |head, stream| {
            let shown = stream.conn.peer_certificates().unwrap()[0].to_vec();
            tell.lock().unwrap().send(shown).unwrap();
            ok(head, stream)
        });
        let with = |own: &Issued| {
            plan(port, &ca.pem())
                .file("own.crt", &own.cert)
                .file("own.key", &own.key)
                .env("UPSTREAM_CERT", "own.crt")
                .env("UPSTREAM_KEY", "own.key")
        };
        let gw = with(&ours).start();
        assert_eq!(gw.get(PATH).send().status, 200, "{}", gw.log());
        assert!(told.recv().unwrap() == der(&ours));
        until("the probe to find it healthy", || {
            gw.get("/health").send().json()["backend_healthy"] == true
        });
        for plan in [with(&strange), plan(port, &ca.pem())] {
            let gw = plan.start();
            for _ in 0..2 {
                assert_eq!(gw.get(PATH).send().status, 502);
            }
            hint(&gw, "UPSTREAM_CERT");
        }
        assert!(told.try_recv().is_err(), "nobody else was served");
    }
}

#[test]
fn whatever_is_wrong_with_our_certificate_stops_the_start() {
    let (one, two) = (self_signed(&["a"], |_| {}), self_signed(&["b"], |_| {}));
    let check = |cert: Option<&str>, key: Option<&str>, part: &str| {
        let mut plan = plan(1, &one.cert)
            .file("one.crt", &one.cert)
            .file("two.key", &two.key)
            .file("no.pem", "nothing");
        for (name, value) in [("UPSTREAM_CERT", cert), ("UPSTREAM_KEY", key)] {
            if let Some(value) = value {
                plan = plan.env(name, value);
            }
        }
        let ended = plan.run();
        assert_eq!(ended.code(), Some(78), "{}", ended.stderr);
        assert!(ended.stderr.contains(part), "{part} in {}", ended.stderr);
    };
    check(Some("one.crt"), None, "UPSTREAM_KEY is not set");
    check(None, Some("two.key"), "UPSTREAM_CERT is not set");
    let mismatch = "two.key: is not the key of the first certificate in one.crt";
    check(Some("one.crt"), Some("two.key"), mismatch);
    let none = "no.pem: has no PEM certificate";
    check(Some("no.pem"), Some("two.key"), none);
    let gone = "must be a file that can be read";
    check(Some("one.crt"), Some("gone.key"), gone);
}

#[test]
fn what_is_trusted_and_shown_is_renewed_and_old_connections_are_not_used() {
    let (ca, other, clients) = (Authority::new(), Authority::new(), Authority::new());
    let (old, new) = (clients.issue(&["a"]), clients.issue(&["a"]));
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let port = service(&ca.issue(&["localhost"]), Some(&clients), move |head, s| {
        let shown = s.conn.peer_certificates().unwrap()[0].to_vec();
        tell.lock().unwrap().send(shown).unwrap();
        ok(head, s)
    });
    let gw = plan(port, &ca.pem())
        .file("own.crt", &old.cert)
        .file("own.key", &old.key)
        .env("UPSTREAM_CERT", "own.crt")
        .env("UPSTREAM_KEY", "own.key")
        .start();
    let write = |name: &str, text: &str| std::fs::write(gw.path(name), text).unwrap();
    let renewals = || {
        gw.log()
            .matches("certificates for services renewed")
            .count()
    };
    assert_eq!(gw.get(PATH).send().status, 200);
    assert!(told.recv().unwrap() == der(&old));
    // Half a pair, then nothing at all: the old ones hold, and each is said once.
    write("own.crt", &new.cert);
    gw.log_line("the refusal", |line| {
        line.contains("not renewed") && line.contains("UPSTREAM_KEY")
    });
    std::fs::remove_file(gw.path("ca.pem")).unwrap();
    gw.log_line("the refusal", |line| {
        line.contains("not renewed") && line.contains("UPSTREAM_CA")
    });
    assert_eq!(gw.get(PATH).send().status, 200);
    assert!(told.recv().unwrap() == der(&old));
    write("ca.pem", &ca.pem());
    write("own.key", &new.key);
    until("a renewal", || renewals() == 1);
    until("a connection with the new certificate", || {
        assert_eq!(gw.get(PATH).send().status, 200);
        told.recv().unwrap() == der(&new)
    });
    // Another authority, at once by the signal: the pooled connection is as untrusted as a new one.
    write("ca.pem", &other.pem());
    gw.signal(Signal::HUP);
    until("a renewal", || renewals() == 2);
    until("the service to be untrusted", || {
        gw.get(PATH).send().status == 502
    });
    hint(&gw, "UPSTREAM_CA");
    assert_eq!(gw.get(PATH).send().status, 502);
    write("ca.pem", &(other.pem() + &ca.pem()));
    until("it to be trusted again", || {
        gw.get(PATH).send().status == 200
    });
    until("the probe to agree", || {
        gw.get("/health").send().json()["backend_healthy"] == true
    });
}

/// A resumption shows no certificate, so a client that only goes by that would believe it for ever.
#[test]
fn a_service_is_not_believed_past_its_certificate_by_resumption() {
    let ca = Authority::new();
    let issued = ca.issue_as(&["localhost"], support_tls::ends_in(6));
    let resumed = Arc::new(AtomicUsize::new(0));
    let gateways = [&TLS12, &TLS13].map(|version| {
        let count = Arc::clone(&resumed);
        let port = service_of(&[version], &issued, None, move |head, stream| {
            let kind = stream.conn.handshake_kind();
            count.fetch_add(usize::from(kind == Some(HandshakeKind::Resumed)), Relaxed);
            ok(head, stream);
            goodbye(stream);
            false
        });
        plan(port, &ca.pem()).start()
    });
    for gw in &gateways {
        for _ in 0..3 {
            assert_eq!(gw.get(PATH).send().status, 200, "{}", gw.log());
        }
    }
    assert!(resumed.load(Relaxed) >= 2, "connections are resumed");
    for gw in &gateways {
        until("the certificate to end", || {
            gw.get(PATH).send().status == 502
        });
        hint(gw, "has expired");
        assert_eq!(gw.get(PATH).send().status, 502);
        gw.log_line("the probe's words", |line| {
            line.contains("the service is unhealthy") && line.contains("has expired")
        });
    }
}

/// `TLS_CLIENT_CA` follows the same rules.
#[test]
fn a_client_is_believed_whose_certificate_is_listed() {
    let (up, ca) = (upstream(), Authority::new());
    let edge = ca.issue(&["localhost"]);
    let leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
    let issuing = Authority::leaf();
    for (what, own, list, fine) in [
        ("its own authority", openssl_req("device", &[]), None, true),
        ("no authority", openssl_req("device", &leaf), None, true),
        (
            "by an authority",
            ca.issue(&["device"]),
            Some(ca.pem()),
            true,
        ),
        (
            "unlisted",
            openssl_req("device", &[]),
            Some(openssl_req("device", &[]).cert),
            false,
        ),
        (
            "by one that is no authority",
            issuing.issue(&["device"]),
            Some(issuing.pem()),
            false,
        ),
    ] {
        let gw = gateway()
            .backend(&up)
            .unlimited()
            .env("PUBLIC_PATHS", "/api/v1/open/*")
            .file("edge.crt", &edge.cert)
            .file("edge.key", &edge.key)
            .file("clients.pem", list.unwrap_or(own.cert.clone()))
            .env("TLS_CERT", "edge.crt")
            .env("TLS_KEY", "edge.key")
            .env("TLS_CLIENT_CA", "clients.pem")
            .start();
        for version in [&TLS12, &TLS13] {
            up.forget();
            let config = config_of(&[version], &ca, Some(&own));
            let answer = Secure::to(gw.port, "localhost", &config).try_ask(GET);
            assert_eq!(answer.is_ok(), fine, "{what}: {}", gw.log());
            let shown = up.requests().first().map(|seen| {
                let subject = seen.field("x-client-cert-subject");
                subject.map(str::to_owned)
            });
            assert_eq!(shown.is_some_and(|subject| subject.is_some()), fine);
        }
        if !fine {
            gw.log_line("the setting", |line| {
                line.contains("a TLS handshake failed") && line.contains("TLS_CLIENT_CA")
            });
        }
    }
}

#[test]
fn both_sides_agree_on_a_post_quantum_group() {
    let ca = Authority::new();
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let port = service(&ca.issue(&["localhost"]), None, move |head, stream| {
        let group = stream.conn.negotiated_key_exchange_group();
        tell.lock()
            .unwrap()
            .send(group.map(|group| group.name()))
            .unwrap();
        ok(head, stream)
    });
    let edge = ca.issue(&["localhost"]);
    let gw = plan(port, &ca.pem())
        .file("edge.crt", &edge.cert)
        .file("edge.key", &edge.key)
        .env("TLS_CERT", "edge.crt")
        .env("TLS_KEY", "edge.key")
        .start();
    let mut client = Secure::to(gw.port, "localhost", &config(&ca, None));
    until("an answer", || client.ask(GET).contains("200 OK"));
    let wanted = Some(NamedGroup::X25519MLKEM768);
    let group = client.0.conn.negotiated_key_exchange_group();
    assert_eq!(group.map(|group| group.name()), wanted, "at the edge");
    assert_eq!(told.recv().unwrap(), wanted, "towards a service");
}

/// A Redis that nobody trusts will do: the group is agreed on before a certificate is shown.
#[test]
fn a_redis_over_tls_is_offered_a_post_quantum_group() {
    let issued = Authority::new().issue(&["localhost"]);
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let (chain, key) = support_tls::pair(&issued);
    let server = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let up = upstream();
    let _gw = gateway()
        .backend(&up)
        .env("REDIS_ENABLED", true)
        .env("REDIS_URL", format!("rediss://localhost:{port}/0"))
        .start();
    let (mut socket, _) = listener.accept().unwrap();
    let mut connection = ServerConnection::new(server).unwrap();
    let _ = connection.complete_io(&mut socket);
    let group = connection.negotiated_key_exchange_group();
    assert_eq!(
        group.map(|group| group.name()),
        Some(NamedGroup::X25519MLKEM768)
    );
}
