//! HTTP/1.0 and HTTP/1.1 (RFC 9112): one connection served, or one opened. Stricter than it must be where leniency
//! lets requests be smuggled: no bare LF, no folded fields, no Content-Length beside Transfer-Encoding.

mod client;
mod framing;
mod incoming;
mod outgoing;
mod parse;
mod server;
mod wire;

pub use client::{ConnectionEnd, H1Driver, H1Sender, connect};
pub(crate) use incoming::H1Body;
pub(crate) use parse::is_authority;
pub(crate) use server::serve;
