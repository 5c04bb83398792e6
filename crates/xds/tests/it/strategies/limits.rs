//! Limits on rates and on concurrency.

use model::concurrency::{Baseline, Measuring};
use model::rate_limit::{
    DescriptorAction, DescriptorRule, Fill, GlobalRateLimitRoute, HostLimits, LocalDescriptor, RequestFact, RequestType,
};
use model::{ConnectionLimits, GrpcService};

use super::*;

fn action() -> impl Strategy<Value = DescriptorAction> {
    use DescriptorAction::{DestinationCluster, MaskedRemoteAddress, RemoteAddress, SourceCluster};
    let header = (header_match(), text(), any::<bool>());
    let expected = || (text(), text(), any::<bool>());
    prop_oneof![
        select(vec![SourceCluster, DestinationCluster, RemoteAddress]),
        (0u8..=32, 0u8..=128).prop_map(|(v4, v6)| MaskedRemoteAddress { v4, v6 }),
        header.prop_map(|(header, key, skip_if_absent)| DescriptorAction::Header {
            name: header.key,
            key,
            skip_if_absent
        }),
        (text(), text(), any::<bool>()).prop_map(|(name, key, skip_if_absent)| DescriptorAction::Query {
            name,
            key,
            skip_if_absent
        }),
        (text(), text()).prop_map(|(key, value)| DescriptorAction::Fixed { key, value }),
        (text(), text(), vec(text(), 1..3), of(text()), any::<bool>()).prop_map(
            |(key, filter, path, default, skip_if_absent)| DescriptorAction::Metadata {
                key,
                filter,
                path,
                default: default.unwrap_or_default(),
                skip_if_absent
            }
        ),
        (text(), fact(), any::<bool>()).prop_map(|(key, fact, skip_if_absent)| DescriptorAction::Fact {
            key,
            fact,
            skip_if_absent
        }),
        (expected(), vec(header_match(), 1..3)).prop_map(|((key, value, expected), headers)| {
            DescriptorAction::HeaderMatch { key, value, expected, headers }
        }),
        (expected(), vec(query_match(), 1..3)).prop_map(|((key, value, expected), parameters)| {
            DescriptorAction::QueryMatch { key, value, expected, parameters }
        }),
    ]
}

fn fact() -> impl Strategy<Value = RequestFact> {
    use RequestFact::{Identity, Namespace, Path, Route};
    select(vec![Identity, Namespace, Path, Route])
}

fn rule() -> impl Strategy<Value = DescriptorRule> {
    (0u32..=10, of(text()), vec(action(), 0..3), of(any::<bool>())).prop_map(
        |(stage, disable_key, actions, tells_limits)| DescriptorRule {
            stage,
            disable_key: disable_key.unwrap_or_default(),
            actions,
            hits: None,
            tells_limits,
        },
    )
}

/// The rules of routes and virtual hosts.
pub fn rules() -> impl Strategy<Value = Vec<DescriptorRule>> {
    vec(rule(), 0..2)
}

/// The rules of filters, without stages.
fn own_rules() -> impl Strategy<Value = Vec<DescriptorRule>> {
    let own = |(rule, hits)| DescriptorRule { stage: 0, disable_key: String::new(), hits, ..rule };
    vec((rule(), of(0u64..=1_000_000_000)).prop_map(own), 0..2)
}

fn fill() -> impl Strategy<Value = Fill> {
    (0u32..9, 1u32..9, 50u64..5_000_000).prop_map(|(max, per_interval, milliseconds)| Fill {
        max,
        per_interval,
        interval: Duration::from_millis(milliseconds),
    })
}

fn host_limits() -> impl Strategy<Value = HostLimits> {
    select(vec![HostLimits::Override, HostLimits::Include, HostLimits::Ignore])
}

fn written() -> impl Strategy<Value = HeaderChanges> {
    header_changes().prop_map(|changes| HeaderChanges::new(Vec::new(), changes.write().to_vec()))
}

