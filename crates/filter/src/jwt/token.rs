//! A token, taken apart (RFC 7515, section 7.1, and RFC 7519). Nothing of it is true before its signature is checked.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use crate::jwt::status::Status;

/// Base64 as tokens have it, padded or not.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An algorithm of RFC 7518, section 3.1, and RFC 8037. `none` is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Es256,
    Es384,
    Es512,
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    EdDsa,
}

impl Algorithm {
    /// By its name, letter by letter.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// A token.
#[derive(Debug)]
pub(super) struct Token<'t> {
    /// What is signed: header and payload as they stand there.
    pub signed: &'t str,
    /// The payload as it stands there.
    pub payload_text: &'t str,
    /// The signature.
    pub signature: Vec<u8>,
    /// `alg`
    pub algorithm: Algorithm,
    /// `kid`; empty: none.
    pub key_id: String,
    /// The header.
    pub header: Map<String, Value>,
    /// The payload.
    pub payload: Map<String, Value>,
    /// `iss`; empty: none.
    pub issuer: String,
    /// `sub`; empty: none.
    pub subject: String,
    /// `aud`
    pub audiences: Vec<String>,
    /// `nbf`, in seconds since 1970; 0: none.
    pub not_before: u64,
    /// `exp`, in seconds since 1970; 0: none.
    pub expires: u64,
}

impl<'t> Token<'t> {
    /// Takes a text apart.
    ///
    /// # Errors
    /// It is no token, or has claims of other types than they should be.
    pub fn parse(text: &'t str) -> Result<Self, Status> {
        let mut parts = text.split('.');
        let [Some(head), Some(payload_text), Some(tail), None] =
            [parts.next(), parts.next(), parts.next(), parts.next()]
        else {
            return Err(Status::BadFormat);
        };
        if head.is_empty() || payload_text.is_empty() || tail.is_empty() {
            return Err(Status::BadFormat);
        }
        let header = object(head, Status::HeaderBase64, Status::HeaderJson)?;
        let Some(Value::String(name)) = header.get("alg") else { return Err(Status::BadAlg) };
        let algorithm = Algorithm::named(name).ok_or(Status::UnknownAlg)?;
        let key_id = string(&header, "kid", Status::BadKid)?;
        let payload = object(payload_text, Status::PayloadBase64, Status::PayloadJson)?;
        let issuer = string(&payload, "iss", Status::IssNotText)?;
        let subject = string(&payload, "sub", Status::SubNotText)?;
        seconds(&payload, "iat", Status::IatNotNumber, Status::IatRange)?;
        let not_before = seconds(&payload, "nbf", Status::NbfNotNumber, Status::NbfRange)?;
        let expires = seconds(&payload, "exp", Status::ExpNotNumber, Status::ExpRange)?;
        string(&payload, "jti", Status::JtiNotText)?;
        let audiences = strings(&payload, "aud").ok_or(Status::AudNotText)?;
        let signature = BASE64.decode(tail).map_err(|_| Status::SignatureBase64)?;
        let signed = &text[..head.len() + 1 + payload_text.len()];
        Ok(Self {
            signed,
            payload_text,
            signature,
            algorithm,
            key_id,
            header,
            payload,
            issuer,
            subject,
            audiences,
            not_before,
            expires,
        })
    }

    /// Does it hold at this time, as far as clocks may be apart? All in seconds since 1970.
    pub fn holds_at(&self, now: u64, skew: u64) -> Result<(), Status> {
        if now.saturating_add(skew) < self.not_before {
            return Err(Status::NotYetValid);
        }
        if self.expires > 0 && now > self.expires.saturating_add(skew) {
            return Err(Status::Expired);
        }
        Ok(())
    }
}

fn object(text: &str, no_base64: Status, no_json: Status) -> Result<Map<String, Value>, Status> {
    let bytes = BASE64.decode(text).map_err(|_| no_base64)?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(no_json),
    }
}

fn string(fields: &Map<String, Value>, name: &str, wrong: Status) -> Result<String, Status> {
    match fields.get(name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(wrong),
    }
}

fn strings(fields: &Map<String, Value>, name: &str) -> Option<Vec<String>> {
    match fields.get(name) {
        None => Some(Vec::new()),
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(list)) => list.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    }
}

/// A time; what is smaller than a second of it does not count.
fn seconds(fields: &Map<String, Value>, name: &str, no_number: Status, range: Status) -> Result<u64, Status> {
    let Some(value) = fields.get(name) else { return Ok(0) };
    let number = value.as_f64().ok_or(no_number)?;
    if number < 0.0 || number >= u64::MAX as f64 {
        return Err(range);
    }
    Ok(number as u64)
}
