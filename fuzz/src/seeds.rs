//! The first inputs of each target: the bytes of the conformance rows, and some that lead behind the routes. Not kept in the
//! repository: a new row is a new seed. Invariant: seeds are written only where `FUZZ_SEEDS` names a directory.

use std::path::PathBuf;

use dbpower_gateway::testing::conformance::{requests, responses};

/// Paths on both sides of every door.
const PATHS: &[&str] = &[
    "/api/v1",
    "/api/v1/items?page=1",
    "/api/v1/auth/login",
    "/api/v1/auth/refresh",
    "/api/v1/public/a/b",
    "/api/v1/public/../auth/login",
    "/api/v1/a/./b/../c",
    "/api/v1/%2e%2e/v1/x",
    "/api/v1/..;/x",
    "/api/v1/a%2fb%5cc",
    "/api/v1/a%252fb",
    "/api/v1/a%00b",
    "/api/v1//x",
    "/api/v1/a;b=c/d",
    "/api/v1/%c0%ae%c0%ae/x",
    "/api/v1/a\\..\\b",
    "/analyzer",
    "/analyzer/analyze",
    "/analyzer?x",
    "/analyzer/%2e/x",
    "/analyzer//x/../y",
    "/analyzer/../api/v1/x",
    "/health",
    "/docs/..",
];

/// Fields that a client may try to be somebody with.
const FIELDS: &str = "X-User-ID: 1\r\nx_organization_id: 2\r\nX-User-Role: admin\r\nX-Forwarded-For: 10.0.0.2\r\n\
    X-Forwarded-Host: b\r\nForwarded: for=10.0.0.3\r\nX-Real-IP: 10.0.0.4\r\nTrue_Client_IP: 10.0.0.5\r\n\
    X-Request-ID: c\r\nConnection: close, X-A, TE\r\nX-A: b\r\nTE: trailers\r\nKeep-Alive: 1\r\nCookie: d\r\n\
    Authorization: Bearer TOKEN\r\nX-Forwarded-Prefix: /e\r\nAccept: */*\r\n";

/// Writes seeds into `FUZZ_SEEDS` if that is set.
pub fn write(seeds: impl Iterator<Item = Vec<u8>>) {
    let Some(directory) = std::env::var_os("FUZZ_SEEDS").map(PathBuf::from) else {
        return;
    };
    for (number, seed) in seeds.enumerate() {
        let file = directory.join(format!("seed-{number:04}"));
        std::fs::write(&file, seed).expect("FUZZ_SEEDS is a directory that can be written");
    }
}

pub fn request_heads() -> impl Iterator<Item = Vec<u8>> {
    requests().map(|row| row.bytes.bytes())
}

pub fn response_heads() -> impl Iterator<Item = Vec<u8>> {
    responses().map(|row| row.bytes.bytes())
}

/// The bodies of all chunked rows.
pub fn chunked() -> impl Iterator<Item = Vec<u8>> {
    request_heads().chain(response_heads()).filter_map(|bytes| {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = bytes[..end].to_ascii_lowercase();
        let is_chunked = head.windows(7).any(|window| window == b"chunked");
        is_chunked.then(|| bytes[end..].to_vec())
    })
}

pub fn whole_paths() -> impl Iterator<Item = Vec<u8>> {
    let behind_routes = PATHS.iter().flat_map(|path| {
        let plain = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let forged =
            format!("POST {path} HTTP/1.1\r\nHost: a\r\n{FIELDS}Content-Length: 3\r\n\r\nabc");
        let socket = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: bearer, TOKEN, chat\r\n\r\n"
        );
        [plain, forged, socket].map(String::into_bytes)
    });
    // The rows ask for `/` mostly, which nobody serves: the same below a route.
    let rows = request_heads().flat_map(|bytes| {
        let moved = bytes
            .windows(2)
            .position(|window| window == b" /")
            .map(|at| [&bytes[..=at], b"/api/v1", &bytes[at + 1..]].concat());
        std::iter::once(bytes).chain(moved)
    });
    behind_routes.chain(rows)
}
