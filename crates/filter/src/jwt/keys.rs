//! Keys by which signatures are checked (a JSON Web Key Set, RFC 7517), and the check itself, by aws-lc-rs.
//!
//! A key checks those algorithms only that its type has, and only the one that it names, if it names one. So no public key
//! can be used as the secret of an HMAC.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm};
use base64::Engine;
use serde_json::{Map, Value};

use crate::jwt::status::Status;
use crate::jwt::token::{Algorithm, BASE64, Token};

/// Keys.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

/// One key.
#[derive(Debug)]
struct Key {
    /// Its name; empty: none.
    id: String,
    /// The only algorithm that it is for; none: any of its type.
    algorithm: Option<Algorithm>,
    checks: Vec<(Algorithm, Check)>,
}

/// How signatures of one algorithm are checked.
enum Check {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

impl fmt::Debug for Check {
    // No secrets in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public(_) => "Public",
            Self::Secret(_) => "Secret",
        })
    }
}

/// Where keys come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The configuration, which may hold secrets.
    Configuration,
    /// Somebody who publishes them: a secret among them is none, and is not used.
    Published,
}

impl KeySet {
    /// Reads a set. Keys that cannot be used are left out. None: there is nothing that can be used.
    pub fn read(text: &[u8], origin: Origin) -> Option<Self> {
        let set: Value = serde_json::from_slice(text).ok()?;
        let keys = set.get("keys")?.as_array()?;
        let usable: Vec<Key> = keys.iter().filter_map(|key| Key::read(key.as_object()?, origin)).collect();
        (!usable.is_empty()).then_some(Self(usable))
    }

    /// Is the token signed by one of the keys? One that the token names is asked alone.
    pub fn check(&self, token: &Token<'_>) -> Result<(), Status> {
        let named = |key: &&Key| key.id.is_empty() || token.key_id.is_empty() || key.id == token.key_id;
        let fits = |key: &&Key| key.algorithm.is_none_or(|only| only == token.algorithm);
        let mut failure = Status::NoKeyFits;
        for key in self.0.iter().filter(named).filter(fits) {
            match key.check(token) {
                Ok(()) => return Ok(()),
                Err(status) => failure = status,
            }
        }
        Err(failure)
    }
}

impl Key {
    fn read(fields: &Map<String, Value>, origin: Origin) -> Option<Self> {
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let algorithm = text("alg").unwrap_or_default();
        let bytes = |name: &str| BASE64.decode(text(name)?).ok();
        let checks = match text("kty")? {
            "RSA" => rsa(algorithm, &bytes("n")?, &bytes("e")?)?,
            "EC" => vec![elliptic(algorithm, text("crv").unwrap_or_default(), &bytes("x")?, &bytes("y")?)?],
            "OKP" => vec![edwards(algorithm, text("crv")?, &bytes("x")?)?],
            "oct" if origin == Origin::Configuration => secret(algorithm, &bytes("k")?)?,
            _ => return None,
        };
        Some(Self { id: text("kid").unwrap_or_default().to_owned(), algorithm: Algorithm::named(algorithm), checks })
    }

    fn check(&self, token: &Token<'_>) -> Result<(), Status> {
        let Some((_, check)) = self.checks.iter().find(|(algorithm, _)| *algorithm == token.algorithm) else {
            return Err(Status::VerificationFails);
        };
        if token.algorithm == Algorithm::EdDsa && token.signature.len() != 64 {
            return Err(Status::Ed25519Length);
        }
        let (signed, signature) = (token.signed.as_bytes(), &token.signature);
        let good = match check {
            Check::Public(key) => key.verify_sig(signed, signature).is_ok(),
            // In constant time.
            Check::Secret(key) => hmac::verify(key, signed, signature).is_ok(),
        };
        if good { Ok(()) } else { Err(Status::VerificationFails) }
    }
}

/// RSA, of 2048 bits or more. Exponents other than those that are usual are refused, as by Envoy.
fn rsa(algorithm: &str, n: &[u8], e: &[u8]) -> Option<Vec<(Algorithm, Check)>> {
    use Algorithm::{Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    const ALL: [(Algorithm, &RsaParameters); 6] = [
        (Rs256, &signature::RSA_PKCS1_2048_8192_SHA256),
        (Rs384, &signature::RSA_PKCS1_2048_8192_SHA384),
        (Rs512, &signature::RSA_PKCS1_2048_8192_SHA512),
        (Ps256, &signature::RSA_PSS_2048_8192_SHA256),
        (Ps384, &signature::RSA_PSS_2048_8192_SHA384),
        (Ps512, &signature::RSA_PSS_2048_8192_SHA512),
    ];
    let (n, e) = (stripped(n), stripped(e));
    if n.len() < 256 || ![&[3][..], &[1, 0, 1]].contains(&e) {
        return None;
    }
    let components = RsaPublicKeyComponents { n, e };
    let wanted = ALL.iter().filter(|(one, _)| is_for(algorithm, *one));
    let all = wanted.map(|(one, how)| Some((*one, Check::Public(components.to_parsed_public_key(how).ok()?))));
    all.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())
}

/// Numbers may be written with zeros before them, which mean nothing.
fn stripped(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}

/// An elliptic curve of NIST. Without a name of either kind it is P-256, as for Envoy.
fn elliptic(algorithm: &str, curve: &str, x: &[u8], y: &[u8]) -> Option<(Algorithm, Check)> {
    let (of_curve, how, length): (_, &'static dyn VerificationAlgorithm, _) = match (algorithm, curve) {
        ("" | "ES256", "" | "P-256") => (Algorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED, 32),
        ("ES384", "") | ("" | "ES384", "P-384") => (Algorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED, 48),
        ("ES512", "") | ("" | "ES512", "P-521") => (Algorithm::Es512, &signature::ECDSA_P521_SHA512_FIXED, 66),
        _ => return None,
    };
    // Uncompressed (SEC 1, section 2.3.3): both numbers at full length.
    let mut point = vec![4];
    for number in [x, y].map(stripped) {
        let left = usize::checked_sub(length, number.len())?;
        point.extend(std::iter::repeat_n(0, left));
        point.extend_from_slice(number);
    }
    Some((of_curve, Check::Public(ParsedPublicKey::new(how, point).ok()?)))
}

fn edwards(algorithm: &str, curve: &str, x: &[u8]) -> Option<(Algorithm, Check)> {
    if !matches!(algorithm, "" | "EdDSA") || curve != "Ed25519" || x.len() != 32 {
        return None;
    }
    Some((Algorithm::EdDsa, Check::Public(ParsedPublicKey::new(&signature::ED25519, x).ok()?)))
}

fn secret(algorithm: &str, key: &[u8]) -> Option<Vec<(Algorithm, Check)>> {
    let all = [
        (Algorithm::Hs256, hmac::HMAC_SHA256),
        (Algorithm::Hs384, hmac::HMAC_SHA384),
        (Algorithm::Hs512, hmac::HMAC_SHA512),
    ];
    let wanted = all.into_iter().filter(|(one, _)| is_for(algorithm, *one) && !key.is_empty());
    let all: Vec<_> = wanted.map(|(one, how)| (one, Check::Secret(Box::new(hmac::Key::new(how, key))))).collect();
    (!all.is_empty()).then_some(all)
}

/// Is a key that names `algorithm`, or none, for `one`?
fn is_for(algorithm: &str, one: Algorithm) -> bool {
    algorithm.is_empty() || Algorithm::named(algorithm) == Some(one)
}
