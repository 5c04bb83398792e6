//! The store: every resource, durable before it is visible, and the world made of it.

mod error;

pub use error::StoreError;
