//! The keys that sign JWT-SVIDs: each is known to everybody before it signs, and stays known until the last token that it
//! signed has ended. What each is for follows from when the keys were made, so nothing else is kept.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::HEXLOWER;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use crate::key::{Key, KeyError};

/// The life of a token.
pub const TOKEN_LIFE: Duration = Duration::from_secs(300);
/// How long a key is known before it signs: a multiple of what those who fetch keys wait between two looks.
pub const KNOWN_BEFORE: Duration = Duration::from_secs(24 * 3600);
/// After this the next key is made.
const NEXT_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// How much longer than its last token a key stays, since clocks differ.
const APART: Duration = Duration::from_secs(300);

/// Keys that sign tokens.
#[derive(Clone)]
pub struct TokenKeys {
    /// The oldest first; never empty.
    keys: Vec<Arc<TokenKey>>,
}

struct TokenKey {
    id: String,
    made: SystemTime,
    pair: EcdsaKeyPair,
    pem: String,
}

/// A key at rest. Holds a private key: `Debug` shows none.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKeyState {
    /// When it was made, in whole seconds.
    pub made: SystemTime,
    /// PKCS #8 in PEM.
    pub key: String,
}

impl fmt::Debug for TokenKeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKeyState(secret)")
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl TokenKeys {
    /// One key, which signs at once: nobody knows another.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn create(now: SystemTime) -> Result<Self, KeyError> {
        Ok(Self { keys: vec![Arc::new(TokenKey::make(now)?)] })
    }

    /// What was kept; none if that was nothing.
    ///
    /// # Errors
    /// [`KeyError::Parse`].
    pub fn load(state: &[TokenKeyState]) -> Result<Option<Self>, KeyError> {
        let read = |kept: &TokenKeyState| TokenKey::read(kept.made, &kept.key).map(Arc::new);
        let mut keys = state.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        keys.sort_by_key(|key| key.made);
        Ok((!keys.is_empty()).then_some(Self { keys }))
    }

    /// What is kept.
    pub fn state(&self) -> Vec<TokenKeyState> {
        self.keys.iter().map(|key| TokenKeyState { made: key.made, key: key.pem.clone() }).collect()
    }

    /// With the next key if it is due, and without those whose tokens have ended; none: nothing is due.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn step(&self, now: SystemTime) -> Result<Option<Self>, KeyError> {
        let mut keys = self.keys.clone();
        // A key has ended some time after the one that follows it began.
        let ended = keys.windows(2).filter(|pair| pair[1].made + KNOWN_BEFORE + TOKEN_LIFE + APART <= now).count();
        keys.drain(..ended);
        if keys.last().is_none_or(|newest| newest.made + NEXT_AFTER <= now) {
            keys.push(Arc::new(TokenKey::make(now)?));
        }
        let is_same = keys.len() == self.keys.len() && keys.iter().zip(&self.keys).all(|(a, b)| Arc::ptr_eq(a, b));
        Ok((!is_same).then_some(Self { keys }))
    }

    /// The names and points (SEC 1, uncompressed) of all keys whose tokens may be believed.
    pub fn public(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.keys.iter().map(|key| (key.id.as_str(), key.pair.public_key().as_ref()))
    }

    /// The name of the key that signs now.
    pub fn active(&self, now: SystemTime) -> &str {
        &self.signing(now).id
    }

    /// A token (JWS compact serialization, ES256) of these claims, in JSON.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if signing fails.
    pub fn sign(&self, claims: &str, now: SystemTime) -> Result<String, KeyError> {
        let key = self.signing(now);
        let header = format!(r#"{{"alg":"ES256","kid":"{}","typ":"JWT"}}"#, key.id);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let failed = |_| KeyError::Generate("signing failed".to_owned());
        let signature = key.pair.sign(&SystemRandom::new(), signed.as_bytes()).map_err(failed)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn signing(&self, now: SystemTime) -> &TokenKey {
        let known = self.keys.iter().rev().find(|key| key.made + KNOWN_BEFORE <= now);
        known.unwrap_or(&self.keys[0])
    }
}

impl TokenKey {
    fn make(now: SystemTime) -> Result<Self, KeyError> {
        let now = crate::authority::whole_seconds(now);
        Self::read(now, &Key::generate()?.secret_pem())
    }

    fn read(made: SystemTime, pem: &str) -> Result<Self, KeyError> {
        let bad = |e: &dyn fmt::Display| KeyError::Parse(e.to_string());
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| bad(&e))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der()).map_err(|e| bad(&e))?;
        let id = HEXLOWER.encode(&Sha256::digest(pair.public_key().as_ref())[..16]);
        Ok(Self { id, made, pair, pem: pem.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_key_is_known_before_it_signs_and_after() {
        let mut now = SystemTime::UNIX_EPOCH + 1_000_000 * HOUR;
        let mut keys = TokenKeys::create(now).unwrap();
        let first = keys.active(now).to_owned();
        // As those see it who looked at some time before, and of tokens that others still hold.
        let mut published = vec![(now, keys.clone())];
        let mut signed: Vec<(SystemTime, String)> = Vec::new();
        for _ in 0..30 * 24 {
            now += HOUR;
            if let Some(next) = keys.step(now).unwrap() {
                keys = TokenKeys::load(&next.state()).unwrap().unwrap();
                assert_eq!(keys.step(now).unwrap().map(|keys| keys.state()), None, "a step is taken once");
            }
            published.push((now, keys.clone()));
            let active = keys.active(now).to_owned();
            signed.push((now, active.clone()));
            let (_, seen) = published.iter().rev().find(|(at, _)| *at + KNOWN_BEFORE <= now).unwrap_or(&published[0]);
            assert!(seen.public().any(|(id, _)| id == active), "who looked a day ago knows {active}");
            for (at, id) in signed.iter().filter(|(at, _)| *at + TOKEN_LIFE >= now) {
                assert!(keys.public().any(|(known, _)| known == id), "{id} of {at:?} is forgotten");
            }
            assert!(keys.public().count() <= 2);
        }
        assert!(keys.public().all(|(id, _)| id != first), "the first key is gone after a month");
        let mut used: Vec<&str> = signed.iter().map(|(_, id)| id.as_str()).collect();
        used.dedup();
        assert_eq!(used.len(), 5, "a key for each week");
    }

    #[test]
    fn survives_the_file_and_hides_from_logs() {
        let now = SystemTime::now();
        let keys = TokenKeys::create(now).unwrap();
        let again = TokenKeys::load(&keys.state()).unwrap().unwrap();
        assert_eq!(again.state(), keys.state());
        assert!(TokenKeys::load(&[]).unwrap().is_none());
        let token = again.sign(r#"{"sub":"a"}"#, now).unwrap();
        assert_eq!(token.split('.').count(), 3);
        for text in [format!("{keys:?}"), format!("{:?}", keys.state())] {
            assert!(!text.contains("PRIVATE"), "{text}");
        }
    }
}
