//! The thin gRPC shell around the sessions: messages in, messages out, and nothing decided here.

mod client;
mod server;

pub use client::{Command, StreamEnd, run};
pub use server::{Ads, Opened, Peer, Sessions, serve_stream};

/// The largest message taken, in bytes: one response may hold all clusters of a large mesh.
const MAX_MESSAGE: usize = 512 << 20;
