//! Tables for what the conformance rows do not show: flags, kinds of names, bounds of the search, and the writing half. Not the
//! verdicts on messages (`testing::conformance`). Invariant: one `check` a room, data below it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test may fail loudly"
)]

use super::framing::{Framing, LENGTH_MAX};
use super::*;

mod bodies;

#[test]
fn names() {
    let table: &[(&str, Name)] = &[
        ("Host", Name::Host),
        ("hOST", Name::Host),
        ("Connection", Name::Connection),
        ("Keep-Alive", Name::KeepAlive),
        ("Proxy-Connection", Name::ProxyConnection),
        ("Proxy-Authenticate", Name::ProxyAuthenticate),
        ("PROXY-AUTHORIZATION", Name::ProxyAuthorization),
        ("TE", Name::Te),
        ("te", Name::Te),
        ("Trailer", Name::Trailer),
        ("Transfer-Encoding", Name::TransferEncoding),
        ("transfer-ENCODING", Name::TransferEncoding),
        ("Upgrade", Name::Upgrade),
        ("Content-Length", Name::ContentLength),
        ("Content_Length", Name::FramingMisspelt),
        ("transfer_Encoding", Name::FramingMisspelt),
        ("Expect", Name::Expect),
        ("Authorization", Name::Authorization),
        ("Cookie", Name::Cookie),
        ("Origin", Name::Origin),
        (
            "Access-Control-Request-Method",
            Name::AccessControlRequestMethod,
        ),
        (
            "Access-Control-Request-Headers",
            Name::AccessControlRequestHeaders,
        ),
        ("Access-Control-Allow-Origin", Name::AccessControlOther),
        ("Access-Control-", Name::Other),
        ("access-control-x", Name::AccessControlOther),
        ("Accept-Encoding-Long", Name::Other),
        ("X-Forwarded-For", Name::XForwardedFor),
        ("x_forwarded_for", Name::XForwardedFor),
        ("X-Forwarded-Proto", Name::XForwardedProto),
        ("X-Forwarded-Host", Name::XForwardedHost),
        ("X-Forwarded_Prefix", Name::XForwardedPrefix),
        ("X-Forwarded-Port", Name::XForwardedOther),
        ("x_forwarded_server", Name::XForwardedOther),
        ("X-Forwarded-", Name::XForwardedOther),
        ("x_ratelimit_", Name::XRateLimit),
        ("X-Forwarded", Name::Other),
        ("Forwarded", Name::Forwarded),
        ("X-Real-IP", Name::XRealIp),
        ("X_Real_IP", Name::XRealIp),
        ("Client_Cert", Name::ClientCert),
        ("client-cert_chain", Name::ClientCert),
        ("X_Client-Cert_Subject", Name::ClientCert),
        ("X.User.ID", Name::XUserId),
        ("X!User!Role", Name::XUserRole),
        ("x~organization|id", Name::XOrganizationId),
        ("X.Forwarded.For", Name::XForwardedFor),
        ("X*Forwarded+Port", Name::XForwardedOther),
        ("X.Real.IP", Name::XRealIp),
        ("X.Request.ID", Name::XRequestId),
        ("X'RateLimit'Limit", Name::XRateLimit),
        ("Client.Cert", Name::ClientCert),
        ("Content.Length", Name::FramingMisspelt),
        ("transfer!encoding", Name::FramingMisspelt),
        ("Xuserid", Name::Other),
        ("X1User1ID", Name::Other),
        ("Location", Name::Location),
        ("content-location", Name::ContentLocation),
        ("X-User-ID", Name::XUserId),
        ("X_User_ID", Name::XUserId),
        ("X-User_Id", Name::XUserId),
        ("X-Organization-ID", Name::XOrganizationId),
        ("x_organization_id", Name::XOrganizationId),
        ("X-User-Role", Name::XUserRole),
        ("X-Request-ID", Name::XRequestId),
        ("X-Response-Time", Name::XResponseTime),
        ("X-RateLimit-Limit", Name::XRateLimit),
        ("x-ratelimit-remaining", Name::XRateLimit),
        ("X-Rate-Limit", Name::Other),
        ("Retry-After", Name::RetryAfter),
        ("Date", Name::Date),
        ("Vary", Name::Vary),
        ("Set-Cookie", Name::SetCookie),
        ("Sec-WebSocket-Key", Name::SecWebSocketKey),
        ("Sec-WebSocket-Version", Name::SecWebSocketVersion),
        ("sec-websocket-protocol", Name::SecWebSocketProtocol),
        ("Accept", Name::Other),
        ("Hoss", Name::Other),
        ("Xost", Name::Other),
        ("Contentxlength", Name::Other),
        ("", Name::Other),
        ("x", Name::Other),
    ];
    for &(text, kind) in table {
        assert_eq!(Name::of(text.as_bytes()), kind, "{text}");
    }
}

