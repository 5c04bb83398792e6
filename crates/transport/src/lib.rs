//! Bytes from here to there.
//!
//! Owns sockets and what is done to their bytes before anybody knows the protocol: bind, accept, the original
//! destination, connect (also out of a workload's network namespace), peek, the PROXY header, the TLS ClientHello, TLS
//! with proven identity and live certificates, and copying both ways. Knows neither HTTP nor the model, and no
//! configuration format. It is the only crate of the house that may hold `unsafe` (two places: sockets inherited over
//! `exec`, and memory given back to the system).
//!
//! Everything works on a tokio `current_thread` runtime. Nothing here takes a lock per request or per byte; a new
//! connection may take one for a moment (the stock of a namespace's sockets, a client's TLS sessions).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use transport::{Connector, copy, listen};
//! let listener = listen::tcp("127.0.0.1:15006".parse()?, None, &listen::Options::default())?.start()?;
//! let accepted = listener.accept().await?;
//! let upstream = Connector::default().connect(&"127.0.0.1:8080".parse()?).await?;
//! copy::both(accepted.stream, upstream, &copy::Counters::default(), None).await?;
//! # Ok(()) }
//! ```

pub mod address;
pub mod client_hello;
pub mod connect;
pub mod copy;
pub mod fdpass;
pub mod inherited;
pub mod listen;
pub mod memory;
pub mod netns;
pub mod original_dst;
pub mod peek;
pub mod pipe;
pub mod proxy_header;
pub mod stream;
pub mod tls;

pub use address::Address;
pub use connect::{ConnectError, Connector, Keepalive};
pub use netns::Netns;
pub use original_dst::original_dst;
pub use stream::{PeerCredentials, Stream};
