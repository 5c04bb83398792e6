//! What the tests of several crates need. Not for production: everything here panics instead of failing.
//!
//! Owns the test authority, certificates that are forged, databases of places, and who signs tokens. It is built on `ca`, so that a test meets the same certificates as a mesh.

mod authority;
pub mod certificates;
pub mod geo;
pub mod tokens;

pub use authority::TestCa;
