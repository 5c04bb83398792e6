//! The bundle of a trust domain: by what its members' certificates and tokens are checked. A JSON Web Key Set with uses of
//! its own (SPIFFE_Trust_Domain_and_Bundle.md, section 4).

use std::collections::BTreeMap;
use std::time::Duration;

use base::TrustDomain;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Map, Value, json};

use crate::jwk::{self, JwtKey};

const X509_USE: &str = "x509-svid";
const JWT_USE: &str = "jwt-svid";

/// By what members of one trust domain are checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bundle {
    /// Roots of certificates, DER each.
    pub x509: Vec<Vec<u8>>,
    /// Keys of tokens.
    pub jwt: Vec<JwtKey>,
    /// Grows with every change, where it is said.
    pub sequence: Option<u64>,
    /// How often one should look for another, where it is said.
    pub refresh_hint: Option<Duration>,
}

/// Bundles of several trust domains, and what the own one revoked.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundles {
    /// The trust domain of who asks.
    pub own: TrustDomain,
    /// All of them, the own one too.
    pub all: BTreeMap<TrustDomain, Bundle>,
    /// Lists of revoked certificates, DER each.
    pub crl: Vec<Vec<u8>>,
}

/// Why a document is no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Not JSON.
    #[error("it is no JSON: {0}; expected a SPIFFE bundle, which is a JWK set")]
    Json(String),
    /// No list of keys.
    #[error("it has no list `keys`; expected a SPIFFE bundle, which is a JWK set")]
    NoKeys,
    /// A certificate in it is none.
    #[error("keys[{0}].x5c: expected exactly one certificate, as DER in base64")]
    Certificate(usize),
    /// Neither number nor absent.
    #[error("{0}: expected a whole number, zero or more")]
    Number(&'static str),
}

impl Bundle {
    /// Reads a document. Keys of other types or uses are left out, as the specification has it.
    ///
    /// # Errors
    /// [`BundleError`]: it cannot be what was meant.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        let document: Value = serde_json::from_str(text).map_err(|error| BundleError::Json(error.to_string()))?;
        let keys = document.get("keys").and_then(Value::as_array).ok_or(BundleError::NoKeys)?;
        let mut bundle = Self {
            sequence: number(&document, "spiffe_sequence")?,
            refresh_hint: number(&document, "spiffe_refresh_hint")?.map(Duration::from_secs),
            ..Self::default()
        };
        for (i, key) in keys.iter().enumerate() {
            match (key.get("use").and_then(Value::as_str), key.get("kty")) {
                (Some(X509_USE), Some(_)) => bundle.x509.push(certificate(key).ok_or(BundleError::Certificate(i))?),
                (Some(JWT_USE), Some(_)) => bundle.jwt.extend(key.as_object().and_then(JwtKey::read)),
                _ => {}
            }
        }
        Ok(bundle)
    }

    /// Roots as PEM, where there may be other text between them. None that cannot be read are taken.
    pub fn add_pem(&mut self, pem: &[u8]) {
        for root in CertificateDer::pem_slice_iter(pem).filter_map(Result::ok) {
            if !self.x509.iter().any(|known| known[..] == root[..]) {
                self.x509.push(root.to_vec());
            }
        }
    }

    /// The document.
    pub fn document(&self) -> String {
        let mut document = Map::new();
        if let Some(sequence) = self.sequence {
            document.insert("spiffe_sequence".to_owned(), sequence.into());
        }
        if let Some(hint) = self.refresh_hint {
            document.insert("spiffe_refresh_hint".to_owned(), hint.as_secs().into());
        }
        let x509 = self.x509.iter().filter_map(|root| {
            let mut key = jwk::of_certificate(root)?;
            key.insert("use".to_owned(), X509_USE.into());
            key.insert("x5c".to_owned(), json!([STANDARD.encode(root)]));
            Some(Value::Object(key))
        });
        document.insert("keys".to_owned(), x509.chain(self.jwt_keys()).collect());
        Value::Object(document).to_string()
    }

    /// The keys of tokens alone, as a JWK set that any reader of tokens understands.
    pub fn jwks(&self) -> String {
        json!({ "keys": self.jwt_keys().collect::<Vec<_>>() }).to_string()
    }

    /// The roots, one after the other.
    pub fn x509_concatenated(&self) -> Vec<u8> {
        self.x509.concat()
    }

    fn jwt_keys(&self) -> impl Iterator<Item = Value> {
        self.jwt.iter().map(|key| {
            let mut fields = key.fields().clone();
            fields.insert("use".to_owned(), JWT_USE.into());
            Value::Object(fields)
        })
    }
}

