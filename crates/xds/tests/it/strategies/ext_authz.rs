//! Authorization that a service decides.

use model::ext_authz::{
    AskedBody, AskedPath, Authorizer, BodyRule, ConnectionExtAuthz, ExtAuthz, ExtAuthzRule, GrpcAuthorizer,
    HttpAuthorizer,
};

use super::*;

fn headers() -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
    let value = "[a-z%]{1,5}".prop_map(|text| HeaderValue::try_from(text).expect("a value"));
    vec((header_name(), value), 0..2)
}

fn grpc() -> impl Strategy<Value = GrpcAuthorizer> {
    (limits::service(), of(some_time())).prop_map(|(service, timeout)| GrpcAuthorizer { service, timeout })
}

fn http() -> impl Strategy<Value = HttpAuthorizer> {
    let path = prop_oneof!["(/[a-z]{1,4})?".prop_map(AskedPath::Prefixed), "/[a-z]{1,4}".prop_map(AskedPath::Fixed),];
    let names = || vec(string_match(), 0..2);
    let answer = (names(), names(), names(), names(), names());
    (name(), some_time(), path, headers(), answer).prop_map(|(cluster, timeout, path, headers, answer)| {
        HttpAuthorizer {
            path,
            headers,
            upstream: answer.0,
            upstream_append: answer.1,
            client: answer.2,
            client_on_success: answer.3,
            metadata: answer.4,
            ..HttpAuthorizer::new(cluster, "http://authz.example.org", timeout)
        }
    })
}

fn body() -> impl Strategy<Value = AskedBody> {
    (1..=u32::MAX, any::<bool>(), any::<bool>()).prop_map(|(max_bytes, partial, raw)| AskedBody {
        max_bytes,
        partial,
        raw,
    })
}

/// The filter.
pub fn ext_authz() -> BoxedStrategy<ExtAuthz> {
    let service =
        prop_oneof![grpc().prop_map(Authorizer::Grpc), http().prop_map(|http| Authorizer::Http(Box::new(http))),];
    let basic = (filters::filter_name(), name(), service, 200u16..600, of(body()));
    let when = (share(), of(metadata_match()), vec(name(), 0..2), name());
    let told = (of(vec(string_match(), 1..3)), vec(string_match(), 0..2), any::<u32>());
    (basic, when, told, any::<[bool; 9]>())
        .prop_map(|(basic, when, told, flags)| ExtAuthz {
            name: basic.0,
            stat_prefix: basic.1,
            error_status: basic.3,
            body: basic.4,
            fail_open: flags[0],
            tells_failure: flags[1],
            reroute: flags[2],
            validate: flags[3],
            enabled: when.0,
            enabled_by: when.1,
            metadata: when.2,
            labels_key: when.3,
            deny_when_off: flags[4],
            peer_certificate: flags[5],
            server_name: flags[6],
            raw_headers: flags[7],
            takes_metadata: flags[8],
            allowed: told.0,
            disallowed: told.1,
            max_denied_body: told.2,
            ..ExtAuthz::new(basic.2)
        })
        .boxed()
}

/// What routes say to it.
pub fn route_rule() -> impl Strategy<Value = ExtAuthzRule> {
    let body = prop_oneof![Just(BodyRule::Same), Just(BodyRule::Off), body().prop_map(BodyRule::Own)];
    let told = (btree_map(text(), text(), 0..3), body);
    prop_oneof![Just(ExtAuthzRule::Off), told.prop_map(|(extensions, body)| ExtAuthzRule::Told { extensions, body }),]
}

/// The filter of connections.
pub fn of_connections() -> BoxedStrategy<ConnectionExtAuthz> {
    let when = (of(metadata_match()), vec(name(), 0..2), name());
    (name(), grpc(), when, any::<[bool; 3]>())
        .prop_map(|(stat_prefix, service, when, flags)| ConnectionExtAuthz {
            fail_open: flags[0],
            peer_certificate: flags[1],
            server_name: flags[2],
            enabled_by: when.0,
            metadata: when.1,
            labels_key: when.2,
            ..ConnectionExtAuthz::new(stat_prefix, service)
        })
        .boxed()
}
