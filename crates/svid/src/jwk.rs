//! One key of a JSON Web Key Set (RFC 7517, RFC 7518 section 6), and how it checks a signature.

use std::fmt;

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// A public key by which tokens are checked. Two are equal if they say the same.
#[derive(Clone)]
pub struct JwtKey {
    id: String,
    fields: Map<String, Value>,
}

impl PartialEq for JwtKey {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwtKey({})", self.id)
    }
}

/// The members that say which key it is; others are not passed on.
const FIELDS: [&str; 7] = ["kty", "kid", "crv", "x", "y", "n", "e"];

impl JwtKey {
    /// A key of P-256 by its point, uncompressed as SEC 1 writes it.
    pub fn p256(id: &str, point: &[u8]) -> Option<Self> {
        let mut fields = elliptic("P-256", 32, point)?;
        fields.insert("kid".to_owned(), id.into());
        Self::read(&fields)
    }

    /// Reads one; none: it has no name, or is no key that tokens can be checked by.
    pub(crate) fn read(all: &Map<String, Value>) -> Option<Self> {
        let fields: Map<String, Value> =
            FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), all.get(*name)?.clone()))).collect();
        let id = fields.get("kid")?.as_str().filter(|id| !id.is_empty())?.to_owned();
        let key = Self { id, fields };
        ALGORITHMS.iter().any(|algorithm| key.public(algorithm).is_some()).then_some(key)
    }

    /// Its name (`kid`).
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// Is the signature its own? `algorithm` is the token's; a key of another type says no.
    pub(crate) fn verifies(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> bool {
        self.public(algorithm).is_some_and(|key| key.verify_sig(signed, signature).is_ok())
    }

    fn public(&self, algorithm: &str) -> Option<ParsedPublicKey> {
        let text = |name: &str| self.fields.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
        match text("kty")? {
            "EC" => {
                let (curve, how, length): (_, &'static dyn VerificationAlgorithm, _) = match algorithm {
                    "ES256" => ("P-256", &signature::ECDSA_P256_SHA256_FIXED, 32),
                    "ES384" => ("P-384", &signature::ECDSA_P384_SHA384_FIXED, 48),
                    "ES512" => ("P-521", &signature::ECDSA_P521_SHA512_FIXED, 66),
                    _ => return None,
                };
                let (x, y) = (bytes("x")?, bytes("y")?);
                let fits = text("crv") == Some(curve) && x.len() == length && y.len() == length;
                fits.then(|| ParsedPublicKey::new(how, [&[4][..], &x, &y].concat()).ok())?
            }
            "RSA" => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                let components = RsaPublicKeyComponents { n: stripped(&n), e: stripped(&e) };
                components.to_parsed_public_key(rsa(algorithm)?).ok()
            }
            _ => None,
        }
    }
}

/// What tokens of SPIFFE may be signed with (JWT-SVID.md, section 2.1).
pub(crate) const ALGORITHMS: [&str; 9] =
    ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// The public key of a certificate, as the members of a JWK that are its type's. None: it is no certificate.
pub(crate) fn of_certificate(der: &[u8]) -> Option<Map<String, Value>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    match certificate.public_key().parsed().ok()? {
        PublicKey::RSA(key) => Some(members([
            ("kty", "RSA".to_owned()),
            ("n", encode(stripped(key.modulus))),
            ("e", encode(stripped(key.exponent))),
        ])),
        PublicKey::EC(point) => {
            let (name, length) = match point.data().len() {
                65 => ("P-256", 32),
                97 => ("P-384", 48),
                133 => ("P-521", 66),
                _ => return None,
            };
            elliptic(name, length, point.data())
        }
        _ => {
            let raw = &certificate.public_key().subject_public_key.data;
            (raw.len() == 32)
                .then(|| members([("kty", "OKP".to_owned()), ("crv", "Ed25519".to_owned()), ("x", encode(raw))]))
        }
    }
}

fn elliptic(curve: &str, length: usize, point: &[u8]) -> Option<Map<String, Value>> {
    let (4, numbers) = (*point.first()?, &point[1..]) else { return None };
    let (x, y) = numbers.split_at_checked(length)?;
    (y.len() == length)
        .then(|| members([("kty", "EC".to_owned()), ("crv", curve.to_owned()), ("x", encode(x)), ("y", encode(y))]))
}

fn members<const N: usize>(of: [(&str, String); N]) -> Map<String, Value> {
    of.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Numbers are written without zeros before them.
fn stripped(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}
