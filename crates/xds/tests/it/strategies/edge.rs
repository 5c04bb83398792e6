//! The HTTP side of a filter chain.

use model::edge::{ClientCertDetails, KeepAlive, Underscores};
use model::target::{EscapedSlashes, StripPort};

use super::*;

fn edge() -> impl Strategy<Value = Edge> {
    let via = of("[a-z0-9. ]{0,6}[a-z]".prop_map(|text| HeaderValue::try_from(text).expect("a value")).boxed());
    (0u32..4, vec(net(), 0..3), via, any::<[bool; 5]>(), any::<[bool; 5]>()).prop_map(
        |(trusted_hops, internal, via, flags, [cert, chain, subject, uri, dns])| Edge {
            trusted_hops,
            skip_forwarded_for: flags[0],
            internal,
            forwarded_port: flags[1],
            via,
            preserve_request_id: flags[2],
            suppress_own_headers: flags[4],
            request_id_in_response: flags[3],
            client_cert: ClientCertDetails { cert, chain, subject, uri, dns },
        },
    )
}

fn target_rules() -> impl Strategy<Value = TargetRules> {
    use EscapedSlashes::{Forward, Keep, Redirect, Reject};
    let slashes = select(vec![Keep, Reject, Redirect, Forward]);
    let port = select(vec![StripPort::Never, StripPort::Matching, StripPort::Any]);
    (slashes, port, any::<[bool; 3]>()).prop_map(|(escaped_slashes, strip_port, flags)| TargetRules {
        escaped_slashes,
        normalize: flags[0],
        merge_slashes: flags[1],
        strip_port,
        strip_dot: flags[2],
    })
}

fn http_limits() -> impl Strategy<Value = HttpLimits> {
    let count = || of(1u32..9000);
    let window = || of(65_535u32..=2_147_483_647);
    let pings = (some_time(), some_time()).prop_map(|(interval, timeout)| KeepAlive { interval, timeout });
    let host = of("[a-z.]{1,9}".prop_map(|text| HeaderValue::try_from(text).expect("a host")).boxed());
    let underscores = select(vec![Underscores::Allow, Underscores::Reject, Underscores::Drop]);
    let heads = (of(1u32..=8192), count(), underscores, any::<[bool; 2]>(), host);
    let times = (of(some_time()), of(some_time()), of(some_time()), of(share()));
    (heads, times, count(), count(), window(), window(), of(pings)).prop_map(
        |(heads, times, max_requests, max_streams, stream_window, connection_window, keep_alive)| HttpLimits {
            max_head_kib: heads.0,
            max_headers: heads.1,
            underscores: heads.2,
            request_timeout: times.0,
            max_connection: times.1,
            connection_jitter: times.3,
            max_stream: times.2,
            max_requests,
            http10: heads.3[0],
            http1_trailers: heads.3[1],
            http10_host: heads.4,
            max_streams,
            stream_window,
            connection_window,
            keep_alive,
        },
    )
}

pub fn http_proxy() -> BoxedStrategy<HttpProxy> {
    let routes = prop_oneof![
        name().prop_map(RouteSource::Rds),
        route().prop_map(|table| RouteSource::Inline(Arc::new(RouteConfiguration { on_demand: false, ..table }))),
    ];
    let filters = vec(http_filter(), 0..3);
    let times = (of(some_time()), of(some_time()), of(some_time()), some_time());
    let cert = select(vec![
        ForwardClientCert::Sanitize,
        ForwardClientCert::ForwardOnly,
        ForwardClientCert::AppendForward,
        ForwardClientCert::SanitizeSet,
        ForwardClientCert::AlwaysForwardOnly,
    ]);
    let upgrades = subsequence(vec!["websocket".to_owned(), "CONNECT".to_owned()], 0..=2);
    let codec = select(vec![Codec::Auto, Codec::Http1, Codec::Http2]);
    let flags = any::<[bool; 2]>();
    let server = prop_oneof![
        Just(ServerHeader::Pass),
        "[a-z]{1,9}".prop_map(ServerHeader::Overwrite),
        "[a-z]{1,9}".prop_map(ServerHeader::IfAbsent),
    ];
    let server = (server, edge(), target_rules(), http_limits(), of(tracing()));
    (name(), codec, routes, filters, access_logs(), times, upgrades, cert, server, flags)
        .prop_map(
            |(
                stat_prefix,
                codec,
                routes,
                filters,
                access_logs,
                times,
                upgrades,
                forward_client_cert,
                (server, edge, target, limits, tracing),
                flags,
            )| {
                HttpProxy {
                    stat_prefix,
                    codec,
                    routes,
                    filters,
                    access_logs,
                    idle_timeout: times.0,
                    stream_idle_timeout: times.1,
                    headers_timeout: times.2,
                    drain_timeout: times.3,
                    upgrades,
                    use_remote_address: flags[0],
                    forward_client_cert,
                    edge,
                    target,
                    limits,
                    server,
                    generate_request_id: flags[1],
                    tracing,
                }
            },
        )
        .boxed()
}
