//! What flags and details mean, in plain words; which documents decide on such a thing, and what to do.

use super::entry::Told;

/// What happened, as far as flags and details say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Access,
    Jwt,
    Authorizer,
    LimitedHere,
    LimitedByService,
    LimiterFailed,
    Concurrency,
    Fault,
    NoRoute,
    NoChain,
    NoCluster,
    OwnRoute,
    Breaker,
    NoEndpoint,
    Connect,
    Timeout,
    Reset,
    Name,
    Handshake,
    Silent,
    Protocol,
    Overload,
    Idle,
    Other,
}

/// Which documents say something of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    Nothing,
    Tokens,
    Rates,
    /// The rules of routes, and the field in them.
    Routes(&'static str),
    /// The policies of connections, and the field in them.
    Connections(&'static str),
}

/// By details, which say more than flags; then by flags.
const DETAILS: [(&str, Event); 31] = [
    ("rbac_access_denied", Event::Access),
    ("jwt_authn_access_denied", Event::Jwt),
    ("ext_authz_denied", Event::Authorizer),
    ("ext_authz_error", Event::Authorizer),
    ("local_rate_limited", Event::LimitedHere),
    ("request_rate_limited", Event::LimitedByService),
    ("rate_limiter_error", Event::LimiterFailed),
    ("reached_concurrency_limit", Event::Concurrency),
    ("fault_filter_abort", Event::Fault),
    ("route_not_found", Event::NoRoute),
    ("filter_chain_not_found", Event::NoChain),
    ("cluster_not_found", Event::NoCluster),
    ("direct_response", Event::OwnRoute),
    ("no_healthy_upstream", Event::NoEndpoint),
    ("upstream_reset_before_response_started{overflow", Event::Breaker),
    ("upstream_reset_before_response_started{connection_failure", Event::Connect),
    ("upstream_reset_before_response_started{remote_connection_failure", Event::Connect),
    ("upstream_reset_before_response_started{connection_timeout", Event::Connect),
    ("upstream_connect_failed", Event::Connect),
    ("upstream_reset", Event::Reset),
    ("upstream_response_timeout", Event::Timeout),
    ("response_timeout", Event::Timeout),
    ("upstream_per_try_timeout", Event::Timeout),
    ("upstream_per_try_idle_timeout", Event::Timeout),
    ("dns_resolution_failure", Event::Name),
    ("downstream_tls_handshake_failed", Event::Handshake),
    ("listener_filter_timeout", Event::Silent),
    ("max_connection_duration_reached", Event::Idle),
    ("stream_idle_timeout", Event::Idle),
    ("idle_timeout", Event::Idle),
    ("overload", Event::Overload),
];

const FLAGS: [(&str, Event); 16] = [
    ("UO", Event::Breaker),
    ("UH", Event::NoEndpoint),
    ("UF", Event::Connect),
    ("UT", Event::Timeout),
    ("NR", Event::NoRoute),
    ("NC", Event::NoCluster),
    ("RL", Event::LimitedHere),
    ("RLSE", Event::LimiterFailed),
    ("UAEX", Event::Authorizer),
    ("FI", Event::Fault),
    ("DF", Event::Name),
    ("UC", Event::Reset),
    ("UR", Event::Reset),
    ("UPE", Event::Protocol),
    ("OM", Event::Overload),
    ("SI", Event::Idle),
];

impl Event {
    /// Of an entry.
    pub fn of(told: &Told) -> Self {
        let by_details = DETAILS.iter().find(|(details, _)| told.details.starts_with(details));
        let by_flags = || FLAGS.iter().find(|(flag, _)| told.flags.contains(flag));
        by_details.or_else(by_flags).map_or(Self::Other, |(_, event)| *event)
    }

    /// In a sentence.
    pub fn words(self, told: &Told) -> String {
        let cluster = &told.cluster;
        let inside = |text: &str| text.split_once('{').and_then(|(_, rest)| rest.strip_suffix('}')).map(str::to_owned);
        let what = match self {
            Self::Access => return access(&told.details),
            Self::Jwt => {
                let why = inside(&told.details).unwrap_or_default().replace('_', " ");
                format!("the request's token was not accepted: {why}")
            }
            Self::Authorizer if told.details == "ext_authz_error" => {
                "the service that decides on requests (CUSTOM) could not be asked".to_owned()
            }
            Self::Authorizer => "the service that decides on requests (CUSTOM) refused it".to_owned(),
            Self::LimitedHere => "a rate limit that the proxy keeps was used up".to_owned(),
            Self::LimitedByService => "a rate limit that is counted for all proxies was used up".to_owned(),
            Self::LimiterFailed => "the service that counts for rate limits could not be asked".to_owned(),
            Self::Concurrency => "the workload had as many requests at once as it can take".to_owned(),
            Self::Fault => "fault injection answered in place of the service".to_owned(),
            Self::NoRoute => "no route takes the request".to_owned(),
            Self::NoChain if told.server_name.is_empty() => {
                "nothing at this port takes such a connection; plain text where only mutual TLS is taken (STRICT) is one"
                    .to_owned()
            }
            Self::NoChain => format!("nothing at this port takes a connection for `{}`", told.server_name),
            Self::NoCluster => format!("the route leads to `{cluster}`, which is not there"),
            Self::OwnRoute if told.route == "block_all" => {
                "the destination is no service of the mesh, and others are refused (REGISTRY_ONLY)".to_owned()
            }
            Self::OwnRoute => format!("the route `{}` answers so itself", told.route),
            Self::Breaker => format!("a circuit breaker of `{cluster}` was open: as much was in use as may be"),
            Self::NoEndpoint if cluster == "BlackHoleCluster" => {
                "the destination is no service of the mesh, and others are refused (REGISTRY_ONLY)".to_owned()
            }
            Self::NoEndpoint => format!("`{cluster}` had no endpoint that was ready and healthy"),
            Self::Connect => format!("no connection to `{cluster}` could be made"),
            Self::Timeout => format!("`{cluster}` did not answer in time"),
            Self::Reset => format!("`{cluster}` ended the request before it had answered"),
            Self::Name => "the host's name could not be looked up".to_owned(),
            Self::Handshake => "the TLS handshake of the caller failed".to_owned(),
            Self::Silent => "the caller said nothing in time".to_owned(),
            Self::Protocol => format!("`{cluster}` broke the protocol"),
            Self::Overload => "the proxy had no room for it".to_owned(),
            Self::Idle => "it stood still, or lasted, longer than it may".to_owned(),
            Self::Other if told.details.is_empty() => "the proxy does not say why".to_owned(),
            Self::Other => format!("the proxy says `{}`", told.details),
        };
        if told.transport.is_empty() { what } else { format!("{what}: {}", told.transport) }
    }

    /// Which documents decide on such a thing.
    pub fn about(self) -> About {
        match self {
            Self::Jwt => About::Tokens,
            Self::LimitedHere | Self::LimitedByService | Self::LimiterFailed => About::Rates,
            Self::Fault => About::Routes("spec.http[].fault"),
            Self::NoRoute | Self::NoCluster | Self::OwnRoute => About::Routes("spec.http[]"),
            Self::Timeout => About::Routes("spec.http[].timeout"),
            Self::Breaker => About::Connections("spec.trafficPolicy.connectionPool"),
            Self::NoEndpoint => About::Connections("spec.trafficPolicy.outlierDetection"),
            Self::Connect => About::Connections("spec.trafficPolicy.tls"),
            _ => About::Nothing,
        }
    }

    /// What to do.
    pub fn hint(self, told: &Told) -> Option<String> {
        let from = &told.sender.workload;
        let namespace = &told.sender.namespace;
        let host = told.request.as_ref().map_or("HOST", |request| &request.host);
        let name = host.split(':').next().unwrap_or(host);
        let port = told.destination.map_or(0, |at| at.port());
        let path = told.request.as_ref().map_or("/", |request| &request.path);
        Some(match self {
            Self::NoRoute | Self::NoCluster | Self::OwnRoute | Self::Fault | Self::Timeout => {
                format!("see `halcyon explain -n {namespace} --from {from} --to {name}:{port} --path {path}`")
            }
            Self::NoEndpoint | Self::Breaker => {
                format!("see `halcyon proxy-config endpoints {from}` and the metrics of that proxy")
            }
            Self::NoChain => {
                "see `halcyon mtls plan`: who sends plain text, and where only mutual TLS is taken".to_owned()
            }
            Self::Handshake => "see `halcyon ca status`: roots, and who was revoked".to_owned(),
            Self::Jwt => {
                "the token's issuer, audience and times have to be those of a RequestAuthentication".to_owned()
            }
            _ => return None,
        })
    }
}

fn access(details: &str) -> String {
    let by = details.split_once("matched_policy[").and_then(|(_, rest)| rest.strip_suffix(']'));
    match by {
        None | Some("none") => "only what policies allow may pass, and none allows it".to_owned(),
        Some(policy) => format!("the policy `{policy}` refuses it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusals::entry::Sender;
    use proto::envoy::data::accesslog::v3::{HttpAccessLogEntry, HttpResponseProperties};
    use std::sync::Arc;
    use std::time::SystemTime;

    fn told(details: &str, flags: &[&'static str]) -> Told {
        let sender = Arc::new(Sender {
            node: "n".into(),
            namespace: "default".into(),
            workload: "web-v1".into(),
            identity: String::new(),
            ours: true,
        });
        let response =
            HttpResponseProperties { response_code_details: details.into(), ..HttpResponseProperties::default() };
        let entry = HttpAccessLogEntry { response: Some(response), ..HttpAccessLogEntry::default() };
        let told = Told::of_request(&sender, entry, SystemTime::now()).unwrap();
        Told { flags: flags.to_vec(), cluster: "outbound|80||a".into(), ..told }
    }

    #[test]
    fn in_plain_words() {
        for (details, flags, expected) in [
            (
                "rbac_access_denied_matched_policy[none]",
                &[][..],
                "only what policies allow may pass, and none allows it",
            ),
            (
                "rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[0]]",
                &[],
                "the policy `ns[a]-policy[b]-rule[0]` refuses it",
            ),
            (
                "jwt_authn_access_denied{Jwt_is_expired}",
                &["UAEX"],
                "the request's token was not accepted: Jwt is expired",
            ),
            ("local_rate_limited", &["RL"], "a rate limit that the proxy keeps was used up"),
            ("route_not_found", &["NR"], "no route takes the request"),
            (
                "upstream_reset_before_response_started{overflow}",
                &["UO"],
                "a circuit breaker of `outbound|80||a` was open: as much was in use as may be",
            ),
            ("", &["UF", "URX"], "no connection to `outbound|80||a` could be made"),
            ("something_new", &[], "the proxy says `something_new`"),
        ] {
            let told = told(details, flags);
            assert_eq!(Event::of(&told).words(&told), expected, "{details}");
        }
    }
}
