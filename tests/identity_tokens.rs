//! Whole tokens, most of them forged by hand, against the verifier: every rule and every trap of the JWT library.
//! Not here: the parts behind it (`src/identity/tests.rs`). Invariant: signatures are made without `mint`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    clippy::too_many_lines,
    reason = "a test may fail loudly, and a table is as long as its cases"
)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use dbpower_gateway::identity::{
    Cache, DateClaim, DateFault, Hmac, Refusal, Settings, SetupError, TOKEN_BYTES_MAX, Verifier,
    Why,
};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};

const SECRET: &[u8] = b"a secret of thirty-two bytes....";
const NOW_MS: u64 = 1_700_000_000_000;
const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const GOOD: &str = r#"{"exp":1700003600,"user_id":1}"#;

fn settings() -> Settings {
    Settings::with_secret(Hmac::Hs256, SECRET)
}

fn sign(message: &str, secret: &[u8], algorithm: Algorithm) -> String {
    crypto::sign(
        message.as_bytes(),
        &EncodingKey::from_secret(secret),
        algorithm,
    )
    .unwrap()
}

fn message(header: &str, claims: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}", encode(header), encode(claims))
}

fn forge(header: &str, claims: &str, secret: &[u8], algorithm: Algorithm) -> String {
    let message = message(header, claims);
    let signature = sign(&message, secret, algorithm);
    format!("{message}.{signature}")
}

/// `None` for an accepted token.
fn verdict(settings: Settings, token: &str) -> Option<Refusal> {
    let verifier = Verifier::new(settings).unwrap();
    let direct = verifier.verify(token.as_bytes(), NOW_MS).err();
    // The cache must not judge differently, neither the first time nor the second.
    let mut cache = Cache::new();
    for _ in 0..2 {
        let cached = cache.identify(&verifier, token.as_bytes(), NOW_MS).err();
        assert_eq!(cached, direct, "{token}");
    }
    direct
}

fn invalid(why: Why) -> Option<Refusal> {
    Some(Refusal::Invalid(why))
}

