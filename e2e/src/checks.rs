//! The list itself, a file for each of its parts.

mod access;
mod attacks;
mod authority;
mod basic;
mod clients;
mod deciders;
mod disk;
mod egress;
mod end;
mod envoy;
mod extensions;
mod identity;
mod input;
mod limits;
mod login;
mod malformed;
mod mtls;
mod observe;
mod program;
mod prometheus;
mod protocols;
mod resilience;
mod revocation;
mod rolling;
mod routing;
mod spiffe;
mod telemetry;
mod why;
mod zipkin;

use crate::runner::Check;

/// Every check, in the order in which they run: those that share a mesh are neighbours.
pub fn all() -> Vec<Check> {
    [
        basic::checks(),
        routing::checks(),
        identity::checks(),
        input::checks(),
        disk::checks(),
        malformed::checks(),
        protocols::checks(),
        access::checks(),
        attacks::checks(),
        deciders::checks(),
        why::checks(),
        observe::checks(),
        telemetry::checks(),
        extensions::checks(),
        zipkin::checks(),
        prometheus::checks(),
        mtls::checks(),
        revocation::checks(),
        limits::checks(),
        egress::checks(),
        resilience::checks(),
        rolling::checks(),
        clients::checks(),
        login::checks(),
        envoy::checks(),
        authority::checks(),
        spiffe::checks(),
        program::checks(),
        end::checks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
