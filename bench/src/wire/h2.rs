//! HTTP/2: frames, flow control, and header blocks that are rendered ahead. The first block of a connection teaches the
//! other side's HPACK table, the later ones are indexes, as any real client's and server's are.

mod client;
mod flow;
mod frame;
mod hpack;
mod server;

pub use client::Client;
pub use server::Server;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Our windows: large enough to be never in the way of the proxy.
const WINDOW: u32 = 1 << 30;
/// A stream's window is opened again when it is used up so far.
const RENEW: u32 = WINDOW / 4;
