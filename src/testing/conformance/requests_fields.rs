//! Requests: field lines, hop-by-hop fields, expectations, keep-alive. Not framing. Invariant: each row is wrong, or odd, in
//! one way.

use super::Row;

fn fields(count: usize) -> Vec<u8> {
    let mut out = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    for at in 1..count {
        out.extend_from_slice(format!("X-{at}: {at}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn most_fields() -> Vec<u8> {
    fields(100)
}

fn too_many_fields() -> Vec<u8> {
    fields(101)
}

fn head(bytes: usize) -> Vec<u8> {
    let mut out = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
    out.resize(bytes - 4, b'x');
    out.extend_from_slice(b"\r\n\r\n");
    out
}

fn longest_head() -> Vec<u8> {
    head(16 * 1024)
}

fn head_too_long() -> Vec<u8> {
    head(16 * 1024 + 1)
}

fn head_without_end() -> Vec<u8> {
    let mut out = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    while out.len() < 17_000 {
        out.extend_from_slice(b"X: y\r\n");
    }
    out
}

fn name_of_64_kib() -> Vec<u8> {
    let mut out = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    out.resize(out.len() + 65_536, b'x');
    out.extend_from_slice(b": y\r\n\r\n");
    out
}

fn most_options() -> Vec<u8> {
    options(64)
}

fn too_many_options() -> Vec<u8> {
    options(65)
}

fn options(count: usize) -> Vec<u8> {
    let list = vec!["x-a"; count].join(",");
    format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\nConnection: {list}\r\n\r\n").into_bytes()
}

// One row a line, however long: a table is read down its columns.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // Names and values.
    Row::accept("white space around a value", "9112 5.1", b"GET / HTTP/1.1\r\nHost: \t a \t\r\nX:y\r\n\r\n", "GET", "/"),
    Row::accept("empty value", "9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t \r\n\r\n", "GET", "/"),
    Row::accept("colon in a value", "9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX: :b: c\r\n\r\n", "GET", "/"),
    Row::accept("tab inside a value", "9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\tc\r\n\r\n", "GET", "/"),
    Row::accept("obs-text in a value", "9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe4\xff\x80\r\n\r\n", "GET", "/"),
    Row::accept("UTF-8 in a value", "9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\r\n\r\n", "GET", "/"),
    Row::accept("name of all token marks", "9110 5.6.2", b"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~9z: b\r\n\r\n", "GET", "/"),
    Row::accept("repeated field", "9110 5.3", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\nY: c\r\nx: d\r\n\r\n", "GET", "/"),
    Row::accept("names in any case", "9110 5.1", b"GET / HTTP/1.1\r\nhOsT: a\r\ncontent-LENGTH: 1\r\n\r\nb", "GET", "/").body(b"b"),
    Row::accept("one Origin", "6454 7.3", b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n\r\n", "GET", "/"),
    Row::refuse("two Origins", "6454 7.3", b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\nOrigin: https://b.example\r\n\r\n", 400),
    Row::refuse("one Origin twice", "6454 7.3", b"OPTIONS / HTTP/1.1\r\nHost: a\r\norigin: https://a.example\r\nX: y\r\nORIGIN: https://a.example\r\n\r\n", 400),
    Row::refuse("no colon", "9112 5", b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
    Row::refuse("empty name", "9110 5.1", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
    Row::refuse("space ahead of the colon", "9112 5.1", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    Row::refuse("tab ahead of the colon", "9112 5.1", b"GET / HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n", 400),
    Row::refuse("space inside a name", "9110 5.1", b"GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n", 400),
    Row::refuse("separator in a name", "9110 5.1", b"GET / HTTP/1.1\r\nHost: a\r\nX(Y): b\r\n\r\n", 400),
    Row::refuse("obs-text in a name", "9110 5.1", b"GET / HTTP/1.1\r\nHost: a\r\nX\xe4: b\r\n\r\n", 400),
    Row::refuse("control character in a name", "9110 5.1", b"GET / HTTP/1.1\r\nHost: a\r\nX\x01: b\r\n\r\n", 400),
    Row::refuse("folded line by space", "9112 5.2", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
    Row::refuse("folded line by tab", "9112 5.2", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", 400),
    Row::refuse("folded first line", "9112 2.2", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    Row::refuse("folded line of blanks alone", "9112 5.2", b"GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", 400),
    Row::refuse("vertical tab in a value", "9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x0bc\r\n\r\n", 400),
    Row::refuse("form feed in a value", "9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x0cc\r\n\r\n", 400),
    Row::refuse("escape in a value", "9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x1bc\r\n\r\n", 400),
    Row::refuse("DEL in a value", "9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x7fc\r\n\r\n", 400),
    // Bounds.
    Row::accept("most fields", "9110 5.4", b"", "GET", "/").built(most_fields).monoio_differs("monoio-http reads 96 fields"),
    Row::refuse("one field too many", "6585 5", b"", 431).built(too_many_fields),
    Row::accept("longest head", "9110 5.4", b"", "GET", "/").built(longest_head),
    Row::refuse("head one byte too long", "6585 5", b"", 431).built(head_too_long),
    Row::refuse("head without an end", "6585 5", b"", 431).built(head_without_end),
    Row::refuse("name of 64 KiB", "6585 5", b"", 431).built(name_of_64_kib),
    // Connection and what it names.
    Row::accept("Connection: close", "9112 9.6", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET", "/").closes().consumes(&["connection"]),
    Row::accept("Connection: Close, in another case", "9112 9.6", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: ClOsE\r\n\r\n", "GET", "/").closes().consumes(&["connection"]),
    Row::accept("Connection: keep-alive on 1.1", "9112 9.3", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", "GET", "/").consumes(&["connection"]),
    Row::accept("close beats keep-alive", "9112 9.3", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", "GET", "/").closes().consumes(&["connection"]),
    Row::accept("close in a second field", "9112 9.3", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", "GET", "/").closes().consumes(&["connection"]),
    Row::accept("keep-alive on 1.0", "9112 9.3", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET", "/").host("").consumes(&["connection"]).h11_differs("h11 closes behind every 1.0 request"),
    Row::accept("keep-alive on 1.0 in another case", "9112 9.3", b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET", "/").host("").consumes(&["connection"]).h11_differs("h11 closes behind every 1.0 request"),
    Row::accept("Proxy-Connection does not keep 1.0 alive", "9112 C.2.2", b"GET / HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n", "GET", "/").host("").closes().consumes(&["proxy-connection"]),
    Row::accept("Connection names a field", "9110 7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x-secret\r\nX-Secret: b\r\nX-Open: c\r\n\r\n", "GET", "/").consumes(&["connection", "x-secret"]),
    Row::accept("Connection names a field ahead of it", "9110 7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nX-Secret: b\r\nConnection: keep-alive, X-SECRET\r\n\r\n", "GET", "/").consumes(&["connection", "x-secret"]),
    Row::accept("Connection names fields in two lines", "9110 7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x-b\r\nX-B: b\r\nX-C: c\r\nConnection: x-c\r\n\r\n", "GET", "/").consumes(&["connection", "x-b", "x-c"]),
    Row::accept("Connection names a field that is not there", "9110 7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x-none\r\n\r\n", "GET", "/").consumes(&["connection"]),
    Row::accept("Connection with empty elements", "9110 5.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: , ,close,\r\n\r\n", "GET", "/").closes().consumes(&["connection"]),
    Row::accept("empty Connection", "9110 7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection:\r\n\r\n", "GET", "/").consumes(&["connection"]),
    Row::accept("Connection names a field of ours", "9110 7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", "GET", "/").consumes(&["connection", "x-forwarded-for"]),
    Row::accept("Connection names the identity", "9110 7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-User-ID\r\nX-User-ID: 1\r\n\r\n", "GET", "/").consumes(&["connection", "x-user-id"]),
    Row::refuse("Connection names Host", "9110 7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n", 400),
    Row::refuse("Connection names Content-Length", "9110 7.6.1", b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 1\r\n\r\nb", 400),
    Row::refuse("Connection names Authorization", "9110 7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, authorization\r\n\r\n", 400),
    Row::refuse("Connection names Cookie", "9110 7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: COOKIE\r\n\r\n", 400),
    Row::refuse("second Connection names Host", "9110 7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: x,host\r\n\r\n", 400),
    Row::accept("Connection names Transfer-Encoding", "9110 7.6.1", b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n", "POST", "/").body(b"b").consumes(&["connection", "transfer-encoding"]),
    Row::accept("most Connection options", "9110 7.6.1", b"", "GET", "/").built(most_options).consumes(&["connection", "x-a"]),
    Row::refuse("one Connection option too many", "9110 7.6.1", b"", 400).built(too_many_options),
    // Other hop-by-hop fields.
    Row::accept("Keep-Alive", "9110 7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: timeout=5\r\n\r\n", "GET", "/").consumes(&["keep-alive"]),
    Row::accept("Proxy fields", "9110 7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\nProxy-Authenticate: b\r\nProxy-Authorization: c\r\n\r\n", "GET", "/").consumes(&["proxy-connection", "proxy-authenticate", "proxy-authorization"]),
    Row::accept("TE", "9110 10.1.4", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers, deflate;q=0.5\r\n\r\n", "GET", "/").consumes(&["connection", "te"]),
    Row::accept("Trailer", "9110 6.6.2", b"POST / HTTP/1.1\r\nHost: a\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST", "/").consumes(&["trailer", "transfer-encoding"]),
    Row::accept("Upgrade to h2c is ignored", "9110 7.8", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", "GET", "/").consumes(&["connection", "upgrade", "http2-settings"]),
    Row::accept("Upgrade without Connection is ignored", "9110 7.8", b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "GET", "/").consumes(&["upgrade"]),
    // Expectations.
    Row::accept("Expect: 100-continue", "9110 10.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nb", "POST", "/").body(b"b"),
    Row::accept("Expect in another case", "9110 10.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nb", "POST", "/").body(b"b"),
    Row::accept("Expect without a body", "9110 10.1.1", b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", "GET", "/"),
    Row::accept("Expect on 1.0 is ignored", "9110 10.1.1", b"POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nb", "POST", "/").body(b"b").closes().consumes(&["expect"]),
    Row::refuse("another expectation", "9110 10.1.1", b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-maybe\r\n\r\n", 417),
    Row::refuse("two expectations in one", "9110 10.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\nContent-Length: 1\r\n\r\nb", 417),
    Row::refuse("empty expectation", "9110 10.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nExpect:\r\nContent-Length: 1\r\n\r\nb", 417),
];
