//! gRPC echo (`halcyon.samples.v1.Echo`), and a client that works through a checklist.

pub mod checklist;
mod server;

pub use server::serve;
