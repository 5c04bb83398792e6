//! The crate at its border: raw bytes in, raw bytes out, and our own client against our own server.

mod bodies;
mod client;
mod drain;
mod floods;
mod loopback;
mod pair;
mod random;
mod strict;
mod support;
mod upgrade;