#[test]
fn search_for_the_head_resumes() {
    type Found = Result<Option<usize>, Fault>;
    let table: &[(&[u8], Found)] = &[
        (b"", Ok(None)),
        (b"\r\n", Ok(None)),
        (b"\r\n\r", Ok(None)),
        (b"\r\n\r\n", Err(Fault::LeadingLines)),
        (b"\n", Err(Fault::BareLf)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r", Ok(None)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Some(27))),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\n\n", Ok(Some(27))),
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Some(29))),
        (b"GET / HTTP/1.1\nHost: a\n\n", Err(Fault::BareLf)),
        (b"GET / HTTP/1.1\r", Ok(None)),
        (b"GET / HTTP/1.1\rH", Err(Fault::BareCr)),
        (b"GET / HTTP/1.1\x00", Err(Fault::Control)),
        (b"\x16\x03\x01", Err(Fault::TlsHello)),
        (b"\x16\x02\x01", Err(Fault::Control)),
        (
            b"0123456789012345678901234567890123456789",
            Err(Fault::HeadTooLong),
        ),
    ];
    for &(bytes, want) in table {
        assert_eq!(
            head_end(bytes, &mut 0, 40),
            want,
            "{}",
            bytes.escape_ascii()
        );
        // A byte at a time with one `scanned`: the first verdict is the same.
        let mut scanned = 0;
        let mut steps = (0..=bytes.len()).map(|end| head_end(&bytes[..end], &mut scanned, 40));
        let found = steps.find(|found| *found != Ok(None)).unwrap_or(Ok(None));
        assert_eq!(found, want, "in bytes: {}", bytes.escape_ascii());
    }
}

#[test]
fn too_long_tells_target_from_head() {
    let long_target = [b"GET /".to_vec(), vec![b'a'; TARGET_BYTES_MAX]].concat();
    let long_field = [
        b"\r\nGET / HTTP/1.1\r\nX: ".to_vec(),
        vec![b'a'; HEAD_BYTES_MAX],
    ]
    .concat();
    assert_eq!(too_long(&long_target), Fault::TargetTooLong);
    assert_eq!(too_long(&long_field), Fault::HeadTooLong);
    assert_eq!(too_long(&vec![b'a'; HEAD_BYTES_MAX]), Fault::HeadTooLong);
}

/// `line` and `fields` as one request with a Host: its flags as text.
fn flags(line: &str, fields: &str) -> String {
    let head = format!("{line}\r\nHost: a\r\n{fields}\r\n");
    let mut scratch = Scratch::new();
    match parse_request(head.as_bytes(), &mut scratch) {
        Err(fault) => format!("{fault:?}"),
        Ok(request) => {
            let marks = [
                (request.keep_alive, "keep"),
                (request.expect_continue, "expect"),
                (request.upgrade_websocket, "websocket"),
                (request.te_trailers, "trailers"),
            ];
            let mut said: Vec<&str> = marks
                .iter()
                .filter(|mark| mark.0)
                .map(|mark| mark.1)
                .collect();
            let body = format!("{:?}", request.body);
            said.push(&body);
            said.join(" ")
        }
    }
}

