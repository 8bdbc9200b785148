//! One header field and the kind of its name. Not the rules about fields (`request`, `response`, `framing` have them).
//! Invariant: `Name::of` sees through letter case, and through any other character for `-` in the names that say who a caller is
//! or how a message is framed.

/// The names that this gateway acts on; all others are `Other` and pass unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the field's own name")]
pub enum Name {
    Host,
    Connection,
    KeepAlive,
    ProxyConnection,
    ProxyAuthenticate,
    ProxyAuthorization,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    ContentLength,
    /// `Content_Length`, `Transfer.Encoding`: framing to a CGI-like reader and to no other.
    FramingMisspelt,
    Expect,
    Authorization,
    Cookie,
    Origin,
    AccessControlRequestMethod,
    AccessControlRequestHeaders,
    /// Any other `Access-Control-*`.
    AccessControlOther,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    XForwardedPrefix,
    /// Any other `X-Forwarded-*`.
    XForwardedOther,
    Forwarded,
    XRealIp,
    /// `Client-Cert` or `Client-Cert-Chain` (RFC 9440), or `X-Client-Cert-Subject`.
    ClientCert,
    XUserId,
    XOrganizationId,
    XUserRole,
    XRequestId,
    XResponseTime,
    /// Any `X-RateLimit-*`.
    XRateLimit,
    RetryAfter,
    Date,
    Vary,
    Location,
    ContentLocation,
    SetCookie,
    SecWebSocketKey,
    SecWebSocketVersion,
    SecWebSocketProtocol,
    SecWebSocketAccept,
    ContentType,
    Other,
}

impl Name {
    /// The kind of a field name. Case-free; in `X-…` names, `Client-Cert…` and the two framing names any character but a letter or a digit
    /// counts as `-`, because CGI-like services read `X_User_ID`, `X.User.ID` and `X-User-ID` as the same variable (RFC 3875 4.1.18
    /// and what servers make of it).
    #[must_use]
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        let Some(first) = name.first() else {
            return Self::Other;
        };
        // Length and first letter tell all listed names apart, so at most one comparison follows.
        let (full, kind): (&[u8], Self) = match (name.len(), first | 0x20) {
            (_, b'x') => return Self::extension(name),
            (2, b't') => (b"te", Self::Te),
            (4, b'h') => (b"host", Self::Host),
            (4, b'd') => (b"date", Self::Date),
            (4, b'v') => (b"vary", Self::Vary),
            (6, b'c') => (b"cookie", Self::Cookie),
            (6, b'e') => (b"expect", Self::Expect),
            (6, b'o') => (b"origin", Self::Origin),
            (7, b't') => (b"trailer", Self::Trailer),
            (8, b'l') => (b"location", Self::Location),
            (7, b'u') => (b"upgrade", Self::Upgrade),
            (9, b'f') => (b"forwarded", Self::Forwarded),
            (10, b'c') => (b"connection", Self::Connection),
            (10, b'k') => (b"keep-alive", Self::KeepAlive),
            (10, b's') => (b"set-cookie", Self::SetCookie),
            (11, b'r') => (b"retry-after", Self::RetryAfter),
            (11, b'c') if folded_eq(name, b"client-cert") => return Self::ClientCert,
            (12, b'c') => (b"content-type", Self::ContentType),
            (13, b'a') => (b"authorization", Self::Authorization),
            (14, b'c') if folded_eq(name, b"content-length") => {
                return Self::framing(name, Self::ContentLength);
            }
            (16, b'c') => (b"content-location", Self::ContentLocation),
            (16, b'p') => (b"proxy-connection", Self::ProxyConnection),
            (17, b'c') if folded_eq(name, b"client-cert-chain") => return Self::ClientCert,
            (17, b't') if folded_eq(name, b"transfer-encoding") => {
                return Self::framing(name, Self::TransferEncoding);
            }
            (17, b's') => (b"sec-websocket-key", Self::SecWebSocketKey),
            (18, b'p') => (b"proxy-authenticate", Self::ProxyAuthenticate),
            (19, b'p') => (b"proxy-authorization", Self::ProxyAuthorization),
            (20, b's') => (b"sec-websocket-accept", Self::SecWebSocketAccept),
            (21, b's') => (b"sec-websocket-version", Self::SecWebSocketVersion),
            (22, b's') => (b"sec-websocket-protocol", Self::SecWebSocketProtocol),
            (16.., b'a') => return Self::access_control(name),
            _ => return Self::Other,
        };
        if lower_eq(name, full) {
            kind
        } else {
            Self::Other
        }
    }

    fn framing(name: &[u8], kind: Self) -> Self {
        if name
            .iter()
            .all(|&byte| byte == b'-' || byte.is_ascii_alphanumeric())
        {
            kind
        } else {
            Self::FramingMisspelt
        }
    }

    fn access_control(name: &[u8]) -> Self {
        match strip(name, b"access-control-") {
            None => Self::Other,
            Some(rest) if folded_eq(rest, b"request-method") => Self::AccessControlRequestMethod,
            Some(rest) if folded_eq(rest, b"request-headers") => Self::AccessControlRequestHeaders,
            Some(_) => Self::AccessControlOther,
        }
    }

    fn extension(name: &[u8]) -> Self {
        let (full, kind): (&[u8], Self) = match name.len() {
            9 if folded_eq(name, b"x-real-ip") => return Self::XRealIp,
            9 => (b"x-user-id", Self::XUserId),
            11 => (b"x-user-role", Self::XUserRole),
            12 if folded_eq(name, b"x-request-id") => return Self::XRequestId,
            15 if folded_eq(name, b"x-forwarded-for") => return Self::XForwardedFor,
            15 if folded_eq(name, b"x-response-time") => return Self::XResponseTime,
            16 if folded_eq(name, b"x-forwarded-host") => return Self::XForwardedHost,
            17 if folded_eq(name, b"x-forwarded-proto") => return Self::XForwardedProto,
            17 if folded_eq(name, b"x-organization-id") => return Self::XOrganizationId,
            18 if folded_eq(name, b"x-forwarded-prefix") => return Self::XForwardedPrefix,
            21 if folded_eq(name, b"x-client-cert-subject") => return Self::ClientCert,
            // From 12 on: the family's name alone, with nothing behind its last hyphen, is one of it.
            12.. => return Self::extension_family(name),
            _ => return Self::Other,
        };
        if folded_eq(name, full) {
            kind
        } else {
            Self::Other
        }
    }

    fn extension_family(name: &[u8]) -> Self {
        if strip(name, b"x-forwarded-").is_some() {
            Self::XForwardedOther
        } else if strip(name, b"x-ratelimit-").is_some() {
            Self::XRateLimit
        } else {
            Self::Other
        }
    }

    /// Fields that are for this connection alone by their own definition (RFC 9110 7.6.1, and the older `Proxy-*` ones).
    #[must_use]
    pub const fn hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::ProxyAuthenticate
                | Self::ProxyAuthorization
                | Self::Te
                | Self::Trailer
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }
}

