//! Any model value that the wire can carry, for property tests of every crate that has to do with the model
//! (`#[path]` includes this file; it needs `model`, `proptest`, `http` and `ipnet` only).
//!
//! Left out is what stands for the same as something else: zero limits, empty names and texts, weights of zero.
#![allow(dead_code)] // each user takes what it needs

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use model::DnsCache;
use model::chain::{ChainMatch, TransportKind};
use model::cluster::{Balancing, Discovery, Localities, PeakEwma, Transport, UpstreamProtocol, ZoneRouting};
use model::dynamic_forward::{AddressFamily, ServerNameForward};
use model::endpoint::{Health, Spread};
use model::fault::{Abort, AbortAnswer, Delay};
use model::headers::{HeaderWrite, WriteAction};
use model::http_proxy::{Codec, ForwardClientCert, HttpFilter, RouteSource};
use model::listener::{ExpectHeader, Inspect};
use model::matcher::{HeaderKey, HeaderMatch, QueryMatch, QueryValue, ValueMatch};
use model::retry::{RateLimitedBackOff, ResetFormat, RetryDetails, RetryOn};
use model::route::{
    Action, DirectResponse, FilterRules, Forward, HashCookie, HashKey, HashPolicy, HostRewrite, Mirror, PathMatch,
    PathRewrite, Redirect, RedirectPath, RouteMatch, WeightedCluster,
};
use model::secret::SecretValue;
use model::tcp_proxy::{Tunnel, WeightedTarget};
use model::*;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

mod access;
mod access_log;
mod edge;
mod ext_authz;
mod extension;
mod filters;
mod jwt;
mod limits;
mod metadata;
mod metrics;
mod oauth2;
mod tls;
mod tracing;
use access_log::access_logs;
pub use limits::connection_limits;
#[path = "resilient.rs"]
mod resilient;

use edge::http_proxy;
use filters::{filter_rule, http_filter};
use metadata::metadata_match;
use resilient::{fitting, resilience};
use tls::{alpn, downstream_tls, upstream_tls};
use tracing::tracing;

/// A name of a resource or a part of one.
pub fn name() -> impl Strategy<Value = Arc<str>> {
    "[a-z][a-z0-9|._-]{0,12}".prop_map(Into::into)
}

fn text() -> impl Strategy<Value = String> + Clone {
    "[a-zA-Z0-9./:_-]{1,12}"
}

/// A duration above zero.
fn some_time() -> impl Strategy<Value = Duration> {
    (1u64..5_000_000).prop_map(Duration::from_millis)
}

fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

fn port() -> impl Strategy<Value = u16> {
    1u16..
}

fn socket() -> impl Strategy<Value = Address> {
    (ip(), port()).prop_map(|(ip, port)| Address::socket(SocketAddr::new(ip, port)))
}

/// Only listeners may live in another network namespace.
fn bound_socket() -> impl Strategy<Value = Address> {
    let netns = of(Just(Arc::<str>::from("/run/netns/app")));
    (ip(), port(), netns).prop_map(|(ip, port, netns)| Address::Socket { addr: SocketAddr::new(ip, port), netns })
}

fn pipe() -> impl Strategy<Value = Address> {
    let netns = of(Just(Arc::<str>::from("/run/netns/app")));
    ("(/[a-z]{1,8}/[a-z]{1,8}|@[a-z]{1,8})", netns).prop_map(|(path, netns)| Address::pipe_in(path, netns.as_ref()))
}

fn host() -> impl Strategy<Value = Address> {
    ("[a-z]{1,8}\\.example\\.org", port()).prop_map(|(host, port)| Address::Host { host: host.into(), port })
}

fn net() -> impl Strategy<Value = IpNet> {
    (ip(), 0u8..=32).prop_map(|(ip, length)| IpNet::new(ip, length).expect("a length for both families"))
}

fn pattern() -> impl Strategy<Value = Pattern> {
    select(vec!["v[0-9]+", "(a|b)*", "/x/.*", "[^/]+"]).prop_map(|source| Pattern::new(source).expect("a pattern"))
}

