//! The token of a browser's WebSocket, which can set no field of its own but `Sec-WebSocket-Protocol: bearer, <token>`. Not here:
//! when that counts (a handshake without `Authorization`). Invariant: what `others` gives names neither the mark nor the token.

use super::Refusal;

/// The subprotocol that says "the next one is my token", and that the answer chooses. Case-sensitive, as subprotocols are.
pub const BEARER: &[u8] = b"bearer";

/// The subprotocols offered, of all lines together (RFC 6455 11.3.4), in their order.
fn offered<'a>(lines: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    lines
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|offer| !offer.is_empty())
}

/// The token behind `bearer`.
///
/// # Errors
/// [`Refusal::MissingHeader`] when none is offered so, [`Refusal::BadHeaderFormat`] when there are two, or the mark alone.
pub fn find<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<&'a [u8], Refusal> {
    let mut offers = offered(lines);
    if !offers.any(|offer| offer == BEARER) {
        return Err(Refusal::MissingHeader);
    }
    let token = offers.next().ok_or(Refusal::BadHeaderFormat)?;
    // Two tokens: the gateway and the service could each believe another one.
    if offers.any(|offer| offer == BEARER) {
        return Err(Refusal::BadHeaderFormat);
    }
    Ok(token)
}

/// What is offered beside the mark and the token: this goes to the service.
pub fn others<'a>(lines: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    let mut token_follows = false;
    offered(lines).filter(move |offer| {
        let is_token = std::mem::replace(&mut token_follows, *offer == BEARER);
        !is_token && !token_follows
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_and_never_passed_on() {
        use Refusal::{BadHeaderFormat, MissingHeader};
        type Row<'a> = (&'a [&'a str], Result<&'a str, Refusal>, &'a str);
        let table: &[Row<'_>] = &[
            (&["bearer, t.o.k"], Ok("t.o.k"), ""),
            (&["bearer,t.o.k"], Ok("t.o.k"), ""),
            (&["bearer", "t.o.k"], Ok("t.o.k"), ""),
            (&["chat, bearer, t.o.k, v2"], Ok("t.o.k"), "chat v2"),
            (&["bearer, t.o.k", "chat"], Ok("t.o.k"), "chat"),
            (&[" , bearer ,, t.o.k ,"], Ok("t.o.k"), ""),
            (&[], Err(MissingHeader), ""),
            (&[""], Err(MissingHeader), ""),
            (&["chat, v2"], Err(MissingHeader), "chat v2"),
            (&["Bearer, t.o.k"], Err(MissingHeader), "Bearer t.o.k"),
            (&["bearer"], Err(BadHeaderFormat), ""),
            (&["chat, bearer"], Err(BadHeaderFormat), "chat"),
            (&["bearer, a, bearer, b, c"], Err(BadHeaderFormat), "c"),
            (&["bearer, bearer, b"], Ok("bearer"), ""),
        ];
        for (texts, token, rest) in table {
            let lines = || texts.iter().map(|line| line.as_bytes());
            assert_eq!(find(lines()), token.map(str::as_bytes), "{texts:?}");
            let kept: Vec<_> = others(lines()).map(String::from_utf8_lossy).collect();
            assert_eq!(kept.join(" "), *rest, "{texts:?}");
        }
    }
}
