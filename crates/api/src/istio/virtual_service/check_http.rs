//! The rules for a VirtualService's HTTP rules.

use super::super::rules::*;
use super::check::{check_match_source, check_route_destination, check_weights};
use super::{
    CorsPolicy, FaultAbort, FaultDelay, HttpDirectResponse, HttpFaultInjection, HttpMatchRequest, HttpRedirect,
    HttpRetry, HttpRewrite, HttpRoute, Percent, VirtualService,
};
use crate::decode::{StringMatch, nearest, one_of};
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::{GRPC_STATUSES, is_header_name};

/// Conditions that `retryOn` may name, beside status codes (Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`).
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"];

/// Headers that stand for a claim of the request's token, in both of their forms.
const CLAIMS: [&str; 2] = ["@request.auth.claims", "[@request.auth.claims]"];

impl VirtualService {
    pub(super) fn check_http(&self, report: &mut Report) {
        report.each("http", &self.http, |route, r| self.check_http_route(route, r));
    }

    fn check_http_route(&self, route: &HttpRoute, report: &mut Report) {
        self.check_action(route, report);
        let narrow = self.is_delegate() || route.delegate.is_some();
        report.each("match", &route.match_, |m, r| {
            check_http_match(m, r);
            if self.is_for_mesh() && !self.is_delegate() {
                check_no_claims(m, r);
            }
            if narrow {
                check_no_regex(m, r);
            }
        });
        report.each("route", &route.route, |destination, r| {
            check_route_destination(&destination.destination, r);
            check_headers(&destination.headers, r);
        });
        check_weights(route.route.iter().map(|d| d.weight), report);
        check_duration("timeout", route.timeout, report);
        report.opt("retries", &route.retries, HttpRetry::check);
        report.opt("fault", &route.fault, check_fault);
        report.opt("redirect", &route.redirect, check_redirect);
        report.opt("directResponse", &route.direct_response, check_direct_response);
        report.opt("rewrite", &route.rewrite, check_rewrite);
        report.opt("corsPolicy", &route.cors_policy, check_cors);
        check_headers(&route.headers, report);
        check_one_authority(route, report);
        check_mirrors(route, report);
    }

    /// One thing is done with a request, and some settings have a meaning only when it is forwarded.
    fn check_action(&self, route: &HttpRoute, report: &mut Report) {
        let (redirect, direct) = (route.redirect.is_some(), route.direct_response.is_some());
        let (routed, delegated) = (!route.route.is_empty(), route.delegate.is_some());
        let actions = [("route", routed), ("redirect", redirect), ("directResponse", direct), ("delegate", delegated)];
        if !actions.iter().any(|(_, is_set)| *is_set) {
            report.error("the rule does nothing").expected(one_of(&actions.map(|(name, _)| name)));
        }
        check_exclusive(&actions, report);
        let answered = [("redirect", redirect), ("directResponse", direct)].into_iter().find(|(_, is_set)| *is_set);
        if let Some((action, _)) = answered {
            for (name, is_set) in [("fault", route.fault.is_some()), ("rewrite", route.rewrite.is_some())] {
                if is_set {
                    report.field(name, |r| {
                        r.error(format!("`{name}` and `{action}` exclude each other"))
                            .hint("nothing is forwarded: remove one of the two");
                    });
                }
            }
        }
        report.opt("delegate", &route.delegate, |delegate, r| {
            if self.is_delegate() {
                r.error("a VirtualService that is delegated to cannot delegate further")
                    .expected("one level of delegation")
                    .hint("add `hosts` if this is the root");
            }
            if !crate::syntax::is_dns_subdomain(&delegate.name) {
                r.field("name", |r| {
                    r.error(format!("{} is not the name of a VirtualService", quoted(&delegate.name)));
                });
            }
        });
    }
}

