//! What is said over TLS at the edge, for long and against the rules: tunnels, event streams, downloads under a renewal, floods of new
//! keys, protocols that are not spoken here. Not certificates and sessions (`e2e_tls`). Invariant: a peer that breaks the rules ends its
//! own connection and costs nobody else anything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#![allow(clippy::disallowed_methods, reason = "openssl is a process")]

mod support;
mod support_tls;
mod support_ws;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use rustix::process::Signal;
use support::{Gateway, Next, Plan, Upstream, gateway, until, upstream};
use support_tls::{Authority, Issued, Secure, config, der};
use tungstenite::Message;
use tungstenite::client::IntoClientRequest as _;

const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn plan(up: &Upstream, issued: &Issued) -> Plan {
    edge(gateway().backend(up), issued)
}

fn edge(plan: Plan, issued: &Issued) -> Plan {
    plan.unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .file("edge.crt", &issued.cert)
        .file("edge.key", &issued.key)
        .env("TLS_CERT", "edge.crt")
        .env("TLS_KEY", "edge.key")
}

fn failures(gw: &Gateway) -> f64 {
    let labels = ["reason=\"tls_handshake\""];
    gw.metric("dbpower_connections_closed_total", &labels)
}

/// What `openssl s_client` shows of a connection on which it is told `lines`, each when what must come before it has come.
fn openssl(gw: &Gateway, args: &[&str], lines: &[(&str, &str)]) -> String {
    let shown = gw.path("openssl.txt");
    let file = std::fs::File::create(&shown).unwrap();
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect"])
        .arg(format!("127.0.0.1:{}", gw.port))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .expect("openssl is installed");
    let mut stdin = child.stdin.take().unwrap();
    let shown = || String::from_utf8_lossy(&std::fs::read(&shown).unwrap()).into_owned();
    for (line, then) in lines {
        let _ = stdin.write_all(line.as_bytes());
        until(then, || shown().contains(then));
    }
    drop(stdin);
    child.wait().unwrap();
    shown()
}

#[test]
fn what_is_not_spoken_here_is_refused_and_said() {
    let (up, ca) = (upstream(), Authority::new());
    let gw = plan(&up, &ca.issue(&["localhost"])).start();
    for (args, shown) in [
        (&["-alpn", "http/1.1"][..], "ALPN protocol: http/1.1"),
        (&["-alpn", "h2,http/1.1"], "ALPN protocol: http/1.1"),
        (
            &["-tls1_2", "-alpn", "h2,http/1.1"],
            "ALPN protocol: http/1.1",
        ),
        (&["-alpn", "http/1.0"], "ALPN protocol: http/1.0"),
        (&[], "No ALPN negotiated"),
    ] {
        let text = openssl(&gw, args, &[]);
        assert!(text.contains(shown), "{args:?}: {text}");
    }
    let before = failures(&gw);
    let old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    for (at, (args, told, logged)) in [
        (
            &["-alpn", "h2"][..],
            "no application protocol",
            "peer doesn't support any known protocol",
        ),
        (
            &["-tls1_2", "-alpn", "h2"],
            "no application protocol",
            "known protocol",
        ),
        (&old, "alert", "peer is incompatible"),
    ]
    .into_iter()
    .enumerate()
    {
        let text = openssl(&gw, args, &[]);
        assert!(text.contains(told), "{args:?}: {text}");
        gw.log_line(logged, |line| {
            line.contains("a TLS handshake failed")
                && line.contains("peer=127.0.0.1")
                && line.contains(logged)
        });
        let expected = before + 1.0 + f64::from(u8::try_from(at).unwrap());
        until("it to be counted", || failures(&gw) >= expected);
    }
    assert_eq!(failures(&gw), before + 3.0);
    let said = gw.log().matches("a TLS handshake failed").count();
    assert!((2..=3).contains(&said), "one of each kind a second: {said}");
}

