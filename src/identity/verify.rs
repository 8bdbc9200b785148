//! The one place where a token becomes an identity. Not here: finding the token, remembering the result.
//! Invariant: algorithm, signature, every rule and every claim were checked, in this order, before an `Identity` exists.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};

use super::compact::{self, Compact, Object};
use super::signature::Key;
use super::{Identity, Refusal, Settings, SetupError, Why, mint, rules};

/// Numbers the verifiers of this process; a cache that sees a new number forgets what older keys vouched for.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// The configured key and rules, ready to judge tokens. Shared by all threads; built anew when settings change.
#[derive(Debug)]
pub struct Verifier {
    settings: Settings,
    key: Key,
    generation: u64,
    /// The header of the first genuine token, letter by letter: what an issuer writes there is the same in each of its tokens, and has
    /// passed all the rules about headers once. Nobody without the key can put anything here.
    known_header: OnceLock<Box<str>>,
}

impl Verifier {
    /// Checks that it accepts a token made here and refuses a forged one.
    ///
    /// # Errors
    /// An empty secret, or cryptography that does not do what it says.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        if settings.secret.is_empty() {
            return Err(SetupError::EmptySecret);
        }
        let mut verifier = Self {
            key: Key::new(&settings.secret, settings.algorithm),
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            known_header: OnceLock::new(),
            settings,
        };
        verifier.test_itself()?;
        // The place is for what issuers write; ours would keep them out of it for ever.
        verifier.known_header.take();
        Ok(verifier)
    }

    /// Judges one token at the time `now_ms`.
    ///
    /// # Errors
    /// [`Refusal::Expired`] or [`Refusal::Invalid`], with the first thing that is wrong.
    pub fn verify(&self, token: &[u8], now_ms: u64) -> Result<Identity, Refusal> {
        let compact = Compact::split(token)?;
        let known = self.known_header.get();
        if known.is_some_and(|known| **known == *compact.header) {
            self.check_signature(&compact)?;
        } else {
            self.check_header(&compact)?;
        }
        let claims = compact::decode(compact.claims)?;
        let claims = Object::parse(&claims)?;
        for rule in rules::CLAIM_RULES {
            rule(&claims, &self.settings, now_ms)?;
        }
        Ok(Identity::from_claims(&claims, &self.settings)?)
    }

    /// Header and signature of a token whose header is not the known one.
    fn check_header(&self, compact: &Compact<'_>) -> Result<(), Why> {
        let header = compact::decode(compact.header)?;
        let header = Object::parse(&header)?;
        rules::algorithm(&header, &self.settings)?;
        self.check_signature(compact)?;
        for rule in rules::HEADER_RULES {
            rule(&header)?;
        }
        let _ = self.known_header.set(compact.header.into());
        Ok(())
    }

    /// Unique to this verifier within the process.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// With the configured algorithm, whatever the header says.
    fn check_signature(&self, compact: &Compact<'_>) -> Result<(), Why> {
        if !self.key.has_signed(compact.message, compact.signature) {
            return Err(Why::Signature);
        }
        Ok(())
    }

    fn test_itself(&self) -> Result<(), SetupError> {
        let mut claims = Map::new();
        claims.insert("exp".to_owned(), Value::from(1));
        let token = mint(&self.settings, claims).map_err(|_| SetupError::SelfTestRefused)?;
        if self.verify(token.as_bytes(), 0).is_err() {
            return Err(SetupError::SelfTestRefused);
        }
        // The first character of the signature, for the last one carries bits that are not part of it.
        let mut forged = token.into_bytes();
        let signature_at = forged.iter().rposition(|byte| *byte == b'.');
        if let Some(byte) = signature_at.and_then(|dot| forged.get_mut(dot + 1)) {
            *byte = if *byte == b'A' { b'B' } else { b'A' };
        }
        match self.verify(&forged, 0) {
            Err(Refusal::Invalid(Why::Signature)) => Ok(()),
            Ok(_) | Err(_) => Err(SetupError::SelfTestForged),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use jsonwebtoken::{EncodingKey, crypto};
    use serde_json::json;

    use super::*;
    use crate::identity::Hmac;

    const SECRET: [u8; 32] = *b"a secret of thirty-two bytes....";

    /// A token whose header is spelt as given.
    fn token(header: &str, exp: u64) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let claims = json!({ "exp": exp }).to_string();
        let message = [header, &claims]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".");
        let key = EncodingKey::from_secret(&SECRET);
        let signature = crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
        format!("{message}.{}", signature.unwrap())
    }

    #[test]
    fn the_known_header_is_an_issuers_and_vouches_for_nothing_but_itself() {
        let verifier = Verifier::new(Settings::with_secret(Hmac::Hs256, SECRET)).unwrap();
        assert!(verifier.known_header.get().is_none(), "ours is not kept");
        let python = token(r#"{"alg":"HS256","typ":"JWT"}"#, 10);
        let mut forged = python.clone().into_bytes();
        let at = forged.iter().rposition(|byte| *byte == b'.').unwrap() + 1;
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        assert!(verifier.verify(&forged, 0).is_err());
        assert!(
            verifier.known_header.get().is_none(),
            "a forged one neither"
        );
        assert!(verifier.verify(python.as_bytes(), 0).is_ok());
        assert!(python.starts_with(&**verifier.known_header.get().unwrap()));
        // With the known header everything else is judged as before, and so are other headers.
        assert!(verifier.verify(python.as_bytes(), 0).is_ok());
        assert!(verifier.verify(&forged, 0).is_err());
        assert!(
            verifier.verify(python.as_bytes(), 10_000).is_err(),
            "expired"
        );
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"{"alg":"HS256","typ":"refresh"}"#,
        ] {
            let other = token(header, 10);
            assert!(verifier.verify(other.as_bytes(), 0).is_err(), "{header}");
        }
    }
}
