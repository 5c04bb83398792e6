//! The wire language: xDS v3 and Google types from `envoy-types`, and the stubs generated from our own `.proto` files.
//!
//! Nothing handwritten but re-exports; knows no other crate of ours. Only this crate depends on `envoy-types`.
#![allow(missing_docs, clippy::all)] // generated code: the .proto files carry the documentation

pub use envoy_types::pb::{envoy, google, xds};

mod ours {
    include!(concat!(env!("OUT_DIR"), "/ours.rs"));
}
pub use ours::{halcyon, istio};
