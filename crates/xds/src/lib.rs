//! The wire between the planes: standard xDS v3.
//!
//! Owns both directions wire <-> model ([`encode`], [`decode`]), and both ends of the discovery session as state
//! machines without I/O ([`server`], [`client`]), with a thin gRPC shell around them ([`shell`]), which also owns the one
//! channel to the control plane. Knows no running proxy, no store, and no YAML.
//!
//! ```
//! use model::cluster::{Cluster, Discovery};
//! let cluster = Cluster::new("outbound|9080||reviews", Discovery::OriginalDestination);
//! let any = xds::encode::cluster(&cluster);
//! assert_eq!(any.type_url, xds::type_url(model::ResourceKind::Cluster));
//! assert_eq!(xds::decode::cluster(&any).map(|it| it.name), Ok(cluster.name));
//! ```

pub mod client;
pub mod decode;
pub mod encode;
mod expressions;
pub mod health;
mod metadata;
mod resource;
mod runtime;
mod san;
pub mod server;
pub mod shell;

pub use decode::DecodeError;
pub use resource::{Resource, kind_of, remove_from, type_url};