fn number(document: &Value, name: &'static str) -> Result<Option<u64>, BundleError> {
    match document.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(BundleError::Number(name)),
    }
}

fn certificate(key: &Value) -> Option<Vec<u8>> {
    let [Value::String(one)] = key.get("x5c")?.as_array()?.as_slice() else { return None };
    let der = STANDARD.decode(one).ok()?;
    jwk::of_certificate(&der)?;
    Some(der)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::default().self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn documents_are_read_as_they_are_written() {
        let key = JwtKey::p256("one", &crate::token::tests::signer().1).unwrap();
        let bundle = Bundle {
            x509: vec![root(), root()],
            jwt: vec![key],
            sequence: Some(7),
            refresh_hint: Some(Duration::from_secs(300)),
        };
        let text = bundle.document();
        assert_eq!(Bundle::parse(&text).unwrap(), bundle);
        let value: Value = serde_json::from_str(&text).unwrap();
        for (key, expected) in value["keys"].as_array().unwrap().iter().zip([X509_USE, X509_USE, JWT_USE]) {
            assert_eq!((&key["use"], &key["kty"], &key["crv"]), (&expected.into(), &"EC".into(), &"P-256".into()));
            assert_eq!(key["x5c"].is_array(), expected == X509_USE, "{key}");
        }
        let tokens: Value = serde_json::from_str(&bundle.jwks()).unwrap();
        assert_eq!(tokens["keys"].as_array().unwrap().len(), 1, "no key of another use is there: {tokens}");
    }

    #[test]
    fn what_is_not_known_is_left_out_and_what_is_wrong_is_said() {
        let good = STANDARD.encode(root());
        let check = |text: &str, expected: Result<(usize, usize), BundleError>| {
            let found = Bundle::parse(text).map(|bundle| (bundle.x509.len(), bundle.jwt.len()));
            assert_eq!(found, expected, "{text}");
        };
        check(r#"{"keys": []}"#, Ok((0, 0)));
        check(r#"{"keys": [{"kty": "EC"}, {"use": "x509-svid"}, {"use": "wit-svid", "kty": "EC"}]}"#, Ok((0, 0)));
        // A token's key has to have a name, and to be public.
        check(r#"{"keys": [{"use": "jwt-svid", "kty": "oct", "k": "AAAA", "kid": "a"}]}"#, Ok((0, 0)));
        check(&format!(r#"{{"keys": [{{"use": "x509-svid", "kty": "EC", "x5c": ["{good}"]}}]}}"#), Ok((1, 0)));
        let two = format!(r#"{{"keys": [{{"use": "x509-svid", "kty": "EC", "x5c": ["{good}", "{good}"]}}]}}"#);
        check(&two, Err(BundleError::Certificate(0)));
        let bad = r#"{"keys": [{"use": "x509-svid", "kty": "EC", "x5c": ["AAAA"]}]}"#;
        check(bad, Err(BundleError::Certificate(0)));
        check(r#"{"keys": {}}"#, Err(BundleError::NoKeys));
        check(r#"{"spiffe_sequence": -1, "keys": []}"#, Err(BundleError::Number("spiffe_sequence")));
        assert!(matches!(Bundle::parse("<html>"), Err(BundleError::Json(_))));
    }
}
