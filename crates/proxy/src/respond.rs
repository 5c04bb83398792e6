//! Faults, and the only place where one becomes a response. Statuses, flags and details strings are Envoy's, so that
//! dashboards and habits fit.

use std::borrow::Cow;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use mesh_http::grpc::{self, GrpcStatus};
use mesh_http::{Answer, Body, BodyErrorKind, Code};
use telemetry::ResponseFlags;
use upstream::{Failure, FailureKind, NoTarget};

use crate::waiting::NotKnown;

/// Why an exchange gets an answer that is not the upstream's.
#[derive(Debug)]
pub(crate) enum Fault {
    /// No virtual host or no route fits.
    NoRoute,
    /// Which virtual host takes the request was asked of the control plane, and not answered in time.
    UnknownHost(NotKnown),
    /// Whether a workload is at the address that was dialled was asked of the control plane, and not answered in time.
    UnknownWorkload(NotKnown),
    /// The route names a cluster that does not exist.
    NoCluster,
    /// The host that the request names has no address. `told`: a filter is there that says so; otherwise the cluster has no
    /// endpoint.
    NoAddress {
        /// Why not.
        why: NoTarget,
        /// Is it said?
        told: bool,
    },
    /// The request has no host.
    NoHost,
    /// The request asks for an upgrade that is not let through.
    UpgradeRefused,
    /// The upstream, or the way to it.
    Upstream(Box<Failure>),
    /// The route's time for all tries is over.
    Timeout,
    /// The time for one try is over, and there is no further try.
    PerTryTimeout,
    /// Nothing of the last try moved for too long.
    PerTryIdle,
    /// Nothing moved for too long.
    StreamIdle,
    /// The exchange lasted longer than any may.
    StreamTooLong,
    /// The request was not whole in time.
    RequestTooSlow,
    /// The path has no normal form, or one that is not taken.
    BadPath,
    /// The client is sent to the path as it is without escaped slashes.
    NormalPath(String),
    /// A header's name has an underscore, which is not taken here.
    Underscore,
    /// The request's body broke off or is too large.
    RequestBody(BodyErrorKind),
}

/// The form in which the caller understands an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Caller {
    /// gRPC: errors go into trailers.
    pub grpc: bool,
    /// It speaks HTTP/2.
    pub h2: bool,
    /// A sidecar of the mesh on HTTP/2, which may try elsewhere when told that nothing was processed.
    pub mesh_h2: bool,
    /// Its request has come in as a whole.
    pub whole: bool,
    /// More than one try was made.
    pub retried: bool,
    /// Nothing is told by headers of our own.
    pub quiet: bool,
}

/// What a fault becomes.
#[derive(Debug)]
pub(crate) struct Local {
    /// What is sent.
    pub answer: Answer,
    /// The status that is recorded.
    pub status: StatusCode,
    /// The flags that are recorded.
    pub flags: ResponseFlags,
    /// Envoy's `RESPONSE_CODE_DETAILS`.
    pub details: Cow<'static, str>,
    /// What the transport said, for the log.
    pub transport_failure: Cow<'static, str>,
}

/// Envoy's word to callers that a request was refused since there were too many.
const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");

