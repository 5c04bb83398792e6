//! One refusal or failure, as it is kept: what was asked, what became of it, and who said so. Never a header, a query, or
//! what a token says.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::envoy::config::core::v3 as core;
use proto::envoy::data::accesslog::v3::tls_properties::certificate_properties::subject_alt_name::San;
use proto::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, ResponseFlags, TcpAccessLogEntry, TlsProperties,
};
use proto::google::protobuf::value::Kind;

/// A longer name or detail is cut.
const LONG: usize = 512;
/// Words of a proxy may be longer.
const WORDS: usize = 2048;
/// Nobody has a longer id.
const ID: usize = 128;

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The proxy's node id; empty if it is not connected under that identity.
    pub node: String,
    /// The namespace that its identity proves.
    pub namespace: String,
    /// Its workload, else its account.
    pub workload: String,
    /// The identity that its certificate proves.
    pub identity: String,
    /// It is one of ours.
    pub ours: bool,
}

/// A request or connection that came to nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Counts what was kept, from 1.
    pub seq: u64,
    /// Who said it.
    pub sender: Arc<Sender>,
    /// When it began.
    pub at: SystemTime,
    /// How long it took.
    pub duration: Option<Duration>,
    /// The request; none: it was a connection.
    pub request: Option<Request>,
    /// Envoy's flags, in short codes.
    pub flags: Vec<&'static str>,
    /// `RESPONSE_CODE_DETAILS`, or why the connection was ended.
    pub details: String,
    /// What the transport said.
    pub transport: String,
    /// Why, in the words of the proxy.
    pub reason: Option<String>,
    /// The identity that the caller proved.
    pub principal: Option<String>,
    /// The other end of the connection.
    pub source: Option<SocketAddr>,
    /// The client, as trusted proxies tell it.
    pub remote: Option<IpAddr>,
    /// To what the connection was.
    pub destination: Option<SocketAddr>,
    /// The name that the caller asked for by TLS.
    pub server_name: String,
    /// The cluster.
    pub cluster: String,
    /// The route, or the listener of a connection.
    pub route: String,
    /// Where the last try went.
    pub endpoint: Option<SocketAddr>,
    /// Tries made.
    pub attempts: u32,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `x-request-id`.
    pub id: String,
    /// The method.
    pub method: String,
    /// The authority.
    pub host: String,
    /// The path, without its query.
    pub path: String,
    /// The status of the answer; 0: there was none.
    pub status: u16,
}

impl Told {
    /// The host of the service that was called.
    pub fn host(&self) -> Option<&str> {
        match self.cluster.strip_prefix("outbound|") {
            Some(rest) => rest.rsplit('|').next(),
            None => self.request.as_ref().map(|request| request.host.split(':').next().unwrap_or_default()),
        }
        .filter(|host| !host.is_empty())
    }

    /// Of a request; none if it says nothing that anybody would ask about.
    pub fn of_request(sender: &Arc<Sender>, entry: HttpAccessLogEntry, now: SystemTime) -> Option<Self> {
        let (asked, answered) = (entry.request.unwrap_or_default(), entry.response.unwrap_or_default());
        let path = if asked.original_path.is_empty() { asked.path } else { asked.original_path };
        let path = path.split(['?', '#']).next().unwrap_or_default().to_owned();
        let method = core::RequestMethod::try_from(asked.request_method).unwrap_or_default();
        let request = Request {
            id: cut(asked.request_id, ID),
            method: match method {
                core::RequestMethod::MethodUnspecified => String::new(),
                known => known.as_str_name().to_owned(),
            },
            host: cut(asked.authority, LONG),
            path: cut(path, LONG),
            status: answered.response_code.map_or(0, |code| u16::try_from(code.value).unwrap_or(0)),
        };
        let told = Self {
            request: Some(request),
            details: cut(answered.response_code_details, LONG),
            ..Self::common(sender, entry.common_properties.unwrap_or_default(), now)
        };
        let upstream_said_it = told.details == "via_upstream" && told.flags.is_empty();
        (!upstream_said_it).then_some(told)
    }