#[test]
fn a_flood_of_failed_handshakes_is_a_few_lines_with_a_count() {
    const FLOOD: usize = 1_000;
    let (up, ca) = (upstream(), Authority::new());
    let gw = plan(&up, &ca.issue(&["localhost"])).start();
    let before = failures(&gw);
    let ((), took) = support::timed(|| {
        for at in 0..FLOOD {
            let mut socket = TcpStream::connect(("127.0.0.1", gw.port)).unwrap();
            let bytes = [&b"\x00\x01\x02\x03\x04\x05"[..], b"GET / HTTP/1.1\r\n\r\n"];
            socket.write_all(bytes[at % 2]).unwrap();
        }
        let all = before + f64::from(u32::try_from(FLOOD).unwrap());
        until("all to be counted", || failures(&gw) >= all);
    });
    let log = gw.log();
    let lines = || {
        let failed = |line: &&str| line.contains("a TLS handshake failed");
        log.lines().filter(failed)
    };
    let kinds = ["corrupt", "plain HTTP", "left in the middle"];
    let kinds = kinds.iter().filter(|kind| log.contains(**kind)).count();
    let most = kinds * (usize::try_from(took.as_secs()).unwrap() + 2);
    assert!((2..=most).contains(&lines().count()), "{log}");
    // One more of each a second later tells how many were left out.
    until("a line with a count", || {
        let _ = TcpStream::connect(("127.0.0.1", gw.port))
            .unwrap()
            .write_all(b"\0\0\0\0\0\0");
        gw.log().contains("left_out=")
    });
}

#[test]
fn an_unfinished_hello_holds_little_more_than_its_bytes() {
    const COUNT: u64 = 500;
    const BYTES: usize = 12_000;
    let (up, ca) = (upstream(), Authority::new());
    let gw = plan(&up, &ca.issue(&["localhost"])).start();
    assert!(
        Secure::to(gw.port, "localhost", &config(&ca, None))
            .ask(GET)
            .contains("200 OK")
    );
    // A record and a ClientHello of 12,200 bytes, as long as any may be.
    let mut hello = vec![7; BYTES];
    hello[..9].copy_from_slice(&[22, 3, 1, 0x2f, 0xa8, 1, 0, 0x2f, 0xa4]);
    let before = gw.rss_kib();
    let held: Vec<TcpStream> = (0..COUNT)
        .map(|_| {
            let mut socket = TcpStream::connect(("127.0.0.1", gw.port)).unwrap();
            socket.write_all(&hello).unwrap();
            socket
        })
        .collect();
    until("their bytes to be held", || {
        gw.rss_kib() >= before + COUNT * 11
    });
    support::pause(std::time::Duration::from_millis(200));
    let each = (gw.rss_kib() - before) / COUNT;
    assert!(each <= 20, "{each} KiB each");
    // A longer one is refused when it says so.
    hello[6..9].copy_from_slice(&[0, 0x30, 0]);
    let mut longer = TcpStream::connect(("127.0.0.1", gw.port)).unwrap();
    longer.write_all(&hello).unwrap();
    let mut answer = Vec::new();
    longer.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 50]);
    drop(held);
}

#[test]
fn a_client_that_wants_to_negotiate_again_ends_its_own_connection() {
    let (up, ca) = (upstream(), Authority::new());
    let gw = plan(&up, &ca.issue(&["localhost"])).start();
    let mut bystander = Secure::to(gw.port, "localhost", &config(&ca, None));
    assert!(bystander.ask(GET).contains("200 OK"));
    let told = [("", "Verify return code"), ("R\n", "no renegotiation")];
    openssl(&gw, &["-tls1_2"], &told);
    assert!(bystander.ask(GET).contains("200 OK"));
    assert_eq!(gw.metric("dbpower_panics_total", &[]), 0.0);
}

