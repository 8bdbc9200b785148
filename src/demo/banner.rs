//! What `demo` prints when it is ready: lines to paste. Not the log. Invariant: every command stands on one line and is complete in itself,
//! token and address included.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ORGANIZATION;

/// The start banner. `gateway` and `ops` are where the listeners are bound; an unspecified address is shown as loopback, because that
/// is what a browser and curl on this machine need. The tokens speak for [`ORGANIZATION`], the second one as an admin.
pub fn lines(
    gateway: SocketAddr,
    ops: Option<SocketAddr>,
    user_token: &str,
    admin_token: &str,
) -> String {
    let base = format!("http://{}", reachable(gateway));
    let address = reachable(gateway).ip();
    let user = format!("-H 'Authorization: Bearer {user_token}'");
    let admin = format!("-H 'Authorization: Bearer {admin_token}'");
    let json = "-H 'Content-Type: application/json'";
    let commands = [
        (
            "Health of the gateway and both services",
            format!("curl -s {base}/health"),
        ),
        (
            "Log in: the path is public, the demo backend takes any password",
            format!(
                "curl -s {json} -d '{{\"email\":\"you@example.com\",\"password\":\"anything\"}}' {base}/api/v1/auth/login"
            ),
        ),
        (
            "A request with a token; the answer shows what the backend received",
            format!("curl -si {user} '{base}/api/v1/projects?page=2'"),
        ),
        (
            "The same without a token: 401",
            format!("curl -si {base}/api/v1/projects"),
        ),
        (
            "The analyzer",
            format!(
                "curl -s {user} {json} -d '{{\"query\":\"SELECT * FROM orders\"}}' {base}/analyzer/analyze"
            ),
        ),
        (
            "An answer that takes 2 seconds",
            format!("curl -si {user} {base}/api/v1/slow"),
        ),
        (
            "Ten server-sent events, one each half second",
            format!("curl -N {user} {base}/api/v1/events"),
        ),
        (
            "What is left of the limits",
            format!("curl -s {user} {base}/rate-limit/info"),
        ),
        (
            "Run into the limit: some 200, then 429",
            format!(
                "for i in $(seq 130); do curl -s -o /dev/null -w '%{{http_code}}\\n' {user} {base}/api/v1/projects; done | sort | uniq -c"
            ),
        ),
        (
            // Both keys are charged by each request, so both are reset: the address alone would go on refusing.
            "Lift the limits again, as an admin",
            format!(
                "for key in '{{\"organization_id\":{ORGANIZATION}}}' '{{\"ip_address\":\"{address}\"}}'; do curl -s {admin} {json} -d \"$key\" {base}/admin/rate-limit/reset; echo; done"
            ),
        ),
    ];
    let mut banner = format!(
        "DBPower API gateway, demo: {base}\nNothing here is for production. Ctrl-C ends it.\n"
    );
    for (title, command) in commands {
        // Writing to a String cannot fail.
        let _ = write!(banner, "\n# {title}\n{command}\n");
    }
    let _ = write!(banner, "\nAPI documentation   {base}/docs\n");
    if let Some(ops) = ops {
        let _ = writeln!(
            banner,
            "Metrics             http://{}/metrics",
            reachable(ops)
        );
    }
    banner
}

fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        // A dual-stack listener answers on 127.0.0.1 too, but one bound with v6only does not.
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}