    /// Of a connection; none if it says nothing that anybody would ask about.
    pub fn of_connection(sender: &Arc<Sender>, entry: TcpAccessLogEntry, now: SystemTime) -> Option<Self> {
        let common = entry.common_properties.unwrap_or_default();
        let details = cut(common.connection_termination_details.clone(), LONG);
        let told = Self { details, ..Self::common(sender, common, now) };
        let is_nothing = told.flags.is_empty() && (told.details.is_empty() || told.details == "drained");
        (!is_nothing).then_some(told)
    }

    fn common(sender: &Arc<Sender>, common: AccessLogCommon, now: SystemTime) -> Self {
        let direct = common.downstream_direct_remote_address.or(common.downstream_remote_address.clone());
        let tls = common.tls_properties.unwrap_or_default();
        let reason = common.metadata.as_ref().and_then(|metadata| {
            match metadata.filter_metadata.get("halcyon")?.fields.get("reason")?.kind.as_ref()? {
                Kind::StringValue(reason) => Some(cut(reason.clone(), WORDS)),
                _ => None,
            }
        });
        let transport = match common.upstream_transport_failure_reason {
            empty if empty.is_empty() => common.downstream_transport_failure_reason,
            upstream => upstream,
        };
        Self {
            seq: 0,
            sender: sender.clone(),
            at: common.start_time.and_then(|at| time(at.seconds, at.nanos)).unwrap_or(now),
            duration: common.duration.and_then(|d| {
                Some(Duration::new(u64::try_from(d.seconds).ok()?, u32::try_from(d.nanos).ok()?.min(999_999_999)))
            }),
            request: None,
            flags: common.response_flags.map(|flags| codes(&flags)).unwrap_or_default(),
            details: String::new(),
            transport: cut(transport, LONG),
            reason,
            principal: principal(&tls).map(|id| cut(id, LONG)),
            source: socket(direct),
            remote: socket(common.downstream_remote_address).map(|at| at.ip()),
            destination: socket(common.downstream_local_address),
            server_name: cut(tls.tls_sni_hostname, LONG),
            cluster: cut(common.upstream_cluster, LONG),
            route: cut(common.route_name, LONG),
            endpoint: socket(common.upstream_remote_address),
            attempts: common.upstream_request_attempt_count,
        }
    }

    /// How much memory it holds, in bytes, about.
    pub fn bytes(&self) -> usize {
        let texts = [&self.details, &self.transport, &self.server_name, &self.cluster, &self.route];
        let request = self.request.iter().map(|it| it.id.len() + it.method.len() + it.host.len() + it.path.len());
        let optional = [&self.reason, &self.principal].into_iter().flatten();
        size_of::<Self>()
            + texts.iter().map(|text| text.len()).sum::<usize>()
            + request.sum::<usize>()
            + optional.map(String::len).sum::<usize>()
            + 8 * self.flags.len()
    }

    /// Do both tell of one connection? Envoy's listeners and what serves their connections may both do.
    pub fn is_same_connection(&self, other: &Self) -> bool {
        self.request.is_none()
            && other.request.is_none()
            && (&self.source, &self.destination, &self.details) == (&other.source, &other.destination, &other.details)
            && self.source.is_some()
            && self.sender.node == other.sender.node
    }
}

fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text.shrink_to_fit();
    text
}

/// A time that protobuf has (until the end of the year 9999).
fn time(seconds: i64, nanos: i32) -> Option<SystemTime> {
    const LAST: i64 = 253_402_300_799;
    if seconds > LAST {
        return None;
    }
    let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?.min(999_999_999));
    UNIX_EPOCH.checked_add(since)
}

fn principal(tls: &TlsProperties) -> Option<String> {
    let names = &tls.peer_certificate_properties.as_ref()?.subject_alt_name;
    names.iter().find_map(|name| match name.san.as_ref()? {
        San::Uri(uri) => Some(uri.clone()),
        San::Dns(_) => None,
    })
}

