//! All groups, one file for each subject.

mod access;
mod authz;
mod balancing;
mod connections;
mod differences;
mod edge;
mod filters;
mod geo;
mod limits;
mod login;
mod malformed;
mod patched;
mod protocols;
mod retries;
mod rewriting;
mod routing;
mod tokens;

use crate::case::Group;

/// In the order in which they run: the slow ones first.
pub fn all() -> Vec<Group> {
    let all = [
        malformed::groups(),
        retries::groups(),
        balancing::groups(),
        protocols::groups(),
        edge::groups(),
        filters::groups(),
        limits::groups(),
        connections::groups(),
        rewriting::groups(),
        routing::groups(),
        geo::groups(),
        access::groups(),
        tokens::groups(),
        authz::groups(),
        login::groups(),
        patched::groups(),
    ];
    let mut groups: Vec<Group> = all.into_iter().flatten().collect();
    differences::mark(&mut groups);
    groups
}
