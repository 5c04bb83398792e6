//! SPIFFE for programs: what a trust domain's members are checked by, and how a program gets its own identity.
//!
//! Owns the bundle document (SPIFFE_Trust_Domain_and_Bundle.md), the check of JWT-SVIDs (JWT-SVID.md), and the Workload API
//! (SPIFFE_Workload_API.md) over anything that is a [`Workload`]. Makes no certificate and signs nothing: those who have
//! identities bring them. Opens no socket: it is given one.
//!
//! ```
//! let text = r#"{"spiffe_sequence": 3, "spiffe_refresh_hint": 300, "keys": []}"#;
//! let bundle = svid::Bundle::parse(text)?;
//! assert_eq!((bundle.sequence, bundle.x509.len()), (Some(3), 0));
//! # Ok::<(), svid::BundleError>(())
//! ```

mod bundle;
mod jwk;
mod server;
mod token;
mod workload;

pub use bundle::{Bundle, BundleError, Bundles};
pub use jwk::JwtKey;
pub use server::serve;
pub use token::{LEEWAY, TokenError, Verified, verify};
pub use workload::{Workload, X509Svid, X509SvidError};
