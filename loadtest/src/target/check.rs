//! Looks whether a target does the work it is measured at: refuses what must be refused, limits by organization and by address, tells
//! the service who asks. Not a conformance test. Invariant: a target that fails here is not measured.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use dbpower_gateway::net::clock;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::generator::token;

/// More than any target's bucket holds under the low limits of the check.
const TRIES_MAX: u16 = 200;
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Asks `port` for all of it.
pub(crate) fn check(port: u16) -> io::Result<()> {
    let here = Ipv4Addr::LOCALHOST;
    let good = token(7, clock::unix_ms() / 1000 + 600)?;
    let stale = token(7, clock::unix_ms() / 1000 - 600)?;
    let mut forged = good.clone();
    // The signature's first character: the last one has bits that do not count.
    let at = forged.rfind('.').map_or(0, |dot| dot + 1);
    let other = if forged.get(at..=at) == Some("A") {
        "B"
    } else {
        "A"
    };
    forged.replace_range(at..=at, other);
    let refused = [
        ("no token", None),
        ("a forged token", Some(&forged)),
        ("a stale token", Some(&stale)),
    ];
    for (what, token) in refused {
        expect(what, ask(port, here, token)?.0, 401)?;
    }
    let (status, heard) = ask(port, here, Some(&good))?;
    expect("a good token", status, 200)?;
    let told = [
        "x-organization-id: 7",
        "x-user-id: 107",
        "x-user-role: user",
        "x-forwarded-for: ",
        "x-request-id: ",
    ];
    for field in told {
        if !heard
            .lines()
            .any(|line| line.to_ascii_lowercase().starts_with(field))
        {
            return Err(io::Error::other(format!(
                "the service was not told `{field}` but\n{heard}"
            )));
        }
    }
    if heard.contains("forged") {
        return Err(io::Error::other("a forged X-User-ID reached the service"));
    }
    let expires = clock::unix_ms() / 1000 + 600;
    let one = token(8, expires)?;
    limited("an organization", |turn| {
        let address = Ipv4Addr::from(0x7f00_0100 + u32::from(turn));
        Ok(ask(port, address, Some(&one))?.0)
    })?;
    limited("an address", |turn| {
        let many = token(1_000 + u64::from(turn), expires)?;
        Ok(ask(port, Ipv4Addr::new(127, 0, 3, 1), Some(&many))?.0)
    })
}

fn limited(whose: &str, mut ask: impl FnMut(u16) -> io::Result<u16>) -> io::Result<()> {
    for turn in 1..TRIES_MAX {
        match ask(turn)? {
            200 => {}
            429 => return Ok(()),
            other => return expect("a request below the limit", other, 200),
        }
    }
    Err(io::Error::other(format!(
        "{whose} is not limited: {TRIES_MAX} requests were let through"
    )))
}

fn expect(what: &str, status: u16, wanted: u16) -> io::Result<()> {
    if status == wanted {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{what} is answered {status}, not {wanted}"
    )))
}

/// One request from an address of this machine: status and body.
fn ask(port: u16, from: Ipv4Addr, token: Option<&String>) -> io::Result<(u16, String)> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((from, 0)))?;
    connect(&socket, &SocketAddr::from(([127, 0, 0, 1], port)))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let bearer = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    write!(
        stream,
        "GET /api/v1/echo HTTP/1.1\r\nHost: api.example.com\r\n{bearer}X-User-ID: forged\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.get(9..12).and_then(|digits| digits.parse().ok());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match status {
        Some(status) => Ok((status, body.to_owned())),
        None => Err(io::Error::other(format!("no answer but {text:?}"))),
    }
}

/// RFC 4648 section 5, without padding: how a JWK holds a key.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut word = 0_u32;
        for place in 0..3 {
            word = word << 8 | u32::from(three.get(place).copied().unwrap_or(0));
        }
        for place in 0..=three.len() {
            let index = (word >> (18 - 6 * place)) & 63;
            let letter = usize::try_from(index)
                .ok()
                .and_then(|index| LETTERS.get(index));
            text.push(char::from(letter.copied().unwrap_or(b'A')));
        }
    }
    text
}
