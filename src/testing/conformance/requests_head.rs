//! Requests: line ends, the request line, its target, `Host`. Not bodies. Invariant: each row is wrong, or odd, in one way.

use super::Row;

const LONG_TARGET_BYTES: [u8; 8192] = {
    let mut bytes = [b'a'; 8192];
    bytes[0] = b'/';
    bytes
};
const LONG_TARGET: &str = match str::from_utf8(&LONG_TARGET_BYTES) {
    Ok(text) => text,
    Err(_) => "",
};

fn with_target(len: usize) -> Vec<u8> {
    let mut out = b"GET /".to_vec();
    out.resize(out.len() + len - 1, b'a');
    out.extend_from_slice(b" HTTP/1.1\r\nHost: a\r\n\r\n");
    out
}

fn target_longest() -> Vec<u8> {
    with_target(8192)
}

fn target_too_long() -> Vec<u8> {
    with_target(8193)
}

fn target_without_end() -> Vec<u8> {
    let mut out = b"GET /".to_vec();
    out.resize(17_000, b'a');
    out
}

fn method_without_end() -> Vec<u8> {
    vec![b'G'; 17_000]
}

fn host_too_long() -> Vec<u8> {
    let mut out = b"GET / HTTP/1.1\r\nHost: ".to_vec();
    out.resize(out.len() + 256, b'a');
    out.extend_from_slice(b"\r\n\r\n");
    out
}