fn share() -> impl Strategy<Value = Fraction> {
    (0u32..=1_000_000).prop_map(Fraction::millionths)
}

/// A condition on a text.
pub fn string_match() -> impl Strategy<Value = StringMatch> {
    let plain = (text(), any::<bool>());
    prop_oneof![
        plain.clone().prop_map(|(value, ignore_case)| StringMatch::Exact { value, ignore_case }),
        plain.clone().prop_map(|(value, ignore_case)| StringMatch::Prefix { value, ignore_case }),
        plain.clone().prop_map(|(value, ignore_case)| StringMatch::Suffix { value, ignore_case }),
        plain.prop_map(|(value, ignore_case)| StringMatch::Contains { value, ignore_case }),
        pattern().prop_map(StringMatch::Regex),
    ]
}

fn header_name() -> impl Strategy<Value = HeaderName> {
    "x-[a-z]{1,8}".prop_map(|name| HeaderName::try_from(name).expect("a name"))
}

fn header_value() -> impl Strategy<Value = HeaderValue> {
    prop_oneof![
        "[ -~]{0,12}".prop_map(|value| HeaderValue::try_from(value).expect("a value")),
        Just(HeaderValue::from_bytes(b"caf\xe9 100%").expect("a value")),
        Just(HeaderValue::from_static("%REQ(x)% 5%")),
    ]
}

fn header_write() -> impl Strategy<Value = HeaderWrite> {
    use WriteAction::{AddIfAbsent, Append, Overwrite, OverwriteIfThere};
    let action = select(vec![Append, Overwrite, AddIfAbsent, OverwriteIfThere]);
    (header_name(), header_value(), action).prop_map(|(name, value, action)| HeaderWrite { name, value, action })
}

fn header_changes() -> impl Strategy<Value = HeaderChanges> {
    (vec(header_name(), 0..2), vec(header_write(), 0..3)).prop_map(|(remove, write)| HeaderChanges::new(remove, write))
}

fn header_match() -> impl Strategy<Value = HeaderMatch> {
    let key = prop_oneof![
        header_name().prop_map(HeaderKey::Name),
        select(vec![HeaderKey::Method, HeaderKey::Authority, HeaderKey::Scheme, HeaderKey::Path]),
    ];
    let value = prop_oneof![
        any::<bool>().prop_map(ValueMatch::Present),
        string_match().prop_map(ValueMatch::Text),
        (-9i64..9).prop_map(|start| ValueMatch::Range { start, end: start + 5 }),
    ];
    (key, value, any::<bool>(), any::<bool>()).prop_map(|(key, value, invert, missing_as_empty)| HeaderMatch {
        key,
        value,
        invert,
        missing_as_empty,
    })
}

fn query_match() -> impl Strategy<Value = QueryMatch> {
    let value = prop_oneof![any::<bool>().prop_map(QueryValue::Present), string_match().prop_map(QueryValue::Text)];
    (text(), value).prop_map(|(name, value)| QueryMatch { name, value })
}

fn route_match() -> BoxedStrategy<RouteMatch> {
    let path = prop_oneof![
        "/[a-z]{0,6}".prop_map(PathMatch::Prefix),
        "/[a-z]{1,6}".prop_map(PathMatch::SegmentPrefix),
        "/[a-z]{0,6}".prop_map(PathMatch::Exact),
        pattern().prop_map(PathMatch::Regex),
        Just(PathMatch::Connect),
    ];
    (path, any::<bool>(), vec(header_match(), 0..2), vec(query_match(), 0..2), vec(metadata_match(), 0..2), of(share()))
        .prop_map(|(path, ignore_case, headers, query, metadata, share)| RouteMatch {
            path,
            ignore_case,
            headers: headers.into(),
            query: query.into(),
            metadata: metadata.into(),
            share,
        })
        .boxed()
}

fn fault() -> impl Strategy<Value = Fault> {
    let answer = prop_oneof![(200u16..600).prop_map(AbortAnswer::Http), (1u32..17).prop_map(AbortAnswer::Grpc)];
    let delay = (some_time(), share()).prop_map(|(duration, share)| Delay { duration, share });
    let abort = (answer, share()).prop_map(|(answer, share)| Abort { answer, share });
    (of(delay), of(abort)).prop_map(|(delay, abort)| Fault { delay, abort })
}

