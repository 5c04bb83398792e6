//! Users and their tokens: kept by the store, looked up in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use base::{Clock, SpiffeId};
use tokio::sync::Mutex;

use super::secret::Bearer;
use super::{Caller, Means};
use crate::audit::Author;
use crate::store::{Changes, Store, StoreError, Table, UserRow, UserTokenRow, from_millis, millis};
use crate::timestamp;
use crate::v1::{AuditEntry, IssuedToken, Role, UserRequest, UserTokenView, UserView};

/// The life of a token unless asked otherwise, and the longest.
const TTL: (Duration, Duration) = (Duration::from_secs(8 * 3600), Duration::from_secs(366 * 86_400));
/// When a token was used last is kept to this.
const USED_EVERY_MS: u64 = 60_000;

/// Every user. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Users(Arc<Inner>);

struct Inner {
    book: RwLock<Book>,
    /// One change after the other.
    turn: Mutex<()>,
    store: Store,
    clock: Clock,
}

#[derive(Default)]
struct Book {
    users: BTreeMap<String, UserRow>,
    tokens: BTreeMap<String, UserTokenRow>,
}

/// Why a caller is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unknown {
    /// Not the form of a token.
    #[error("the token is not one: expected `hlc_`, 16 digits, `_` and 64 digits")]
    Malformed,
    /// Never made here, or taken back; or its secret is wrong.
    #[error("the token is not known here: it was made elsewhere, or was revoked")]
    Token,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// No user has this identity.
    #[error("no user has the identity `{0}`")]
    Identity(SpiffeId),
}

