//! `halcyon run`: start a process inside the mesh, without root and without a change to it.
//!
//! ```text
//! supervisor (`halcyon run`)  ──starts──►  sidecar                         on the host's network
//!     │  socket pair: orders, reports, sockets            ▲ listening sockets, made inside
//!     ▼                                                   │
//! inner process  ──starts──►  program                     in a user and network namespace of its own
//! ```
//!
//! Inside, every TCP connection is turned to 127.0.0.1:15001 and every DNS question to 127.0.0.1:15053 (and the same
//! ports of `::1`); what is neither TCP nor DNS and is not meant for the program itself is rejected, so nothing goes
//! beside the mesh. Those sockets are opened inside and handed to the sidecar, which takes the connections outside and
//! reads where they were meant to go (`SO_ORIGINAL_DST`). The sidecar reaches the program's own ports by sockets that
//! are made inside too and asked for at [`Launch::netns_socket_path`].
//!
//! The program keeps its user, files, directory, environment, terminal and standard streams. What differs:
//! only loopback is its network; set-user-ID programs (`sudo`) keep the caller's identity unless the launcher is root;
//! processes that it leaves in the background end with it.
//!
//! The program also has none of the rights by which it could leave its namespace or change what is captured, not even if the
//! launcher is root (`inside/rights.rs`).
//!
//! Which connections the sidecar gets can be narrowed ([`Redirects`]); the supervisor carries the others as they are.
//!
//! Port 53 is captured whatever server `/etc/resolv.conf` names, also one on loopback (`127.0.0.53`), also if it names
//! none (the C library then asks 127.0.0.1), also over TCP (`options use-vc`). What does not ask over port 53 is not
//! captured: `/etc/hosts`, and daemons that are asked over a Unix socket. Where the C library would ask one for hosts
//! (`nss-resolve`, `nscd`), its socket is hidden from the program, for which the program then also gets a mount namespace
//! (mounts of the host still appear in it).
//!
//! Nobody outlives the launch. The inner process sees the link close when the supervisor dies, kills every descendant
//! and removes its socket; the program and the sidecar are killed by the kernel when their parent dies
//! (`PR_SET_PDEATHSIG`); the sidecar also has a [`lifeline`].
//!
//! Owns namespaces, redirection, the hand-over of sockets, readiness, supervision and signals. Knows no xDS, no policy
//! and no control plane: the caller says how the sidecar is started.
//!
//! ```no_run
//! # async fn example(sidecar: launch::SidecarSpec) -> Result<u8, launch::LaunchError> {
//! let prepared = launch::Launch::new("./my-reviews", []).prepare().await?;
//! if !prepared.is_captured() {
//!     // configure the sidecar with named upstreams on local ports
//! }
//! Ok(prepared.run(vec![], sidecar).await?.exit_code())
//! # }
//! ```

mod bypass;
mod capture;
mod child;
mod commands;
mod ending;
mod error;
mod event;
mod http_call;
mod inner;
pub mod inside;
mod launch;
pub mod lifeline;
mod loopback_address;
mod name_service;
mod netlink;
mod nftables;
mod program;
mod redirects;
pub mod routes;
mod sidecar;
mod signals;
mod sockets;
mod wire;

pub use capture::{Capture, Refusal};
pub use commands::CommandSpec;
pub use ending::Ending;
pub use error::LaunchError;
pub use event::Event;
pub use http_call::HttpTarget;
pub use launch::{Launch, OnEvent, Prepared};
pub use loopback_address::{LoopbackClaim, LoopbackError, free_loopback_address};
pub use redirects::Redirects;
pub use sidecar::{Departure, Drain, SidecarOutput, SidecarSpec};
pub use sockets::{DNS_PORT, OUTBOUND_PORT, SocketSpec};