fn retry_details() -> impl Strategy<Value = Option<Box<RetryDetails>>> {
    let format = select(vec![ResetFormat::Seconds, ResetFormat::UnixTimestamp]);
    let rate_limited = (vec((header_name(), format), 0..2), some_time())
        .prop_map(|(reset_headers, max_interval)| RateLimitedBackOff { reset_headers, max_interval });
    (vec(header_match(), 0..2), vec(header_match(), 0..2), of(some_time()), of(rate_limited)).prop_map(
        |(headers, request_headers, per_try_idle_timeout, rate_limited)| {
            let more = RetryDetails { headers, request_headers, per_try_idle_timeout, rate_limited };
            (more != RetryDetails::default()).then(|| Box::new(more))
        },
    )
}

fn retry() -> BoxedStrategy<RetryPolicy> {
    let conditions = subsequence(
        vec!["5xx", "gateway-error", "reset", "retriable-headers", "refused-stream", "unavailable", "cancelled"],
        0..5,
    );
    let on = (conditions, vec(400u16..600, 0..3))
        .prop_map(|(names, status_codes)| RetryOn { status_codes, ..RetryOn::parse(&names.join(",")).0 });
    let others = (1u32..9, any::<bool>(), of(1u32..9).prop_map(|every| every.and_then(NonZeroU32::new)));
    (on, 0u32..9, of(some_time()), 1u64..99, 1u32..20, others, retry_details())
        .prop_map(|(on, attempts, per_try_timeout, base, factor, others, more)| RetryPolicy {
            on,
            attempts,
            per_try_timeout,
            base_interval: Duration::from_millis(base),
            max_interval: Duration::from_millis(base) * factor,
            host_selection_attempts: others.0,
            avoid_previous_hosts: others.1,
            avoid_previous_priorities: others.2,
            more,
        })
        .boxed()
}

fn hash_policy() -> impl Strategy<Value = HashPolicy> {
    let ttl = of(prop_oneof![Just(Duration::ZERO), some_time()]);
    let cookie = (text(), ttl, "[a-z/]{0,5}", vec((text(), "[a-z]{0,3}"), 0..2))
        .prop_map(|(name, ttl, path, attributes)| HashCookie { name, ttl, path, attributes });
    let key = prop_oneof![
        header_name().prop_map(HashKey::Header),
        cookie.prop_map(HashKey::Cookie),
        Just(HashKey::SourceIp),
        text().prop_map(HashKey::Query),
    ];
    (key, any::<bool>()).prop_map(|(key, terminal)| HashPolicy { key, terminal })
}

fn forward() -> BoxedStrategy<Forward> {
    let cluster = (name(), 1u32..100, header_changes(), header_changes()).prop_map(
        |(name, weight, request_headers, response_headers)| WeightedCluster {
            name,
            weight,
            request_headers,
            response_headers,
        },
    );
    let one = name().prop_map(|name| vec![WeightedCluster::new(name, 1)]);
    let path_rewrite = prop_oneof![
        "/[a-z]{0,6}".prop_map(PathRewrite::Prefix),
        Just(PathRewrite::Regex {
            pattern: Pattern::search("^/v([0-9])").expect("a pattern"),
            substitution: r"/\1".into()
        }),
    ];
    let host_rewrite = prop_oneof!["[a-z.]{1,9}".prop_map(HostRewrite::Literal), Just(HostRewrite::Upstream)];
    let mirror = (name(), share()).prop_map(|(cluster, share)| Mirror { cluster, share });
    let idle = prop_oneof![Just(Duration::ZERO), some_time()];
    (
        prop_oneof![one, vec(cluster, 1..3)],
        (of(some_time()), of(idle.clone()), of(idle.clone()), of(idle.clone()), of(idle)),
        (of(retry()), any::<bool>()),
        of(path_rewrite),
        of(host_rewrite),
        vec(mirror, 0..2),
        vec(hash_policy(), 0..3),
    )
        .prop_map(|(clusters, times, (retry, hedge_on_per_try_timeout), path_rewrite, host_rewrite, mirrors, hash)| {
            let (timeout, max_grpc_timeout, idle_timeout, grpc_timeout_offset, max_stream_duration) = times;
            Forward {
                clusters,
                timeout,
                max_grpc_timeout,
                grpc_timeout_offset,
                max_stream_duration,
                idle_timeout,
                retry,
                hedge_on_per_try_timeout,
                path_rewrite,
                host_rewrite,
                mirrors,
                hash: hash.into(),
            }
        })
        .boxed()
}

