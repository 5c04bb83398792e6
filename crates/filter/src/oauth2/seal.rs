//! What proves that something is ours, and what hides it from browsers. The forms are Envoy's, so that people stay logged in
//! when a gateway of one kind takes over from one of the other.

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use data_encoding::HEXLOWER;

/// Bytes of an initialization vector.
const IV: usize = 16;

/// The secret that cookies are signed and encrypted with.
#[derive(Clone, Copy)]
pub(super) struct Seal<'s>(pub &'s [u8]);

impl Seal<'_> {
    fn mac(&self, text: &str) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(HMAC_SHA256, self.0), text.as_bytes())
    }

    /// The signature of a text.
    pub fn sign(&self, text: &str) -> String {
        STANDARD.encode(self.mac(text))
    }

    /// Is this the signature of a text? The older form has its hexadecimal digits in Base64.
    pub fn is_signed(&self, text: &str, signature: &str) -> bool {
        let older = || STANDARD.encode(HEXLOWER.encode(self.mac(text).as_ref()));
        is_same(&self.sign(text), signature) || is_same(&older(), signature)
    }

    /// The nonce of a login: its number, signed.
    pub fn nonce(&self, flow: &str) -> String {
        format!("{flow}.{}", self.sign(flow))
    }

    /// Is this a nonce of ours?
    pub fn has_made(&self, nonce: &str) -> bool {
        nonce.split_once('.').is_some_and(|(flow, signature)| is_same(&self.sign(flow), signature))
    }

    /// Encrypts a text (AES-256-CBC under the SHA-256 of the secret, with the vector before it). None: the library fails.
    pub fn encrypt(&self, text: &str) -> Option<String> {
        let key = UnboundCipherKey::new(&AES_256, digest(&SHA256, self.0).as_ref()).ok()?;
        let mut sealed = text.as_bytes().to_vec();
        let context = PaddedBlockEncryptingKey::cbc_pkcs7(key).ok()?.encrypt(&mut sealed).ok()?;
        let vector: &[u8] = (&context).try_into().ok()?;
        Some(URL_SAFE_NO_PAD.encode([vector, &sealed].concat()))
    }

    /// The text that was encrypted; none if it was not, or not by this secret. What is returned may stand in a header.
    pub fn decrypt(&self, sealed: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed.trim_end_matches('=')).ok()?;
        let (vector, rest) = bytes.split_first_chunk::<IV>()?;
        if rest.is_empty() {
            return None;
        }
        let key = UnboundCipherKey::new(&AES_256, digest(&SHA256, self.0).as_ref()).ok()?;
        let mut rest = rest.to_vec();
        let context = DecryptionContext::Iv128(FixedLength::from(vector));
        let text = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?.decrypt(&mut rest, context).ok()?;
        let text = std::str::from_utf8(text).ok()?;
        // By chance anything may have the right padding.
        text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)).then(|| text.to_owned())
    }
}

/// Compared in a time that tells nothing of where they differ.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

/// The number of a login. None: there is no chance to be had.
pub(super) fn flow() -> Option<String> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).ok()?;
    Some(HEXLOWER.encode(&bytes))
}

/// A code verifier of 32 bytes (RFC 7636, section 7.1).
pub(super) fn verifier() -> Option<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// The challenge of a verifier (`S256`).
pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encrypted_is_read_again() {
        let seal = Seal(b"a secret");
        for text in ["", "a", "sixteen bytes ..", "a longer text of more than one block"] {
            let sealed = seal.encrypt(text).unwrap();
            assert_ne!(sealed, seal.encrypt(text).unwrap(), "each time with another vector");
            assert_eq!(seal.decrypt(&sealed).as_deref(), Some(text));
            assert_ne!(Seal(b"another").decrypt(&sealed).as_deref(), Some(text));
        }
        for garbage in ["", "a", "AAAA", "not base64!", &"A".repeat(22), &"A".repeat(43)] {
            assert_eq!(seal.decrypt(garbage), None, "{garbage}");
        }
    }

    /// Made by openssl: `printf 'the verifier' | openssl enc -aes-256-cbc -K <sha256 of "hmac secret"> -iv 0001..0f`.
    #[test]
    fn the_form_is_envoys() {
        let seal = Seal(b"hmac secret");
        assert_eq!(seal.decrypt(SEALED).as_deref(), Some("the verifier"));
        assert_eq!(seal.nonce("0123456789abcdef"), NONCE);
        assert!(seal.has_made(NONCE));
        assert!(!seal.has_made(&NONCE.replace("0123", "1123")) && !seal.has_made("0123456789abcdef"));
        assert!(!Seal(b"another").has_made(NONCE));
        // RFC 7636, appendix B.
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    const SEALED: &str = "AAECAwQFBgcICQoLDA0ODyEJ3eWVQHaJjVwH-eS_nt8";
    const NONCE: &str = "0123456789abcdef.s7TmNANewuTZK0vpo5/yQMbqLVZmPkIdOVVLm56inC8=";

    #[test]
    fn signatures() {
        let seal = Seal(b"s");
        let signature = seal.sign("a");
        let older = STANDARD.encode(HEXLOWER.encode(&STANDARD.decode(&signature).unwrap()));
        assert!(seal.is_signed("a", &signature) && seal.is_signed("a", &older));
        assert!(!seal.is_signed("b", &signature) && !seal.is_signed("a", "") && !Seal(b"t").is_signed("a", &signature));
    }
}
