//! Requests: `Content-Length`, `Transfer-Encoding`, chunks, trailers, pipelining. The classics of request smuggling are here.
//! Invariant: each row is wrong, or odd, in one way.

use super::Row;

const SMUGGLED: &[u8] = b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n";

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut out = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    out.extend_from_slice(body);
    out
}

fn extension(len: usize) -> Vec<u8> {
    let mut line = b"1;".to_vec();
    line.resize(1 + len, b'x');
    line.extend_from_slice(b"\r\nb\r\n");
    line
}

fn longest_extension() -> Vec<u8> {
    chunked(&[extension(1024), b"0\r\n\r\n".to_vec()].concat())
}

fn extension_too_long() -> Vec<u8> {
    chunked(&[extension(1025), b"0\r\n\r\n".to_vec()].concat())
}

fn extensions_too_long_together() -> Vec<u8> {
    chunked(&[extension(1000).repeat(17), b"0\r\n\r\n".to_vec()].concat())
}

fn trailers(bytes: usize) -> Vec<u8> {
    let mut body = b"0\r\nX-A: ".to_vec();
    // The bytes counted are the trailer line, its CRLF and the final CRLF.
    body.resize(3 + bytes - 4, b'b');
    body.extend_from_slice(b"\r\n\r\n");
    chunked(&body)
}

fn trailers_too_long() -> Vec<u8> {
    trailers(8193)
}

fn trailers_without_end() -> Vec<u8> {
    chunked(&[b"0\r\n".to_vec(), b"X: y\r\n".repeat(2000)].concat())
}