fn action() -> BoxedStrategy<Action> {
    let path = prop_oneof!["/[a-z]{0,6}".prop_map(RedirectPath::Full), "/[a-z]{0,6}".prop_map(RedirectPath::Prefix)];
    let redirect = (
        select(vec![301u16, 302, 303, 307, 308]),
        of(select(vec!["http".to_owned(), "https".to_owned()])),
        of("[a-z.]{1,9}".boxed()),
        of(port()),
        of(path),
        any::<bool>(),
    )
        .prop_map(|(status, scheme, host, port, path, strip_query)| Redirect {
            status,
            scheme,
            host,
            port,
            path,
            strip_query,
        });
    let body = prop_oneof![
        "[a-z ]{0,12}".prop_map(Bytes::from),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Bytes::from),
        Just("x".repeat(5000).into()),
    ];
    let respond = (200u16..600, body).prop_map(|(status, body)| DirectResponse { status, body });
    prop_oneof![
        4 => forward().prop_map(|forward| Action::Forward(Box::new(forward))),
        1 => redirect.prop_map(Action::Redirect),
        1 => respond.prop_map(Action::Respond),
    ]
    .boxed()
}

fn cors() -> BoxedStrategy<Cors> {
    let value = || of("[A-Za-z*,-]{1,9}".prop_map(|text| HeaderValue::try_from(text).expect("a value")).boxed());
    let said = of(any::<bool>());
    let flags = (said.clone(), said.clone(), said);
    (share(), vec(string_match(), 0..3), (value(), value(), value(), value()), flags)
        .prop_map(|(enabled, origins, (methods, headers, expose, max_age), flags)| Cors {
            enabled,
            origins,
            methods,
            headers,
            expose,
            max_age,
            credentials: flags.0,
            private_network: flags.1,
            forward_unmatched: flags.2,
        })
        .boxed()
}

fn filter_rules() -> BoxedStrategy<Option<Box<FilterRules>>> {
    let said = (of(cors()), of(limits::local()), of(limits::global_route()), limits::rules(), vec(filter_rule(), 0..3));
    said.prop_map(|(cors, local, global, rate_limits, named)| {
        let (local_rate_limit, global_rate_limit) = (local.map(Arc::new), global.map(Box::new));
        let named = named.into_iter().collect();
        FilterRules { cors, local_rate_limit, global_rate_limit, rate_limits, include_host_rate_limits: false, named }
            .boxed()
    })
    .boxed()
}

fn one_route() -> BoxedStrategy<Route> {
    let filters = (of(fault()), filter_rules(), any::<bool>());
    let names = (name(), of(name()));
    (names, route_match(), action(), header_changes(), header_changes(), filters)
        .prop_map(
            |((name, stat_prefix), matches, action, request_headers, response_headers, (fault, filters, include))| {
                // Only what is forwarded is counted by descriptors.
                let forwards = matches!(action, Action::Forward(_));
                let mut rules = filters.map_or_else(FilterRules::default, |rules| *rules);
                rules.rate_limits.retain(|_| forwards);
                rules.include_host_rate_limits = include && forwards;
                let filters = rules.boxed();
                Route { name, stat_prefix, matches, action, request_headers, response_headers, fault, filters }
            },
        )
        .boxed()
}

