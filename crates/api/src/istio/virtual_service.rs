//! VirtualService: how requests and connections to hosts are routed.

mod check;
mod check_http;
mod reach;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decode::{Bytes, Spanned, StringMatch, choice, object};
use crate::syntax::GRPC_STATUSES;

object! {
    /// Traffic rules for a set of hosts (`networking.istio.io`).
    Istio struct VirtualService {
        /// The hosts that the rules are for: exact, `*.suffix` or `*`. A short name belongs to the rule's namespace.
        hosts "hosts": Vec<Spanned<String>>,
        /// Where the rules apply: gateways as `namespace/name` or `name`, and the word `mesh` for all sidecars.
        /// Empty means `mesh`.
        gateways "gateways": Vec<Spanned<String>>,
        /// Rules for HTTP, the first match wins.
        http "http": Vec<HttpRoute>,
        /// Rules for TLS that is passed through, by server name.
        tls "tls": Vec<TlsRoute>,
        /// Rules for other connections.
        tcp "tcp": Vec<TcpRoute>,
        /// Who sees the rules: namespaces, `.` for the own one, `*` for all. Empty means `*`.
        export_to "exportTo": Vec<Spanned<String>>,
    }
}

impl VirtualService {
    /// Does it apply to sidecars?
    pub fn is_for_mesh(&self) -> bool {
        self.gateways.is_empty() || self.gateways.iter().any(|g| g.value == "mesh")
    }

    /// Is it a part that other VirtualServices delegate to? Those have no hosts.
    pub fn is_delegate(&self) -> bool {
        self.hosts.is_empty()
    }
}

object! {
    /// Where traffic goes.
    Istio struct Destination {
        /// A service's name. A short one belongs to the rule's namespace.
        host "host" (required): Spanned<String>,
        /// A subset that a DestinationRule for the host defines; empty means all workloads.
        subset "subset": Spanned<String>,
        /// The service's port; may be left out if it has only one.
        port "port": Option<PortSelector>,
    }
}

object! {
    /// A port by its number.
    Istio struct PortSelector {
        /// 1 to 65535.
        number "number" (required): Spanned<u32>,
    }
}

object! {
    /// A rule for HTTP requests: what it matches, and exactly one of `route`, `redirect`, `directResponse`, `delegate`.
    Istio struct HttpRoute {
        /// Shown in access logs.
        name "name": String,
        /// Any of these has to match; empty matches every request.
        match_ "match": Vec<HttpMatchRequest>,
        /// Destinations by weight.
        route "route": Vec<HttpRouteDestination>,
        /// Answers with a redirect.
        redirect "redirect": Option<HttpRedirect>,
        /// Answers with a fixed response.
        direct_response "directResponse": Option<HttpDirectResponse>,
        /// Leaves the request to the rules of another VirtualService.
        delegate "delegate": Option<Delegate>,
        /// Changes path and authority before the request is forwarded.
        rewrite "rewrite": Option<HttpRewrite>,
        /// How long the whole request may take, retries included. None means no limit.
        timeout "timeout": Option<Duration>,
        /// When and how often to try again. None means the mesh's default.
        retries "retries": Option<HttpRetry>,
        /// Faults to inject.
        fault "fault": Option<HttpFaultInjection>,
        /// Sends a copy of requests there.
        mirror "mirror": Option<Destination>,
        /// Sends copies of requests to several places.
        mirrors "mirrors": Vec<HttpMirrorPolicy>,
        /// Share of requests to copy, in whole percent. Deprecated.
        mirror_percent "mirrorPercent": Option<u32>,
        /// Share of requests to copy; none means all.
        mirror_percentage "mirrorPercentage": Option<Percent>,
        /// Cross-origin rules.
        cors_policy "corsPolicy": Option<CorsPolicy>,
        /// Changes of headers.
        headers "headers": Option<Headers>,
    }
}

object! {
    /// The rules of another VirtualService.
    Istio struct Delegate {
        /// Its name.
        name "name" (required): Spanned<String>,
        /// Its namespace; empty means the own one.
        namespace "namespace": Spanned<String>,
    }
}

object! {
    /// Changes of headers on both ways.
    Istio struct Headers {
        /// On requests.
        request "request": Option<HeaderOperations>,
        /// On responses.
        response "response": Option<HeaderOperations>,
    }
}

object! {
    /// Changes of headers on one way.
    Istio struct HeaderOperations {
        /// Replaced or put.
        set "set": BTreeMap<String, String>,
        /// Added to what is there.
        add "add": BTreeMap<String, String>,
        /// Taken away.
        remove "remove": Vec<String>,
    }
}