/// Makes the answer to a fault.
pub(crate) fn fault(fault: Fault, caller: Caller) -> Local {
    let Plain { mut status, flags, details, body, transport_failure } = plain(&fault, caller.retried);
    // Whoever has said everything is not the one who is slow.
    if caller.whole && matches!(&fault, Fault::StreamIdle | Fault::StreamTooLong) {
        status = StatusCode::GATEWAY_TIMEOUT;
    }
    let refuse = caller.mesh_h2 && matches!(&fault, Fault::Upstream(f) if never_reached(f));
    let overflow = matches!(&fault, Fault::Upstream(f) if f.kind == FailureKind::Overflow);
    let answer = match &fault {
        _ if refuse => Answer::Reset(Code::REFUSED_STREAM),
        Fault::Underscore if caller.h2 => Answer::Reset(Code::PROTOCOL_ERROR),
        Fault::NormalPath(path) if !caller.grpc => redirect(status.as_u16(), path, false).into(),
        // The caller said how long it would wait.
        Fault::StreamTooLong if caller.grpc => grpc::grpc_response(GrpcStatus::DEADLINE_EXCEEDED, &*body).into(),
        _ => {
            let body = match body {
                Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
                Cow::Owned(text) => text.into(),
            };
            let mut response = local(status, body, caller.grpc);
            if overflow && !caller.quiet {
                response.headers_mut().insert(OVERLOADED, HeaderValue::from_static("true"));
            }
            response.into()
        }
    };
    Local { answer, status, flags, details, transport_failure }
}

/// An answer of our own in the caller's form: text, or a trailers-only gRPC status.
pub(crate) fn local(status: StatusCode, body: Bytes, grpc: bool) -> Response<Body> {
    if grpc {
        return grpc::grpc_response(grpc_status(status), body);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if !body.is_empty() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        *response.body_mut() = Body::full(body);
    }
    response
}

/// A redirect to `location`, in the caller's form.
pub(crate) fn redirect(status: u16, location: &str, grpc: bool) -> Response<Body> {
    let mut response = local(StatusCode::from_u16(status).unwrap_or(StatusCode::MOVED_PERMANENTLY), Bytes::new(), grpc);
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// Does the request speak gRPC?
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    grpc::is_grpc(headers)
}

/// The status as Envoy translates its own answers: as `http-grpc-status-mapping.md`.
fn grpc_status(status: StatusCode) -> GrpcStatus {
    match status.as_u16() {
        200..=299 => GrpcStatus::OK,
        _ => GrpcStatus::from_http(status),
    }
}

struct Plain {
    status: StatusCode,
    flags: ResponseFlags,
    details: Cow<'static, str>,
    body: Cow<'static, str>,
    transport_failure: Cow<'static, str>,
}

/// Envoy's words, save for what the resolver says.
fn no_address(why: &NoTarget, told: bool) -> Plain {
    let failed = ResponseFlags::DNS_RESOLUTION_FAILED;
    let (flags, details, body) = match why {
        NoTarget::NotFound(reason) => {
            let reason: String = reason.chars().map(|c| if c.is_ascii_whitespace() { '_' } else { c }).collect();
            (failed, Cow::Owned(format!("dns_resolution_failure{{{reason}}}")), "DNS resolution failure")
        }
        NoTarget::Full => (ResponseFlags::NONE, "dns_cache_overflow".into(), "DNS cache overflow"),
        NoTarget::Nameless => (failed, "dns_resolution_failure".into(), "DNS resolution failure"),
    };
    let (flags, body) = if told { (flags, body) } else { (ResponseFlags::NO_HEALTHY_UPSTREAM, "no healthy upstream") };
    let details = if told || matches!(why, NoTarget::NotFound(_)) { details } else { "no_healthy_upstream".into() };
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Plain { status, flags, details, body: body.into(), transport_failure: "".into() }
}