#[test]
fn request_flags() {
    let get = "GET / HTTP/1.1";
    let post = "POST / HTTP/1.1";
    let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let without = |from: &str| handshake.replace(from, "X");
    let table: &[(&str, &str, &str)] = &[
        (get, "", "keep None"),
        ("GET / HTTP/1.0", "", "None"),
        ("GET / HTTP/1.0", "Connection: keep-alive\r\n", "keep None"),
        (
            post,
            "Content-Length: 9223372036854775808\r\n",
            "keep Length(9223372036854775808)",
        ),
        (
            post,
            "Content-Length: 9223372036854775809\r\n",
            "LengthTooLarge",
        ),
        (post, "Transfer-Encoding: chunked\r\n", "keep Chunked"),
        (
            post,
            "Expect: 100-continue\r\nContent-Length: 1\r\n",
            "keep expect Length(1)",
        ),
        (get, "Expect: 100-continue\r\n", "keep None"),
        (
            "POST / HTTP/1.0",
            "Expect: 100-continue\r\nContent-Length: 1\r\n",
            "Length(1)",
        ),
        (
            "POST / HTTP/1.0",
            "Expect: other\r\nContent-Length: 1\r\n",
            "Length(1)",
        ),
        (get, "TE: trailers\r\n", "keep trailers None"),
        (
            get,
            "TE: deflate;q=0.5 , Trailers\r\n",
            "keep trailers None",
        ),
        (get, "TE: gzip\r\n", "keep None"),
        (get, handshake, "keep websocket None"),
        ("GET / HTTP/1.0", handshake, "None"),
        (post, handshake, "keep None"),
        (get, &without("Connection"), "keep None"),
        (get, &without("Upgrade:"), "FieldColon"),
        (get, &without("13"), "keep None"),
        (get, &without("=="), "keep None"),
        (
            get,
            &format!("{handshake}Content-Length: 1\r\n"),
            "keep Length(1)",
        ),
        (
            get,
            &format!("{handshake}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
            "keep None",
        ),
    ];
    for &(line, fields, want) in table {
        assert_eq!(flags(line, fields), want, "{line} {fields}");
    }
}

#[test]
fn request_parts() {
    let head = b"\r\nPUT http://b:1/p/q?r=s HTTP/1.1\r\nHost: a\r\nX-A:  b \r\nX-A: c\r\n\r\n";
    let mut scratch = Scratch::new();
    let request = parse_request(head, &mut scratch).unwrap();
    assert_eq!(
        (request.method, request.method_text, request.minor),
        (Method::Put, "PUT", 1)
    );
    assert_eq!((request.path, request.query), ("/p/q", Some("r=s")));
    assert_eq!((request.target, request.authority), ("/p/q?r=s", "b:1"));
    assert_eq!(request.head.len(), head.len());
    let values: Vec<&[u8]> = request.fields.iter().map(|field| field.value).collect();
    assert_eq!(values, [b"a", b"b", b"c"]);
}

#[test]
fn faults_are_told_apart() {
    let table: &[(&str, Fault)] = &[
        ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", Fault::FieldColon),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
            Fault::FieldNameEmpty,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
            Fault::FieldNameSpace,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX@: b\r\n\r\n",
            Fault::FieldName,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            Fault::FieldFolded,
        ),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", Fault::BareLf),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
            Fault::BareCr,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: \x0b\r\n\r\n",
            Fault::Control,
        ),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Method),
        (
            "GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n",
            Fault::TargetBytes,
        ),
        (
            "GET / HTTP/3.0\r\nHost: a\r\n\r\n",
            Fault::VersionUnsupported,
        ),
        ("GET / HTTP/1.x\r\nHost: a\r\n\r\n", Fault::Version),
        ("GET / / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        (
            "GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            Fault::TargetUserinfo,
        ),
        (
            "GET http://b?c HTTP/1.1\r\nHost: a\r\n\r\n",
            Fault::TargetPathless,
        ),
        // Not heads at all: what a caller that cut wrongly would pass.
        ("", Fault::RequestLine),
        ("GET / HTTP/1.1\r\nHost: a\r\n", Fault::RequestLine),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\nX", Fault::FieldColon),
    ];
    for &(head, want) in table {
        let mut scratch = Scratch::new();
        assert_eq!(
            parse_request(head.as_bytes(), &mut scratch).unwrap_err(),
            want,
            "{head:?}"
        );
        assert!(want.status() >= 400 && !want.message().is_empty());
        assert!(want.section().starts_with("RFC "));
    }
}