fn check_http_match(m: &HttpMatchRequest, report: &mut Report) {
    for (name, text) in [("uri", &m.uri), ("scheme", &m.scheme), ("method", &m.method), ("authority", &m.authority)] {
        report.opt(name, text, check_match);
    }
    for (name, headers) in [("headers", &m.headers), ("withoutHeaders", &m.without_headers)] {
        report.entries(name, headers, |header, text, r| {
            let is_claim = CLAIMS.iter().any(|c| header.starts_with(c));
            if !is_claim && !is_header_name(header.strip_prefix(':').unwrap_or(header)) {
                r.error(format!("{} is not the name of a header", quoted(header)));
            }
            // Istio reads the regular expression `*`, which is none, as "any value".
            if *text != StringMatch::Regex("*".to_owned()) {
                check_match(text, r);
            }
        });
    }
    report.entries("queryParams", &m.query_params, |_, text, r| check_match(text, r));
    if m.ignore_uri_case && matches!(m.uri, None | Some(StringMatch::Regex(_) | StringMatch::Present)) {
        report.field("ignoreUriCase", |r| {
            r.warning("this has no effect here")
                .expected("`uri` with `exact` or `prefix`")
                .hint("begin the regular expression with `(?i)`");
        });
    }
    check_match_source(&m.port, &m.source_labels, &m.gateways, &m.source_namespace, report);
}

/// Claims are known only where tokens are checked before routing, which is at gateways.
fn check_no_claims(m: &HttpMatchRequest, report: &mut Report) {
    for (name, headers) in [("headers", &m.headers), ("withoutHeaders", &m.without_headers)] {
        report.entries(name, headers, |header, _, r| {
            if CLAIMS.iter().any(|c| header.starts_with(c)) {
                r.error("routing by the claims of a token works at gateways only")
                    .hint("list `gateways` without `mesh`");
            }
        });
    }
}

/// Root and delegate are merged by comparing their matches, which regular expressions do not allow.
fn check_no_regex(m: &HttpMatchRequest, report: &mut Report) {
    let is_regex = |text: &StringMatch| matches!(text, StringMatch::Regex(_));
    let mut note = |name: &'static str, found: bool| {
        if found {
            report.field(name, |r| {
                r.error("a rule that delegates, or is delegated to, cannot match by a regular expression")
                    .expected("`exact` or `prefix`");
            });
        }
    };
    for (name, text) in [("uri", &m.uri), ("scheme", &m.scheme), ("method", &m.method), ("authority", &m.authority)] {
        note(name, text.as_ref().is_some_and(is_regex));
    }
    for (name, map) in
        [("headers", &m.headers), ("withoutHeaders", &m.without_headers), ("queryParams", &m.query_params)]
    {
        note(name, map.values().any(is_regex));
    }
}

impl HttpRetry {
    pub(in crate::istio) fn check(&self, report: &mut Report) {
        let retries = self;
        let others = retries.per_try_timeout.is_some()
            || !retries.retry_on.is_empty()
            || retries.retry_remote_localities.is_some();
        match retries.attempts {
            Some(0) if others => {
                report.field("attempts", |r| {
                    r.error("`attempts: 0` turns retries off, but other fields set them up")
                        .expected("1 or more, or `attempts: 0` alone");
                });
            }
            None if others || retries.backoff.is_some() => {
                report
                    .error("retries are set up without `attempts`, which then is 0")
                    .expected("`attempts`")
                    .hint("add, for example, `attempts: 2`");
            }
            _ => {}
        }
        check_duration("perTryTimeout", retries.per_try_timeout, report);
        check_duration("backoff", retries.backoff, report);
        for token in retries.retry_on.split(',').map(str::trim).filter(|_| !retries.retry_on.is_empty()) {
            let is_status = token.parse::<u16>().is_ok_and(|code| (100..=599).contains(&code));
            if !is_status && !RETRY_ON.contains(&token) {
                report.field("retryOn", |r| {
                    let found = r.error(format!("{} is not a condition to retry on", quoted(token)));
                    let found = found.expected(format!("status codes, or any of {}", RETRY_ON.join(", ")));
                    if let Some(near) = nearest(token, &RETRY_ON) {
                        found.hint(format!("did you mean `{near}`?"));
                    }
                });
            }
        }
    }
}

fn check_fault(fault: &HttpFaultInjection, report: &mut Report) {
    if fault.delay.is_none() && fault.abort.is_none() {
        report.error("the fault is empty").expected("`delay`, `abort` or both");
    }
    report.opt("delay", &fault.delay, check_delay);
    report.opt("abort", &fault.abort, check_abort);
}

