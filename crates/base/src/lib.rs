//! Ground floor: values that an outside standard defines, and the few timing tools everybody needs.
//!
//! Owns SPIFFE identities, host names and their matching, trace context, durations as people write them,
//! dummy addresses, back-off, the clock seam and drain signals. Knows no noun of the mesh, no wire form and no socket.
//!
//! ```
//! use base::{SpiffeId, TrustDomain};
//! let id = SpiffeId::workload(&TrustDomain::default(), "default", "bookinfo-reviews").unwrap();
//! assert_eq!(id.to_string(), "spiffe://cluster.local/ns/default/sa/bookinfo-reviews");
//! ```

pub mod backoff;
pub mod clock;
pub mod drain;
pub mod dummy;
pub mod duration;
pub mod host;
pub mod spiffe;
pub mod trace;

pub use backoff::Backoff;
pub use clock::Clock;
pub use duration::{format_duration, parse_duration};
pub use host::HostPattern;
pub use spiffe::{SpiffeId, TrustDomain};
pub use trace::{SpanId, TraceContext, TraceId};