#[test]
fn one_scratch_serves_many_heads() {
    let heads: [&[u8]; 2] = [
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: b\r\n\r\n",
    ];
    let mut scratch = Scratch::new();
    let counts = heads.map(|head| parse_request(head, &mut scratch).unwrap().fields.len());
    assert_eq!(counts, [2, 1]);
    // The borrow of the bytes ends with the last use of the fields: a buffer may be refilled while its scratch lives.
    let mut buf = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let mut scratch = Scratch::new();
    let head_len = parse_request(&buf, &mut scratch).unwrap().head.len();
    buf.drain(..head_len);
    assert!(buf.is_empty());
}

#[test]
fn responses() {
    // Head, answer to HEAD; status, reason, body, content length, keep-alive.
    type Row = (
        &'static str,
        bool,
        u16,
        &'static str,
        ResponseBody,
        Option<u64>,
        bool,
    );
    let table: &[Row] = &[
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            false,
            200,
            "OK",
            ResponseBody::Length(5),
            Some(5),
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            true,
            200,
            "OK",
            ResponseBody::None,
            Some(5),
            true,
        ),
        (
            "HTTP/1.1 304 \r\nContent-Length: 5\r\n\r\n",
            false,
            304,
            "",
            ResponseBody::None,
            Some(5),
            true,
        ),
        (
            "HTTP/1.1 204\r\n\r\n",
            false,
            204,
            "",
            ResponseBody::None,
            None,
            true,
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\n",
            false,
            100,
            "Continue",
            ResponseBody::None,
            None,
            true,
        ),
        (
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
            204,
            "No Content",
            ResponseBody::None,
            None,
            false,
        ),
        (
            "HTTP/1.0 200 Fine by me\r\n\r\n",
            false,
            200,
            "Fine by me",
            ResponseBody::UntilClose,
            None,
            false,
        ),
        (
            "HTTP/1.1 200 \u{e4}\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
            200,
            "\u{e4}",
            ResponseBody::Chunked,
            None,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n",
            true,
            200,
            "OK",
            ResponseBody::None,
            None,
            true,
        ),
    ];
    for &(head, to_head, status, reason, body, content_length, keep_alive) in table {
        let mut scratch = Scratch::new();
        let response = parse_response(head.as_bytes(), &mut scratch, to_head).unwrap();
        assert_eq!(
            (response.status, response.reason),
            (status, reason.as_bytes()),
            "{head}"
        );
        assert_eq!(
            (response.body, response.content_length),
            (body, content_length),
            "{head}"
        );
        assert_eq!(
            (response.keep_alive, response.head.len()),
            (keep_alive, head.len()),
            "{head}"
        );
    }
    let mut scratch = Scratch::new();
    let switched = parse_response(
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        &mut scratch,
        false,
    );
    assert_eq!(switched.unwrap_err(), Fault::UnaskedSwitch);
}

#[test]
fn lengths() {
    let take = |value: &[u8]| {
        let mut framing = Framing::default();
        framing.take_length(value).map(|()| framing.length)
    };
    assert_eq!(take(b"9223372036854775808"), Ok(Some(LENGTH_MAX)));
    assert_eq!(
        take(b"000000000000000000000000000000000000007"),
        Ok(Some(7))
    );
    assert_eq!(take(b"9223372036854775809"), Err(Fault::LengthTooLarge));
    assert_eq!(
        take(b"99999999999999999999999999x"),
        Err(Fault::LengthInvalid)
    );
}