/// Why users are as they were.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// There is one already.
    #[error("there is a user `{0}` already")]
    Exists(String),
    /// There is none.
    #[error("there is no {0}")]
    Missing(String),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Users {
    /// The users that were kept.
    pub fn new(users: Vec<UserRow>, tokens: Vec<UserTokenRow>, store: Store, clock: Clock) -> Self {
        let users = users.into_iter().map(|user| (user.name.clone(), user)).collect();
        let tokens = tokens.into_iter().map(|token| (token.id.clone(), token)).collect();
        Self(Arc::new(Inner { book: RwLock::new(Book { users, tokens }), turn: Mutex::new(()), store, clock }))
    }

    /// The caller that shows a token. `from` is where it stands.
    pub fn by_token(&self, text: &str, from: &str) -> Result<Caller, Unknown> {
        let token = Bearer::parse(text).ok_or(Unknown::Malformed)?;
        let now = millis(self.0.clock.now());
        let (caller, used) = {
            let book = self.book();
            let row = book.tokens.get(&token.id()).filter(|row| token.is(&row.hash)).ok_or(Unknown::Token)?;
            if now >= row.expires_ms {
                return Err(Unknown::Expired);
            }
            let user = book.users.get(&row.user).ok_or(Unknown::Token)?;
            let who = format!("user {} (token {})", user.name, row.id);
            (caller(user, Author::new(who, from), Means::Token(row.id.clone())), row.used_ms)
        };
        if used.is_none_or(|used| now.saturating_sub(used) >= USED_EVERY_MS) {
            self.note_use(&token.id(), now);
        }
        Ok(caller)
    }

    /// The caller that shows a certificate.
    pub fn by_identity(&self, identity: &SpiffeId, from: &str) -> Result<Caller, Unknown> {
        let book = self.book();
        let found = book.users.values().find(|user| user.says.identity.as_deref() == Some(identity.as_str()));
        let user = found.ok_or_else(|| Unknown::Identity(identity.clone()))?;
        let by = Author::new(format!("user {} ({identity})", user.name), from);
        Ok(caller(user, by, Means::Certificate(user.name.clone())))
    }

    /// A caller that was let in before, with the rights that it has now; none if it would not be let in again.
    pub fn still(&self, before: Caller) -> Option<Caller> {
        let book = self.book();
        let user = match &before.by_means_of {
            Means::Kernel => return Some(before),
            Means::Certificate(name) => name,
            Means::Token(id) => {
                let row = book.tokens.get(id)?;
                (millis(self.0.clock.now()) < row.expires_ms).then_some(&row.user)?
            }
        };
        Some(caller(book.users.get(user)?, before.by, before.by_means_of.clone()))
    }

    /// Every user.
    pub fn list(&self) -> Vec<UserView> {
        let book = self.book();
        book.users.values().map(|user| self.view(&book, user)).collect()
    }

    /// Makes a user.
    pub async fn add(&self, name: &str, says: UserRequest, by: &Author) -> Result<UserView, UserError> {
        let says = self.checked(name, says)?;
        let _turn = self.0.turn.lock().await;
        if self.book().users.contains_key(name) {
            return Err(UserError::Exists(name.to_owned()));
        }
        let user = UserRow { name: name.to_owned(), says, created_ms: millis(self.0.clock.now()) };
        self.put(user, None, by).await
    }

    /// Makes a user another.
    pub async fn set(&self, name: &str, says: UserRequest, by: &Author) -> Result<UserView, UserError> {
        let says = self.checked(name, says)?;
        let _turn = self.0.turn.lock().await;
        let old = self.book().users.get(name).cloned().ok_or_else(|| UserError::Missing(format!("user `{name}`")))?;
        let user = UserRow { says, ..old.clone() };
        self.put(user, Some(old), by).await
    }

    async fn put(&self, user: UserRow, old: Option<UserRow>, by: &Author) -> Result<UserView, UserError> {
        let taken = |other: &&UserRow| other.name != user.name && other.says.identity == user.says.identity;
        if let Some(other) = self.book().users.values().filter(|_| user.says.identity.is_some()).find(taken) {
            return Err(UserError::Invalid(format!("the user `{}` has this identity already", other.name)));
        }
        let mut rows = Changes::default();
        rows.put(Table::Users, user.name.clone(), serde_json::to_vec(&user).unwrap_or_default());
        let (action, outcome) = if old.is_some() { ("user set", "configured") } else { ("user add", "created") };
        let mut entry = AuditEntry::new(by, action, format!("user {}", user.name), outcome);
        entry.diff.extend(old.iter().map(|old| format!("-{}", words(&old.says))));
        entry.diff.push(format!("+{}", words(&user.says)));
        self.0.store.keep(rows, vec![entry]).await?;
        let mut book = self.book_mut();
        book.users.insert(user.name.clone(), user.clone());
        Ok(self.view(&book, &user))
    }

    /// Removes a user with all tokens.
    pub async fn remove(&self, name: &str, by: &Author) -> Result<(), UserError> {
        let _turn = self.0.turn.lock().await;
        let (user, tokens, kept) = {
            let mut book = self.book_mut();
            let user = book.users.remove(name).ok_or_else(|| UserError::Missing(format!("user `{name}`")))?;
            let tokens: Vec<_> = book.tokens.extract_if(.., |_, token| token.user == name).collect();
            let mut rows = Changes::default();
            rows.remove(Table::Users, name);
            tokens.iter().for_each(|(id, _)| rows.remove(Table::UserTokens, id.clone()));
            let mut entry = AuditEntry::new(by, "user remove", format!("user {name}"), "deleted");
            entry.diff.push(format!("-{}", words(&user.says)));
            entry.diff.extend(tokens.iter().map(|(id, _)| format!("-token {id}")));
            // Gone from here first, and asked for under the lock: no use of a token writes it again.
            (user, tokens, self.0.store.keep(rows, vec![entry]))
        };
        kept.await.map_err(|error| {
            let mut book = self.book_mut();
            book.users.insert(name.to_owned(), user);
            book.tokens.extend(tokens);
            error.into()
        })
    }

    /// Makes a token for a user.
    pub async fn issue(&self, name: &str, ttl: Option<Duration>, by: &Author) -> Result<IssuedToken, UserError> {
        let ttl = ttl.unwrap_or(TTL.0);
        if ttl.is_zero() || ttl > TTL.1 {
            let most = TTL.1.as_secs() / 86_400;
            return Err(UserError::Invalid(format!("a token cannot be good for {ttl:?}; expected up to {most} days")));
        }
        let _turn = self.0.turn.lock().await;
        if !self.book().users.contains_key(name) {
            return Err(UserError::Missing(format!("user `{name}`")));
        }
        let (token, now) = (Bearer::random(), self.0.clock.now());
        let row = UserTokenRow {
            id: token.id(),
            hash: token.hash(),
            user: name.to_owned(),
            created_ms: millis(now),
            expires_ms: millis(now + ttl),
            used_ms: None,
        };
        let mut rows = Changes::default();
        rows.put(Table::UserTokens, row.id.clone(), serde_json::to_vec(&row).unwrap_or_default());
        let mut entry = AuditEntry::new(by, "user token create", format!("user {name}, token {}", row.id), "created");
        let expires = timestamp(now + ttl);
        entry.diff.push(format!("+token {} until {expires}", row.id));
        self.0.store.keep(rows, vec![entry]).await?;
        self.book_mut().tokens.insert(row.id.clone(), row);
        Ok(IssuedToken { token: token.reveal(), id: token.id(), user: name.to_owned(), expires })
    }

    /// Every token, without its secret.
    pub fn tokens(&self) -> Vec<UserTokenView> {
        let now = millis(self.0.clock.now());
        let view = |token: &UserTokenRow| UserTokenView {
            id: token.id.clone(),
            user: token.user.clone(),
            created: timestamp(from_millis(token.created_ms)),
            expires: timestamp(from_millis(token.expires_ms)),
            expired: now >= token.expires_ms,
            last_used: token.used_ms.map(|at| timestamp(from_millis(at))),
        };
        let mut tokens: Vec<_> = self.book().tokens.values().map(view).collect();
        tokens.sort_by(|a, b| (&a.user, &a.created, &a.id).cmp(&(&b.user, &b.created, &b.id)));
        tokens
    }

    /// Takes a token back.
    pub async fn revoke(&self, id: &str, by: &Author) -> Result<(), UserError> {
        let _turn = self.0.turn.lock().await;
        let (token, kept) = {
            let mut book = self.book_mut();
            let token = book.tokens.remove(id).ok_or_else(|| UserError::Missing(format!("token `{id}`")))?;
            let mut rows = Changes::default();
            rows.remove(Table::UserTokens, id);
            let what = format!("user {}, token {id}", token.user);
            let entry = AuditEntry::new(by, "user token revoke", what, "revoked");
            (token, self.0.store.keep(rows, vec![entry]))
        };
        kept.await.map_err(|error| {
            self.book_mut().tokens.insert(id.to_owned(), token);
            error.into()
        })
    }

    /// Kept aside: who asks need not wait for it, and a crash loses no more than the last minute.
    fn note_use(&self, id: &str, now: u64) {
        let mut book = self.book_mut();
        let Some(token) = book.tokens.get_mut(id) else { return };
        token.used_ms = Some(now);
        let mut rows = Changes::default();
        rows.put(Table::UserTokens, id, serde_json::to_vec(token).unwrap_or_default());
        // Asked for under the lock, so that a token that is taken back is not written again after that.
        drop(self.0.store.keep(rows, Vec::new()));
        drop(book);
    }

    fn checked(&self, name: &str, mut says: UserRequest) -> Result<UserRequest, UserError> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
            let wanted = "expected 1 to 64 letters, digits, `-`, `_`, `.` and `@`";
            return Err(UserError::Invalid(format!("`{name}` cannot be a user's name; {wanted}")));
        }
        if let Some(identity) = &says.identity
            && let Err(error) = identity.parse::<SpiffeId>()
        {
            return Err(UserError::Invalid(error.to_string()));
        }
        let Some(namespaces) = &mut says.namespaces else { return Ok(says) };
        if says.role != Role::Operator {
            let role = says.role;
            return Err(UserError::Invalid(format!(
                "namespaces bound what an operator writes, and mean nothing for `{role}`"
            )));
        }
        let is_namespace = |name: &String| {
            let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
            !name.is_empty() && name.len() <= 63 && name.bytes().all(plain)
        };
        if let Some(bad) = namespaces.iter().find(|name| !is_namespace(name)) {
            return Err(UserError::Invalid(format!("`{bad}` cannot be a namespace's name")));
        }
        if namespaces.is_empty() {
            return Err(UserError::Invalid(
                "an operator of no namespace can change nothing; name one, or none for all".into(),
            ));
        }
        namespaces.sort();
        namespaces.dedup();
        Ok(says)
    }

    fn view(&self, book: &Book, user: &UserRow) -> UserView {
        let now = millis(self.0.clock.now());
        let own = || book.tokens.values().filter(|token| token.user == user.name);
        UserView {
            name: user.name.clone(),
            says: user.says.clone(),
            created: timestamp(from_millis(user.created_ms)),
            tokens: own().filter(|token| now < token.expires_ms).count(),
            last_used: own().filter_map(|token| token.used_ms).max().map(|at| timestamp(from_millis(at))),
        }
    }

    fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.0.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn book_mut(&self) -> RwLockWriteGuard<'_, Book> {
        self.0.book.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn caller(user: &UserRow, by: Author, by_means_of: Means) -> Caller {
    let namespaces = user.says.namespaces.as_ref().map(|list| list.iter().cloned().collect());
    Caller { by, role: user.says.role, namespaces, by_means_of }
}

