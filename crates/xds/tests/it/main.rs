//! The wire forms, and both ends of the discovery session: each against its rules, and against each other.

mod access;
mod client_rules;
mod decode_errors;
mod filters;
mod over_grpc;
mod round_trip;
mod rules;
mod session;
mod strategies;