/// A virtual host.
pub fn virtual_host() -> BoxedStrategy<VirtualHost> {
    (name(), vec(one_route(), 0..3), header_changes(), header_changes(), filter_rules(), any::<[bool; 2]>())
        .prop_map(|(name, routes, request_headers, response_headers, filters, tries)| VirtualHost {
            name,
            domains: vec!["h.example.org".into()],
            routes,
            request_headers,
            response_headers,
            filters,
            tries_to_upstream: tries[0],
            tries_to_client: tries[1],
        })
        .boxed()
}

/// A route configuration.
pub fn route() -> BoxedStrategy<RouteConfiguration> {
    (name(), vec(virtual_host(), 0..3), any::<bool>(), any::<bool>())
        .prop_map(|(name, mut hosts, ignore_port, on_demand)| {
            for (index, host) in hosts.iter_mut().enumerate() {
                host.domains = vec![format!("h{index}.example.org"), format!("*.s{index}.example.org")];
            }
            RouteConfiguration { name, hosts, ignore_port, on_demand }
        })
        .boxed()
}

fn tunnel() -> impl Strategy<Value = Tunnel> {
    let target = select(vec!["a.example.org:443", "[::1]:80", "host"]);
    let headers = header_changes().prop_map(|changes| HeaderChanges::new(Vec::new(), changes.write().to_vec()));
    (target, of(select(vec!["/", "/a?b"])), headers).prop_map(|(target, post, headers)| Tunnel {
        target: target.into(),
        post: post.map(Into::into),
        headers,
    })
}

/// Names that are looked up on the way.
pub fn dns_cache() -> impl Strategy<Value = DnsCache> {
    let family = select(vec![AddressFamily::Any, AddressFamily::V4, AddressFamily::V6]);
    let time = || some_time().prop_map(|time| time + Duration::from_millis(1));
    (name(), family, (time(), time(), time()), 1u32..5000, vec(net(), 0..3)).prop_map(
        |(name, family, (refresh, idle, timeout), max_hosts, refused)| DnsCache {
            name,
            family,
            refresh,
            idle,
            timeout,
            max_hosts,
            refused,
        },
    )
}

fn tcp_proxy() -> BoxedStrategy<TcpProxy> {
    let target = (name(), 1u32..100).prop_map(|(cluster, weight)| WeightedTarget { cluster, weight });
    let by_name = (dns_cache(), port()).prop_map(|(cache, port)| ServerNameForward { cache, port });
    let flags = (of(some_time()), any::<bool>(), of(tunnel()), of(by_name));
    (name(), vec(target, 1..3), of(some_time()), flags, access_logs())
        .prop_map(|(stat_prefix, clusters, idle_timeout, (max_duration, hash_source, tunnel, by_name), access_logs)| {
            TcpProxy {
                stat_prefix,
                clusters,
                idle_timeout,
                max_duration,
                tunnel: tunnel.map(Box::new),
                server_name_forward: by_name.map(Box::new),
                hash_source,
                access_logs,
            }
        })
        .boxed()
}

fn chain_match() -> impl Strategy<Value = ChainMatch> {
    let names = subsequence(vec!["a.example.org".to_owned(), "*.example.org".to_owned()], 0..=2);
    let transport = of(select(vec![TransportKind::Plain, TransportKind::Tls]));
    (of(port()), vec(net(), 0..2), names, transport, alpn(), vec(net(), 0..2)).prop_map(
        |(destination_port, destination_ranges, server_names, transport, application_protocols, source_ranges)| {
            ChainMatch {
                destination_port,
                destination_ranges,
                server_names,
                transport,
                application_protocols,
                source_ranges,
            }
        },
    )
}

fn filter_chain() -> BoxedStrategy<FilterChain> {
    let filter = prop_oneof![
        http_proxy().prop_map(|http| NetworkFilter::Http(Box::new(http))),
        tcp_proxy().prop_map(NetworkFilter::Tcp),
    ];
    let guard = prop_oneof![
        access::of_connections().prop_map(Guard::Rules),
        ext_authz::of_connections().prop_map(|asks| Guard::Service(Box::new(asks))),
    ];
    let access = vec(guard, 0..2);
    (name(), chain_match(), of(downstream_tls()), access, metrics::rules(), filter)
        .prop_map(|(name, matches, tls, access, metrics, filter)| FilterChain {
            name,
            matches,
            tls,
            access,
            metrics,
            filter,
        })
        .boxed()
}

