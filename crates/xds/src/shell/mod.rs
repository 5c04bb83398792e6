//! The thin gRPC shell around the sessions: the channel, messages in, messages out, and nothing decided here.

mod client;
mod link;
mod member;
mod reports;
mod secrets;
mod server;

pub use client::{Command, StreamEnd, run};
pub use link::{Bearer, ControlServer, Link, LinkError, Links, certify};
pub use member::{BundlesError, Member, OpenLink};
pub use reports::{Reports, ReportsEnd};
pub use secrets::{follow_secret, serve_secrets};
pub use server::{Ads, Opened, Peer, Sessions, serve_stream};

/// The largest message taken, in bytes: one response may hold all clusters of a large mesh.
const MAX_MESSAGE: usize = 512 << 20;