fn check_delay(delay: &FaultDelay, report: &mut Report) {
    if delay.exponential_delay.is_some() {
        report.field("exponentialDelay", |r| {
            r.error("this does not exist, in Istio neither").expected("`fixedDelay`");
        });
    } else if delay.fixed_delay.is_none() {
        report.error("the delay has no length").expected("`fixedDelay`, such as `5s`");
    }
    check_duration("fixedDelay", delay.fixed_delay, report);
    check_whole_percent("percent", delay.percent, report);
    if delay.percent.is_some() {
        report.field("percent", |r| {
            r.warning("this is deprecated").hint("write `percentage: {value: ...}`");
        });
    }
    check_share(&delay.percentage, delay.percent.is_some(), report);
}

fn check_abort(abort: &FaultAbort, report: &mut Report) {
    check_exclusive(
        &[("httpStatus", abort.http_status.is_some()), ("grpcStatus", abort.grpc_status.is_some())],
        report,
    );
    if abort.http2_error.is_some() {
        report.field("http2Error", |r| {
            r.error("this does not exist, in Istio neither").expected("`httpStatus` or `grpcStatus`");
        });
    } else if abort.http_status.is_none() && abort.grpc_status.is_none() {
        report.warning("the abort has no status, and does nothing").expected("`httpStatus` or `grpcStatus`");
    }
    report.opt("httpStatus", &abort.http_status, |status, r| check_status(*status, r));
    report.opt("grpcStatus", &abort.grpc_status, |status, r| {
        if !GRPC_STATUSES.contains(&status.as_str()) {
            let found = r
                .error(format!("{} is not a status of gRPC", quoted(status)))
                .expected("a name such as `UNAVAILABLE` or `NOT_FOUND`");
            if let Some(near) = nearest(status, &GRPC_STATUSES) {
                found.hint(format!("did you mean `{near}`?"));
            }
        }
    });
    check_share(&abort.percentage, false, report);
}

/// A fault's share; without one, no request is concerned.
fn check_share(percentage: &Option<Percent>, is_set_elsewhere: bool, report: &mut Report) {
    if percentage.is_none() && !is_set_elsewhere {
        report
            .warning("no `percentage` means 0: no request is concerned")
            .hint("add `percentage: {value: 100}` for all requests");
    }
    check_percent("percentage", percentage, report);
}

fn check_status(status: u32, report: &mut Report) {
    if !(200..=599).contains(&status) {
        report.error(format!("{status} is not a status of a response")).expected("a number from 200 to 599");
    }
}

fn check_redirect(redirect: &HttpRedirect, report: &mut Report) {
    let is_port = redirect.port.is_some() || redirect.derive_port.is_some();
    let (uri, prefix) = (!redirect.uri.is_empty(), !redirect.prefix_rewrite.is_empty());
    if !uri && !prefix && redirect.authority.is_empty() && redirect.scheme.is_empty() && !is_port {
        report
            .error("the redirect leads to where it comes from")
            .expected("`uri`, `prefixRewrite`, `authority`, `scheme` or `port`");
    }
    check_exclusive(&[("uri", uri), ("prefixRewrite", prefix)], report);
    check_exclusive(&[("port", redirect.port.is_some()), ("derivePort", redirect.derive_port.is_some())], report);
    report.opt("port", &redirect.port, |port, r| check_port(*port, r));
    report.opt("redirectCode", &redirect.redirect_code, |code, r| {
        if !matches!(code, 301 | 302 | 303 | 307 | 308) {
            r.error(format!("{code} is not the code of a redirect")).expected("301, 302, 303, 307 or 308");
        }
    });
    if !matches!(redirect.scheme.as_str(), "" | "http" | "https") {
        report.field("scheme", |r| {
            r.error(format!("{} is not a scheme", quoted(&redirect.scheme))).expected("`http` or `https`");
        });
    }
}

fn check_direct_response(response: &HttpDirectResponse, report: &mut Report) {
    report.field("status", |r| check_status(response.status, r));
    report.opt("body", &response.body, |body, r| {
        check_exclusive(&[("string", body.string.is_some()), ("bytes", body.bytes.is_some())], r);
        let text = body.string.as_ref().map_or(0, String::len);
        let size = text.max(body.bytes.as_ref().map_or(0, |b| b.as_slice().len()));
        if size > 1 << 20 {
            r.error(format!("the body has {size} bytes"))
                .expected("at most 1048576 (1 MB)")
                .hint("serve it from a service");
        } else if size > 100 << 10 {
            r.warning(format!("the body has {size} bytes, which every proxy holds in memory"))
                .hint("serve it from a service");
        }
    });
}

