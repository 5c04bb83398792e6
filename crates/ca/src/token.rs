//! Join tokens: one use, a short life, bound to an identity when they are made.
//!
//! Only hashes are kept: who reads the book can redeem nothing. Tokens that are used up or taken back are remembered for
//! [`REMEMBERED`] after their end, so that a replay is told from a guess.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha256};

/// How long a token is remembered after its time: a week.
pub const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

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
    /// Never made, made elsewhere, or its secret is wrong.
    #[error("join token: it is not known here; expected one that was made by this control plane: make a new one")]
    Unknown,
    /// Somebody joined with it already.
    #[error("join token: it was used already; each token joins one workload: make a new one, and ask who has it")]
    Used,
    /// It was taken back.
    #[error("join token: it was revoked; make a new one")]
    Revoked,
    /// Too old.
    #[error("join token: it is too old; expected one still in its time: make a new one")]
    Expired,
}

/// What became of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// Nothing yet: it is good until its end.
    Open,
    /// Somebody joined with it, then.
    Used(SystemTime),
    /// It was taken back, then.
    Revoked(SystemTime),
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
    /// When it was made.
    pub made: SystemTime,
    /// Until when.
    pub expires: SystemTime,
    /// What became of it.
    pub state: TokenState,
}

/// The tokens that may still be redeemed, and those that were.
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
        let (made, expires, state) = (now, now + ttl, TokenState::Open);
        let entry = Entry { id: token.id, hash: token.hash(), grant, made, expires, state };
        self.entries.insert(token.id, entry);
        token
    }

    /// What a token is good for, without using it up.
    ///
    /// # Errors
    /// [`RedeemError`], as [`TokenBook::redeem`] would say.
    pub fn look(&self, text: &str, now: SystemTime) -> Result<&Entry, RedeemError> {
        let token: Token = text.parse()?;
        let entry = self.entries.get(&token.id).filter(|entry| token.is(&entry.hash)).ok_or(RedeemError::Unknown)?;
        match entry.state {
            TokenState::Used(_) => Err(RedeemError::Used),
            TokenState::Revoked(_) => Err(RedeemError::Revoked),
            TokenState::Open if now >= entry.expires => Err(RedeemError::Expired),
            TokenState::Open => Ok(entry),
        }
    }

    /// The id of a token that was made here, whatever became of it; none for a wrong secret.
    pub fn known(&self, text: &str) -> Option<[u8; 8]> {
        let token: Token = text.parse().ok()?;
        self.entries.get(&token.id).filter(|entry| token.is(&entry.hash)).map(|entry| entry.id)
    }

    /// Uses a token up. Keep the entry before acting on its grant, so that a crash cannot make it good twice.
    ///
    /// # Errors
    /// [`RedeemError`]. A wrong secret for a known token leaves that token good.
    pub fn redeem(&mut self, text: &str, now: SystemTime) -> Result<Entry, RedeemError> {
        let id = self.look(text, now)?.id;
        let entry = self.entries.get_mut(&id).ok_or(RedeemError::Unknown)?;
        entry.state = TokenState::Used(now);
        Ok(entry.clone())
    }

    /// Takes back a token by its id. Gives it as it is then; none if there is none that could still be used.
    pub fn revoke(&mut self, id: &[u8; 8], now: SystemTime) -> Option<Entry> {
        let is_good = |entry: &&mut Entry| entry.state == TokenState::Open && now < entry.expires;
        let entry = self.entries.get_mut(id).filter(is_good)?;
        entry.state = TokenState::Revoked(now);
        Some(entry.clone())
    }

    /// Forgets tokens whose end is longer ago than [`REMEMBERED`]. Which?
    pub fn forget(&mut self, now: SystemTime) -> Vec<[u8; 8]> {
        let old = |entry: &Entry| now >= entry.expires + REMEMBERED;
        let gone: Vec<_> = self.entries.values().filter(|entry| old(entry)).map(|entry| entry.id).collect();
        gone.iter().for_each(|id| drop(self.entries.remove(id)));
        gone
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
        format!("{PREFIX}{}-{}", HEXLOWER.encode(&self.id), HEXLOWER.encode(&self.secret))
    }

    /// Names the token in logs and for [`TokenBook::revoke`]; no secret.
    pub fn id(&self) -> [u8; 8] {
        self.id
    }

    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// Is it the one of which this was kept? Takes the same time wherever the two differ.
    fn is(&self, kept: &[u8; 32]) -> bool {
        verify_slices_are_equal(&self.hash(), kept).is_ok()
    }
}

impl FromStr for Token {
    type Err = RedeemError;
    fn from_str(text: &str) -> Result<Self, RedeemError> {
        let parts = text.trim().strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        let (id, secret) = parts.ok_or(RedeemError::Malformed)?;
        Ok(Self { id: digits(id)?, secret: digits(secret)? })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, secret)", HEXLOWER.encode(&self.id))
    }
}

/// People may have typed them: capitals will do.
fn digits<const N: usize>(text: &str) -> Result<[u8; N], RedeemError> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(RedeemError::Malformed)
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
        assert!(book.revoke(&revoked.id(), now).is_some() && book.revoke(&revoked.id(), now).is_none());
        // The book comes back from where it was kept.
        let mut book = TokenBook::new(book.entries().cloned().collect::<Vec<_>>());
        assert_eq!(book.look(&used.reveal(), now).unwrap().grant, grant());
        assert_eq!(book.redeem(&format!(" {}\n", used.reveal()), now).unwrap().grant, grant());
        assert!(book.revoke(&used.id(), now).is_none(), "too late");
        // And once more: what was used up stays so.
        let mut book = TokenBook::new(book.entries().cloned().collect::<Vec<_>>());
        for (token, at, expected) in [
            (&used, now, RedeemError::Used),
            (&used, now + MINUTE, RedeemError::Used),
            (&revoked, now, RedeemError::Revoked),
            (&late, now + MINUTE, RedeemError::Expired),
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
        assert!(book.forget(now + MINUTE).is_empty() && book.redeem(&text, now).is_ok(), "a guess leaves it good");
        assert_eq!((book.forget(now + MINUTE + REMEMBERED), book.entries().count()), (vec![token.id()], 0));
        assert_eq!(book.redeem(&text, now), Err(RedeemError::Unknown));
        assert!(!format!("{token:?} {book:?}").contains(&text[21..]));
    }
}
