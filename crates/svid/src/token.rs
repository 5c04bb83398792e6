//! The check of a JWT-SVID (JWT-SVID.md, sections 2 to 4): only by the keys of the trust domain that its subject names.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::{SpiffeId, TrustDomain};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::bundle::Bundles;
use crate::jwk::ALGORITHMS;

/// How far clocks may be apart.
pub const LEEWAY: Duration = Duration::from_secs(60);
/// Longer texts are no tokens.
const LONGEST: usize = 64 << 10;

/// A token that is good.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// Of whom it speaks.
    pub id: SpiffeId,
    /// Everything that it says.
    pub claims: Map<String, Value>,
}

/// Why a token is not good. Never holds any of it but names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64 with JSON in two of them.
    #[error("it is no JWT in compact serialization")]
    Malformed,
    /// Symmetric, none, or unknown.
    #[error("its algorithm is none that a JWT-SVID may have (RS, PS or ES with 256, 384 or 512)")]
    Algorithm,
    /// A header that is not understood and has to be, or another type.
    #[error("its header is none that a JWT-SVID may have")]
    Header,
    /// `sub`.
    #[error("its subject is no SPIFFE ID")]
    Subject,
    /// `aud`.
    #[error("it is for another audience")]
    Audience,
    /// `exp`.
    #[error("it has no time at which it ends")]
    NoEnd,
    /// `exp`.
    #[error("it has expired")]
    Expired,
    /// `nbf`, `iat`.
    #[error("it is not valid yet")]
    NotYet,
    /// Nobody is believed who speaks for its subject.
    #[error("there is no bundle of its trust domain `{0}`")]
    NoBundle(String),
    /// No key fits.
    #[error("no key of the trust domain `{0}` signed it")]
    Signature(String),
}

/// Checks a token for an audience.
///
/// # Errors
/// [`TokenError`].
pub fn verify(token: &str, audience: &str, bundles: &Bundles, now: SystemTime) -> Result<Verified, TokenError> {
    let mut parts = token.split('.');
    let [Some(head), Some(payload), Some(tail), None] = [parts.next(), parts.next(), parts.next(), parts.next()] else {
        return Err(TokenError::Malformed);
    };
    if token.len() > LONGEST {
        return Err(TokenError::Malformed);
    }
    let (header, claims) = (object(head)?, object(payload)?);
    let algorithm = algorithm(&header)?;
    let id: SpiffeId = text(&claims, "sub").and_then(|sub| sub.parse().ok()).ok_or(TokenError::Subject)?;
    if !audiences(&claims).contains(&audience) {
        return Err(TokenError::Audience);
    }
    in_time(&claims, now)?;
    let domain: TrustDomain = id.trust_domain().parse().map_err(|_| TokenError::Subject)?;
    let bundle = bundles.all.get(&domain).ok_or_else(|| TokenError::NoBundle(domain.to_string()))?;
    let signature = URL_SAFE_NO_PAD.decode(tail).map_err(|_| TokenError::Malformed)?;
    let signed = &token.as_bytes()[..head.len() + 1 + payload.len()];
    let named = text(&header, "kid");
    let mut keys = bundle.jwt.iter().filter(|key| named.is_none_or(|name| name == key.id()));
    match keys.any(|key| key.verifies(algorithm, signed, &signature)) {
        true => Ok(Verified { id, claims }),
        false => Err(TokenError::Signature(domain.to_string())),
    }
}

fn algorithm(header: &Map<String, Value>) -> Result<&'static str, TokenError> {
    let named = text(header, "alg").ok_or(TokenError::Algorithm)?;
    let known = ALGORITHMS.into_iter().find(|one| *one == named).ok_or(TokenError::Algorithm)?;
    let is_other_type = header.get("typ").is_some_and(|typ| typ != "JWT" && typ != "JOSE");
    // What it names there has to be understood (RFC 7515, section 4.1.11), and nothing is.
    if is_other_type || header.contains_key("crit") { Err(TokenError::Header) } else { Ok(known) }
}

fn audiences(claims: &Map<String, Value>) -> Vec<&str> {
    match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn in_time(claims: &Map<String, Value>, now: SystemTime) -> Result<(), TokenError> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let end = claims.get("exp").and_then(Value::as_f64).ok_or(TokenError::NoEnd)?;
    if now > end + LEEWAY.as_secs_f64() {
        return Err(TokenError::Expired);
    }
    for name in ["nbf", "iat"] {
        let Some(begin) = claims.get(name) else { continue };
        let begin = begin.as_f64().ok_or(TokenError::Malformed)?;
        if now + LEEWAY.as_secs_f64() < begin {
            return Err(TokenError::NotYet);
        }
    }
    Ok(())
}

fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(TokenError::Malformed),
    }
}

fn text<'m>(fields: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    fields.get(name).and_then(Value::as_str)
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use serde_json::json;

    use super::*;
    use crate::bundle::Bundle;
    use crate::jwk::JwtKey;

    /// A key and its point.
    pub fn signer() -> (EcdsaKeyPair, Vec<u8>) {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = key.public_key().as_ref().to_vec();
        (key, point)
    }

    pub fn signed(key: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let begin = format!("{}.{}", encode(header), encode(claims));
        let signature = key.sign(&SystemRandom::new(), begin.as_bytes()).unwrap();
        format!("{begin}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub fn bundles(of: &[(&str, &str, &[u8])]) -> Bundles {
        let all = of.iter().map(|(domain, id, point)| {
            (domain.parse().unwrap(), Bundle { jwt: vec![JwtKey::p256(id, point).unwrap()], ..Bundle::default() })
        });
        Bundles { own: "a.example".parse().unwrap(), all: all.collect(), crl: Vec::new() }
    }

    #[test]
    fn whom_is_believed() {
        let ((ours, our_point), (theirs, their_point)) = (signer(), signer());
        let bundles = bundles(&[("a.example", "k", &our_point), ("b.example", "k", &their_point)]);
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let head = json!({"alg": "ES256", "kid": "k", "typ": "JWT"});
        let good = json!({"sub": "spiffe://a.example/ns/x/sa/y", "aud": ["db"], "exp": 1_000_100, "iat": 999_900});
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        let without = |name: &str| {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(name);
            claims
        };
        let check = |key: &EcdsaKeyPair, header: &Value, claims: &Value, expected: Result<(), TokenError>| {
            let found = verify(&signed(key, header, claims), "db", &bundles, now).map(|_| ());
            assert_eq!(found, expected, "{header} {claims}");
        };
        check(&ours, &head, &good, Ok(()));
        check(&ours, &json!({"alg": "ES256"}), &good, Ok(()));
        check(&ours, &head, &with("aud", json!("db")), Ok(()));
        check(&theirs, &head, &with("sub", json!("spiffe://b.example/x")), Ok(()));
        // The keys of one trust domain say nothing of another.
        check(&theirs, &head, &good, Err(TokenError::Signature("a.example".to_owned())));
        check(&ours, &head, &with("sub", json!("spiffe://c.example/x")), Err(TokenError::NoBundle("c.example".into())));
        check(&ours, &head, &with("aud", json!(["other"])), Err(TokenError::Audience));
        check(&ours, &head, &without("aud"), Err(TokenError::Audience));
        check(&ours, &head, &without("exp"), Err(TokenError::NoEnd));
        check(&ours, &head, &with("exp", json!(999_900)), Err(TokenError::Expired));
        check(&ours, &head, &with("nbf", json!(1_000_100)), Err(TokenError::NotYet));
        check(&ours, &head, &with("sub", json!("somebody")), Err(TokenError::Subject));
        let other = json!({"alg": "ES256", "kid": "other"});
        check(&ours, &other, &good, Err(TokenError::Signature("a.example".to_owned())));
        check(&ours, &json!({"alg": "none"}), &good, Err(TokenError::Algorithm));
        check(&ours, &json!({"alg": "HS256"}), &good, Err(TokenError::Algorithm));
        check(&ours, &json!({"alg": "ES256", "typ": "at+jwt"}), &good, Err(TokenError::Header));
        check(&ours, &json!({"alg": "ES256", "crit": ["x"]}), &good, Err(TokenError::Header));
        for text in ["", "a.b", "a.b.c.d", "e30.e30.!"] {
            assert!(verify(text, "db", &bundles, now).is_err(), "{text}");
        }
        let token = signed(&ours, &head, &good);
        let forged = token.replacen(&URL_SAFE_NO_PAD.encode(good.to_string())[..8], "eyJzdWJh", 1);
        assert_ne!(verify(&forged, "db", &bundles, now).map(|_| ()), Ok(()));
    }
}
