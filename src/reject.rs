//! Every answer that the gateway makes for a request it does not forward or cannot finish, in one place. Not the decision:
//! that is made where the reason is known. Invariant: a message says what was wrong and never holds an address or a secret.

use std::borrow::Cow;

/// An answer that ends a request: DESIGN "Errors".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Status code.
    pub status: u16,
    /// The `error` member of the body.
    pub error: &'static str,
    /// The `message` member of the body.
    pub message: Cow<'static, str>,
    /// What goes with particular statuses.
    pub extra: Extra,
    /// The connection cannot be used again, because where the message ends is not known.
    pub close: bool,
}

/// Fields that particular answers carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    /// Nothing more.
    None,
    /// 401: `WWW-Authenticate`; true when a token was sent (RFC 6750 section 3).
    Challenge(bool),
    /// 429: the refusing limit and the seconds to wait.
    Limited {
        /// L of the refusing key.
        limit: u32,
        /// Seconds until it is worth trying again, at least 1.
        retry_after_s: u32,
    },
    /// 503: seconds to wait.
    RetryAfter(u32),
}

impl Reject {
    fn new(status: u16, error: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            error,
            message: message.into(),
            extra: Extra::None,
            close: false,
        }
    }

    /// A message that the parser refused (HTTP.md); the connection closes.
    pub fn malformed(status: u16, message: &'static str) -> Self {
        let error = match status {
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            414 => "URI Too Long",
            417 => "Expectation Failed",
            426 => "Upgrade Required",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            505 => "HTTP Version Not Supported",
            _ => "Bad Request",
        };
        Self {
            close: true,
            ..Self::new(status, error, message)
        }
    }

    /// The target reads differently to different readers (DESIGN "Paths").
    pub fn ambiguous(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "Bad Request", message)
    }

    /// 401 with the identity room's message.
    pub fn unauthorized(message: impl Into<Cow<'static, str>>, token_was_sent: bool) -> Self {
        let extra = Extra::Challenge(token_was_sent);
        Self {
            extra,
            ..Self::new(401, "Unauthorized", message)
        }
    }

    /// 421: the name that the client used is none of ours (RFC 9110 15.5.20).
    pub fn wrong_host() -> Self {
        let message = "This gateway does not answer to the Host of the request (ALLOWED_HOSTS)";
        Self::new(421, "Misdirected Request", message)
    }

    /// 431: a token that is not even read.
    pub fn token_too_large() -> Self {
        let message = "The token is longer than the 8 KiB that this gateway reads";
        Self::new(431, "Request Header Fields Too Large", message)
    }

    /// No route has this path.
    pub fn not_found() -> Self {
        Self::new(404, "Not Found", "No route for this path")
    }

    /// 429, LIMITS section 1.
    pub fn limited(limit: u32, retry_after_s: u32) -> Self {
        let message = format!("Too many requests. Please retry after {retry_after_s} seconds.");
        let extra = Extra::Limited {
            limit,
            retry_after_s,
        };
        Self {
            extra,
            ..Self::new(429, "Rate limit exceeded", message)
        }
    }

    /// 408: the head or the body came too slowly.
    pub fn too_slow(what: &'static str) -> Self {
        Self {
            close: true,
            ..Self::new(408, "Request Timeout", what)
        }
    }

    /// 413: more body than `MAX_BODY_BYTES`.
    pub fn too_large() -> Self {
        let message = "The request body is larger than this gateway accepts (MAX_BODY_BYTES)";
        Self {
            close: true,
            ..Self::new(413, "Content Too Large", message)
        }
    }

    /// 502: the service refused, broke off or answered nonsense.
    pub fn bad_gateway(service: &str, what: &str) -> Self {
        Self::new(502, "Bad Gateway", format!("The {service} service {what}"))
    }

    /// 503: this gateway cannot take the request now.
    pub fn unavailable(message: &'static str) -> Self {
        let extra = Extra::RetryAfter(1);
        Self {
            extra,
            ..Self::new(503, "Service Unavailable", message)
        }
    }

    /// 503: requests to the service have failed for a while, so it is not asked.
    pub fn left_alone(service: &str, retry_after_s: u32) -> Self {
        let message = format!("The {service} service is unavailable");
        Self {
            extra: Extra::RetryAfter(retry_after_s),
            ..Self::new(503, "Service Unavailable", message)
        }
    }

    /// 504: the service took too long.
    pub fn gateway_timeout(service: &str, what: &str) -> Self {
        Self::new(
            504,
            "Gateway Timeout",
            format!("The {service} service {what}"),
        )
    }

    /// 500: our own fault.
    pub fn internal(message: &'static str) -> Self {
        Self::new(500, "Internal Server Error", message)
    }

    /// The JSON body. Messages are the gateway's own text: quotes and controls are escaped all the same.
    pub fn body(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"error\":\"");
        escape(self.error, out);
        out.extend_from_slice(b"\",\"message\":\"");
        escape(&self.message, out);
        out.push(b'"');
        if let Extra::Limited { retry_after_s, .. } = self.extra {
            out.extend_from_slice(b",\"retry_after\":");
            out.extend_from_slice(itoa::Buffer::new().format(retry_after_s).as_bytes());
        }
        out.push(b'}');
    }

    /// The fields that go with this answer, each line complete.
    pub fn fields(&self, out: &mut Vec<u8>) {
        let mut number = itoa::Buffer::new();
        match self.extra {
            Extra::None => {}
            Extra::Challenge(false) => out.extend_from_slice(b"WWW-Authenticate: Bearer\r\n"),
            Extra::Challenge(true) => {
                out.extend_from_slice(b"WWW-Authenticate: Bearer error=\"invalid_token\"\r\n");
            }
            Extra::Limited {
                limit,
                retry_after_s,
            } => {
                out.extend_from_slice(b"X-RateLimit-Limit: ");
                out.extend_from_slice(number.format(limit).as_bytes());
                out.extend_from_slice(b"\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: ");
                out.extend_from_slice(number.format(retry_after_s).as_bytes());
                out.extend_from_slice(b"\r\nRetry-After: ");
                out.extend_from_slice(number.format(retry_after_s).as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            Extra::RetryAfter(seconds) => {
                out.extend_from_slice(b"Retry-After: ");
                out.extend_from_slice(number.format(seconds).as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
        if self.status == 405 {
            out.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
        }
        // RFC 9110 15.5.22 and RFC 6455 4.4: to what, and in which version.
        if self.status == 426 {
            out.extend_from_slice(
                b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            );
        }
    }
}

/// JSON string escapes (RFC 8259 section 7).
fn escape(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => {
                let hex = |nibble: u8| {
                    if nibble < 10 {
                        b'0' + nibble
                    } else {
                        b'a' + nibble - 10
                    }
                };
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn bodies_and_fields_have_the_documented_shape() {
        let table = [
            (
                Reject::limited(100, 45),
                r#"{"error":"Rate limit exceeded","message":"Too many requests. Please retry after 45 seconds.","retry_after":45}"#,
                "X-RateLimit-Limit: 100\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 45\r\nRetry-After: 45\r\n",
            ),
            (
                Reject::unauthorized("Token has expired", true),
                r#"{"error":"Unauthorized","message":"Token has expired"}"#,
                "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n",
            ),
            (
                Reject::left_alone("backend", 5),
                r#"{"error":"Service Unavailable","message":"The backend service is unavailable"}"#,
                "Retry-After: 5\r\n",
            ),
            (
                Reject::not_found(),
                r#"{"error":"Not Found","message":"No route for this path"}"#,
                "",
            ),
            (
                Reject::ambiguous("say \"no\"\n"),
                r#"{"error":"Bad Request","message":"say \"no\"\u000a"}"#,
                "",
            ),
        ];
        for (reject, body, fields) in table {
            assert_eq!(text(|out| reject.body(out)), body);
            assert_eq!(text(|out| reject.fields(out)), fields);
        }
    }
}
