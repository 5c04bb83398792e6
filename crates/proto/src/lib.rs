//! The wire language: xDS v3 and Google types from `envoy-types`, and the stubs generated from our own `.proto` files.
//!
//! Nothing handwritten but re-exports; knows no other crate of ours. Only this crate depends on `envoy-types`.
#![allow(missing_docs, clippy::all)] // generated code: the .proto files carry the documentation

/// OTLP's messages as they stand in those of Envoy.
pub use envoy_types::pb::opentelemetry::proto as envoy_otlp;
pub use envoy_types::pb::{envoy, google, xds};

mod ours {
    include!(concat!(env!("OUT_DIR"), "/ours.rs"));
}
pub use ours::{halcyon, istio, opentelemetry};

/// The SPIFFE Workload API, whose protobuf has no package.
pub mod spiffe {
    pub use super::ours::{
        JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
        ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest, X509svidResponse,
        spiffe_workload_api_client, spiffe_workload_api_server,
    };
    pub use prost_types::{ListValue, Struct, Value, value};
}