// One row a line, however long: a table is read down its columns.
#[rustfmt::skip]
pub(super) const LENGTH_ROWS: &[Row] = &[
    Row::accept("length", "9112 6.2", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nb c", "POST", "/").body(b"b c"),
    Row::accept("length 0", "9112 6.2", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "POST", "/"),
    Row::accept("length with leading zeros", "9110 8.6", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 003\r\n\r\nb c", "POST", "/").body(b"b c"),
    Row::accept("length with white space around", "9112 5.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t3 \r\n\r\nb c", "POST", "/").body(b"b c"),
    Row::accept("length on 1.0", "9112 6.3", b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\n\r\nb", "POST", "/").body(b"b").closes(),
    Row::accept("no length, no body", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", "POST", "/"),
    Row::accept("GET with a body", "9110 9.3.1", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nb", "GET", "/").body(b"b"),
    Row::accept("HEAD with a body", "9110 9.3.2", b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nb", "HEAD", "/").body(b"b"),
    Row::accept("DELETE with chunks", "9110 9.3.5", b"DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n", "DELETE", "/").body(b"b"),
    Row::accept("a request as a body stays a body", "9112 6.2", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 28\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n\r\n", "GET", "/").body(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n").rest(b"\r\n"),
    Row::refuse("length with a plus", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nb", 400),
    Row::refuse("length with a minus", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nb", 400),
    Row::refuse("length in hex", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nb", 400),
    Row::refuse("length with hex digits", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: a\r\n\r\n0123456789", 400),
    Row::refuse("length with a blank inside", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\n01234567890", 400),
    Row::refuse("length with a fraction", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1.0\r\n\r\nb", 400),
    Row::refuse("length with an exponent", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1e1\r\n\r\n0123456789", 400),
    Row::refuse("length with an underscore", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n0123456789", 400),
    Row::refuse("length in quotes", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \"1\"\r\n\r\nb", 400),
    Row::refuse("length of letters", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: one\r\n\r\nb", 400),
    Row::refuse("length with a semicolon", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1;2\r\n\r\nb", 400),
    Row::refuse("length in digits of another script", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xd9\xa1\r\n\r\nb", 400),
    Row::refuse("empty length", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
    Row::refuse("list of equal lengths", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nb", 400),
    Row::refuse("list of different lengths", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\nbc", 400),
    Row::refuse("two equal lengths", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nb", 400),
    Row::refuse("two different lengths", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 28\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("two lengths, one empty", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\nContent-Length: 1\r\n\r\nb", 400),
    Row::refuse("length over 2^63", "9110 8.6", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775809\r\n\r\n", 400),
    Row::refuse("length over 2^64", "9110 8.6", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\nb", 400),
    Row::refuse("length of very many digits", "9110 8.6", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999999999999999999999999\r\n\r\nb", 400),
    Row::refuse("folded length", "9112 5.2", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 1\r\n\r\nb", 400),
    Row::refuse("length with a space ahead of its colon", "9112 5.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\nb", 400),
    Row::refuse("length with a NUL behind", "9110 5.5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\0\r\n\r\nb", 400),
    // Both, and codings in disguise.
    Row::refuse("CL.TE", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX", 400),
    Row::refuse("TE.CL", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("CL 0 and TE", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("CL.TE on GET", "9112 6.1", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("length by another name to CGI", "3875 4.1.18", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent_Length: 2\r\n\r\nb", 400),
    Row::refuse("coding by another name to CGI", "3875 4.1.18", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("length by a name with a dot", "3875 4.1.18", b"POST / HTTP/1.1\r\nHost: a\r\nContent.Length: 1\r\n\r\nb", 400),
    Row::refuse("coding by a name with a mark", "3875 4.1.18", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer!Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("coding by another name alone", "3875 4.1.18", b"GET / HTTP/1.1\r\nHost: a\r\ntransfer_encoding: chunked\r\n\r\n", 400),
    Row::refuse("TE.TE", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("two equal codings", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("chunked twice in a list", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("chunked not last", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("chunked ahead of identity", "9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("chunked with an empty element", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("empty coding", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", 400),
    Row::refuse("empty coding with a length", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\nContent-Length: 1\r\n\r\nb", 400),
    Row::refuse("gzip ahead of chunked", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    Row::refuse("gzip alone", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    Row::refuse("identity", "9112 7", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501),
    Row::refuse("xchunked", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    Row::refuse("chunkedx", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n", 501),
    Row::refuse("chunked in quotes", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 501),
    Row::refuse("chunked with a parameter", "9112 7", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 501),
    Row::refuse("two words of coding", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x chunked\r\n\r\n0\r\n\r\n", 501),
    Row::refuse("chunked with obs-text", "9112 6.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n", 501),
    Row::refuse("chunked behind a vertical tab", "9110 5.5", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("coding with a space ahead of its colon", "9112 5.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("coding behind a space", "9112 5.2", b"POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("folded coding", "9112 5.2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("coding behind a bare LF", "9112 2.2", b"POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("coding behind a bare CR", "9112 2.2", b"POST / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("coding on 1.0", "9112 6.1", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    Row::refuse("coding and length on 1.0", "9112 6.1", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    Row::accept("coding in capitals", "9112 7", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n1\r\nb\r\n0\r\n\r\n", "POST", "/").body(b"b"),
    Row::accept("coding with white space around", "9112 5.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\t chunked \t\r\n\r\n1\r\nb\r\n0\r\n\r\n", "POST", "/").body(b"b"),
    Row::accept("field that only looks like the coding", "9110 5.1", b"POST / HTTP/1.1\r\nHost: a\r\nX-Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\nb", "POST", "/").body(b"b"),
];

// One row a line, however long: a table is read down its columns.
#[rustfmt::skip]
pub(super) const CHUNK_ROWS: &[Row] = &[
    Row::accept("no chunk but the last", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST", "/").consumes(&["transfer-encoding"]),
    Row::accept("two chunks", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nb c\r\n2\r\nde\r\n0\r\n\r\n", "POST", "/").body(b"b cde"),
    Row::accept("size in either case", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "POST", "/").body(b"01234567890123456789"),
    Row::accept("size with leading zeros", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0000000000000001\r\nb\r\n00\r\n\r\n", "POST", "/").body(b"b"),
    Row::accept("line ends and zeros as data", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "POST", "/").body(b"\r\n0\r\n\r\n"),
    Row::accept("extension", "9112 7.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\nb\r\n0;z\r\n\r\n", "POST", "/").body(b"b"),
    Row::accept("extension with a quoted string", "9112 7.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=\"y;z\"\r\nb\r\n0\r\n\r\n", "POST", "/").body(b"b"),
    Row::accept("white space around an extension", "9112 7.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 ; x = y\r\nb\r\n0\r\n\r\n", "POST", "/").body(b"b").h11_differs("h11 refuses white space ahead of an extension"),
    Row::accept("longest extension", "9112 7.1.1", b"", "POST", "/").body(b"b").built(longest_extension),
    Row::torn("extension too long", "9112 7.1.1", b"").built(extension_too_long),
    Row::torn("extensions too long together", "9112 7.1.1", b"").built(extensions_too_long_together),
    Row::torn("extension with a bare LF", "9112 7.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x\nb\r\n0\r\n\r\n"),
    Row::torn("extension with a bare CR", "9112 7.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x\ry\r\nb\r\n0\r\n\r\n"),
    Row::torn("extension with a NUL", "9112 7.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\0\r\nb\r\n0\r\n\r\n"),
    Row::torn("extension with a line end in quotes", "9112 7.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=\"\r\n\"\r\n0\r\n\r\n"),
    Row::accept("extension with an escaped quote", "9112 7.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=\"\\\"y\\\\\"\r\nb\r\n0\r\n\r\n", "POST", "/").body(b"b"),
    Row::torn("extension with its quote escaped open", "9112 7.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=\"\\\"\r\nb\r\n0\r\n\r\n"),
    Row::torn("white space alone behind a size", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\nb\r\n0\r\n\r\n"),
    Row::torn("white space ahead of a size", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\nb\r\n0\r\n\r\n"),
    Row::torn("empty size", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nb\r\n0\r\n\r\n"),
    Row::torn("extension without a size", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n;x\r\nb\r\n0\r\n\r\n"),
    Row::torn("size of other letters", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\ng\r\nb\r\n0\r\n\r\n"),
    Row::torn("size with 0x", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nb\r\n0\r\n\r\n"),
    Row::torn("size with a plus", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\nb\r\n0\r\n\r\n"),
    Row::torn("size with a minus", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nb\r\n0\r\n\r\n"),
    Row::torn("size with an underscore", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0_1\r\nb\r\n0\r\n\r\n"),
    Row::torn("size over 2^64", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\nb\r\n0\r\n\r\n"),
    Row::torn("size of seventeen digits, zeros ahead", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000001\r\nb\r\n0\r\n\r\n"),
    Row::torn("size over 2^63", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nb\r\n0\r\n\r\n"),
    Row::torn("size line with a bare LF", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\nb\r\n0\r\n\r\n"),
    Row::torn("size line with CR and another", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\rXb\r\n0\r\n\r\n"),
    Row::torn("data longer than its size", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nbc\r\n0\r\n\r\n"),
    Row::torn("data with two bytes for its CRLF", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nbXX0\r\n\r\n"),
    Row::torn("data shorter than its size", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nb\r\n0\r\n\r\n"),
    Row::torn("data ended by a bare LF", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\n0\r\n\r\n"),
    Row::torn("data without an end", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb0\r\n\r\n"),
    Row::torn("a request where a size should be", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"),
    // Trailers.
    Row::accept("trailer", "9112 7.1.2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nX-Sum: 1\r\n\r\n", "POST", "/").body(b"b").trailers(b"X-Sum: 1\r\n"),
    Row::accept("two trailers, one forbidden", "9110 6.5.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\nX-Sum: 1\r\n\r\n", "POST", "/").trailers(b"X-Sum: 1\r\n"),
    Row::accept("trailers of framing are dropped", "9110 6.5.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\nTrailer: x\r\nConnection: close\r\n\r\n", "POST", "/"),
    Row::accept("trailers of routing are dropped", "9110 6.5.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=b\r\nX-Real-IP: 1\r\n\r\n", "POST", "/"),
    Row::accept("trailers of framing by another name are dropped", "3875 4.1.18", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent_Length: 3\r\ntransfer_encoding: b\r\nX: y\r\n\r\n", "POST", "/").trailers(b"X: y\r\n"),
    Row::accept("trailers of identity are dropped", "9110 6.5.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer x\r\nCookie: b\r\nX-User-ID: 1\r\nX_Organization_Id: 2\r\nX.User.ID: 3\r\nX!User!Role: b\r\n\r\n", "POST", "/"),
    Row::accept("trailers of content are dropped", "9110 6.5.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Type: a/b\r\nContent-Encoding: gzip\r\nIf-Match: x\r\n\r\n", "POST", "/"),
    Row::torn("trailer without a colon", "9112 7.1.2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum\r\n\r\n"),
    Row::torn("trailer without a name", "9112 7.1.2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n: 1\r\n\r\n"),
    Row::torn("trailer with a space ahead of its colon", "9112 7.1.2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum : 1\r\n\r\n"),
    Row::torn("folded trailer", "9112 7.1.2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n 2\r\n\r\n"),
    Row::torn("trailer with a bare LF", "9112 7.1.2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\n\r\n"),
    Row::torn("trailer with a bare CR", "9112 7.1.2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r2\r\n\r\n"),
    Row::torn("trailer with a NUL", "9112 7.1.2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: \0\r\n\r\n"),
    Row::torn("last chunk ended by a bare LF", "9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"),
    Row::torn("a request where trailers should be", "9112 7.1.2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"),
    Row::torn("trailers too long", "9112 7.1.2", b"").built(trailers_too_long),
    Row::torn("trailers without an end", "9112 7.1.2", b"").built(trailers_without_end),
];

// One row a line, however long: a table is read down its columns.
#[rustfmt::skip]
pub(super) const STREAM_ROWS: &[Row] = &[
    Row::accept("two requests in one packet", "9112 9.3.2", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/").rest(SMUGGLED),
    Row::accept("a request behind a body by length", "9112 9.3.2", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nbGET /b HTTP/1.1\r\nHost: a\r\n\r\n", "POST", "/").body(b"b").rest(SMUGGLED),
    Row::accept("a request behind length 0", "9112 9.3.2", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", "POST", "/").rest(SMUGGLED),
    Row::accept("a request behind chunks", "9112 9.3.2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", "POST", "/").body(b"b").rest(SMUGGLED),
    Row::accept("a request behind trailers", "9112 9.3.2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", "POST", "/").trailers(b"X-Sum: 1\r\n").rest(SMUGGLED),
    Row::accept("bytes behind close are not a request", "9112 9.6", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/").closes().rest(SMUGGLED),
    Row::accept("an empty line behind a POST's body", "9112 2.2", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nb\r\n", "POST", "/").body(b"b").rest(b"\r\n"),
];
