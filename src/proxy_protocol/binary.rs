//! Version 2 of the header: sixteen fixed bytes, addresses, extensions. Not the text of version 1. Invariant: the length is judged
//! before anything that it promises is waited for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{EXTENSION_BYTES_MAX, HEADER_BYTES_MAX, Malformed, Source, Step};

/// What version 2 begins with: bytes that no HTTP request and no TLS handshake begins with.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
pub(super) const FIXED_BYTES: usize = 16;

/// Reads a header that has begun with the signature, as far as it goes.
pub(super) fn parse(bytes: &[u8]) -> Result<Step, Malformed> {
    if let Some(byte) = bytes.get(12)
        && !matches!(byte, 0x20 | 0x21)
    {
        return Err(Malformed("the version is not 2, or the command unknown"));
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(Step::Need(FIXED_BYTES - bytes.len()));
    };
    let [.., command, family, high, low] = *fixed;
    let follows = usize::from(u16::from_be_bytes([high, low]));
    let length = FIXED_BYTES + follows;
    // The family's byte is judged below: a header of none may be all extensions.
    if length > FIXED_BYTES + addresses_bytes(family) + EXTENSION_BYTES_MAX {
        return Err(Malformed("its extensions are longer than 4096 bytes"));
    }
    let Some(addresses) = rest.get(..follows) else {
        return Ok(Step::Need(length - bytes.len()));
    };
    let source = if command == 0x20 {
        Source::Peer
    } else {
        address_of(family, addresses)?
    };
    Ok(Step::Whole { length, source })
}

/// What the addresses of a family take (2.2).
const fn addresses_bytes(family: u8) -> usize {
    match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    }
}

const _: () =
    assert!(FIXED_BYTES + addresses_bytes(0x31) + EXTENSION_BYTES_MAX == HEADER_BYTES_MAX);

/// The source address stands first, the target and the ports behind it, extensions behind these (2.2).
fn address_of(family: u8, addresses: &[u8]) -> Result<Source, Malformed> {
    const SHORT: Malformed = Malformed("the header is too short for its addresses");
    match family {
        0x11 => {
            let (addresses, _) = addresses.split_first_chunk::<12>().ok_or(SHORT)?;
            let [a, b, c, d, ..] = *addresses;
            Ok(Source::Address(Ipv4Addr::new(a, b, c, d).into()))
        }
        0x21 => {
            let (addresses, _) = addresses.split_first_chunk::<36>().ok_or(SHORT)?;
            let source = addresses.first_chunk::<16>().ok_or(SHORT)?;
            Ok(Source::Address(
                IpAddr::from(Ipv6Addr::from(*source)).to_canonical(),
            ))
        }
        // Unspecified, datagrams, UNIX sockets: no address that a TCP client could have.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Ok(Source::Peer),
        _ => Err(Malformed("the address family is unknown")),
    }
}
