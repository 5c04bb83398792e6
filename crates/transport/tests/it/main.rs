//! The crate as its users see it: real sockets on loopback, streams in memory, TLS between real certificates.

mod copying;
mod inheritance;
mod sockets;
mod tls;
