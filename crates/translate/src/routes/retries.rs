//! When requests are sent again: after a failure, and while a slow try is still waited for.

use std::num::NonZeroU32;

use api::halcyon::Hedging;
use api::istio::HttpRetry;
use model::RetryPolicy;
use model::retry::RetryOn;

use crate::service::Service;
use crate::world::World;

/// Retries: Istio's default where nothing is said; `attempts: 0` turns them off; naming the attempts keeps the default
/// conditions. Numbers among the conditions are status codes. A lone destination that is chosen by a hash is not left for
/// another one (Istio's rule).
pub(super) fn retry(world: &World, written: Option<&HttpRetry>, stays: bool) -> Option<RetryPolicy> {
    let mut policy = RetryPolicy { avoid_previous_hosts: !stays, ..RetryPolicy::istio_default() };
    let of_mesh = world.settings.retries.as_ref().filter(|_| written.is_none());
    let Some(written) = written.or(of_mesh) else { return Some(policy) };
    // In the settings of the mesh an empty block turns them off.
    if written.attempts == Some(0) || of_mesh.is_some() && written.attempts.is_none() {
        return None;
    }
    follow(written, &mut policy);
    policy.per_try_timeout = written.per_try_timeout.filter(|t| !t.is_zero());
    policy.avoid_previous_hosts = written.retry_ignore_previous_hosts.unwrap_or(!stays);
    policy.avoid_previous_priorities = written.retry_remote_localities.unwrap_or(false).then_some(PRIORITY_FREQUENCY);
    Some(policy)
}

/// What the owners of all destinations allow: requests may be hedged where each of them does, by the longest delay and the
/// fewest requests.
pub(super) fn hedging<'w>(services: impl Iterator<Item = Option<&'w Service>>, world: &World) -> Option<Hedging> {
    // In most meshes nobody asks for it.
    if world.service_policies.is_empty() {
        return None;
    }
    let asked = services.map(|service| world.service_policy(service?)?.spec().hedging.as_ref());
    let all: Option<Vec<&Hedging>> = asked.collect();
    let all = all?;
    let delay = all.iter().map(|hedging| hedging.delay).max()?;
    Some(Hedging { delay, requests: Some(all.iter().map(|hedging| hedging.requests.unwrap_or(2)).min()?) })
}

/// Gives further tries the form in which they join the first; says whether they do. What the rule itself says of tries
/// counts more: how many, and how long one may take.
pub(super) fn hedged(retry: &mut Option<RetryPolicy>, written: Option<&HttpRetry>, hedging: Option<Hedging>) -> bool {
    let (Some(policy), Some(hedging)) = (retry, hedging) else { return false };
    if written.is_none_or(|written| written.attempts.is_none()) {
        policy.attempts = hedging.requests.unwrap_or(2).saturating_sub(1);
    }
    policy.per_try_timeout.get_or_insert(hedging.delay);
    true
}

/// Retries on the way to the program itself, as the mesh's settings say; none said is Istio's default. Host and time of a
/// single try have no meaning there.
pub fn inbound_retry(written: Option<&HttpRetry>) -> Option<RetryPolicy> {
    let Some(written) = written else { return Some(RetryPolicy::istio_inbound()) };
    if written.attempts.unwrap_or(0) == 0 {
        return None;
    }
    let mut policy = RetryPolicy::istio_inbound();
    follow(written, &mut policy);
    Some(policy)
}

/// How often, on what, and after which wait.
fn follow(written: &HttpRetry, policy: &mut RetryPolicy) {
    policy.attempts = written.attempts.unwrap_or(policy.attempts);
    if let Some(backoff) = written.backoff {
        policy.base_interval = backoff;
        policy.max_interval = backoff * 10;
    }
    if !written.retry_on.is_empty() {
        let (on, rest) = RetryOn::parse(&written.retry_on);
        let codes: Vec<u16> = rest.iter().filter_map(|word| word.parse().ok()).collect();
        policy.on = RetryOn {
            retriable_status_codes: on.retriable_status_codes || !codes.is_empty(),
            status_codes: codes,
            ..on
        };
    }
}

/// After so many tries the localities that they went to are left out.
const PRIORITY_FREQUENCY: NonZeroU32 = NonZeroU32::new(2).expect("not zero");
