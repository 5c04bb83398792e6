//! What people write: YAML documents of Istio's and Kubernetes' kinds, read with file, line, column and field path, and
//! checked one by one.
//!
//! Owns the kinds, their whole schemas, the checks that need one document (or one file) only, how problems are told, and
//! the traits by which resources come in ([`Source`]) and word of their fate goes back ([`StatusSink`]). Knows nothing of
//! the model, of protobuf and of Kubernetes' API; whether a host or subset exists is asked in `translate`.
//!
//! ```
//! let parsed = api::parse("demo.yaml", "
//! apiVersion: networking.istio.io/v1
//! kind: VirtualService
//! metadata: {name: reviews}
//! spec:
//!   hosts: [reviews]
//!   http:
//!   - route:
//!     - destination: {host: reviews}
//!       weigth: 20
//! ");
//! assert_eq!(parsed.problems[0].to_string(),
//!     "demo.yaml:10:7: error: spec.http[0].route[0].weigth: the field `weigth` is not known \
//!      (expected `destination`, `weight` or `headers`; did you mean `weight`?)");
//! ```

mod code;
pub mod consul;
mod decode;
mod document;
pub mod enforced;
pub mod halcyon;
pub mod istio;
pub mod kind;
pub mod kubernetes;
mod meta;
mod problem;
mod report;
mod resource;
pub mod smi;
pub mod source;
mod syntax;
pub mod traffic;
pub mod yaml;

pub use code::Code;
pub use decode::{Bytes, IntOrString, Spanned, StringMatch, Tree, Unread, nearest};
pub use document::{Parsed, check_set, parse, parse_in};
pub use kind::{Kind, Support};
pub use meta::{DEFAULT_NAMESPACE, INTENTION_DEFAULT, Meta, Origin, ResourceKey, TRAFFIC_TARGET_DEFAULT};
pub use problem::{Level, Problem};
pub use resource::{Resource, Spec};
pub use source::{Source, StatusSink};
