//! Join tokens: one use, a short life, bound to an identity when they are made.
//!
//! Only hashes are kept: who reads the book can redeem nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

/// What a token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The namespace of the identity.
    pub namespace: String,
    /// The service account of the identity.
    pub service_account: String,
    /// Whatever else the maker wants the redeemer to be known by, such as labels.
    pub claims: BTreeMap<String, String>,
}

/// A token as it is handed out, once. `Debug` is redacted; [`Token::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: [u8; 8],
    secret: [u8; 16],
}

/// Why a token is refused. Tell the caller no more than "refused"; this is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedeemError {
    /// Not the form of a token.
    #[error("join token: it is not one; expected `hjt-`, 16 digits, `-` and 32 digits: copy it whole")]
    Malformed,
    /// Never made, made elsewhere, or used already.
    #[error("join token: it is not known here, or was used already; expected a new one: each token joins one workload")]
    Unknown,
    /// Too old.
    #[error("join token: it is too old; expected one still in its time: make a new one")]
    Expired,
}

/// A token as the book keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Names the token; no secret.
    pub id: [u8; 8],
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// What it is good for.
    pub grant: Grant,
    /// Until when.
    pub expires: SystemTime,
}

/// The tokens that may still be redeemed.
#[derive(Debug, Clone, Default)]
pub struct TokenBook {
    entries: BTreeMap<[u8; 8], Entry>,
}

impl TokenBook {
    /// A book with entries that were kept.
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self { entries: entries.into_iter().map(|entry| (entry.id, entry)).collect() }
    }

    /// Makes a token for `grant`, good for one use within `ttl` from `now`. Keep [`TokenBook::entries`] afterwards.
    pub fn issue(&mut self, grant: Grant, ttl: Duration, now: SystemTime) -> Token {
        let token = Token { id: rand::random(), secret: rand::random() };
        let entry = Entry { id: token.id, hash: token.hash(), grant, expires: now + ttl };
        self.entries.insert(token.id, entry);
        token
    }

    /// Uses a token up. Keep [`TokenBook::entries`] before acting on the grant, so that a crash cannot make it good twice.
    ///
    /// # Errors
    /// [`RedeemError`]. A wrong secret for a known token leaves that token good.
    pub fn redeem(&mut self, text: &str, now: SystemTime) -> Result<Grant, RedeemError> {
        let token: Token = text.parse()?;
        let hash = token.hash();
        if !self.entries.get(&token.id).is_some_and(|entry| same(&entry.hash, &hash)) {
            return Err(RedeemError::Unknown);
        }
        let entry = self.entries.remove(&token.id).ok_or(RedeemError::Unknown)?;
        if now >= entry.expires { Err(RedeemError::Expired) } else { Ok(entry.grant) }
    }

    /// Takes back a token by its id. Was there one?
    pub fn revoke(&mut self, id: &[u8; 8]) -> bool {
        self.entries.remove(id).is_some()
    }

    /// Forgets tokens that are too old. How many?
    pub fn expire(&mut self, now: SystemTime) -> usize {
        let before = self.entries.len();
        self.entries.retain(|_, entry| now < entry.expires);
        before - self.entries.len()
    }

    /// What is to be kept.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}

const PREFIX: &str = "hjt-";

impl Token {
    /// The text to hand out. Secret.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}-{}", hex(&self.id), hex(&self.secret))
    }

    /// Names the token in logs and for [`TokenBook::revoke`]; no secret.
    pub fn id(&self) -> [u8; 8] {
        self.id
    }

    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }
}

impl FromStr for Token {
    type Err = RedeemError;
    fn from_str(text: &str) -> Result<Self, RedeemError> {
        let parts = text.trim().strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        let (id, secret) = parts.ok_or(RedeemError::Malformed)?;
        Ok(Self { id: unhex(id)?, secret: unhex(secret)? })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, secret)", hex(&self.id))
    }
}

/// Takes the same time wherever the two differ.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Result<[u8; N], RedeemError> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(RedeemError::Malformed);
    }
    let digit = |c: u8| if c.is_ascii_digit() { c - b'0' } else { c.to_ascii_lowercase() - b'a' + 10 };
    Ok(std::array::from_fn(|i| digit(digits[2 * i]) << 4 | digit(digits[2 * i + 1])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn grant() -> Grant {
        Grant {
            namespace: "default".to_owned(),
            service_account: "reviews".to_owned(),
            claims: BTreeMap::from([("app".to_owned(), "reviews".to_owned())]),
        }
    }

    #[test]
    fn one_use_within_its_time() {
        let now = SystemTime::UNIX_EPOCH + 1000 * MINUTE;
        let mut book = TokenBook::default();
        let used = book.issue(grant(), MINUTE, now);
        let late = book.issue(grant(), MINUTE, now);
        let revoked = book.issue(grant(), MINUTE, now);
        assert!(book.revoke(&revoked.id()));
        // The book comes back from where it was kept.
        let mut book = TokenBook::new(book.entries().cloned().collect::<Vec<_>>());
        assert_eq!(book.redeem(&format!(" {}\n", used.reveal()), now).unwrap(), grant());
        for (token, at, expected) in [
            (&used, now, RedeemError::Unknown),
            (&revoked, now, RedeemError::Unknown),
            (&late, now + MINUTE, RedeemError::Expired),
            (&late, now, RedeemError::Unknown),
        ] {
            assert_eq!(book.redeem(&token.reveal(), at), Err(expected));
        }
    }

    #[test]
    fn guesses_leave_it_good_and_time_takes_it() {
        let now = SystemTime::UNIX_EPOCH + 1000 * MINUTE;
        let mut book = TokenBook::default();
        let token = book.issue(grant(), MINUTE, now);
        let text = token.reveal();
        let guess = format!("{}{}", &text[..text.len() - 1], if text.ends_with('0') { '1' } else { '0' });
        assert_eq!(book.redeem(&guess, now), Err(RedeemError::Unknown));
        for bad in ["", "hjt-", "hjt-00-00", &text[1..], &text[..text.len() - 1], "hjt-zz11223344556677-00"] {
            assert_eq!(book.redeem(bad, now), Err(RedeemError::Malformed), "{bad:?}");
        }
        assert_eq!((book.expire(now), book.expire(now + MINUTE), book.entries().count()), (0, 1, 0));
        assert!(!format!("{token:?} {book:?}").contains(&text[21..]));
    }
}
