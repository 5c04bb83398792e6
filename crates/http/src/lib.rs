//! HTTP/1.1 and HTTP/2 over any byte stream: serve, connect, bodies, trailers, upgrade, limits, gRPC status.
//!
//! Knows no routes, clusters, filters and no TLS: whoever calls brings a connected stream. The HTTP/2 codec behind
//! it (`h2`) and the HTTP/1 tokenizer (`httparse`) never show in the public types.
//!
//! Everything runs on one thread: futures are `!Send`, and one exchange needs neither a spawn nor a channel.
//! A connection served is one future; a connection opened is a sender and a driver future that the caller spawns once.
//!
//! ```
//! use http::{Request, Response};
//! use mesh_http::{Body, ClientOptions, ServerOptions, h1, serve};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # tokio::task::LocalSet::new().block_on(&runtime, async {
//! let (here, there) = tokio::io::duplex(4096);
//! let options = ServerOptions::default();
//! tokio::task::spawn_local(async move {
//!     serve(there, &options, std::future::pending(), async |_request| Response::new(Body::full("hello"))).await
//! });
//! let (sender, driver) = h1::connect(here, &ClientOptions::default());
//! tokio::task::spawn_local(driver);
//! let request = Request::get("/").header("host", "reviews").body(Body::empty()).unwrap();
//! let answer = sender.send(request).await.unwrap();
//! assert_eq!(answer.into_body().collect(1024).await.unwrap().data, "hello");
//! # });
//! ```

pub mod body;
mod error;
pub mod grpc;
pub mod h1;
pub mod h2;
pub mod head;
mod io;
mod options;
mod server;
mod timer;
mod upgrade;

pub use body::{Body, BodyEnd, BodyMap, BodyWatch, Collected, Ending};
pub use error::{BodyError, BodyErrorKind, Code, Progress, SendError, SendErrorKind, Side};
pub use options::{ClientOptions, KeepAlive, Protocol, ServerOptions};
pub use server::{Answer, ServeEnd, serve};
pub use timer::Timer;
pub use upgrade::{ExtendedConnect, OnUpgrade, Upgraded, is_upgrade};