fn check_rewrite(rewrite: &HttpRewrite, report: &mut Report) {
    check_exclusive(
        &[("uri", !rewrite.uri.is_empty()), ("uriRegexRewrite", rewrite.uri_regex_rewrite.is_some())],
        report,
    );
    if rewrite.uri.is_empty() && rewrite.authority.is_empty() && rewrite.uri_regex_rewrite.is_none() {
        report.error("the rewrite changes nothing").expected("`uri`, `uriRegexRewrite` or `authority`");
    }
    report.opt("uriRegexRewrite", &rewrite.uri_regex_rewrite, |regex, r| {
        r.field("match", |r| check_regex(&regex.match_, r));
        if regex.rewrite.is_empty() {
            r.field("rewrite", |r| {
                r.error("there is nothing to put in place of the match").expected("a text");
            });
        }
    });
}

fn check_cors(cors: &CorsPolicy, report: &mut Report) {
    if !cors.allow_origin.is_empty() {
        report.field("allowOrigin", |r| {
            r.warning("this is deprecated").hint("write `allowOrigins` with `exact` entries");
        });
    }
    report.each("allowOrigins", &cors.allow_origins, |origin, r| {
        let is_empty =
            matches!(origin, StringMatch::Present) || matches!(origin, StringMatch::Exact(s) if s.is_empty());
        if is_empty {
            r.error("the origin is empty").expected("`exact`, `prefix` or `regex`, and a text");
        }
        check_match(origin, r);
    });
    report.each("allowMethods", &cors.allow_methods, |method, r| {
        if method != "*" && !METHODS.contains(&method.as_str()) {
            r.error(format!("{} is not a method", quoted(method))).expected(one_of(&METHODS));
        }
    });
    for (name, headers) in [("allowHeaders", &cors.allow_headers), ("exposeHeaders", &cors.expose_headers)] {
        report.each(name, headers, |header, r| {
            if !is_header_name(header) {
                r.error(format!("{} is not the name of a header", quoted(header)));
            }
        });
    }
    check_duration("maxAge", cors.max_age, report);
    if cors.max_age.is_some_and(|age| age.subsec_nanos() > 0) {
        report.field("maxAge", |r| {
            r.error("the duration has a part of a second")
                .expected("whole seconds, as the header `Access-Control-Max-Age` has them");
        });
    }
}

/// The authority can be changed in one place only.
fn check_one_authority(route: &HttpRoute, report: &mut Report) {
    let rewritten = route.rewrite.as_ref().is_some_and(|r| !r.authority.is_empty());
    let request = route.headers.as_ref().and_then(|h| h.request.as_ref());
    let changed = request.map_or(0, |r| r.set.keys().chain(r.add.keys()).filter(|h| is_authority(h)).count());
    if usize::from(rewritten) + changed > 1 {
        report
            .error("the authority is changed in more than one place")
            .expected("`rewrite.authority`, or one header, alone");
    }
}

fn check_mirrors(route: &HttpRoute, report: &mut Report) {
    check_exclusive(&[("mirror", route.mirror.is_some()), ("mirrors", !route.mirrors.is_empty())], report);
    report.opt("mirror", &route.mirror, check_destination);
    report.each("mirrors", &route.mirrors, |mirror, r| {
        check_route_destination(&mirror.destination, r);
        check_percent("percentage", &mirror.percentage, r);
    });
    check_whole_percent("mirrorPercent", route.mirror_percent, report);
    check_percent("mirrorPercentage", &route.mirror_percentage, report);
    if route.mirror_percent.is_some() {
        report.field("mirrorPercent", |r| {
            r.warning("this is deprecated").hint("write `mirrorPercentage: {value: ...}`");
        });
    }
    if route.mirror.is_none() && (route.mirror_percentage.is_some() || route.mirror_percent.is_some()) {
        let name = if route.mirror_percentage.is_some() { "mirrorPercentage" } else { "mirrorPercent" };
        report.field(name, |r| {
            r.warning("this has no effect without `mirror`").hint("under `mirrors`, each has its own `percentage`");
        });
    }
}