/// A listener.
pub fn listener() -> BoxedStrategy<Listener> {
    let direction = select(vec![Direction::Inbound, Direction::Outbound, Direction::Unspecified]);
    let header = select(vec![ExpectHeader::No, ExpectHeader::Required, ExpectHeader::Optional]);
    let inspect = (any::<[bool; 4]>(), of(some_time()), header).prop_map(|(flags, timeout, proxy_header)| Inspect {
        proxy_header,
        original_destination: flags[0],
        tls: flags[1],
        http: flags[2],
        timeout,
        continue_on_timeout: flags[3],
    });
    let chains = (vec(filter_chain(), 1..3), of(filter_chain()));
    let address = prop_oneof![bound_socket(), pipe()];
    (name(), address, any::<[bool; 3]>(), direction, inspect, chains, access_logs(), of(any::<u32>()))
        .prop_map(|(name, address, flags, direction, inspect, (chains, default_chain), access_logs, buffer_limit)| {
            Listener {
                name,
                address,
                bind: flags[0],
                use_original_destination: flags[1],
                direction,
                inspect,
                chains,
                default_chain,
                access_logs,
                buffer_limit,
                ignores_common_limit: flags[2],
            }
        })
        .boxed()
}

fn endpoint(address: impl Strategy<Value = Address>) -> impl Strategy<Value = Endpoint> {
    let health = select(vec![Health::Healthy, Health::Unhealthy, Health::Draining, Health::Degraded]);
    let part = || prop_oneof![Just(Arc::<str>::from("")), name()];
    let workload = (part(), part(), part(), part(), part()).prop_map(|(name, namespace, service, version, cluster)| {
        Arc::new(WorkloadRef { name, namespace, service, version, cluster })
    });
    (address, 1u32..1000, health, any::<bool>(), of(workload)).prop_map(
        |(address, weight, health, mesh_tls, workload)| Endpoint { address, weight, health, mesh_tls, workload },
    )
}

fn endpoint_set(address: impl Strategy<Value = Address> + Clone) -> impl Strategy<Value = EndpointSet> {
    let part = || prop_oneof![Just(String::new()), "[a-z]{1,6}"];
    let locality = (part(), part(), part()).prop_map(|(region, zone, sub_zone)| Locality { region, zone, sub_zone });
    let group = (locality, 0u32..3, of(1u32..100), vec(endpoint(address), 0..3)).prop_map(
        |(locality, priority, weight, endpoints)| LocalityEndpoints { locality, priority, weight, endpoints },
    );
    let spread = prop_oneof![
        Just(Spread::default()),
        (1u32..500, any::<bool>()).prop_map(|(overprovisioning, weighted)| Spread { overprovisioning, weighted }),
    ];
    (name(), vec(group, 0..3), spread).prop_map(|(name, localities, spread)| EndpointSet { name, localities, spread })
}

/// The endpoints of a cluster.
pub fn endpoints() -> impl Strategy<Value = EndpointSet> {
    endpoint_set(prop_oneof![socket(), pipe()].boxed())
}

