//! What can be wrong with a message, one variant per way, with the status and the sentence for whoever sent it. Not an answer
//! (`reject` writes those). Invariant: a message names the rule, never the peer's bytes, an address or a secret.

use std::fmt;

/// Why a message was refused. `status` is for requests; a response with any fault is a 502 to our client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No end of the head within its bound.
    HeadTooLong,
    /// A request target over `TARGET_BYTES_MAX`.
    TargetTooLong,
    /// More fields than the bound.
    TooManyFields,
    /// LF without CR before it.
    BareLf,
    /// CR without LF behind it.
    BareCr,
    /// NUL, DEL or another control character in the head.
    Control,
    /// A TLS handshake where HTTP was expected.
    TlsHello,
    /// Two empty lines before a request, or one before a response.
    LeadingLines,
    /// Not three parts with one space between each.
    RequestLine,
    /// The method is not a token.
    Method,
    /// A version that is not written `HTTP/1.0` or `HTTP/1.1`.
    Version,
    /// A well-written version other than 1.0 and 1.1.
    VersionUnsupported,
    /// CONNECT.
    Connect,
    /// TRACE.
    Trace,
    /// A target that is neither origin-form nor absolute-form.
    TargetForm,
    /// A target with bytes outside printable ASCII.
    TargetBytes,
    /// `#` in a target.
    TargetFragment,
    /// `user@` in a target.
    TargetUserinfo,
    /// An absolute-form target with a query straight behind its authority.
    TargetPathless,
    /// `*` for a method other than OPTIONS.
    TargetAsterisk,
    /// HTTP/1.1 without `Host`.
    HostMissing,
    /// More than one `Host`.
    HostRepeated,
    /// `Host`, or the authority of an absolute-form target, is not `host[:port]`.
    HostInvalid,
    /// More than one `Origin`.
    OriginRepeated,
    /// A field line without a colon.
    FieldColon,
    /// A field line that begins with its colon.
    FieldNameEmpty,
    /// A field name that is not a token.
    FieldName,
    /// White space between field name and colon.
    FieldNameSpace,
    /// A line that continues the field above it.
    FieldFolded,
    /// `Content-Length` is not one plain decimal number.
    LengthInvalid,
    /// More than one `Content-Length`.
    LengthRepeated,
    /// `Content-Length` over 2^63.
    LengthTooLarge,
    /// A transfer coding other than `chunked`.
    CodingUnsupported,
    /// More than one `Transfer-Encoding`.
    CodingRepeated,
    /// `chunked` twice, not last, or beside an empty element.
    CodingList,
    /// `Transfer-Encoding` in an HTTP/1.0 message.
    CodingOnHttp10,
    /// Both `Content-Length` and `Transfer-Encoding`.
    LengthAndCoding,
    /// `Content_Length` or `Transfer_Encoding`, which a CGI-like service reads as if it had hyphens.
    FramingMisspelt,
    /// `Connection` names a field that every reader must see.
    ConnectionNames,
    /// `Connection` with more options than `CONNECTION_OPTIONS_MAX`.
    ConnectionOptions,
    /// An expectation other than `100-continue`.
    Expectation,
    /// A chunk size that is not hexadecimal digits.
    ChunkSize,
    /// A chunk size of more than 16 digits or over 2^63.
    ChunkTooLarge,
    /// A chunk's line, or its data, does not end in CRLF.
    ChunkEnd,
    /// A control character or an open quote in a chunk extension.
    ChunkExtension,
    /// Chunk extensions over their bounds.
    ChunkExtensionTooLong,
    /// Trailers over their bound.
    TrailersTooLong,
    /// A response's first line is not `HTTP/1.x SP status`.
    StatusLine,
    /// A response status outside 100–599.
    StatusCode,
    /// A WebSocket handshake of another version than 13, of none, or of two.
    HandshakeVersion,
    /// A WebSocket handshake without one good `Sec-WebSocket-Key`.
    HandshakeKey,
    /// 101 though no switch was asked for.
    UnaskedSwitch,
    /// 101 that does not complete the WebSocket handshake it answers.
    Switch,
}

