//! Why a request was not answered by whom it was for, in words for people: into the access log where a format asks for
//! `%DYNAMIC_METADATA(halcyon:reason)%`, and back to a caller that asks by the header `x-halcyon-explain`.
//!
//! Such words name addresses and rules. They are for the program behind its own sidecar, for peers that have proven who
//! they are, and at a gateway for nobody unless it was started so; others lose the header that asks.

use std::borrow::Cow;

use ::http::{HeaderMap, HeaderName, HeaderValue, Request};
use mesh_http::{Body, BodyErrorKind, head};
use model::Direction;
use upstream::{Failure, FailureKind};

use crate::http::HttpConnection;
use crate::record::Facts;
use crate::respond::Fault;
use crate::table::{Near, Table};

/// By which a caller asks; its value does not matter.
pub(crate) const ASKS: HeaderName = HeaderName::from_static("x-halcyon-explain");
const TELLS: HeaderName = HeaderName::from_static("x-halcyon-reason");
/// Where logs find it.
pub(crate) const METADATA: (&str, &str) = ("halcyon", "reason");

/// No host name is longer (RFC 1035), and nobody reads more of a path.
const LONGEST: usize = 255;

/// A caller asks. May it? Else nobody behind this proxy is asked either.
pub(crate) fn asked(conn: &HttpConnection, headers: &mut HeaderMap) -> bool {
    let may = match conn.plan().direction {
        Direction::Inbound => conn.caller.is_proven(),
        Direction::Outbound | Direction::Unspecified => conn.worker.shared.explain,
    };
    if !may {
        headers.remove(ASKS);
    }
    may
}

/// Tells the caller.
pub(crate) fn tell(headers: &mut HeaderMap, reason: &str) {
    if let Ok(value) = HeaderValue::from_bytes(reason.as_bytes()) {
        headers.insert(TELLS, value);
    }
}

/// Of a fault.
pub(crate) fn of_fault(
    fault: &Fault,
    conn: &HttpConnection,
    request: &Request<Body>,
    facts: &Facts,
) -> Cow<'static, str> {
    let route = facts.route.as_deref().unwrap_or_default();
    let cluster = facts.cluster.as_deref().unwrap_or_default();
    match fault {
        Fault::NoRoute => no_route(conn, request).into(),
        Fault::UnknownHost(_) | Fault::UnknownWorkload(_) => {
            "the control plane did not say in time where this leads; see `halcyon status`".into()
        }
        Fault::NoCluster => format!("route `{route}` leads to the cluster `{cluster}`, which is not there").into(),
        Fault::NoAddress { why, .. } => {
            let host = cut(head::authority(request).unwrap_or_default());
            format!("the host `{host}`, which the request names, was looked up without an address: {why}").into()
        }
        Fault::NoHost => "the request names no host".into(),
        Fault::UpgradeRefused => "the request asks for an upgrade that is not let through here".into(),
        Fault::Timeout => {
            format!("no answer from the cluster `{cluster}` within the timeout of route `{route}`").into()
        }
        Fault::PerTryTimeout => {
            format!("no answer from the cluster `{cluster}` within the time for one try of route `{route}`").into()
        }
        Fault::PerTryIdle => format!("nothing moved in the last try at the cluster `{cluster}`").into(),
        Fault::StreamIdle => "nothing of the exchange moved for as long as it may stand still".into(),
        Fault::StreamTooLong => "the exchange lasted longer than any may here".into(),
        Fault::RequestTooSlow => "the request was not whole in time".into(),
        Fault::BadPath => "the path has no normal form, or one that is not taken here".into(),
        Fault::NormalPath(_) => "the path has escaped slashes: the client is sent to the path without them".into(),
        Fault::Underscore => "the name of a header has an underscore, which is not taken here".into(),
        Fault::RequestBody(kind) => body(*kind).into(),
        Fault::Upstream(failure) => upstream(failure, cluster, facts.attempts),
    }
}

fn body(kind: BodyErrorKind) -> &'static str {
    match kind {
        BodyErrorKind::TooLarge => "the body of the request is larger than may be here",
        BodyErrorKind::Malformed | BodyErrorKind::Encoding => "the body of the request is malformed",
        BodyErrorKind::Timeout => "the body of the request was not whole in time",
        BodyErrorKind::Reset(_) | BodyErrorKind::Closed | BodyErrorKind::Cancelled => "the caller went away",
    }
}