// One row a line, however long: a table is read down its columns.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // Plain requests.
    Row::accept("plain GET", "9112 3", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/"),
    Row::accept("plain HEAD", "9110 9.3.2", b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD", "/x"),
    Row::accept("plain PUT", "9110 9.3.4", b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "PUT", "/x"),
    Row::accept("plain PATCH", "5789 2", b"PATCH /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "PATCH", "/x").body(b"x"),
    Row::accept("plain DELETE", "9110 9.3.5", b"DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n", "DELETE", "/x"),
    Row::accept("method of another registry", "9110 9.1", b"PROPFIND /x HTTP/1.1\r\nHost: a\r\n\r\n", "PROPFIND", "/x"),
    Row::accept("method in lower case is another method", "9110 9.1", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", "get", "/"),
    Row::accept("method of all token marks", "9110 5.6.2", b"!#$%&'*+-.^_`|~ / HTTP/1.1\r\nHost: a\r\n\r\n", "!#$%&'*+-.^_`|~", "/"),
    // Line ends.
    Row::accept("one empty line ahead", "9112 2.2", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/").h11_differs("h11 refuses any empty line ahead"),
    Row::refuse("two empty lines ahead", "9112 2.2", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("bare LF ahead", "9112 2.2", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("bare CR ahead", "9112 2.2", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("space ahead", "9112 3", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("bare LF everywhere", "9112 2.2", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    Row::refuse("bare LF behind the request line", "9112 2.2", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    Row::refuse("bare LF behind a field", "9112 2.2", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
    Row::refuse("bare LF behind the last field", "9112 2.2", b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
    Row::refuse("bare LF as the empty line", "9112 2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    Row::refuse("bare LF as the empty line, request behind", "9112 2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("bare CR as line ends", "9112 2.2", b"GET / HTTP/1.1\rHost: a\r\r", 400),
    Row::refuse("bare CR in a value", "9112 2.2", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
    Row::refuse("CR CR LF", "9112 2.2", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400),
    Row::refuse("CR CR LF behind a field", "9112 2.2", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400),
    Row::refuse("LF CR", "9112 2.2", b"GET / HTTP/1.1\n\rHost: a\n\r\n\r", 400),
    Row::refuse("NUL in the target", "9110 5.5", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("NUL in a name", "9110 5.1", b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", 400),
    Row::refuse("NUL in a value", "9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    Row::refuse("TLS hello to the plain port", "9112 3", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    // The request line.
    Row::refuse("no target", "9112 3", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("empty target", "9112 3", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("two spaces ahead of the target", "9112 3", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("two spaces ahead of the version", "9112 3", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("tab for space", "9112 3", b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("space in the target", "9112 3.2", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("tab in the target", "9112 3.2", b"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("space behind the version", "9112 3", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    Row::refuse("second version behind the target", "9112 3", b"GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("no version: HTTP/0.9", "9112 3", b"GET /\r\n\r\n", 400),
    Row::refuse("empty method", "9112 3.1", b" / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("method with a separator", "9112 3.1", b"GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("method with a colon: a field as first line", "9112 3.1", b"Host: a HTTP/1.1\r\n\r\n", 400),
    Row::refuse("method outside ASCII", "9112 3.1", b"G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("method without an end", "9112 3", b"", 431).built(method_without_end),
    Row::refuse("TRACE", "9110 9.3.8", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    Row::refuse("CONNECT", "9110 9.3.6", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
    // Versions.
    Row::accept("HTTP/1.0", "9112 2.3", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET", "/").closes(),
    Row::refuse("HTTP/2.0", "9110 15.6.6", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    Row::refuse("HTTP/0.9 spelled out", "9110 15.6.6", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    Row::refuse("HTTP/1.2", "9110 15.6.6", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    Row::refuse("HTTP/2 preface", "9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Row::refuse("version in lower case", "9112 2.3", b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("version with a zero more", "9112 2.3", b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("version with a long minor", "9112 2.3", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    Row::refuse("version without minor", "9112 2.3", b"GET / HTTP/2\r\nHost: a\r\n\r\n", 400),
    Row::refuse("version with a comma", "9112 2.3", b"GET / HTTP/1,1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("version with a sign", "9112 2.3", b"GET / HTTP/+1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("another protocol", "9112 2.3", b"GET / ICY/1.1\r\nHost: a\r\n\r\n", 400),
    // Targets.
    Row::accept("path and query", "9112 3.2.1", b"GET /a/b?c=d&e HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/a/b?c=d&e"),
    Row::accept("empty query", "9112 3.2.1", b"GET /a? HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/a?"),
    Row::accept("second question mark", "3986 3.4", b"GET /a?b?c HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/a?b?c"),
    Row::accept("escapes are kept as they came", "9112 3.2.1", b"GET /%7ea%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/%7ea%2Fb"),
    Row::accept("dots are kept as they came", "9112 3.2.1", b"GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/a/../b"),
    Row::accept("two slashes are a path", "9112 3.2.1", b"GET //b/c HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "//b/c"),
    Row::accept("at sign in a path", "3986 3.3", b"GET /@b HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/@b"),
    Row::accept("a URL in a query", "3986 3.4", b"GET /?u=http://b@c/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/?u=http://b@c/"),
    Row::accept("braces and bar, as browsers send them", "9112 3.2", b"GET /{a}|b HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/{a}|b"),
    Row::accept("angle brackets", "9112 3.2", b"GET /<a> HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/<a>").monoio_differs("the http crate's Uri refuses < and >"),
    Row::accept("longest target", "9112 3", b"", "GET", LONG_TARGET).built(target_longest),
    Row::refuse("target one byte too long", "9112 3", b"", 414).built(target_too_long),
    Row::refuse("target without an end", "9112 3", b"", 414).built(target_without_end),
    Row::refuse("fragment", "9112 3.2", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("no leading slash", "9112 3.2.1", b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("query alone", "9112 3.2.1", b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("backslash for slash", "9112 3.2.1", b"GET \\a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("UTF-8 in the target", "9112 3.2", b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("Latin-1 in the target", "9112 3.2", b"GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("DEL in the target", "9112 3.2", b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("vertical tab in the target", "9112 3.2", b"GET /\x0b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::accept("asterisk for OPTIONS", "9112 3.2.4", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS", "*"),
    Row::accept("OPTIONS of a path", "9110 9.3.7", b"OPTIONS /a HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS", "/a"),
    Row::refuse("asterisk for GET", "9112 3.2.4", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("asterisk with more", "9112 3.2.4", b"OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("authority-form for GET", "9112 3.2.3", b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    // Absolute-form.
    Row::accept("absolute target", "9112 3.2.2", b"GET http://b/c?d HTTP/1.1\r\nHost: b\r\n\r\n", "GET", "/c?d").host("b"),
    Row::accept("absolute target beats Host", "9112 3.2.2", b"GET http://b:81/c HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/c").host("b:81"),
    Row::accept("absolute target without path", "9112 3.2.2", b"GET http://b HTTP/1.1\r\nHost: b\r\n\r\n", "GET", "/").host("b"),
    Row::accept("absolute target, scheme in capitals", "3986 3.1", b"GET HTTPS://b/ HTTP/1.1\r\nHost: b\r\n\r\n", "GET", "/").host("b"),
    Row::accept("absolute target on 1.0 without Host", "9112 3.2.2", b"GET http://b/c HTTP/1.0\r\n\r\n", "GET", "/c").host("b").closes(),
    Row::accept("absolute target of OPTIONS without path", "9112 3.2.4", b"OPTIONS http://b HTTP/1.1\r\nHost: b\r\n\r\n", "OPTIONS", "*").host("b").monoio_differs("the http crate writes / for the empty path"),
    Row::accept("absolute target, two slashes in its path", "9112 3.2.2", b"GET http://b//c HTTP/1.1\r\nHost: b\r\n\r\n", "GET", "//c").host("b"),
    Row::refuse("absolute target without Host on 1.1", "9112 3.2", b"GET http://b/c HTTP/1.1\r\n\r\n", 400),
    Row::refuse("absolute target with a user", "9110 4.2.4", b"GET http://u:p@b/c HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    Row::refuse("absolute target with an empty user", "9110 4.2.4", b"GET http://@b/c HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    Row::refuse("absolute target without authority", "9110 4.2.1", b"GET http:///c HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Row::refuse("absolute target with a fragment", "9112 3.2.2", b"GET http://b/c#d HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    Row::refuse("absolute target with one slash", "9112 3.2.2", b"GET http:/b/c HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    Row::refuse("absolute target of another scheme", "9112 3.2.2", b"GET ftp://b/c HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    Row::refuse("absolute target with a backslash in its authority", "3986 3.2", b"GET http://b\\@c/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    Row::refuse("absolute target with a bad port", "3986 3.2.3", b"GET http://b:8x/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    Row::refuse("absolute target, query without path", "9112 3.2.2", b"GET http://b?c HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    // Host.
    Row::accept("Host with a port", "9110 7.2", b"GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n", "GET", "/").host("a.example:8080"),
    Row::accept("Host of IPv4", "9110 7.2", b"GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", "GET", "/").host("127.0.0.1:80"),
    Row::accept("Host of IPv6", "9110 7.2", b"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", "GET", "/").host("[::1]"),
    Row::accept("Host of IPv6 with a port", "9110 7.2", b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:8000\r\n\r\n", "GET", "/").host("[2001:db8::1]:8000"),
    Row::accept("Host with an underscore, as containers have", "9110 7.2", b"GET / HTTP/1.1\r\nHost: my_service\r\n\r\n", "GET", "/").host("my_service"),
    Row::accept("Host with an empty port", "3986 3.2.3", b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", "GET", "/").host("a:"),
    Row::accept("no Host on 1.0", "9112 3.2", b"GET / HTTP/1.0\r\n\r\n", "GET", "/").host("").closes(),
    Row::refuse("no Host on 1.1", "9112 3.2", b"GET / HTTP/1.1\r\n\r\n", 400),
    Row::refuse("empty Host", "9110 7.2", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    Row::refuse("two Hosts", "9112 3.2", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    Row::refuse("two equal Hosts", "9112 3.2", b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
    Row::refuse("two Hosts on 1.0", "9112 3.2", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    Row::refuse("two Hosts in one", "9110 7.2", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    Row::refuse("Host with a space", "9110 7.2", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    Row::refuse("Host with a user", "9110 7.2", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    Row::refuse("Host with a path", "9110 7.2", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    Row::refuse("Host with a scheme", "9110 7.2", b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", 400),
    Row::refuse("Host with an escape", "9110 7.2", b"GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n", 400),
    Row::refuse("Host outside ASCII", "9110 7.2", b"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", 400),
    Row::refuse("Host with a word for a port", "9110 7.2", b"GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", 400),
    Row::refuse("Host with a port over 65535", "9110 7.2", b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400),
    Row::refuse("Host with a port of very many bytes", "9110 7.2", b"GET / HTTP/1.1\r\nHost: a:99999999999999999999zz\r\n\r\n", 400),
    Row::refuse("Host with two ports", "9110 7.2", b"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", 400),
    Row::refuse("Host of a port alone", "9110 7.2", b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400),
    Row::refuse("Host of IPv6 without brackets", "9110 7.2", b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400),
    Row::refuse("Host of IPv6 with an open bracket", "9110 7.2", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    Row::refuse("Host of IPv6 with more behind", "9110 7.2", b"GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", 400),
    Row::refuse("Host of brackets around a name", "9110 7.2", b"GET / HTTP/1.1\r\nHost: [a]\r\n\r\n", 400),
    Row::refuse("Host of IPv6 with a zone", "6874 2", b"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", 400),
    Row::refuse("Host too long for a name", "1035 2.3.4", b"", 400).built(host_too_long),
];
