//! Times in certificates, to the second. Invariant: what is no time of RFC 5280 is none here.

use super::super::certificate::time;

#[test]
fn times_are_read_to_the_second() {
    let table: [(&[u8], Option<u64>); 12] = [
        (b"\x17\x0d700101000000Z", Some(0)),
        (b"\x17\x0d000229235959Z", Some(951_868_799)),
        (b"\x17\x0d491231235959Z", Some(2_524_607_999)),
        (b"\x17\x0d500101000000Z", Some(0)),
        (b"\x18\x0f20500101000000Z", Some(2_524_608_000)),
        (b"\x18\x0f21000301000000Z", Some(4_107_542_400)),
        (b"\x18\x0f99991231235959Z", Some(253_402_300_799)),
        (b"\x18\x0f20261301000000Z", None),
        (b"\x18\x0f20261200000000Z", None),
        (b"\x17\x0b7001010000Z", None),
        (b"\x17\x0d70010100000+Z", None),
        (b"\x13\x0d700101000000Z", None),
    ];
    for (bytes, expected) in table {
        let mut rest = bytes;
        assert_eq!(time(&mut rest), expected, "{bytes:?}");
    }
}
