//! HTTP/2 (RFC 9113): one connection served, or one opened. The codec is the `h2` crate; streams are run here, inside
//! the connection's own future, so that an exchange needs no task.

mod body;
mod client;
mod gather;
mod ping;
mod pump;
mod server;
mod tunnel;

pub(crate) use body::H2Body;
pub use client::{H2Driver, H2End, H2Sender, connect};
pub(crate) use server::serve;
pub(crate) use tunnel::Tunnel;