/// Limits that are kept in the proxy; with a limit of its own, as routes need it.
pub fn local() -> impl Strategy<Value = LocalRateLimit> {
    let value = prop_oneof![text(), Just(String::new())];
    let entries = btree_map(text(), value, 1..3).prop_map(|entries| entries.into_iter().collect());
    let descriptor = (entries, fill()).prop_map(|(entries, fill)| LocalDescriptor { entries, fill });
    let descriptors = vec(descriptor, 0..3).prop_map(|mut list: Vec<LocalDescriptor>| {
        list.dedup_by(|one, other| one.entries == other.entries);
        list.truncate(2);
        list
    });
    let basic = (name(), 400u16..600, fill(), descriptors);
    let numbers = (0u32..=10, host_limits(), 1u32..99);
    (basic, (share(), share()), (written(), written()), any::<[bool; 5]>(), numbers, own_rules()).prop_map(
        |((stat_prefix, status, fill, descriptors), shares, headers, flags, numbers, rules)| LocalRateLimit {
            policy: None,
            stat_prefix,
            status,
            fill: Some(fill),
            descriptors,
            always_counts: flags[0],
            enabled: shares.0,
            enforced: shares.1,
            request_headers: headers.0,
            response_headers: headers.1,
            tells_limits: flags[1],
            resource_exhausted: flags[2],
            per_connection: flags[3],
            retry_after: flags[4],
            stage: numbers.0,
            host_limits: numbers.1,
            rules,
            max_values: numbers.2,
        },
    )
}

/// A service of gRPC.
pub fn service() -> impl Strategy<Value = GrpcService> {
    let value = "[a-z%]{1,5}".prop_map(|text| HeaderValue::try_from(text).expect("a value"));
    (name(), of(name()), vec((header_name(), value), 0..2)).prop_map(|(cluster, authority, metadata)| GrpcService {
        cluster,
        authority,
        metadata,
    })
}

/// Limits that a service keeps.
pub fn global() -> impl Strategy<Value = GlobalRateLimit> {
    let service = service();
    let requests = select(vec![RequestType::Both, RequestType::Internal, RequestType::External]);
    let basic = (name(), 0u32..=10, requests, service, of(some_time()));
    let shares = (share(), share(), share());
    (basic, shares, (200u16..600, 400u16..600), any::<[bool; 4]>(), written(), own_rules()).prop_map(
        |((domain, stage, requests, service, timeout), shares, statuses, flags, response_headers, rules)| {
            GlobalRateLimit {
                policy: None,
                domain,
                stage,
                requests,
                service,
                timeout,
                deny_on_error: shares.0,
                error_status: statuses.0,
                status: statuses.1,
                resource_exhausted: flags[0],
                tells_limits: flags[1],
                tells_limited: flags[2],
                retry_after: flags[3],
                response_headers,
                enabled: shares.1,
                enforced: shares.2,
                rules,
            }
        },
    )
}

/// What routes say of limits that a service keeps.
pub fn global_route() -> impl Strategy<Value = GlobalRateLimitRoute> {
    (host_limits(), own_rules(), of(name())).prop_map(|(host_limits, rules, domain)| GlobalRateLimitRoute {
        host_limits,
        rules,
        domain,
    })
}

/// Limits that move with the latency.
pub fn concurrency() -> impl Strategy<Value = AdaptiveConcurrency> {
    let count = || 1..=u32::MAX;
    let measured = (some_time(), 0.0..=100.0, count()).prop_map(|(interval, jitter_percent, requests)| Measuring {
        interval,
        jitter_percent,
        requests,
    });
    let baseline = prop_oneof![some_time().prop_map(Baseline::Fixed), measured.prop_map(Baseline::Measured)];
    let percents = (0.0..=100.0, 0.0..=100.0);
    (any::<bool>(), 400u16..600, percents, some_time(), (count(), of(count()), count()), baseline).prop_map(
        |(enabled, status, (percentile, buffer_percent), update_interval, counts, baseline)| AdaptiveConcurrency {
            enabled,
            status,
            percentile,
            update_interval,
            max: counts.0,
            lower_bound: counts.1,
            min: counts.2,
            baseline,
            buffer_percent,
        },
    )
}

/// Limits to the number of connections.
pub fn connection_limits() -> impl Strategy<Value = ConnectionLimits> {
    let by_listener = prop::collection::btree_map(name(), any::<u32>(), 0..3);
    (name(), of(any::<u32>()), by_listener).prop_map(|(name, common, by_listener)| ConnectionLimits {
        name,
        common,
        by_listener,
    })
}