fn socket(address: Option<core::Address>) -> Option<SocketAddr> {
    use core::address::Address;
    use core::socket_address::PortSpecifier;
    let Address::SocketAddress(socket) = address?.address? else { return None };
    let port = match socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => u16::try_from(port).ok()?,
        _ => 0,
    };
    Some(SocketAddr::new(socket.address.parse().ok()?, port))
}

fn codes(flags: &ResponseFlags) -> Vec<&'static str> {
    [
        (flags.failed_local_healthcheck, "LH"),
        (flags.no_healthy_upstream, "UH"),
        (flags.upstream_request_timeout, "UT"),
        (flags.local_reset, "LR"),
        (flags.upstream_remote_reset, "UR"),
        (flags.upstream_connection_failure, "UF"),
        (flags.upstream_connection_termination, "UC"),
        (flags.upstream_overflow, "UO"),
        (flags.no_route_found, "NR"),
        (flags.delay_injected, "DI"),
        (flags.fault_injected, "FI"),
        (flags.rate_limited, "RL"),
        (flags.unauthorized_details.is_some(), "UAEX"),
        (flags.rate_limit_service_error, "RLSE"),
        (flags.downstream_connection_termination, "DC"),
        (flags.upstream_retry_limit_exceeded, "URX"),
        (flags.stream_idle_timeout, "SI"),
        (flags.invalid_envoy_request_headers, "IH"),
        (flags.downstream_protocol_error, "DPE"),
        (flags.upstream_max_stream_duration_reached, "UMSDR"),
        (flags.response_from_cache_filter, "RFCF"),
        (flags.no_filter_config_found, "NFCF"),
        (flags.duration_timeout, "DT"),
        (flags.upstream_protocol_error, "UPE"),
        (flags.no_cluster_found, "NC"),
        (flags.overload_manager, "OM"),
        (flags.dns_resolution_failure, "DF"),
        (flags.downstream_remote_reset, "DR"),
    ]
    .into_iter()
    .filter_map(|(is_set, code)| is_set.then_some(code))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::envoy::data::accesslog::v3::{HttpRequestProperties, HttpResponseProperties};

    pub fn sender() -> Arc<Sender> {
        Arc::new(Sender {
            node: "n".into(),
            namespace: "default".into(),
            workload: "details-v1".into(),
            identity: "spiffe://cluster.local/ns/default/sa/details".into(),
            ours: true,
        })
    }

    fn http(path: &str, details: &str) -> HttpAccessLogEntry {
        let request = HttpRequestProperties {
            path: path.into(),
            request_id: "x".repeat(1000),
            request_method: core::RequestMethod::Post as i32,
            referer: "https://a/?token=secret".into(),
            request_headers: [("authorization".to_owned(), "Bearer secret".to_owned())].into(),
            ..HttpRequestProperties::default()
        };
        let response =
            HttpResponseProperties { response_code_details: details.into(), ..HttpResponseProperties::default() };
        HttpAccessLogEntry { request: Some(request), response: Some(response), ..HttpAccessLogEntry::default() }
    }

    #[test]
    fn what_is_not_kept() {
        let told = Told::of_request(&sender(), http("/a?token=secret", "x"), SystemTime::now()).unwrap();
        let request = told.request.as_ref().unwrap();
        assert_eq!((&*request.path, &*request.method, request.id.len()), ("/a", "POST", ID));
        assert!(!format!("{told:?}").contains("secret"), "{told:?}");
        assert_eq!(Told::of_request(&sender(), http("/", "via_upstream"), SystemTime::now()), None);
        assert_eq!(Told::of_connection(&sender(), TcpAccessLogEntry::default(), SystemTime::now()), None);
    }

    #[test]
    fn what_is_out_of_range_is_left_out() {
        assert_eq!(time(-1, 0), None);
        assert_eq!(time(i64::MAX, 0), None);
        assert_eq!(cut("aü".into(), 2), "a");
    }
}