fn upstream(failure: &Failure, cluster: &str, tries: u32) -> Cow<'static, str> {
    let endpoint = failure.endpoint.as_ref().map_or_else(String::new, |endpoint| format!("{endpoint} of "));
    let to = format!("{endpoint}the cluster `{cluster}`");
    let what = match failure.kind {
        FailureKind::NoEndpoint => format!("{to} has no endpoint that is ready and healthy"),
        FailureKind::Overflow => format!("a circuit breaker of {to} is open: as much is in use as may be"),
        FailureKind::ConnectFailed => format!("no connection to {to}"),
        FailureKind::ConnectTimeout => format!("no connection to {to} in time"),
        FailureKind::Closed => format!("{to} closed the connection before it answered"),
        FailureKind::Reset(_) => format!("{to} reset the request"),
        FailureKind::Refused => format!("{to} said that it did not process the request"),
        FailureKind::Protocol => format!("{to} broke the protocol"),
        FailureKind::RequestBody(error) => return body(error.kind).into(),
        FailureKind::BadRequest => return "the request names no host".into(),
    };
    let why = if failure.reason.is_empty() { String::new() } else { format!(": {}", failure.reason) };
    let last = if tries > 1 { format!("; that was the last of {tries} tries") } else { String::new() };
    format!("{what}{why}{last}").into()
}

fn no_route(conn: &HttpConnection, request: &Request<Body>) -> String {
    let port = conn.downstream.destination.port();
    let authority = head::authority(request).unwrap_or_default();
    let view = conn.worker.view();
    let Some(table) = conn.plan().table(&view.snapshot) else {
        return format!("no routes are known yet for port {port}");
    };
    match table.near(authority) {
        Near::Host(host) => {
            let (name, method, path) = (&host.name, request.method(), cut(request.uri().path()));
            let rules = match host.routes.len() {
                1 => format!("the one rule for `{name}` does not take"),
                count => format!("none of the {count} rules for `{name}` takes"),
            };
            format!("{rules} {method} {path} (host `{}`, port {port})", cut(authority))
        }
        Near::Name(near) => format!("no route for host `{}` on port {port}{}", cut(authority), nearest(near)),
    }
}

/// Of an answer that a route brings itself, if it refuses the request.
pub(crate) fn of_route(conn: &HttpConnection, request: &Request<Body>, name: &str, status: u16) -> Cow<'static, str> {
    // What Istio calls the route of hosts that are no services, where those are not let through.
    if name != "block_all" {
        return format!("route `{name}` answers {status} itself").into();
    }
    let authority = head::authority(request).unwrap_or_default();
    let view = conn.worker.view();
    let known = view.snapshot.config.names.values().flat_map(|table| table.names.keys().map(String::as_str));
    let near = nearest(Table::nearest(authority, known));
    let (host, port) = (cut(authority), conn.downstream.destination.port());
    format!("no service has host `{host}` on port {port}, and other destinations are refused (REGISTRY_ONLY){near}")
        .into()
}

/// Of an answer by a filter, by the details that stand in the log (Envoy's words).
pub(crate) fn of_filter(details: &str) -> Cow<'static, str> {
    match details {
        "fault_filter_abort" => "the fault of the rule answered in place of the service (fault injection)".into(),
        "local_rate_limited" => "a rate limit that this proxy keeps is used up".into(),
        "request_rate_limited" => "a rate limit is used up, as its service says".into(),
        "rate_limiter_error" => "the service of rate limits did not answer, and without it requests are refused".into(),
        "reached_concurrency_limit" => "the workload has as many requests at once as it can take now".into(),
        denied if denied.starts_with("rbac_access_denied") => "rules of access do not let the request pass".into(),
        "jwt_authn_access_denied{Jwt_is_missing}" => "a token is required, and the request has none".into(),
        "jwt_authn_access_denied{Jwt_is_expired}" => "the request's token has expired".into(),
        "jwt_authn_access_denied{Jwt_issuer_is_not_configured}" => {
            "the request's token is of an issuer that nobody here knows".into()
        }
        "jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed}" => "the request's token is for others".into(),
        "jwt_authn_access_denied{Jwks_remote_fetch_is_failed}" => {
            "the keys by which tokens are checked cannot be fetched".into()
        }
        "cors_response" => "a preflight request (CORS), which is answered here".into(),
        other => format!("a filter answered: {other}").into(),
    }
}

fn nearest(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; nearest is `{near}`"))
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(LONGEST).map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_upstreams_did() {
        let check = |kind, reason: &'static str, tries, expected: &str| {
            let failure = Failure {
                kind,
                endpoint: None,
                progress: mesh_http::Progress::NotSent,
                whole: true,
                reason: reason.into(),
            };
            assert_eq!(upstream(&failure, "reviews", tries), expected);
        };
        check(FailureKind::NoEndpoint, "", 0, "the cluster `reviews` has no endpoint that is ready and healthy");
        let refused = "no connection to the cluster `reviews`: connection refused; that was the last of 3 tries";
        check(FailureKind::ConnectFailed, "connection refused", 3, refused);
        let open = "a circuit breaker of the cluster `reviews` is open: as much is in use as may be";
        check(FailureKind::Overflow, "", 1, open);
        check(FailureKind::BadRequest, "", 1, "the request names no host");
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(cut(&"ü".repeat(300)).chars().count(), LONGEST);
        assert_eq!(cut("short"), "short");
    }
}
