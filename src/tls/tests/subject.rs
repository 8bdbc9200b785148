//! Subjects as RFC 4514 writes them, and certificates that were tampered with. Not the proof (`net`, and end to end). Invariant: whatever
//! stands in a certificate stays within its line.

use rcgen::string::{BmpString, Ia5String};
use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

use super::super::subject::Proved;

fn certificate(parts: Vec<(DnType, DnValue)>) -> Vec<u8> {
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in parts {
        params.distinguished_name.push(kind, value);
    }
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

fn check(parts: Vec<(DnType, DnValue)>, expected: Option<&str>) {
    let proved = Proved::of(&certificate(parts));
    assert_eq!(proved.subject.as_deref(), expected);
}

fn utf8(text: &str) -> DnValue {
    DnValue::Utf8String(text.to_owned())
}

#[test]
fn a_subject_is_written_as_in_rfc_4514() {
    let cn = |text: &str| vec![(DnType::CommonName, utf8(text))];
    check(
        vec![
            (DnType::CountryName, utf8("DE")),
            (DnType::OrganizationName, utf8("Example, Inc.")),
            (DnType::CommonName, utf8("device-7")),
        ],
        Some("CN=device-7,O=Example\\, Inc.,C=DE"),
    );
    for (text, expected) in [
        ("", "CN="),
        (" a b ", "CN=\\ a b\\ "),
        (" ", "CN=\\ "),
        ("#a#", "CN=\\#a#"),
        ("a+b;\"<c>\\=", "CN=a\\+b\\;\\\"\\<c\\>\\\\="),
        // What would end a field, or the string in another language.
        (
            "a\r\nX-User-ID: 1\0\u{7f}",
            "CN=a\\0D\\0AX-User-ID: 1\\00\\7F",
        ),
        ("a,CN=admin", "CN=a\\,CN=admin"),
        ("Gärtner", "CN=G\\C3\\A4rtner"),
    ] {
        check(cn(text), Some(expected));
    }
    let wide = BmpString::try_from("Gärtner").unwrap();
    let mail = Ia5String::try_from("a@b.test").unwrap();
    let email = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
    check(
        vec![
            (DnType::CommonName, DnValue::BmpString(wide)),
            (email, DnValue::Ia5String(mail)),
            (DnType::CustomDnType(vec![2, 5, 4, 97]), utf8("x")),
            (DnType::CustomDnType(vec![2, 999, 3]), utf8("x")),
        ],
        Some("2.999.3=#0C0178,2.5.4.97=#0C0178,emailAddress=a@b.test,CN=G\\C3\\A4rtner"),
    );
    check(Vec::new(), None);
}

/// The certificate has been checked before; all the same no byte of it may do harm.
#[test]
fn no_bytes_reach_a_panic_or_leave_the_line() {
    let good = certificate(vec![
        (DnType::OrganizationName, utf8("Example")),
        (DnType::CommonName, utf8("a")),
    ]);
    for length in 0..good.len() {
        let _ = Proved::of(&good[..length]);
    }
    let mut state = 0x1234_5678_u64;
    println!("seed {state:#x}");
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap()
    };
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=random() % 3 {
            // Where the subject stands, for the most part.
            let at = random() % good.len().min(200);
            bytes[at] = u8::try_from(random() % 256).unwrap();
        }
        if let Some(text) = Proved::of(&bytes).subject {
            assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