fn plain(fault: &Fault, retried: bool) -> Plain {
    let simple = |status, flags, details: &'static str, body: &'static str| Plain {
        status,
        flags,
        details: details.into(),
        body: body.into(),
        transport_failure: "".into(),
    };
    let none = ResponseFlags::NONE;
    match fault {
        Fault::NoRoute => simple(StatusCode::NOT_FOUND, ResponseFlags::NO_ROUTE, "route_not_found", ""),
        Fault::UnknownHost(missing) => {
            let (table, host) = missing.name.rsplit_once('/').unwrap_or(("", &missing.name));
            unknown(&format!("host {host} is not known here yet (routes {table})"), missing.waited)
        }
        Fault::UnknownWorkload(missing) => {
            let at = missing.name.rsplit_once('|').map_or(&*missing.name, |(_, at)| at);
            unknown(&format!("who is at {at} is not known here yet"), missing.waited)
        }
        Fault::NoCluster => simple(StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::NO_CLUSTER, "cluster_not_found", ""),
        Fault::NoAddress { why, told } => no_address(why, *told),
        Fault::NoHost => {
            simple(StatusCode::BAD_REQUEST, ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR, "missing_host_header", "")
        }
        Fault::UpgradeRefused => simple(StatusCode::FORBIDDEN, none, "upgrade_failed", ""),
        Fault::Timeout => {
            let body = "upstream request timeout";
            simple(StatusCode::GATEWAY_TIMEOUT, ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, "response_timeout", body)
        }
        Fault::PerTryTimeout => {
            let body = "upstream request timeout";
            simple(
                StatusCode::GATEWAY_TIMEOUT,
                ResponseFlags::UPSTREAM_REQUEST_TIMEOUT,
                "upstream_per_try_timeout",
                body,
            )
        }
        Fault::PerTryIdle => {
            let (flags, body) = (ResponseFlags::STREAM_IDLE_TIMEOUT, "upstream request timeout");
            simple(StatusCode::GATEWAY_TIMEOUT, flags, "upstream_per_try_idle_timeout", body)
        }
        Fault::StreamIdle => simple(
            StatusCode::REQUEST_TIMEOUT,
            ResponseFlags::STREAM_IDLE_TIMEOUT,
            "stream_idle_timeout",
            "stream timeout",
        ),
        Fault::StreamTooLong => {
            simple(StatusCode::REQUEST_TIMEOUT, none, "max_duration_timeout", "downstream duration timeout")
        }
        Fault::RequestTooSlow => {
            simple(StatusCode::REQUEST_TIMEOUT, none, "request_overall_timeout", "request timeout")
        }
        Fault::BadPath => simple(StatusCode::BAD_REQUEST, none, "path_normalization_failed", ""),
        Fault::NormalPath(_) => simple(StatusCode::TEMPORARY_REDIRECT, none, "path_normalization_failed", ""),
        Fault::Underscore => {
            let flags = ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR;
            simple(StatusCode::BAD_REQUEST, flags, "http.unexpected_underscore", "")
        }
        Fault::RequestBody(kind) => match kind {
            BodyErrorKind::TooLarge => {
                simple(StatusCode::PAYLOAD_TOO_LARGE, none, "request_payload_too_large", "Payload Too Large")
            }
            BodyErrorKind::Malformed => simple(
                StatusCode::BAD_REQUEST,
                ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR,
                "http1.codec_error",
                "Bad Request",
            ),
            BodyErrorKind::Encoding => simple(
                StatusCode::BAD_REQUEST,
                none,
                "grpc_base_64_decode_failed",
                "Bad gRPC-web request, invalid base64 data.",
            ),
            BodyErrorKind::Timeout => simple(
                StatusCode::REQUEST_TIMEOUT,
                ResponseFlags::STREAM_IDLE_TIMEOUT,
                "request_overall_timeout",
                "stream timeout",
            ),
            BodyErrorKind::Reset(_) => {
                simple(CLIENT_GONE, ResponseFlags::DOWNSTREAM_REMOTE_RESET, "downstream_remote_disconnect", "")
            }
            BodyErrorKind::Closed | BodyErrorKind::Cancelled => simple(
                CLIENT_GONE,
                ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION,
                "downstream_remote_disconnect",
                "",
            ),
        },
        Fault::Upstream(failure) => upstream(failure, retried),
    }
}

fn unknown(what: &str, waited: Duration) -> Plain {
    let body = format!(
        "{what}, and the control plane did not say within {} where it is; try again when the control plane is back, see \
         `halcyon status`",
        base::format_duration(waited)
    );
    Plain {
        status: StatusCode::SERVICE_UNAVAILABLE,
        flags: ResponseFlags::NO_ROUTE,
        details: "on_demand_discovery_timeout".into(),
        body: body.into(),
        transport_failure: "".into(),
    }
}