#[test]
fn new_keys_are_taken_and_a_flood_of_them_is_not() {
    let (up, ca) = (upstream(), Authority::new());
    let gw = plan(&up, &ca.issue(&["localhost"])).start();
    let mut client = Secure::to(gw.port, "localhost", &config(&ca, None));
    assert!(client.ask(GET).contains("200 OK"));
    for _ in 0..5 {
        client.0.conn.refresh_traffic_keys().unwrap();
        assert!(client.ask(GET).contains("200 OK"));
    }
    // openssl asks for new keys of ours as well.
    let told = [
        ("", "Verify return code"),
        ("K\n", "KEYUPDATE"),
        (GET, "200 OK"),
    ];
    openssl(&gw, &["-tls1_3"], &told);
    // A peer that sends nothing else, and reads nothing.
    for _ in 0..10_000 {
        if client.0.conn.refresh_traffic_keys().is_err()
            || client.0.conn.write_tls(&mut client.0.sock).is_err()
        {
            break;
        }
    }
    assert!(client.try_ask(GET).is_err() || client.try_ask(GET).is_err());
    assert!(
        Secure::to(gw.port, "localhost", &config(&ca, None))
            .ask(GET)
            .contains("200 OK")
    );
    assert!(gw.peak_kib() < 120_000, "{} KiB", gw.peak_kib());
}

#[test]
fn a_websocket_is_tunnelled_and_a_drain_says_goodbye_on_it() {
    let (echo, ca) = (support_ws::echo(), Authority::new());
    let mut gw = edge(echo.behind(gateway()), &ca.issue(&["localhost"])).start();
    let secure = Secure::to(gw.port, "localhost", &config(&ca, None));
    let request = format!("wss://localhost:{}/api/v1/open/ws", gw.port);
    let request = request.into_client_request().unwrap();
    let (mut socket, _) = tungstenite::client(request, secure.0).unwrap();
    // Over many records and reads, and then one small one at a time.
    for size in [1, 20_000, 1_000_000, 3] {
        let message = Message::Binary(vec![7; size].into());
        socket.send(message.clone()).unwrap();
        assert!(socket.read().unwrap() == message, "{size} bytes");
    }
    // Long enough for both sides to wait with little memory.
    support::pause(std::time::Duration::from_millis(700));
    socket.send(Message::text("still there")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("still there"));
    gw.signal(Signal::TERM);
    let end = socket.read().unwrap();
    let Message::Close(Some(close)) = end else {
        panic!("no close frame: {end:?}")
    };
    assert_eq!(u16::from(close.code), 1001);
    let _ = socket.flush();
    let mut rest = Vec::new();
    let end = socket.get_mut().read_to_end(&mut rest);
    assert!(end.is_ok() && rest.is_empty(), "close_notify: {end:?}");
    assert_eq!(gw.wait_exit().code(), Some(0));
}

#[test]
fn an_event_does_not_wait_for_the_next_one() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let up = upstream().script(move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        for n in 0..20 {
            exchange.send(format!("data: {n}\n\n"));
            // Not before the client has the one before.
            let _ = wait.lock().unwrap().recv_timeout(support::PATIENCE);
        }
        Next::Close
    });
    let ca = Authority::new();
    let gw = plan(&up, &ca.issue(&["localhost"])).start();
    let mut client = Secure::to(gw.port, "localhost", &config(&ca, None));
    client.0.write_all(GET.as_bytes()).unwrap();
    let mut text = String::new();
    for n in 0..20 {
        while !text.contains(&format!("data: {n}\n\n")) {
            let mut piece = [0; 4096];
            let count = client.0.read(&mut piece).expect("the event comes");
            assert!(count > 0, "{text}");
            text += &String::from_utf8_lossy(&piece[..count]);
        }
        go.send(()).unwrap();
    }
    // And the end is told when it comes.
    while !text.ends_with("\r\n0\r\n\r\n") {
        let mut piece = [0; 64];
        let count = client.0.read(&mut piece).expect("the end comes");
        assert!(count > 0, "{text}");
        text += &String::from_utf8_lossy(&piece[..count]);
    }
}