/// A cluster.
pub fn cluster() -> BoxedStrategy<Cluster> {
    let discovery = prop_oneof![
        name().prop_map(Discovery::Eds),
        endpoints().prop_map(Discovery::Static),
        endpoint_set(host().boxed()).prop_map(Discovery::StrictDns),
        (name(), endpoint(host())).prop_map(|(name, only)| {
            let group = LocalityEndpoints { endpoints: vec![only], ..LocalityEndpoints::default() };
            Discovery::LogicalDns(EndpointSet::new(name, vec![group]))
        }),
        Just(Discovery::OriginalDestination),
        dns_cache().prop_map(|cache| Discovery::DynamicForward(cache.into())),
    ];
    let balancing = prop_oneof![
        Just(Balancing::RoundRobin),
        (2u32..9).prop_map(|choices| Balancing::LeastRequest { choices }),
        (2u32..9, 1u32..9)
            .prop_map(|(choices, bias)| Balancing::BiasedLeastRequest { choices, bias: 0.7 * f64::from(bias) }),
        Just(Balancing::Random),
        (1u64..9000, 0u64..9000)
            .prop_map(|(min_size, more)| Balancing::RingHash { min_size, max_size: min_size + more }),
        select(vec![2u64, 7, 65_537, 5_000_011]).prop_map(|table_size| Balancing::Maglev { table_size }),
        (some_time(), some_time()).prop_map(|(decay, initial)| Balancing::PeakEwma(PeakEwma { decay, initial })),
    ];
    let zones = (1u64..20, 0u8..101, any::<bool>(), of(1u32..9), any::<bool>()).prop_map(
        |(min_cluster_size, percent, fails_in_panic, own_takes_all_from, by_weight)| ZoneRouting {
            min_cluster_size,
            percent,
            fails_in_panic,
            own_takes_all_from,
            by_weight,
        },
    );
    let localities =
        prop_oneof![Just(Localities::Alike), Just(Localities::Weighted), zones.prop_map(Localities::Zones)];
    let protocol = select(vec![
        UpstreamProtocol::Http1,
        UpstreamProtocol::Http2,
        UpstreamProtocol::Auto,
        UpstreamProtocol::SameAsDownstream,
    ]);
    let transport = prop_oneof![
        Just(Transport::Plain),
        upstream_tls().prop_map(Transport::Tls),
        upstream_tls().prop_map(Transport::MeshTls),
    ];
    let service =
        (name(), name(), name()).prop_map(|(host, name, namespace)| DestinationService { host, name, namespace });
    let times = (some_time(), of(some_time()), some_time());
    let blocks = vec(select(vec!["127.64.0.0/10", "10.1.0.0/16", "fd00::/48"]), 0..3);
    let choice = (balancing, localities, any::<bool>(), blocks);
    (name(), discovery, choice, times, protocol, transport, resilience(), of(1u32..9), of(service))
        .prop_map(|(name, discovery, choice, times, protocol, transport, resilience, requests, service)| {
            let (connect_timeout, idle_timeout, refresh) = times;
            let (balancing, localities, prefers_dialled, blocks) = choice;
            let by_itself = discovery.is_by_itself();
            fitting(Cluster {
                name,
                discovery,
                balancing: if by_itself { Balancing::Provided } else { balancing },
                localities: if by_itself { Localities::Alike } else { localities },
                prefers_dialled,
                workloads: blocks.into_iter().map(|block| block.parse().unwrap()).collect(),
                connect_timeout,
                // Envoy looks up no faster.
                dns_refresh: refresh + Duration::from_millis(2),
                protocol,
                transport,
                idle_timeout,
                max_requests_per_connection: requests,
                service,
                ..resilience
            })
        })
        .boxed()
}

/// A secret.
pub fn secret() -> impl Strategy<Value = Secret> {
    let bytes = || vec(any::<u8>(), 1..20);
    let value = prop_oneof![
        (bytes(), bytes()).prop_map(|(chain, private_key)| SecretValue::Certificate { chain, private_key }),
        bytes().prop_map(SecretValue::Generic),
        (
            prop_oneof![Just(Vec::new()), bytes()],
            vec(("[a-z.]{1,9}", bytes()), 0..3),
            prop_oneof![Just(Vec::new()), bytes()],
            any::<bool>()
        )
            .prop_map(|(roots, by_domain, crl, leaf_only)| SecretValue::Trust {
                roots,
                by_domain,
                crl,
                leaf_only
            }),
    ];
    (name(), value).prop_map(|(name, value)| Secret { name, value })
}

/// The name table.
pub fn names() -> impl Strategy<Value = NameTable> {
    let limit = (vec("[*a-z][a-z.]{0,8}[a-z]", 0..3), "[a-z/,]{0,8}");
    let limit = limit.prop_map(|(names, policies)| NameLimit { names, policies: policies.into() });
    let names = btree_map("[a-z*][a-z.]{0,8}[a-z]", vec(ip(), 0..3), 0..4);
    (names, of(limit)).prop_map(|(names, limit)| NameTable { names, limit })
}
