//! Reading requests whole before they go on (Envoy's buffer filter).

use std::sync::Arc;

/// A filter that waits for the whole body of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffer {
    /// The name under which it stands in its chain, and under which routes speak to it.
    pub name: Arc<str>,
    /// Longer bodies are refused with 413, in bytes.
    pub max_bytes: u32,
}

/// What a route or virtual host says to a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BufferRule {
    /// It lets everything pass.
    Off,
    /// The longest body.
    Limit(u32),
}