object! {
    /// What an HTTP rule matches; everything that is given has to fit.
    Istio struct HttpMatchRequest {
        /// Shown in access logs behind the rule's name.
        name "name": String,
        /// The path. A prefix is one of text: `/foo` also matches `/foobar`.
        uri "uri": Option<StringMatch>,
        /// The scheme.
        scheme "scheme": Option<StringMatch>,
        /// The method.
        method "method": Option<StringMatch>,
        /// The authority, compared with regard to case.
        authority "authority": Option<StringMatch>,
        /// Headers that have to be there and fit.
        headers "headers": BTreeMap<String, StringMatch>,
        /// The port that the client dialled.
        port "port": Option<Spanned<u32>>,
        /// Labels of the client's workload.
        source_labels "sourceLabels": BTreeMap<String, String>,
        /// Gateways (or `mesh`) that the rule is narrowed to.
        gateways "gateways": Vec<Spanned<String>>,
        /// Query parameters.
        query_params "queryParams": BTreeMap<String, StringMatch>,
        /// Compare `uri` without regard to case; exact and prefix only.
        ignore_uri_case "ignoreUriCase": bool,
        /// Headers that must not fit. An absent one counts as empty.
        without_headers "withoutHeaders": BTreeMap<String, StringMatch>,
        /// The client's namespace.
        source_namespace "sourceNamespace": String,
        /// A prefix for statistics of this route.
        stat_prefix "statPrefix": String,
    }
}

object! {
    /// A destination with its share of requests.
    Istio struct HttpRouteDestination {
        /// Where to.
        destination "destination" (required): Destination,
        /// The share, relative to the other weights. Without meaning for a lone destination.
        weight "weight": Option<Spanned<u32>>,
        /// Changes of headers, after those of the rule.
        headers "headers": Option<Headers>,
    }
}

object! {
    /// A destination with its share of connections.
    Istio struct RouteDestination {
        /// Where to.
        destination "destination" (required): Destination,
        /// The share, relative to the other weights. Without meaning for a lone destination.
        weight "weight": Option<Spanned<u32>>,
    }
}

object! {
    /// A rule for TLS connections that are passed through.
    Istio struct TlsRoute {
        /// Any of these has to match.
        match_ "match" (required): Vec<TlsMatchAttributes>,
        /// Destinations by weight.
        route "route": Vec<RouteDestination>,
    }
}

object! {
    /// What a TLS rule matches.
    Istio struct TlsMatchAttributes {
        /// Server names, exact or `*.suffix`; each within the VirtualService's hosts.
        sni_hosts "sniHosts" (required): Vec<Spanned<String>>,
        /// Addresses or blocks that the client dialled.
        destination_subnets "destinationSubnets": Vec<String>,
        /// The port that the client dialled.
        port "port": Option<Spanned<u32>>,
        /// Labels of the client's workload.
        source_labels "sourceLabels": BTreeMap<String, String>,
        /// Gateways (or `mesh`) that the rule is narrowed to.
        gateways "gateways": Vec<Spanned<String>>,
        /// The client's namespace.
        source_namespace "sourceNamespace": String,
    }
}

object! {
    /// A rule for connections.
    Istio struct TcpRoute {
        /// Any of these has to match; empty matches every connection.
        match_ "match": Vec<L4MatchAttributes>,
        /// Destinations by weight.
        route "route": Vec<RouteDestination>,
    }
}

object! {
    /// What a TCP rule matches.
    Istio struct L4MatchAttributes {
        /// Addresses or blocks that the client dialled.
        destination_subnets "destinationSubnets": Vec<String>,
        /// The port that the client dialled.
        port "port": Option<Spanned<u32>>,
        /// The client's address. In Istio's schema, but never implemented.
        source_subnet "sourceSubnet": String,
        /// Labels of the client's workload.
        source_labels "sourceLabels": BTreeMap<String, String>,
        /// Gateways (or `mesh`) that the rule is narrowed to.
        gateways "gateways": Vec<Spanned<String>>,
        /// The client's namespace.
        source_namespace "sourceNamespace": String,
    }
}

object! {
    /// A redirect.
    Istio struct HttpRedirect {
        /// The new path, in place of the whole old one.
        uri "uri": String,
        /// The new prefix, in place of the prefix that the rule matched.
        prefix_rewrite "prefixRewrite": String,
        /// The new authority.
        authority "authority": String,
        /// The new port.
        port "port": Option<u32>,
        /// Where the new port comes from.
        derive_port "derivePort": Option<RedirectPortSelection>,
        /// The new scheme: `http` or `https`.
        scheme "scheme": String,
        /// 301, 302, 303, 307 or 308; none means 301.
        redirect_code "redirectCode": Option<u32>,
    }
}

choice! {
    /// Where a redirect's port comes from.
    enum RedirectPortSelection {
        /// The default of the scheme.
        FromProtocolDefault "FROM_PROTOCOL_DEFAULT",
        /// The port of the request.
        FromRequestPort "FROM_REQUEST_PORT",
    }
}