impl Fault {
    /// The status for the client whose request has this fault.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::HeadTooLong | Self::TooManyFields => 431,
            Self::TargetTooLong => 414,
            Self::VersionUnsupported => 505,
            Self::Connect | Self::Trace => 405,
            Self::CodingUnsupported => 501,
            Self::Expectation => 417,
            Self::HandshakeVersion => 426,
            Self::HandshakeKey => 400,
            Self::StatusLine | Self::StatusCode | Self::UnaskedSwitch | Self::Switch => 502,
            Self::BareLf | Self::BareCr | Self::Control => 400,
            Self::TlsHello | Self::LeadingLines => 400,
            Self::RequestLine | Self::Method | Self::Version => 400,
            Self::TargetForm | Self::TargetBytes | Self::TargetFragment => 400,
            Self::TargetUserinfo | Self::TargetPathless | Self::TargetAsterisk => 400,
            Self::HostMissing | Self::HostRepeated | Self::HostInvalid => 400,
            Self::OriginRepeated => 400,
            Self::FieldColon | Self::FieldNameEmpty | Self::FieldName => 400,
            Self::FieldNameSpace | Self::FieldFolded => 400,
            Self::LengthInvalid | Self::LengthRepeated | Self::LengthTooLarge => 400,
            Self::CodingRepeated | Self::CodingList | Self::CodingOnHttp10 => 400,
            Self::FramingMisspelt => 400,
            Self::LengthAndCoding | Self::ConnectionNames | Self::ConnectionOptions => 400,
            Self::ChunkSize | Self::ChunkTooLarge | Self::ChunkEnd => 400,
            Self::ChunkExtension | Self::ChunkExtensionTooLong | Self::TrailersTooLong => 400,
        }
    }

    /// What was wrong, as a sentence for the sender.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::HeadTooLong => "The head is too long: at most 16 KiB are read",
            Self::TargetTooLong => "The request target is too long: at most 8 KiB are read",
            Self::TooManyFields => "Too many header fields: at most 100 are read",
            Self::BareLf => "Lines end in CRLF: a line feed without carriage return was sent",
            Self::BareCr => "Lines end in CRLF: a carriage return without line feed was sent",
            Self::Control => "A head may hold no control characters but tabs in field values",
            Self::TlsHello => "This port speaks plain HTTP, and a TLS handshake came: use http://",
            Self::LeadingLines => "Empty lines before the message",
            Self::RequestLine => "The request line must be: method, space, target, space, HTTP/1.1",
            Self::Method => "The method must be a token of letters, digits and !#$%&'*+-.^_`|~",
            Self::Version => "The version must be written HTTP/1.1 or HTTP/1.0",
            Self::VersionUnsupported => "Only HTTP/1.1 and HTTP/1.0 are spoken here",
            Self::Connect => "CONNECT is not served: this gateway is no forward proxy",
            Self::Trace => "TRACE is not served: it would show credentials",
            Self::TargetForm => "The target must begin with / or be an absolute http(s) URL",
            Self::TargetBytes => "The target must be printable ASCII: percent-encode other bytes",
            Self::TargetFragment => "The target must not carry a fragment (#)",
            Self::TargetUserinfo => "The target must not carry user information (@)",
            Self::TargetPathless => "An absolute target with a query needs a path: write /?",
            Self::TargetAsterisk => "The target * is for OPTIONS only",
            Self::HostMissing => "HTTP/1.1 demands a Host field",
            Self::HostRepeated => "More than one Host field",
            Self::HostInvalid => "Host must be a host name or address with an optional port",
            Self::OriginRepeated => "More than one Origin field",
            Self::FieldColon => "A header line without a colon",
            Self::FieldNameEmpty => "A header line without a field name",
            Self::FieldName => "A header field name must be a token",
            Self::FieldNameSpace => "White space between a header field name and its colon",
            Self::FieldFolded => "A header field continued on a further line",
            Self::LengthInvalid => "Content-Length must be one decimal number",
            Self::LengthRepeated => "More than one Content-Length field",
            Self::LengthTooLarge => "Content-Length is beyond 2^63",
            Self::CodingUnsupported => "The only transfer coding served is chunked",
            Self::CodingRepeated => "More than one Transfer-Encoding field",
            Self::CodingList => "Transfer-Encoding must be exactly: chunked",
            Self::CodingOnHttp10 => "HTTP/1.0 knows no Transfer-Encoding",
            Self::LengthAndCoding => "Content-Length and Transfer-Encoding exclude each other",
            Self::FramingMisspelt => "Content-Length and Transfer-Encoding are spelt with hyphens",
            Self::ConnectionNames => "Connection must not name Host, Content-Length or credentials",
            Self::ConnectionOptions => "Connection lists too many options: at most 64 are read",
            Self::Expectation => "The only expectation served is 100-continue",
            Self::ChunkSize => "A chunk size must be hexadecimal digits",
            Self::ChunkTooLarge => "A chunk size is beyond 2^63 or 16 digits",
            Self::ChunkEnd => "A chunk's line and its data must end in CRLF",
            Self::ChunkExtension => "A control character or an open quote in a chunk extension",
            Self::ChunkExtensionTooLong => "Chunk extensions are too long",
            Self::TrailersTooLong => "The trailers are too long: at most 8 KiB are read",
            Self::HandshakeVersion => {
                "A WebSocket handshake must have one Sec-WebSocket-Version: 13"
            }
            Self::HandshakeKey => {
                "A WebSocket handshake must have one Sec-WebSocket-Key of 16 bytes in base64"
            }
            Self::StatusLine => "The upstream's status line is malformed",
            Self::StatusCode => "The upstream's status is not between 100 and 599",
            Self::UnaskedSwitch => "The upstream switched protocols unasked",
            Self::Switch => "The upstream's 101 does not complete the WebSocket handshake",
        }
    }

    /// What was wrong with a service's answer, for the log: its bounds are others than a request's.
    #[must_use]
    pub const fn message_of_answer(self) -> &'static str {
        if matches!(self, Self::HeadTooLong) {
            "The head is too long: at most 64 KiB of a service's are read"
        } else if matches!(self, Self::TooManyFields) {
            "Too many header fields: at most 200 of a service's are read"
        } else {
            self.message()
        }
    }

    /// The section of the RFC that the rule comes from.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::HeadTooLong | Self::TooManyFields => "RFC 6585 5",
            Self::TargetTooLong | Self::RequestLine | Self::TlsHello => "RFC 9112 3",
            Self::BareLf | Self::BareCr | Self::LeadingLines => "RFC 9112 2.2",
            Self::Control => "RFC 9110 5.5",
            Self::Method => "RFC 9112 3.1",
            Self::Version => "RFC 9112 2.3",
            Self::VersionUnsupported => "RFC 9110 15.6.6",
            Self::Connect => "RFC 9110 9.3.6",
            Self::Trace => "RFC 9110 9.3.8",
            Self::TargetForm | Self::TargetBytes | Self::TargetFragment => "RFC 9112 3.2",
            Self::TargetUserinfo => "RFC 9110 4.2.4",
            Self::TargetPathless => "RFC 9112 3.2.2",
            Self::TargetAsterisk => "RFC 9112 3.2.4",
            Self::HostMissing | Self::HostRepeated => "RFC 9112 3.2",
            Self::HostInvalid => "RFC 9110 7.2",
            Self::OriginRepeated => "RFC 6454 7.3",
            Self::FieldColon | Self::FieldNameSpace => "RFC 9112 5.1",
            Self::FieldNameEmpty | Self::FieldName => "RFC 9110 5.1",
            Self::FieldFolded => "RFC 9112 5.2",
            Self::LengthInvalid | Self::LengthRepeated => "RFC 9112 6.3",
            Self::LengthTooLarge => "RFC 9110 8.6",
            Self::CodingUnsupported | Self::CodingRepeated | Self::CodingList => "RFC 9112 6.1",
            Self::CodingOnHttp10 | Self::LengthAndCoding => "RFC 9112 6.1",
            Self::FramingMisspelt => "RFC 3875 4.1.18",
            Self::ConnectionNames | Self::ConnectionOptions => "RFC 9110 7.6.1",
            Self::Expectation => "RFC 9110 10.1.1",
            Self::ChunkSize | Self::ChunkTooLarge | Self::ChunkEnd => "RFC 9112 7.1",
            Self::ChunkExtension | Self::ChunkExtensionTooLong => "RFC 9112 7.1.1",
            Self::TrailersTooLong => "RFC 9112 7.1.2",
            Self::HandshakeVersion => "RFC 6455 4.4",
            Self::HandshakeKey => "RFC 6455 4.2.1",
            Self::StatusLine => "RFC 9112 4",
            Self::StatusCode => "RFC 9110 15",
            Self::UnaskedSwitch => "RFC 9110 7.8",
            Self::Switch => "RFC 6455 4.1",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.message(), self.section())
    }
}

impl std::error::Error for Fault {}
