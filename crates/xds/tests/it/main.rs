//! The wire forms, and both ends of the discovery session against each other.

mod over_grpc;
mod round_trip;
mod session;
mod strategies;