object! {
    /// A fixed response.
    Istio struct HttpDirectResponse {
        /// The status code, 200 to 599.
        status "status" (required): u32,
        /// The body.
        body "body": Option<HttpBody>,
    }
}

object! {
    /// A fixed body: one of the two.
    Istio struct HttpBody {
        /// As text.
        string "string": Option<String>,
        /// As bytes.
        bytes "bytes": Option<Bytes>,
    }
}

object! {
    /// Changes of a request's path and authority.
    Istio struct HttpRewrite {
        /// The new path; after a prefix match only the prefix is replaced.
        uri "uri": String,
        /// The new authority.
        authority "authority": String,
        /// The new path by a regular expression.
        uri_regex_rewrite "uriRegexRewrite": Option<RegexRewrite>,
    }
}

object! {
    /// A replacement by a regular expression.
    Istio struct RegexRewrite {
        /// What to replace (RE2).
        match_ "match": String,
        /// What to put there; `\1` stands for the first capture.
        rewrite "rewrite": String,
    }
}

object! {
    /// When and how often to try a request again.
    Istio struct HttpRetry {
        /// How often, beside the first try. 0 turns retries off.
        attempts "attempts": Option<u32>,
        /// How long each try may take; none means the rule's timeout.
        per_try_timeout "perTryTimeout": Option<Duration>,
        /// Conditions with commas between them; empty means the mesh's default.
        retry_on "retryOn": String,
        /// Also try workloads in other localities.
        retry_remote_localities "retryRemoteLocalities": Option<bool>,
        /// Prefer workloads that were not tried; none means yes.
        retry_ignore_previous_hosts "retryIgnorePreviousHosts": Option<bool>,
        /// The least wait between tries; none means 25 ms.
        backoff "backoff": Option<Duration>,
    }
}

object! {
    /// Cross-origin rules.
    Istio struct CorsPolicy {
        /// Origins, exact. Deprecated.
        allow_origin "allowOrigin": Vec<String>,
        /// Origins.
        allow_origins "allowOrigins": Vec<StringMatch>,
        /// Methods.
        allow_methods "allowMethods": Vec<String>,
        /// Request headers.
        allow_headers "allowHeaders": Vec<String>,
        /// Response headers that scripts may see.
        expose_headers "exposeHeaders": Vec<String>,
        /// How long browsers may keep the answer, in whole seconds.
        max_age "maxAge": Option<Duration>,
        /// May requests carry credentials?
        allow_credentials "allowCredentials": Option<bool>,
        /// What becomes of preflight requests from other origins.
        unmatched_preflights "unmatchedPreflights": UnmatchedPreflights,
    }
}

choice! {
    /// What becomes of preflight requests whose origin does not match.
    enum UnmatchedPreflights {
        /// As `FORWARD`.
        Unspecified "UNSPECIFIED",
        /// They go to the service.
        Forward "FORWARD",
        /// They are answered by the proxy, without permission.
        Ignore "IGNORE",
    }
}

object! {
    /// Faults to inject.
    Istio struct HttpFaultInjection {
        /// A wait before the request is forwarded.
        delay "delay": Option<FaultDelay>,
        /// An answer in place of the service's.
        abort "abort": Option<FaultAbort>,
    }
}

object! {
    /// A wait before the request is forwarded.
    Istio struct FaultDelay {
        /// Share of requests, in whole percent. Deprecated.
        percent "percent": Option<u32>,
        /// How long.
        fixed_delay "fixedDelay": Option<Duration>,
        /// In Istio's schema, but refused there too.
        exponential_delay "exponentialDelay": Option<Duration>,
        /// Share of requests; none means none of them.
        percentage "percentage": Option<Percent>,
    }
}

object! {
    /// An answer in place of the service's.
    Istio struct FaultAbort {
        /// An HTTP status.
        http_status "httpStatus": Option<u32>,
        /// A gRPC status by name, such as `UNAVAILABLE`.
        grpc_status "grpcStatus": Option<String>,
        /// In Istio's schema, but refused there too.
        http2_error "http2Error": Option<String>,
        /// Share of requests; none means none of them.
        percentage "percentage": Option<Percent>,
    }
}

impl FaultAbort {
    /// The number of the gRPC status. None if there is none, or none of that name, which is refused on reading.
    pub fn grpc_code(&self) -> Option<u32> {
        let name = self.grpc_status.as_deref()?;
        GRPC_STATUSES.iter().position(|known| *known == name).map(|code| code as u32)
    }
}

object! {
    /// A place for copies of requests.
    Istio struct HttpMirrorPolicy {
        /// Where to.
        destination "destination" (required): Destination,
        /// Share of requests; none means all.
        percentage "percentage": Option<Percent>,
    }
}

object! {
    /// A share.
    Istio struct Percent {
        /// 0 to 100.
        value "value": f64,
    }
}
