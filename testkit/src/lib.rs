//! What the tests of several crates need. Not for production: everything here panics instead of failing.
//!
//! Owns the test authority, and databases of places. It is built on `ca`, so that a test meets the same certificates as a mesh.

mod authority;
pub mod geo;

pub use authority::TestCa;
