//! The certificate authority: a state machine over keys, small, to be audited.
//!
//! Owns the roots and their rotation, issuing of SPIFFE certificates, the keys of JWT-SVIDs, the key store, join tokens, and the requesting
//! side's key and CSR. Knows no network and nothing of the mesh's configuration; time is passed in. Who may have which
//! identity is decided by the caller: [`Authority::issue`] takes the identity from it and never from the request.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use ca::{Authority, Key};
//! let now = SystemTime::now();
//! let authority = Authority::create("cluster.local".parse()?, now)?;
//! let id = "spiffe://cluster.local/ns/default/sa/reviews".parse()?;
//! let key = Key::generate()?; // stays with the workload
//! let issued = authority.issue(key.csr(&id)?.as_bytes(), &id, Duration::from_secs(24 * 3600), now)?;
//! assert_eq!(issued.chain.len(), 1); // signed by the root itself
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod authority;
mod key;
mod ledger;
mod request;
mod revocation;
mod rotation;
mod sealed;
mod state;
mod store;
mod token;
mod token_keys;
mod validity;

pub use authority::{Authority, IssueError, Issued, MAX_TTL, RootState, RootView};
pub use key::{Key, KeyError};
pub use ledger::{Leaf, Ledger};
pub use request::{CsrError, requested_identities};
pub use revocation::{ListError, Revocations, RevokedLeaf};
pub use rotation::{Import, Phase, RotationError, leads_to};
pub use sealed::{Passphrase, SealError, is_sealed, open as open_key, seal as seal_key};
pub use state::{CaState, FormerState, NextState, RetiringState, StateError};
pub use store::{DirStore, KeyStore, StoreError};
pub use token::{Entry, Grant, REMEMBERED, RedeemError, Token, TokenBook, TokenState};
pub use token_keys::{KNOWN_BEFORE, TOKEN_LIFE, TokenKeyState, TokenKeys};
pub use validity::{BACK_DATE, is_expired, renewal_time};
