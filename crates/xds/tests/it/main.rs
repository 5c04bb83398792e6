//! The wire forms, and both ends of the discovery session against each other.

mod round_trip;
mod session;
mod strategies;