/// What is said of a user, in one line.
fn words(says: &UserRequest) -> String {
    let mut words = format!("role {}", says.role);
    if let Some(namespaces) = &says.namespaces {
        words.push_str(&format!(", namespaces {}", namespaces.join(", ")));
    }
    if let Some(identity) = &says.identity {
        words.push_str(&format!(", identity {identity}"));
    }
    words
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use telemetry::Registry;

    use super::*;
    use crate::store::{Disk, Kept, Start};

    const HOUR: Duration = Duration::from_secs(3600);

    fn open(dir: &Path, clock: &Clock) -> (Users, Store) {
        let shard = Registry::new().shard();
        let start = Start {
            settings: Default::default(),
            trust: translate::MeshTrust::roots(Vec::new()),
            has_files: false,
            clock: clock.clone(),
            shard: &shard,
        };
        let (store, Kept { users, user_tokens, .. }) = Store::open(Disk::open(dir).unwrap(), start).unwrap();
        (Users::new(users, user_tokens, store.clone(), clock.clone()), store)
    }

    fn says(role: Role) -> UserRequest {
        UserRequest { role, namespaces: None, identity: None }
    }

    #[tokio::test]
    async fn tokens_live_and_die() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::fixed(from_millis(1_000_000_000)));
        let (users, store) = open(dir.path(), &clock);
        let by = Author::new("uid 0", "local");
        users.add("alice", says(Role::Viewer), &by).await.unwrap();
        let token = users.issue("alice", Some(HOUR), &by).await.unwrap();
        let revoked = users.issue("alice", None, &by).await.unwrap();
        assert_eq!(users.tokens()[0].last_used, None);
        assert_eq!(users.by_token(&token.token, "here").unwrap().role, Role::Viewer);
        assert!(users.tokens().iter().any(|view| view.id == token.id && view.last_used.is_some()));
        // Another role holds at once; a wrong secret of a known token does not.
        users.set("alice", says(Role::Admin), &by).await.unwrap();
        assert_eq!(users.by_token(&token.token, "here").unwrap().role, Role::Admin);
        let last = if token.token.ends_with('0') { '1' } else { '0' };
        let guess = format!("{}{last}", &token.token[..token.token.len() - 1]);
        assert_eq!(users.by_token(&guess, "there"), Err(Unknown::Token));
        users.revoke(&revoked.id, &by).await.unwrap();
        store.stop().await;

        let (users, store) = open(dir.path(), &clock);
        assert_eq!(users.by_token(&revoked.token, "here"), Err(Unknown::Token));
        assert!(users.tokens()[0].last_used.is_some(), "kept over a restart");
        assert_eq!(users.by_token(&token.token, "here").unwrap().by.who, format!("user alice (token {})", token.id));
        clock.advance(HOUR);
        assert_eq!(users.by_token(&token.token, "here"), Err(Unknown::Expired));
        assert!(users.tokens()[0].expired && users.list()[0].tokens == 0);
        users.remove("alice", &by).await.unwrap();
        assert_eq!(users.by_token(&token.token, "here"), Err(Unknown::Token));
        assert!(users.tokens().is_empty() && users.list().is_empty());
        store.stop().await;
    }

    #[tokio::test]
    async fn what_no_user_can_be() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let (users, store) = open(dir.path(), &clock);
        let by = Author::default();
        let check = async |name: &str, says: UserRequest, expected: &str| {
            let error = users.add(name, says, &by).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let with = |role, namespaces: &[&str]| UserRequest {
            namespaces: Some(namespaces.iter().map(|n| (*n).to_owned()).collect()),
            ..says(role)
        };
        check("a b", says(Role::Viewer), "cannot be a user's name").await;
        check("a", with(Role::Viewer, &["shop"]), "mean nothing for `viewer`").await;
        check("a", with(Role::Operator, &[]), "of no namespace").await;
        check("a", with(Role::Operator, &["a/b"]), "`a/b` cannot be a namespace").await;
        let identity = Some("spiffe://cluster.local/ns/a/sa/b".to_owned());
        check("a", UserRequest { identity: Some("alice".to_owned()), ..says(Role::Viewer) }, "alice").await;
        users.add("a", UserRequest { identity: identity.clone(), ..says(Role::Viewer) }, &by).await.unwrap();
        check("a", says(Role::Viewer), "already").await;
        check("b", UserRequest { identity, ..says(Role::Admin) }, "`a` has this identity").await;
        let error = users.issue("a", Some(400 * 24 * HOUR), &by).await.unwrap_err().to_string();
        assert!(error.contains("366 days"), "{error}");
        assert!(matches!(users.issue("x", None, &by).await, Err(UserError::Missing(_))));
        store.stop().await;
    }
}
