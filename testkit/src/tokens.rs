//! Tokens signed by keys that are made here.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Who signs tokens.
#[derive(Debug)]
pub struct Signer {
    id: String,
    algorithm: &'static str,
    key: Key,
}

#[derive(Debug)]
enum Key {
    Rsa(Box<RsaKeyPair>),
    Elliptic(Box<EcdsaKeyPair>, &'static str),
    Edwards(Box<Ed25519KeyPair>),
    Secret(Vec<u8>),
}

impl Signer {
    /// By RSA of 2048 bits; `RS256` where a token does not say otherwise.
    pub fn rsa(id: &str) -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        Self { id: id.to_owned(), algorithm: "RS256", key: Key::Rsa(Box::new(key)) }
    }

    /// By a curve of NIST, for `ES256`, `ES384` or `ES512`.
    pub fn elliptic(id: &str, algorithm: &'static str) -> Self {
        let (how, curve) = match algorithm {
            "ES256" => (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
            "ES384" => (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            "ES512" => (&signature::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"),
            other => panic!("{other} is of no curve"),
        };
        let key = EcdsaKeyPair::generate(how).expect("a key");
        Self { id: id.to_owned(), algorithm, key: Key::Elliptic(Box::new(key), curve) }
    }

    /// By Ed25519.
    pub fn edwards(id: &str) -> Self {
        let key = Ed25519KeyPair::generate().expect("a key");
        Self { id: id.to_owned(), algorithm: "EdDSA", key: Key::Edwards(Box::new(key)) }
    }

    /// By a secret; `HS256` where a token does not say otherwise.
    pub fn secret(id: &str, secret: &[u8]) -> Self {
        Self { id: id.to_owned(), algorithm: "HS256", key: Key::Secret(secret.to_vec()) }
    }

    /// What others know of it (a JSON Web Key).
    pub fn key(&self) -> Value {
        let of = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut key = match &self.key {
            Key::Rsa(key) => {
                let [n, e] = rsa_numbers(key.public_key().as_ref());
                json!({"kty": "RSA", "n": of(&n), "e": of(&e)})
            }
            Key::Elliptic(key, curve) => {
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": of(x), "y": of(y)})
            }
            Key::Edwards(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": of(key.public_key().as_ref())}),
            Key::Secret(secret) => json!({"kty": "oct", "k": of(secret)}),
        };
        key["kid"] = self.id.as_str().into();
        key
    }

    /// Its public key as bytes, as attackers have them.
    pub fn public_bytes(&self) -> Vec<u8> {
        match &self.key {
            Key::Rsa(key) => key.public_key().as_ref().to_vec(),
            Key::Elliptic(key, _) => key.public_key().as_ref().to_vec(),
            Key::Edwards(key) => key.public_key().as_ref().to_vec(),
            Key::Secret(_) => panic!("a secret is not public"),
        }
    }

    /// A token that says this.
    pub fn token(&self, payload: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm, "kid": self.id}), payload)
    }

    /// A token with this header; signed as its `alg` asks, or as usual if the key cannot do that.
    pub fn token_with(&self, header: &Value, payload: &Value) -> String {
        let of = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", of(header), of(payload));
        let signature = self.sign(header["alg"].as_str().unwrap_or_default(), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Key::Rsa(key) => {
                let how: &'static dyn RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut out = vec![0; key.public_modulus_len()];
                key.sign(how, &SystemRandom::new(), message, &mut out).expect("a signature");
                out
            }
            Key::Elliptic(key, _) => key.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec(),
            Key::Edwards(key) => key.sign(message).as_ref().to_vec(),
            Key::Secret(secret) => {
                let how = match algorithm {
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(how, secret), message).as_ref().to_vec()
            }
        }
    }
}

/// Bytes as they stand in tokens.
pub fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key set as it is published.
pub fn key_set(signers: &[&Signer]) -> String {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.key()).collect();
    json!({"keys": keys}).to_string()
}

/// Modulus and exponent of `RSAPublicKey` (RFC 8017, appendix A.1.1): two numbers in a sequence.
fn rsa_numbers(der: &[u8]) -> [Vec<u8>; 2] {
    let (sequence, _) = element(der);
    let (n, rest) = element(sequence);
    let (e, _) = element(rest);
    [n, e].map(|number| number[number.iter().take_while(|byte| **byte == 0).count()..].to_vec())
}

/// The content of the first element, and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, begins) = match der[1] {
        short @ 0..128 => (usize::from(short), 2),
        long => {
            let bytes = usize::from(long & 0x7f);
            (der[2..2 + bytes].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), 2 + bytes)
        }
    };
    der[begins..].split_at(length)
}