/// One field line of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'b> {
    /// As it came, letter case kept.
    pub name: &'b [u8],
    /// As it came, without the white space around it.
    pub value: &'b [u8],
    /// What the name means to us.
    pub kind: Name,
    /// Consumed here: hop-by-hop by rule, or named in `Connection`.
    pub hop: bool,
}

/// The elements of a comma list, without the white space around them; empty ones are left out (RFC 9110 5.6.1.2).
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// Without spaces and tabs at both ends.
#[must_use]
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// A byte that a token may hold (RFC 9110 5.6.2).
#[must_use]
pub const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// A byte that a field value may hold: HTAB, SP, VCHAR, obs-text (RFC 9110 5.5).
#[must_use]
pub const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// What follows `prefix` (lower case) in a name, compared as `folded_eq` does.
fn strip<'b>(name: &'b [u8], prefix: &[u8]) -> Option<&'b [u8]> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    folded_eq(start, prefix).then_some(rest)
}

/// Equality to a lower-case name of the same length, blind to letter case; by words, for it is asked for each field. Setting
/// the bit that tells the cases apart confuses `-` with CR and nothing else that these names hold, and neither a token nor a
/// field value holds CR.
#[inline]
fn lower_eq(name: &[u8], lower: &[u8]) -> bool {
    let eight = |name: Option<&[u8; 8]>, lower: Option<&[u8; 8]>| {
        name.map(|word| u64::from_ne_bytes(*word) | u64::from_ne_bytes([0x20; 8]))
            == lower.map(|word| u64::from_ne_bytes(*word))
    };
    let four = |name: Option<&[u8; 4]>, lower: Option<&[u8; 4]>| {
        name.map(|word| u32::from_ne_bytes(*word) | u32::from_ne_bytes([0x20; 4]))
            == lower.map(|word| u32::from_ne_bytes(*word))
    };
    match name.len() {
        // Two words that may overlap cover the name.
        4..=7 => {
            four(name.first_chunk(), lower.first_chunk())
                && four(name.last_chunk(), lower.last_chunk())
        }
        8..=16 => {
            eight(name.first_chunk(), lower.first_chunk())
                && eight(name.last_chunk(), lower.last_chunk())
        }
        _ => name.eq_ignore_ascii_case(lower),
    }
}

/// Equality to a lower-case name, blind to letter case and to what is written for `-`.
fn folded_eq(name: &[u8], lower: &[u8]) -> bool {
    name.len() == lower.len()
        && name
            .iter()
            .zip(lower)
            .all(|(&byte, &want)| fold(byte) == want)
}

/// A byte of a name as CGI-like readers fold it.
pub(super) const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte.to_ascii_lowercase()
    } else {
        b'-'
    }
}
