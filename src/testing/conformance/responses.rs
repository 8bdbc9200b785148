//! Responses of an upstream. Not our own answers, and not all framing (`responses_body`). Invariant: a 502 row is wrong in one way;
//! the upstream closes behind each row.

use super::ResponseRow as Row;

fn fields(count: usize) -> Vec<u8> {
    let mut out = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n".to_vec();
    for at in 1..count {
        out.extend_from_slice(format!("X-{at}: {at}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn most_fields() -> Vec<u8> {
    fields(200)
}

fn too_many_fields() -> Vec<u8> {
    fields(201)
}

fn head(bytes: usize) -> Vec<u8> {
    let mut out = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ".to_vec();
    out.resize(bytes - 4, b'x');
    out.extend_from_slice(b"\r\n\r\n");
    out
}

fn longest_head() -> Vec<u8> {
    head(64 * 1024)
}

fn head_too_long() -> Vec<u8> {
    head(64 * 1024 + 1)
}

fn head_without_end() -> Vec<u8> {
    let mut out = b"HTTP/1.1 200 OK\r\n".to_vec();
    out.extend_from_slice(&b"X: y\r\n".repeat(12_000));
    out
}

/// Responses by their heads, bodies and interim ones.
// One row a line, however long: a table is read down its columns.
#[rustfmt::skip]
pub const RESPONSES: &[Row] = &[
    // Bodies.
    Row::relay("length", "9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
    Row::relay("length 0", "9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    Row::relay("chunks", "9112 7.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200, b"hi"),
    Row::relay("chunks with extension and trailer", "9112 7.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;x\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n", 200, b"hi"),
    Row::relay("until close", "9112 6.3", b"HTTP/1.1 200 OK\r\n\r\nhi", 200, b"hi").once(),
    Row::relay("until close, empty", "9112 6.3", b"HTTP/1.1 200 OK\r\n\r\n", 200, b"").once(),
    Row::relay("1.0 until close", "9112 6.3", b"HTTP/1.0 200 OK\r\n\r\nhi", 200, b"hi").once(),
    Row::relay("1.0 with length", "9112 9.3", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi").once(),
    Row::relay("1.0 kept alive", "9112 9.3", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
    Row::relay("close", "9112 9.6", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi").once(),
    Row::relay("204", "9112 6.3", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    Row::relay("204 with length 0", "9110 8.6", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, b""),
    Row::relay("204 that announces a body", "9112 6.3", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, b"").once(),
    Row::relay("304", "9112 6.3", b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", 304, b""),
    Row::relay("304 with the length of a 200", "9110 8.6", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
    Row::relay("HEAD with length", "9110 9.3.2", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, b"").to_head(),
    Row::relay("HEAD with coding", "9112 6.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, b"").to_head(),
    Row::relay("HEAD with neither", "9110 9.3.2", b"HTTP/1.1 200 OK\r\n\r\n", 200, b"").to_head(),
    Row::relay("error status", "9110 15.6.1", b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno", 500, b"no"),
    Row::relay("status of nobody's registry", "9110 15", b"HTTP/1.1 299 Fine\r\nContent-Length: 0\r\n\r\n", 299, b""),
    // First lines.
    Row::relay("no reason", "9112 4", b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 200, b""),
    Row::relay("no reason and no space", "9112 4", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b""),
    Row::relay("reason with obs-text", "9112 4", b"HTTP/1.1 200 \xe4\r\nContent-Length: 0\r\n\r\n", 200, b""),
    Row::bad("reason with a control character", "9112 4", b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("not HTTP", "9112 4", b"hello\r\n\r\n"),
    Row::bad("nothing", "9112 8", b""),
    Row::bad("half a head", "9112 8", b"HTTP/1.1 200 OK\r\nContent-Le"),
    Row::bad("HTTP/2.0", "9112 2.3", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("version in lower case", "9112 2.3", b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("empty line ahead", "9112 2.2", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("status of two digits", "9112 4", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("status of four digits", "9112 4", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("status below 100", "9110 15", b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("status over 599", "9110 15", b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("two spaces ahead of the status", "9112 4", b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("unasked 101", "9110 7.8", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
    // Field lines.
    Row::relay("repeated field", "9110 5.3", b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\nSet-Cookie: b=2\r\n\r\n", 200, b""),
    Row::relay("obs-text in a value", "9110 5.5", b"HTTP/1.1 200 OK\r\nX: \xe4\r\nContent-Length: 0\r\n\r\n", 200, b""),
    Row::bad("bare LF everywhere", "9112 2.2", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    Row::bad("bare LF behind the status line", "9112 2.2", b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"),
    Row::bad("bare LF behind a field", "9112 2.2", b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 0\r\n\r\n"),
    Row::bad("bare CR in a value", "9112 2.2", b"HTTP/1.1 200 OK\r\nX: y\rz\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("NUL in a value", "9110 5.5", b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("folded line", "9112 5.2", b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("space ahead of the colon", "9112 5.1", b"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("no colon", "9112 5", b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("empty name", "9110 5.1", b"HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 0\r\n\r\n"),
    Row::bad("Connection names Content-Length", "9110 7.6.1", b"HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 0\r\n\r\n"),
    Row::relay("most fields", "9110 5.4", b"", 200, b"").built(most_fields),
    Row::bad("one field too many", "9110 5.4", b"").built(too_many_fields),
    Row::relay("longest head", "9110 5.4", b"", 200, b"").built(longest_head),
    Row::bad("head one byte too long", "9110 5.4", b"").built(head_too_long),
    Row::bad("head without an end", "9110 5.4", b"").built(head_without_end),
    // Framing.
    Row::bad("length and coding", "9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    Row::bad("length and coding to HEAD", "9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n").to_head(),
    Row::bad("two different lengths", "9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!"),
    Row::bad("two equal lengths", "9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi"),
    Row::bad("list of lengths", "9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi"),
    Row::bad("length with a sign", "9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi"),
    Row::bad("empty length", "9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhi"),
    Row::bad("length over 2^64", "9110 8.6", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nhi"),
    Row::bad("unknown coding", "9112 6.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi"),
    Row::bad("gzip ahead of chunked", "9112 6.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    Row::bad("two codings", "9112 6.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    Row::bad("coding on 1.0", "9112 6.1", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    // Bodies that break off.
    Row::broken("short of its length", "9112 8", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", 200),
    Row::broken("closed within a chunk", "9112 8", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi", 200),
    Row::broken("closed without the last chunk", "9112 8", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", 200),
    Row::broken("closed within the trailers", "9112 8", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n", 200),
    Row::broken("bad chunk size", "9112 7.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n", 200),
    Row::broken("bare LF behind a chunk", "9112 7.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\n0\r\n\r\n", 200),
    // Interim responses.
    Row::relay("100 ahead", "9110 15.2.1", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi").after(1),
    Row::relay("103 and 103 ahead", "8297 2", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"").after(2),
    Row::relay("102 ahead", "9110 15.2", b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"").after(1),
    Row::bad("100 alone is not an answer", "9110 15.2", b"HTTP/1.1 100 Continue\r\n\r\n"),
    Row::bad("100 with a body behind", "9112 6.3", b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    // Bytes nobody asked for: the rule is in the pool (never reused), the message itself is whole.
    Row::relay("bytes behind the body", "9112 9.2", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n", 200, b"hi"),
    Row::relay("a body behind 304", "9112 6.3", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", 304, b""),
    Row::relay("a body behind HEAD", "9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"").to_head(),
];