#[test]
fn headers() {
    use Algorithm::{HS256 as A256, HS384 as A384, HS512 as A512};
    let table: &[(&str, Algorithm, Option<Why>)] = &[
        (HS256, A256, None),
        (r#"{"alg":"HS256"}"#, A256, None),
        (
            r#"{"alg":"HS256","kid":"unknown","jku":"http://evil/"}"#,
            A256,
            None,
        ),
        (r#"{"alg":"HS256","typ":"at+jwt"}"#, A256, None),
        (r#"{"alg":"HS256","typ":7}"#, A256, None),
        // Algorithm confusion: the token does not choose.
        (r#"{"alg":"none"}"#, A256, Some(Why::Algorithm)),
        (r#"{"alg":"None"}"#, A256, Some(Why::Algorithm)),
        (r#"{"alg":""}"#, A256, Some(Why::Algorithm)),
        (r#"{"alg":null}"#, A256, Some(Why::Algorithm)),
        (r#"{"alg":["HS256"]}"#, A256, Some(Why::Algorithm)),
        (r"{}", A256, Some(Why::Algorithm)),
        (r#"{"alg":"hs256"}"#, A256, Some(Why::Algorithm)),
        (r#"{"alg":"HS256 "}"#, A256, Some(Why::Algorithm)),
        (r#"{"alg":"RS256"}"#, A256, Some(Why::Algorithm)),
        (r#"{"alg":"ES256"}"#, A256, Some(Why::Algorithm)),
        (r#"{"alg":"EdDSA"}"#, A256, Some(Why::Algorithm)),
        (r#"{"alg":"HS384"}"#, A384, Some(Why::Algorithm)),
        (r#"{"alg":"HS512"}"#, A512, Some(Why::Algorithm)),
        // It says one algorithm and is signed with another.
        (HS256, A512, Some(Why::Signature)),
        // The library ignores crit and typ.
        (
            r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
            A256,
            Some(Why::Critical),
        ),
        (r#"{"alg":"HS256","crit":[]}"#, A256, Some(Why::Critical)),
        (r#"{"alg":"HS256","crit":null}"#, A256, Some(Why::Critical)),
        (r#"{"alg":"HS256","crit":"exp"}"#, A256, Some(Why::Critical)),
        (
            r#"{"alg":"HS256","typ":"refresh+jwt"}"#,
            A256,
            Some(Why::Refresh),
        ),
        (
            r#"{"alg":"HS256","typ":"rt+JWT"}"#,
            A256,
            Some(Why::Refresh),
        ),
        (
            r#"{"alg":"HS256","type":"Refresh"}"#,
            A256,
            Some(Why::Refresh),
        ),
        // Two readers, two headers.
        (
            r#"{"alg":"none","alg":"HS256"}"#,
            A256,
            Some(Why::DuplicateName),
        ),
        (
            r#"{"alg":"HS256","typ":"JWT","typ":"refresh"}"#,
            A256,
            Some(Why::DuplicateName),
        ),
        (
            r#"{"alg":"HS256","\u0061lg":"none"}"#,
            A256,
            Some(Why::DuplicateName),
        ),
        // Not objects.
        (r#"["HS256"]"#, A256, Some(Why::Malformed)),
        (r#""HS256""#, A256, Some(Why::Malformed)),
        ("null", A256, Some(Why::Malformed)),
        ("", A256, Some(Why::Malformed)),
        (r#"{"alg":"HS256"} x"#, A256, Some(Why::Malformed)),
        (r#"{"alg":"HS256""#, A256, Some(Why::Malformed)),
    ];
    for (header, algorithm, why) in table {
        let token = forge(header, GOOD, SECRET, *algorithm);
        assert_eq!(
            verdict(settings(), &token),
            why.map(Refusal::Invalid),
            "{header}"
        );
    }
}

#[test]
fn signatures() {
    let good = forge(HS256, GOOD, SECRET, Algorithm::HS256);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let evil = forge(
        HS256,
        r#"{"exp":1700003600,"user_id":2}"#,
        b"evil",
        Algorithm::HS256,
    );
    let (evil_message, _) = evil.rsplit_once('.').unwrap();
    let flipped: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
    let table = [
        (good.clone(), None),
        (evil.clone(), invalid(Why::Signature)),
        (
            format!("{evil_message}.{signature}"),
            invalid(Why::Signature),
        ),
        (format!("{message}."), invalid(Why::Signature)),
        (format!("{message}.AAAA"), invalid(Why::Signature)),
        (
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(flipped)),
            invalid(Why::Signature),
        ),
        (
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(&bytes[..31])),
            invalid(Why::Signature),
        ),
        (
            format!(
                "{message}.{}",
                URL_SAFE_NO_PAD.encode([&bytes[..], &[0]].concat())
            ),
            invalid(Why::Signature),
        ),
        // One signature has one spelling: padding, the other alphabet, stray bits and line ends are others.
        (
            format!("{message}.{}", URL_SAFE.encode(&bytes)),
            invalid(Why::Signature),
        ),
        (
            format!("{message}.{}", STANDARD.encode([0xfb; 32])),
            invalid(Why::Signature),
        ),
        (format!("{message}.{signature}\n"), invalid(Why::Signature)),
        (format!("{good}."), invalid(Why::Malformed)),
        (format!("{good}.{signature}"), invalid(Why::Malformed)),
        (format!(".{good}"), invalid(Why::Malformed)),
        (message.to_owned(), invalid(Why::Malformed)),
        (String::new(), invalid(Why::Malformed)),
        (".".to_owned(), invalid(Why::Malformed)),
        ("..".to_owned(), invalid(Why::Malformed)),
        ("a.b.c.d.e".to_owned(), invalid(Why::Malformed)),
        ("\u{e9}.\u{e9}.\u{e9}".to_owned(), invalid(Why::Malformed)),
        ("a".repeat(TOKEN_BYTES_MAX + 1), invalid(Why::TooLong)),
    ];
    for (token, expected) in table {
        assert_eq!(verdict(settings(), &token), expected, "{token}");
    }
    // The last character of a 32-byte signature carries two bits that decode to nothing.
    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        let respelled = format!("{message}.{}{last}", &signature[..signature.len() - 1]);
        let expected = if respelled == good {
            None
        } else {
            invalid(Why::Signature)
        };
        assert_eq!(verdict(settings(), &respelled), expected, "{respelled}");
    }
    // Bytes that are no text at all.
    let verifier = Verifier::new(settings()).unwrap();
    let refused = verifier.verify(&[0xff; 100], NOW_MS).err();
    assert_eq!(refused, invalid(Why::Malformed));
}

#[test]
fn an_empty_secret_is_no_secret() {
    let empty = Settings::with_secret(Hmac::Hs256, "");
    assert_eq!(Verifier::new(empty).err(), Some(SetupError::EmptySecret));
    // What the library would accept with one is refused here with another.
    let token = forge(HS256, GOOD, b"", Algorithm::HS256);
    assert_eq!(verdict(settings(), &token), invalid(Why::Signature));
}

#[test]
fn each_configured_algorithm_takes_its_own() {
    let table = [
        (Hmac::Hs256, Algorithm::HS256, r#"{"alg":"HS256"}"#),
        (Hmac::Hs384, Algorithm::HS384, r#"{"alg":"HS384"}"#),
        (Hmac::Hs512, Algorithm::HS512, r#"{"alg":"HS512"}"#),
    ];
    for (configured, _, _) in table {
        for (own, algorithm, header) in table {
            let token = forge(header, GOOD, SECRET, algorithm);
            let settings = Settings::with_secret(configured, SECRET);
            let expected = if own == configured {
                None
            } else {
                invalid(Why::Algorithm)
            };
            assert_eq!(verdict(settings, &token), expected, "{configured} {header}");
        }
    }
}

#[test]
fn dates() {
    let expired = Some(Refusal::Expired);
    let date = |claim, fault| invalid(Why::Date(claim, fault));
    let exp = |fault| date(DateClaim::Exp, fault);
    let table = [
        // exp: required, no leeway, "on or after" is too late. Now is 1700000000.
        ("{}", invalid(Why::NoExpiry)),
        (r#"{"exp":null}"#, invalid(Why::NoExpiry)),
        (r#"{"exp":1700000001}"#, None),
        (r#"{"exp":1700000000}"#, expired),
        (r#"{"exp":1699999999}"#, expired),
        (r#"{"exp":1699999950}"#, expired),
        (r#"{"exp":0}"#, expired),
        (r#"{"exp":1700000000.001}"#, None),
        (r#"{"exp":1700000000.0}"#, expired),
        (r#"{"exp":1.7000036e9}"#, None),
        (r#"{"exp":253402300799}"#, None),
        (r#"{"exp":253402300800}"#, exp(DateFault::Milliseconds)),
        (r#"{"exp":1700003600000}"#, exp(DateFault::Milliseconds)),
        (r#"{"exp":1.7000036e12}"#, exp(DateFault::Milliseconds)),
        (r#"{"exp":""}"#, exp(DateFault::Text)),
        (r#"{"exp":18446744073709551615}"#, exp(DateFault::Other)),
        (r#"{"exp":18446744073709552}"#, exp(DateFault::Other)),
        (r#"{"exp":1e300}"#, exp(DateFault::Other)),
        (r#"{"exp":-1}"#, exp(DateFault::Other)),
        (r#"{"exp":-0.5}"#, exp(DateFault::Other)),
        (r#"{"exp":"1700003600"}"#, exp(DateFault::Text)),
        (r#"{"exp":true}"#, exp(DateFault::Other)),
        (r#"{"exp":[1700003600]}"#, exp(DateFault::Other)),
        (r#"{"exp":{}}"#, exp(DateFault::Other)),
        (r#"{"exp":NaN}"#, invalid(Why::Malformed)),
        (r#"{"exp":Infinity}"#, invalid(Why::Malformed)),
        (r#"{"exp":1e999}"#, invalid(Why::Malformed)),
        // nbf and iat: five seconds for other clocks.
        (r#"{"exp":1700003600,"nbf":1700000000}"#, None),
        (r#"{"exp":1700003600,"nbf":1700000005}"#, None),
        (
            r#"{"exp":1700003600,"nbf":1700000005.1}"#,
            invalid(Why::NotYetValid),
        ),
        (
            r#"{"exp":1700003600,"nbf":1700000006}"#,
            invalid(Why::NotYetValid),
        ),
        (
            r#"{"exp":1700003600,"nbf":"soon"}"#,
            date(DateClaim::Nbf, DateFault::Text),
        ),
        (r#"{"exp":1700003600,"nbf":null}"#, None),
        (
            r#"{"exp":1700003600,"nbf":-1}"#,
            date(DateClaim::Nbf, DateFault::Other),
        ),
        (r#"{"exp":1700003600,"iat":1700000005}"#, None),
        (
            r#"{"exp":1700003600,"iat":1700000006}"#,
            invalid(Why::IssuedInFuture),
        ),
        (
            r#"{"exp":1700003600,"iat":"2023"}"#,
            date(DateClaim::Iat, DateFault::Text),
        ),
        (
            r#"{"exp":1700003600,"iat":1700000000123}"#,
            date(DateClaim::Iat, DateFault::Milliseconds),
        ),
        (
            r#"{"exp":1700003600,"iat":1e18}"#,
            date(DateClaim::Iat, DateFault::Other),
        ),
    ];
    for (claims, expected) in table {
        let token = forge(HS256, claims, SECRET, Algorithm::HS256);
        assert_eq!(verdict(settings(), &token), expected, "{claims}");
    }
    // To those without a genuine token it is not told that a token has expired.
    let stranger = forge(HS256, r#"{"exp":1}"#, b"guess", Algorithm::HS256);
    assert_eq!(verdict(settings(), &stranger), invalid(Why::Signature));
}

#[test]
fn audiences_and_issuers() {
    let missing = invalid(Why::Audience);
    // (aud, verdict while none is configured, verdict with "a" and "b")
    let table = [
        ("", None, missing),
        (r#","aud":null"#, None, missing),
        (r#","aud":"a""#, invalid(Why::AudienceUnset), None),
        (r#","aud":"c""#, invalid(Why::AudienceUnset), missing),
        (r#","aud":"A""#, invalid(Why::AudienceUnset), missing),
        (r#","aud":"""#, invalid(Why::AudienceUnset), missing),
        (r#","aud":[]"#, invalid(Why::AudienceUnset), missing),
        (r#","aud":["c","b"]"#, invalid(Why::AudienceUnset), None),
        (r#","aud":["c"]"#, invalid(Why::AudienceUnset), missing),
        (r#","aud":["a",1]"#, invalid(Why::AudienceUnset), missing),
        (r#","aud":[["a"]]"#, invalid(Why::AudienceUnset), missing),
        (r#","aud":{"a":1}"#, invalid(Why::AudienceUnset), missing),
        (r#","aud":1"#, invalid(Why::AudienceUnset), missing),
        (r#","aud":true"#, invalid(Why::AudienceUnset), missing),
    ];
    let mut with_audience = settings();
    with_audience.audience = vec!["a".to_owned(), "b".to_owned()];
    for (aud, unset, set) in table {
        let claims = format!(r#"{{"exp":1700003600{aud}}}"#);
        let token = forge(HS256, &claims, SECRET, Algorithm::HS256);
        assert_eq!(verdict(settings(), &token), unset, "{claims}");
        assert_eq!(verdict(with_audience.clone(), &token), set, "{claims}");
    }
    let wrong = invalid(Why::Issuer);
    let table = [
        ("", wrong),
        (r#","iss":null"#, wrong),
        (r#","iss":"https://id""#, None),
        (r#","iss":"https://id/""#, wrong),
        (r#","iss":["https://id"]"#, wrong),
        (r#","iss":1"#, wrong),
    ];
    let mut with_issuer = settings();
    with_issuer.issuer = vec!["x".to_owned(), "https://id".to_owned()];
    for (iss, set) in table {
        let claims = format!(r#"{{"exp":1700003600{iss}}}"#);
        let token = forge(HS256, &claims, SECRET, Algorithm::HS256);
        assert_eq!(verdict(settings(), &token), None, "{claims}");
        assert_eq!(verdict(with_issuer.clone(), &token), set, "{claims}");
    }
}

#[test]
fn claims() {
    let deep = format!(
        r#"{{"exp":1700003600,"x":{}{}}}"#,
        "[".repeat(2000),
        "]".repeat(2000)
    );
    let table = [
        (GOOD, None),
        ("[]", invalid(Why::Malformed)),
        ("1", invalid(Why::Malformed)),
        ("null", invalid(Why::Malformed)),
        ("", invalid(Why::Malformed)),
        (deep.as_str(), invalid(Why::Malformed)),
        (
            r#"{"exp":1700003600,"user_id":1,"user_id":2}"#,
            invalid(Why::DuplicateName),
        ),
        (r#"{"exp":1,"exp":1700003600}"#, invalid(Why::DuplicateName)),
        (
            r#"{"exp":1700003600,"user_id":1,"user\u005fid":2}"#,
            invalid(Why::DuplicateName),
        ),
        (r#"{"exp":1700003600,"x":{"y":1,"y":2}}"#, None),
        (
            r#"{"exp":1700003600,"type":"refresh"}"#,
            invalid(Why::Refresh),
        ),
        (
            r#"{"exp":1700003600,"typ":"Refresh"}"#,
            invalid(Why::Refresh),
        ),
        (
            r#"{"exp":1700003600,"typ":"Offline"}"#,
            invalid(Why::Refresh),
        ),
        (
            r#"{"exp":1700003600,"token_type":"refresh_token"}"#,
            invalid(Why::Refresh),
        ),
        (
            r#"{"exp":1700003600,"token_use":"refresh"}"#,
            invalid(Why::Refresh),
        ),
        (
            r#"{"exp":1700003600,"type":"access","typ":"Bearer","token_use":"access"}"#,
            None,
        ),
        (r#"{"exp":1700003600,"type":1}"#, None),
    ];
    for (claims, expected) in table {
        let token = forge(HS256, claims, SECRET, Algorithm::HS256);
        assert_eq!(verdict(settings(), &token), expected, "{claims}");
    }
}

#[test]
fn random_damage_never_passes_and_never_panics() {
    let good = forge(HS256, GOOD, SECRET, Algorithm::HS256).into_bytes();
    let verifier = Verifier::new(settings()).unwrap();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..20_000 {
        let mut damaged = good.clone();
        for _ in 0..=next() % 4 {
            let at = usize::try_from(next()).unwrap() % damaged.len();
            match next() % 3 {
                0 => damaged[at] = next().to_le_bytes()[0],
                1 => drop(damaged.remove(at)),
                _ => damaged.insert(at, next().to_le_bytes()[0]),
            }
        }
        if damaged != good {
            assert!(
                verifier.verify(&damaged, NOW_MS).is_err(),
                "round {round}: {damaged:?}"
            );
        }
    }
}
