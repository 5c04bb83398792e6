//! Leaves and join tokens as they lie in the store.

use ca::{Entry, Grant, Leaf, TokenState};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::store::{self, Changes, LeafRow, Table, TokenRow, from_millis, millis};

/// Join tokens that are new or different, and those that are gone.
pub(super) fn rows<'a>(put: impl IntoIterator<Item = &'a Entry>, gone: &[[u8; 8]]) -> Changes {
    let mut rows = Changes::default();
    for entry in put {
        rows.put(Table::Tokens, HEXLOWER.encode(&entry.id), serde_json::to_vec(&row(entry)).unwrap_or_default());
    }
    gone.iter().for_each(|id| rows.remove(Table::Tokens, HEXLOWER.encode(id)));
    rows
}

/// A certificate that somebody holds.
pub(super) fn leaf_row(leaf: &Leaf) -> LeafRow {
    LeafRow {
        serial: leaf.serial.clone(),
        identity: leaf.identity.to_string(),
        root: leaf.root.clone(),
        not_after_ms: millis(leaf.not_after),
        replaced: leaf.replaced.as_ref().map(|(by, at)| (by.clone(), millis(*at))),
        shown: leaf.shown.clone(),
    }
}

/// A certificate that was kept; none: its row cannot be read.
pub(super) fn leaf(row: LeafRow) -> Option<Leaf> {
    Some(Leaf {
        serial: row.serial,
        identity: row.identity.parse().ok()?,
        root: row.root,
        not_after: from_millis(row.not_after_ms),
        replaced: row.replaced.map(|(by, at)| (by, from_millis(at))),
        shown: row.shown,
    })
}

fn row(entry: &Entry) -> TokenRow {
    TokenRow {
        id: HEXLOWER.encode(&entry.id),
        hash: entry.hash,
        namespace: entry.grant.namespace.clone(),
        service_account: entry.grant.service_account.clone(),
        expires_ms: millis(entry.expires),
        created_ms: millis(entry.made),
        state: match entry.state {
            TokenState::Open => store::TokenState::Open,
            TokenState::Used(at) => store::TokenState::Used(millis(at)),
            TokenState::Revoked(at) => store::TokenState::Revoked(millis(at)),
        },
    }
}

/// A join token that was kept; none: its row cannot be read.
pub(super) fn entry(row: TokenRow) -> Option<Entry> {
    let grant = Grant { namespace: row.namespace, service_account: row.service_account, claims: Default::default() };
    let state = match row.state {
        store::TokenState::Open => TokenState::Open,
        store::TokenState::Used(at) => TokenState::Used(from_millis(at)),
        store::TokenState::Revoked(at) => TokenState::Revoked(from_millis(at)),
    };
    let (made, expires) = (from_millis(row.created_ms), from_millis(row.expires_ms));
    Some(Entry { id: unhex(&row.id)?, hash: row.hash, grant, made, expires, state })
}

/// The id of a join token from its digits.
pub(super) fn unhex(text: &str) -> Option<[u8; 8]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}
