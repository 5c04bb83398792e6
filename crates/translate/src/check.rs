//! What cannot work although every document is right by itself: names that nobody knows, rules that contradict each other,
//! selectors that take nobody. People apply in any order, so these are warnings, and they go away by themselves.

mod access;
mod conflicts;
mod credentials;
mod egress;
mod hosts;
mod ingresses;
mod logins;
mod mesh;
mod other_access;
mod rate_limits;
mod references;
mod selection;
mod services;
mod sidecars;
mod telemetries;
mod unread;

use std::sync::Arc;

use api::{Level, Problem, Resource};

use crate::tokens::check_keys;
use crate::world::World;

pub(crate) use references::nearest_host;
pub(crate) use selection::{members_of, pairs, services_at};

/// Every reference that leads nowhere and every contradiction, with the place where it was written and what traffic gets
/// that meets it. It does not depend on which workloads run.
pub fn check(world: &World) -> Vec<Problem> {
    check_names(world, false)
}

fn check_names(world: &World, both: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    references::check(world, &mut problems);
    hosts::check(world, &mut problems);
    conflicts::check(world, both, &mut problems);
    credentials::check(world, &mut problems);
    mesh::check(world, &mut problems);
    sidecars::check(world, &mut problems);
    ingresses::check(world, &mut problems);
    access::check(world, &mut problems);
    rate_limits::check(world, &mut problems);
    egress::check(world, &mut problems);
    logins::check(world, &mut problems);
    other_access::check(world, &mut problems);
    telemetries::check(world, &mut problems);
    check_keys(world, &mut problems);
    problems
}

/// Selectors, and subsets that rules name, that take no workload, of those that run or are described.
pub fn check_selection(world: &World) -> Vec<Problem> {
    let mut problems = Vec::new();
    selection::check(world, false, &mut problems);
    access::check_selection(world, false, &mut problems);
    rate_limits::check_selection(world, false, &mut problems);
    egress::check_selection(world, false, &mut problems);
    other_access::check_selection(world, &mut problems);
    problems
}

/// All that there is to say of a world: [`check`], [`check_selection`], and what only who asks for an analysis wants to
/// hear. `resources` are all of it, those that translation does not read too. Levels are those of the codes.
pub fn analyze(world: &World, resources: &[Arc<Resource>]) -> Vec<Problem> {
    let mut problems = check_names(world, true);
    selection::check(world, true, &mut problems);
    access::check_selection(world, true, &mut problems);
    rate_limits::check_selection(world, true, &mut problems);
    egress::check_selection(world, true, &mut problems);
    other_access::check_selection(world, &mut problems);
    services::check(world, resources, &mut problems);
    unread::check(world, resources, &mut problems);
    problems.into_iter().map(by_code).collect()
}

/// A problem as analysis tells it: as bad as its code says, unless the document was refused for it.
pub fn by_code(mut problem: Problem) -> Problem {
    if problem.level != Level::Error {
        problem.level = problem.code.level();
    }
    problem
}
