//! What `demo` prints when it is ready: lines to paste. Not the log. Invariant: every command stands on one line and is
//! complete in itself, token and address included.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ORGANIZATION;

/// (what it shows, the command). Names in angle brackets, which no token contains, are filled in. URLs are quoted because an
/// IPv6 address has square brackets, which some shells would expand.
const COMMANDS: [(&str, &str); 11] = [
    (
        "Health of the gateway and both services",
        "curl -s '<BASE>/health'",
    ),
    (
        "Log in: the path is public, and the demo backend takes any password",
        r#"curl -s <JSON> -d '{"email":"you@example.com","password":"anything"}' '<BASE>/api/v1/auth/login'"#,
    ),
    (
        "A request with a token; the answer shows what the backend received",
        "curl -si <USER> '<BASE>/api/v1/projects?page=2'",
    ),
    (
        "The same without a token: 401",
        "curl -si '<BASE>/api/v1/projects'",
    ),
    (
        "The analyzer",
        r#"curl -s <USER> <JSON> -d '{"sql_query":"SELECT * FROM orders","database_type":"postgresql"}' '<BASE>/analyzer/analyze'"#,
    ),
    (
        "An answer that takes 2 seconds",
        "curl -si <USER> '<BASE>/api/v1/slow'",
    ),
    (
        "Ten server-sent events, one each half second",
        "curl -sN <USER> '<BASE>/api/v1/events'",
    ),
    (
        "A WebSocket for two seconds: the handshake's answer, and what the backend says first",
        r"curl -siN --max-time 2 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' <USER> '<BASE>/api/v1/ws' | tr -cd '[:print:]\n'",
    ),
    (
        "What is left of the limits: 120 at most, and 100 a minute come back",
        "curl -s <USER> '<BASE>/rate-limit/info'",
    ),
    (
        "Run into the limit: first 200, then 429",
        r"for i in $(seq 130); do curl -s -o /dev/null -w '%{http_code}\n' <USER> '<BASE>/api/v1/projects'; done | sort | uniq -c",
    ),
    (
        // Each request is charged to both keys, so both are reset: either alone would go on refusing.
        "Lift the limits again, as an admin",
        r#"for key in '{"organization_id":<ORG>}' '{"ip_address":"<IP>"}'; do curl -s <ADMIN> <JSON> -d "$key" '<BASE>/admin/rate-limit/reset'; echo; done"#,
    ),
];

/// The start banner. `gateway` and `ops` are where the listeners are bound; an unspecified address is shown as loopback,
/// because that is what a browser and curl on this machine need. The tokens speak for [`ORGANIZATION`], the second as an admin.
pub fn lines(
    gateway: SocketAddr,
    ops: Option<SocketAddr>,
    user_token: &str,
    admin_token: &str,
) -> String {
    let gateway = reachable(gateway);
    let fill = [
        ("<BASE>", format!("http://{gateway}")),
        ("<ORG>", ORGANIZATION.to_string()),
        ("<IP>", gateway.ip().to_string()),
        ("<JSON>", "-H 'Content-Type: application/json'".to_owned()),
        ("<USER>", format!("-H 'Authorization: Bearer {user_token}'")),
        (
            "<ADMIN>",
            format!("-H 'Authorization: Bearer {admin_token}'"),
        ),
    ];
    let mut banner = format!(
        "DBPower API gateway, demo: http://{gateway}\nNothing here is for production. Ctrl-C ends it.\n"
    );
    for (title, template) in COMMANDS {
        let mut command = template.to_owned();
        for (name, text) in &fill {
            command = command.replacen(name, text, 1);
        }
        // Writing to a String cannot fail.
        let _ = write!(banner, "\n# {title}\n{command}\n");
    }
    let _ = write!(banner, "\nAPI documentation   http://{gateway}/docs\n");
    if let Some(ops) = ops {
        let ops = reachable(ops);
        let _ = writeln!(banner, "Metrics             http://{ops}/metrics");
    }
    banner
}

fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        // Not 127.0.0.1: a listener bound with v6only does not answer there.
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, bound.port())
}
