//! Whether a token was signed with our secret. Not here: which algorithm may be used, what is signed.
//! Invariant: the comparison is constant in time (aws-lc), and one signature has one spelling.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Hmac;

/// The longest: SHA-512's.
const SIGNATURE_BYTES_MAX: usize = 64;

/// A secret, hashed once for all tokens: jsonwebtoken would do that again for each, which is half of what a short token costs.
pub(super) struct Key(hmac::Key);

impl Key {
    pub(super) fn new(secret: &[u8], algorithm: Hmac) -> Self {
        let algorithm = match algorithm {
            Hmac::Hs256 => hmac::HMAC_SHA256,
            Hmac::Hs384 => hmac::HMAC_SHA384,
            Hmac::Hs512 => hmac::HMAC_SHA512,
        };
        Self(hmac::Key::new(algorithm, secret))
    }

    /// Strict as the other parts are: base64url without padding and stray bits.
    pub(super) fn has_signed(&self, message: &[u8], signature: &str) -> bool {
        let mut room = [0; SIGNATURE_BYTES_MAX];
        let Ok(length) = URL_SAFE_NO_PAD.decode_slice(signature, &mut room) else {
            return false;
        };
        let given = room.get(..length).unwrap_or_default();
        hmac::verify(&self.0, message, given).is_ok()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not what it was made of.
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, 4.3: test case 2.
    #[test]
    fn known_answers() {
        let message = b"what do ya want for nothing?";
        let sha256 = "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM";
        let sha384 = "r0XS43ZIQDFhf3jStYprG5x-9GT1oBtH5C7Dc2MiRF6OIkDKXmnix4syOez6shZJ";
        let sha512 = "Fkt6e_z4GeLjlfvnO1bgo4e9ZCIugx_WECcM1-olBVSXWL91wFqZSm0DT2X48Ob9yuqxo01Ka0tjbgcKOLznNw";
        for (algorithm, signature) in [
            (Hmac::Hs256, sha256),
            (Hmac::Hs384, sha384),
            (Hmac::Hs512, sha512),
        ] {
            let key = Key::new(b"Jefe", algorithm);
            assert!(key.has_signed(message, signature), "{algorithm}");
            assert!(!key.has_signed(b"what do ya want for nothing!", signature));
            assert!(!Key::new(b"jefe", algorithm).has_signed(message, signature));
            // Shorter, longer, padded, of another alphabet, none.
            for other in [
                signature.get(1..).unwrap_or_default(),
                &format!("{signature}AAAA"),
                &format!("{signature}="),
                &signature.replace(['-', '_'], "+"),
                "",
            ] {
                let same = other == signature;
                assert_eq!(key.has_signed(message, other), same, "{other}");
            }
            for others in Hmac::ALL {
                let same = others == algorithm;
                assert_eq!(
                    Key::new(b"Jefe", others).has_signed(message, signature),
                    same
                );
            }
        }
        // The last character's stray bits: 43 characters hold 258 bits.
        let key = Key::new(b"Jefe", Hmac::Hs256);
        assert!(!key.has_signed(message, &sha256.replace("OEM", "OEN")));
    }

    #[test]
    fn what_it_was_made_of_does_not_show() {
        assert_eq!(format!("{:?}", Key::new(b"Jefe", Hmac::Hs256)), "Key");
    }
}