/// Nobody is left to see this status, and it never leaves; Envoy records 0 then, nginx has the habit of 499.
const CLIENT_GONE: StatusCode = StatusCode::BAD_REQUEST;

fn upstream(failure: &Failure, retried: bool) -> Plain {
    let status = match failure.kind {
        FailureKind::RequestBody(error) => return plain(&Fault::RequestBody(error.kind), retried),
        FailureKind::BadRequest => return plain(&Fault::NoHost, retried),
        FailureKind::NoEndpoint => {
            let (details, body) = ("no_healthy_upstream".into(), "no healthy upstream".into());
            let (status, flags) = (StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::NO_HEALTHY_UPSTREAM);
            return Plain { status, flags, details, body, transport_failure: "".into() };
        }
        FailureKind::Protocol => StatusCode::BAD_GATEWAY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let reason = failure.kind.reset_reason();
    // What the transport said is for the log: it names addresses, which are nothing to a stranger.
    let latest = if retried { "retried and the latest " } else { "" };
    let body = format!("upstream connect error or disconnect/reset before headers. {latest}reset reason: {reason}");
    Plain {
        status,
        flags: failure.kind.flag().and_then(ResponseFlags::from_short).unwrap_or_default(),
        details: format!("upstream_reset_before_response_started{{{}}}", reason.replace(' ', "_")).into(),
        body: body.into(),
        transport_failure: failure.reason.clone(),
    }
}

/// Was the request never sent to anybody, so that another instance of the service may take it?
fn never_reached(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::ConnectFailed | FailureKind::ConnectTimeout | FailureKind::Refused)
        && failure.is_unprocessed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        for (fault_kind, status, flags, details) in [
            (Fault::NoRoute, 404, "NR", "route_not_found"),
            (
                Fault::UnknownHost(NotKnown { name: "80/a".into(), waited: Duration::from_secs(5) }),
                503,
                "NR",
                "on_demand_discovery_timeout",
            ),
            (Fault::NoCluster, 503, "NC", "cluster_not_found"),
            (Fault::Timeout, 504, "UT", "response_timeout"),
            (Fault::StreamIdle, 408, "SI", "stream_idle_timeout"),
            (Fault::PerTryIdle, 504, "SI", "upstream_per_try_idle_timeout"),
            (Fault::UpgradeRefused, 403, "-", "upgrade_failed"),
            (Fault::StreamTooLong, 408, "-", "max_duration_timeout"),
            (Fault::RequestTooSlow, 408, "-", "request_overall_timeout"),
            (Fault::BadPath, 400, "-", "path_normalization_failed"),
            (Fault::NormalPath("/a".into()), 307, "-", "path_normalization_failed"),
            (Fault::Underscore, 400, "DPE", "http.unexpected_underscore"),
        ] {
            let local = fault(fault_kind, Caller::default());
            assert_eq!((local.status.as_u16(), &*local.flags.to_string(), &*local.details), (status, flags, details));
        }
    }

    #[test]
    fn who_was_slow() {
        let whole = Caller { whole: true, ..Caller::default() };
        assert_eq!(fault(Fault::StreamIdle, whole).status, StatusCode::GATEWAY_TIMEOUT);
        let grpc = Caller { grpc: true, ..whole };
        let Answer::Response(response) = fault(Fault::StreamTooLong, grpc).answer else {
            panic!("expected a response")
        };
        assert_eq!(response.headers()["grpc-status"], "4");
    }

    #[test]
    fn grpc_errors_are_trailers() {
        let local = fault(Fault::NoRoute, Caller { grpc: true, ..Caller::default() });
        let Answer::Response(response) = local.answer else { panic!("expected a response") };
        assert_eq!((response.status(), response.headers()["grpc-status"].to_str().unwrap()), (StatusCode::OK, "12"));
    }
}
