//! Why the control plane cannot start or go on. One clear line each.

use crate::store::StoreError;

/// Why the control plane cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// An option is wrong.
    #[error("option `{option}`: {reason}")]
    Option {
        /// Which.
        option: &'static str,
        /// Why, and what was expected.
        reason: String,
    },
    /// The data directory or the store in it cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The watched directory cannot be read.
    #[error(transparent)]
    Source(#[from] api::source::SourceError),
    /// The authority's files cannot be read or written.
    #[error("certificate authority: {0}")]
    AuthorityStore(#[from] ca::StoreError),
    /// The authority's files are wrong.
    #[error("certificate authority in {dir}: {source}")]
    AuthorityState {
        /// Their directory.
        dir: String,
        /// Which, and what is wrong.
        source: ca::StateError,
    },
    /// The control plane's own key or certificate cannot be made.
    #[error("the control plane's own certificate: {0}")]
    OwnCertificate(String),
    /// The keys of tokens cannot be read, made or used.
    #[error("keys of tokens: {0}")]
    TokenKeys(String),
    /// What is revoked is not known, or cannot be told.
    #[error("what the certificate authority revoked: {0}")]
    Revoked(String),
    /// What is served behind the doors cannot be.
    #[error("{0}")]
    Guest(String),
    /// A port or socket is not to be had.
    #[error(transparent)]
    Bind(#[from] transport::listen::BindError),
    /// A door stopped working.
    #[error("the {door} door stopped: {reason}; start the control plane again")]
    Door {
        /// Which.
        door: &'static str,
        /// Why.
        reason: String,
    },
}