#[test]
fn a_download_goes_on_over_a_renewal() {
    const BYTES: usize = 24 << 20;
    let up = upstream().script(|exchange| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n");
        exchange.answer(head);
        for _ in 0..BYTES / (1 << 20) {
            exchange.send(vec![b'x'; 1 << 20]);
        }
        Next::Keep
    });
    let ca = Authority::new();
    let (old, new) = (ca.issue(&["localhost"]), ca.issue(&["localhost"]));
    let gw = plan(&up, &old).start();
    let mut client = Secure::to(gw.port, "localhost", &config(&ca, None));
    client.0.write_all(GET.as_bytes()).unwrap();
    // The answer has begun, and is longer than what waits in sockets.
    let mut got = client.0.read(&mut [0; 4096]).unwrap();
    std::fs::write(gw.path("edge.crt"), &new.cert).unwrap();
    std::fs::write(gw.path("edge.key"), &new.key).unwrap();
    gw.signal(Signal::HUP);
    until("the new certificate", || {
        let mut probe = Secure::to(gw.port, "localhost", &config(&ca, None));
        let fine = probe.ask("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(fine.contains("200 OK"), "{fine}");
        probe.shown() == der(&new)
    });
    let mut piece = vec![0; 1 << 20];
    while got < BYTES {
        let count = client.0.read(&mut piece).unwrap();
        assert!(count > 0, "cut off after {got}");
        got += count;
    }
    assert_eq!(client.shown(), der(&old));
}

#[test]
fn a_client_that_does_not_read_is_given_up_and_holds_little() {
    let up = upstream().script(|exchange| {
        exchange.answer(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            1 << 30
        ));
        while exchange.send(vec![b'x'; 1 << 20]) {}
        Next::Close
    });
    let ca = Authority::new();
    let gw = plan(&up, &ca.issue(&["localhost"]))
        .env("WRITE_TIMEOUT", "0.5")
        .start();
    let before = gw.metric(
        "dbpower_connections_closed_total",
        &["reason=\"write_timeout\""],
    );
    let stuck: Vec<Secure> = (0..8)
        .map(|_| {
            let mut client = Secure::to(gw.port, "localhost", &config(&ca, None));
            client.0.write_all(GET.as_bytes()).unwrap();
            client.0.flush().unwrap();
            client
        })
        .collect();
    until("all to be given up", || {
        let labels = ["reason=\"write_timeout\""];
        gw.metric("dbpower_connections_closed_total", &labels) >= before + 8.0
    });
    assert!(gw.peak_kib() < 120_000, "{} KiB", gw.peak_kib());
    // What they find when they do read is no whole answer.
    for mut client in stuck {
        let mut sink = Vec::new();
        assert!(client.0.read_to_end(&mut sink).is_err() || sink.len() < 1 << 30);
    }
}

/// curl takes an end without a goodbye for one; rustls does not.
#[test]
fn an_answer_without_a_length_is_whole_with_a_goodbye_and_torn_without() {
    const BYTES: usize = 3_000_000;
    let ca = Authority::new();
    let chunk = format!("{BYTES:x}\r\n{}\r\n", "x".repeat(BYTES));
    for (head, end, whole) in [
        ("", "", true),
        ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n", true),
        ("Transfer-Encoding: chunked\r\n", "", false),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhal", false),
    ] {
        let body = if head.is_empty() {
            "x".repeat(BYTES)
        } else {
            chunk.clone()
        };
        let raw = format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}{end}");
        let up = upstream().answers_and_closes(raw);
        let gw = plan(&up, &ca.issue(&["localhost"])).start();
        let mut client = Secure::to(gw.port, "localhost", &config(&ca, None));
        client
            .0
            .write_all(b"GET /api/v1/open/x HTTP/1.0\r\n\r\n")
            .unwrap();
        client.0.flush().unwrap();
        // Slow at first, so that more waits than the sockets hold.
        support::pause(std::time::Duration::from_millis(100));
        let mut text = Vec::new();
        let read = client.0.read_to_end(&mut text);
        assert_eq!(read.is_ok(), whole, "{head}{end}: {read:?}");
        if whole {
            let at = text
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .unwrap();
            assert_eq!(text.len() - at - 4, BYTES, "{head}");
        }
    }
}
