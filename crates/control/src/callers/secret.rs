//! Users' tokens: `hlc_`, 16 digits that name the token, `_`, and 64 digits (256 bits) that are secret.
//!
//! Scanners find one by `hlc_[0-9a-f]{16}_[0-9a-f]{64}`. Only a hash of the secret is kept: since the secret is random
//! and long, one round of SHA-256 is enough.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

const PREFIX: &str = "hlc_";

/// A token as it is handed out, once. Never printed but by [`Bearer::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Bearer {
    id: [u8; 8],
    secret: [u8; 32],
}

impl Bearer {
    /// A new one.
    pub fn random() -> Self {
        Self { id: rand::random(), secret: rand::random() }
    }

    /// Reads the text of one.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.trim().strip_prefix(PREFIX)?.split_once('_')?;
        Some(Self { id: digits(id)?, secret: digits(secret)? })
    }

    /// The text. Secret.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", HEXLOWER.encode(&self.id), HEXLOWER.encode(&self.secret))
    }

    /// Names the token; no secret.
    pub fn id(&self) -> String {
        HEXLOWER.encode(&self.id)
    }

    /// What is kept of it.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// Is it the one of which this was kept? Takes the same time wherever the two differ.
    pub fn is(&self, kept: &[u8; 32]) -> bool {
        verify_slices_are_equal(&self.hash(), kept).is_ok()
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bearer({}, secret)", HEXLOWER.encode(&self.id))
    }
}

/// Scanners look for small letters, so nothing else will do.
fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_and_never_printed() {
        let token = Bearer::random();
        let text = token.reveal();
        assert_eq!(text.len(), 4 + 16 + 1 + 64);
        assert_eq!(Bearer::parse(&format!(" {text}\n")), Some(token.clone()));
        assert!(token.is(&token.hash()) && !token.is(&Bearer::random().hash()));
        assert!(!format!("{token:?}").contains(&text[21..]));
        let short = &text[..text.len() - 1];
        for bad in ["", "hlc_", "hlc__", short, &text[1..], &text.to_uppercase(), &format!("{short}é")] {
            assert_eq!(Bearer::parse(bad), None, "{bad:?}");
        }
    }
}
