//! Responses whose lengths, codings and chunks are wrong: as strict as with a request's. Not their heads otherwise (`responses`).
//! Invariant: a row is wrong in one way; the upstream closes behind each row.

use super::ResponseRow as Row;

fn chunked(body: &[u8]) -> Vec<u8> {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n";
    [head, body].concat()
}

fn extension_too_long() -> Vec<u8> {
    let extension = [b'x'; 1025];
    chunked(&[b"1;", &extension[..], b"\r\n!\r\n0\r\n\r\n"].concat())
}

fn extensions_too_long_together() -> Vec<u8> {
    let chunk = [b"1;", &[b'x'; 1000][..], b"\r\n!\r\n"].concat();
    chunked(&[chunk.repeat(17), b"0\r\n\r\n".to_vec()].concat())
}

fn trailers_too_long() -> Vec<u8> {
    chunked(
        &[
            b"0\r\n".to_vec(),
            b"X: y\r\n".repeat(2_000),
            b"\r\n".to_vec(),
        ]
        .concat(),
    )
}

// One row a line, however long: a table is read down its columns.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    Row::bad("length over 2^63", "9110 8.6", b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775809\r\n\r\nhi"),
    Row::bad("length in hex", "9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nhi"),
    Row::bad("length with a blank inside", "9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\nhi"),
    Row::bad("bad length to HEAD", "9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\n").to_head(),
    Row::bad("bad length of a 304", "9112 6.3", b"HTTP/1.1 304 Not Modified\r\nContent-Length: -1\r\n\r\n"),
    Row::bad("coding behind a space", "9112 5.2", b"HTTP/1.1 200 OK\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    Row::bad("chunked with a parameter", "9112 7", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    Row::broken("chunk size over 2^64", "9112 7.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n10000000000000001\r\n!\r\n0\r\n\r\n", 200),
    Row::broken("data longer than its size", "9112 7.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi!\r\n0\r\n\r\n", 200),
    Row::broken("a response where a size should be", "9112 7.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
    Row::broken("extension too long", "9112 7.1.1", b"", 200).built(extension_too_long).h11_differs("h11 bounds neither extensions nor trailers that come at once"),
    Row::broken("extensions too long together", "9112 7.1.1", b"", 200).built(extensions_too_long_together).h11_differs("h11 bounds neither extensions nor trailers that come at once"),
    Row::broken("trailers too long", "9112 7.1.2", b"", 200).built(trailers_too_long).h11_differs("h11 bounds neither extensions nor trailers that come at once"),
];
