//! What expressions read of exchanges and connections: mostly what access logs write of them, by the same operators, so that
//! a filter and the line that it lets through say the same.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use ::http::{HeaderMap, HeaderValue};
use expression::{Attribute, Facts, Value, value};
use model::{Direction, WorkloadRef};
use telemetry::ResponseFlags;
use telemetry::log::{Fields, Operator};

use crate::record::{Summary, TcpRecord};

/// The attributes of an exchange or a connection.
pub(crate) struct Attributes<'a> {
    /// What logs write of it.
    pub fields: &'a dyn Fields,
    /// When it began.
    pub begun_at: SystemTime,
    /// Whose traffic it is.
    pub direction: Direction,
    /// The request's headers.
    pub request_headers: Option<&'a HeaderMap>,
    /// The response's.
    pub response_headers: Option<&'a HeaderMap>,
    /// The workload that calls, if it is another one.
    pub downstream: Option<&'a WorkloadRef>,
    /// The workload that is called, if it is another one.
    pub upstream: Option<&'a WorkloadRef>,
}

/// The operators of attributes that logs write too.
static OPERATORS: LazyLock<HashMap<Attribute, Operator>> = LazyLock::new(|| {
    let operator = |attribute: &Attribute| {
        let text = operator(*attribute)?;
        Some((*attribute, Operator::one(text).expect("an operator that access logs know, as a test says of each")))
    };
    Attribute::ALL.iter().filter_map(operator).collect()
});

/// The operator that writes an attribute, or what it is made of.
fn operator(attribute: Attribute) -> Option<&'static str> {
    use Attribute as A;
    Some(match attribute {
        A::RequestPath | A::RequestUrlPath | A::RequestQuery => "%REQ(:PATH)%",
        A::RequestHost => "%REQ(:AUTHORITY)%",
        A::RequestScheme => "%REQ(:SCHEME)%",
        A::RequestMethod => "%REQ(:METHOD)%",
        A::RequestReferer => "%REQ(REFERER)%",
        A::RequestUserAgent => "%REQ(USER-AGENT)%",
        A::RequestId => "%REQ(X-REQUEST-ID)%",
        A::RequestProtocol => "%PROTOCOL%",
        A::RequestDuration => "%DURATION%",
        A::RequestSize => "%BYTES_RECEIVED%",
        A::ResponseCode => "%RESPONSE_CODE%",
        A::ResponseCodeDetails => "%RESPONSE_CODE_DETAILS%",
        A::ResponseFlags => "%RESPONSE_FLAGS%",
        A::ResponseGrpcStatus => "%GRPC_STATUS_NUMBER%",
        A::ResponseSize => "%BYTES_SENT%",
        A::SourceAddress => "%DOWNSTREAM_REMOTE_ADDRESS%",
        A::SourcePort => "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
        A::DestinationAddress => "%DOWNSTREAM_LOCAL_ADDRESS%",
        A::DestinationPort => "%DOWNSTREAM_LOCAL_PORT%",
        A::ConnectionMtls | A::ConnectionPeerUri => "%DOWNSTREAM_PEER_URI_SAN%",
        A::ConnectionServerName => "%REQUESTED_SERVER_NAME%",
        A::ConnectionTlsVersion => "%DOWNSTREAM_TLS_VERSION%",
        A::ConnectionLocalUri => "%DOWNSTREAM_LOCAL_URI_SAN%",
        A::ConnectionTermination => "%CONNECTION_TERMINATION_DETAILS%",
        A::UpstreamAddress | A::UpstreamPort => "%UPSTREAM_HOST%",
        A::UpstreamFailure => "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        A::UpstreamAttempts => "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        A::XdsCluster => "%UPSTREAM_CLUSTER%",
        A::XdsRoute => "%ROUTE_NAME%",
        A::XdsVirtualHost => "%VIRTUAL_HOST_NAME%",
        A::RequestHeaders
        | A::ResponseHeaders
        | A::RequestTime
        | A::XdsDirection
        | A::DownstreamName
        | A::DownstreamNamespace
        | A::DownstreamApp
        | A::DownstreamVersion
        | A::DownstreamService
        | A::DownstreamCluster
        | A::UpstreamName
        | A::UpstreamNamespace
        | A::UpstreamApp
        | A::UpstreamVersion
        | A::UpstreamService
        | A::UpstreamCluster => return None,
    })
}

impl<'a> Attributes<'a> {
    /// Those of an HTTP exchange.
    pub(crate) fn of_exchange(summary: &'a Summary<'a>) -> Self {
        let facts = summary.facts;
        let direction = summary.conn.plan().direction;
        let known = facts.endpoint.as_ref().and_then(|endpoint| endpoint.workload()).map(|workload| &**workload);
        Self {
            fields: summary,
            begun_at: summary.begun_at,
            direction,
            request_headers: facts.request_headers.as_ref(),
            response_headers: facts.response_headers.as_ref(),
            downstream: facts.source.as_deref(),
            upstream: known.or(facts.destination.as_deref()).filter(|_| direction != Direction::Inbound),
        }
    }

    /// Those of a raw connection, of which logs write this.
    pub(crate) fn of_connection(record: &'a TcpRecord<'a>, fields: &'a dyn Fields) -> Self {
        let endpoint = record.exchange.as_ref().and_then(|exchange| exchange.endpoint().workload());
        let upstream = endpoint.filter(|_| record.direction != Direction::Inbound).map(|workload| &**workload);
        Self { direction: record.direction, upstream, ..Self::of_fields(fields, record.begun_at) }
    }

    /// Those of what came to nothing before anything was known of it.
    pub(crate) fn of_fields(fields: &'a dyn Fields, begun_at: SystemTime) -> Self {
        Self {
            fields,
            begun_at,
            direction: Direction::Unspecified,
            request_headers: None,
            response_headers: None,
            downstream: None,
            upstream: None,
        }
    }

    fn written(&self, attribute: Attribute) -> Option<String> {
        OPERATORS.get(&attribute)?.value(self.fields)
    }

    fn number(&self, attribute: Attribute) -> Option<i64> {
        self.written(attribute)?.parse().ok()
    }

    fn headers(&self, attribute: Attribute) -> Option<&'a HeaderMap> {
        if attribute == Attribute::RequestHeaders { self.request_headers } else { self.response_headers }
    }
}

impl Facts for Attributes<'_> {
    fn attribute(&self, attribute: Attribute) -> Option<Value> {
        use Attribute as A;
        let port = |address: String| address.rsplit_once(':')?.1.parse().ok().map(Value::Int);
        let workload = |of: Option<&WorkloadRef>, part: fn(&WorkloadRef) -> &std::sync::Arc<str>| {
            let name: &str = part(of?);
            (!name.is_empty()).then(|| value::text(name))
        };
        match attribute {
            A::RequestHeaders | A::ResponseHeaders => {
                let headers = self.headers(attribute)?;
                Some(value::map(headers.iter().map(|(name, value)| (name.as_str(), text(value)))))
            }
            A::RequestTime => Some(value::time(self.begun_at)),
            A::XdsDirection => Some(Value::Int(match self.direction {
                Direction::Unspecified => 0,
                Direction::Inbound => 1,
                Direction::Outbound => 2,
            })),
            A::RequestUrlPath => {
                let path = self.written(attribute)?;
                Some(value::text(path.split('?').next().unwrap_or_default()))
            }
            A::RequestQuery => {
                Some(value::text(self.written(attribute)?.split_once('?').map_or("", |(_, query)| query)))
            }
            A::RequestDuration => {
                let millis = u64::try_from(self.number(attribute)?).ok()?;
                Some(value::duration(Duration::from_millis(millis)))
            }
            // 0 stands in logs for no response.
            A::ResponseCode => self.number(attribute).filter(|code| *code > 0).map(Value::Int),
            A::ResponseFlags => {
                let codes = self.written(attribute).unwrap_or_default();
                let flags = codes.split(',').filter_map(ResponseFlags::from_short);
                Some(Value::Int(flags.fold(0, |bits, flag| bits | i64::from(flag.bits()))))
            }
            A::RequestSize | A::ResponseSize | A::ResponseGrpcStatus | A::DestinationPort | A::UpstreamAttempts => {
                self.number(attribute).map(Value::Int)
            }
            A::SourcePort | A::UpstreamPort => port(self.written(attribute)?),
            A::ConnectionMtls => Some(Value::Bool(self.written(attribute).is_some())),
            A::DownstreamName => workload(self.downstream, |it| &it.name),
            A::DownstreamNamespace => workload(self.downstream, |it| &it.namespace),
            A::DownstreamApp | A::DownstreamService => workload(self.downstream, |it| &it.service),
            A::DownstreamVersion => workload(self.downstream, |it| &it.version),
            A::DownstreamCluster => workload(self.downstream, |it| &it.cluster),
            A::UpstreamName => workload(self.upstream, |it| &it.name),
            A::UpstreamNamespace => workload(self.upstream, |it| &it.namespace),
            A::UpstreamApp | A::UpstreamService => workload(self.upstream, |it| &it.service),
            A::UpstreamVersion => workload(self.upstream, |it| &it.version),
            A::UpstreamCluster => workload(self.upstream, |it| &it.cluster),
            _ => self.written(attribute).map(value::text),
        }
    }

    fn entry(&self, attribute: Attribute, key: &str) -> Option<Value> {
        let mut values = self.headers(attribute)?.get_all(key).iter().map(text);
        let first = values.next()?;
        Some(value::text(values.fold(first, |joined, next| joined + "," + &next)))
    }
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expression::Expression;
    use telemetry::log::Slot;

    #[test]
    fn every_operator_is_known() {
        assert!(OPERATORS.len() > 20, "{}", OPERATORS.len());
    }

    /// A response, as a log would write it.
    struct Written;

    impl Fields for Written {
        fn put(&self, operator: &Operator, slot: &mut Slot<'_>) {
            match operator {
                Operator::ResponseCode => slot.number(503),
                Operator::ResponseFlags => slot.text("UF,URX"),
                Operator::Duration => slot.millis(Duration::from_millis(1500)),
                Operator::UpstreamHost => slot.text("10.0.0.7:9080"),
                Operator::Request { name, .. } if name == ":path" => slot.text("/orders?id=7"),
                _ => {}
            }
        }
    }

    #[test]
    fn what_expressions_read() {
        let headers = HeaderMap::from_iter(
            [("x-team", "a"), ("x-team", "b")]
                .map(|(name, value)| (::http::HeaderName::from_static(name), HeaderValue::from_static(value))),
        );
        let upstream = WorkloadRef { service: "reviews".into(), ..WorkloadRef::default() };
        let attributes = Attributes {
            request_headers: Some(&headers),
            direction: Direction::Outbound,
            upstream: Some(&upstream),
            ..Attributes::of_fields(&Written, SystemTime::UNIX_EPOCH)
        };
        for (text, expected) in [
            ("response.code", Some("503")),
            ("response.flags", Some("32800")),
            ("request.duration > duration('1s')", Some("true")),
            ("upstream.port", Some("9080")),
            ("request.url_path + '|' + request.query", Some("/orders|id=7")),
            ("request.headers['x-team']", Some("a,b")),
            ("request.headers.size()", Some("1")),
            ("request.headers['x-other']", None),
            ("connection.mtls", Some("false")),
            ("xds.listener_direction", Some("2")),
            ("upstream_peer.app", Some("reviews")),
            ("upstream_peer.namespace", None),
            ("request.time.getFullYear()", Some("1970")),
            ("request.host", None),
        ] {
            let expression = Expression::parse(text).unwrap();
            assert_eq!(expression.text_of(&attributes).as_deref(), expected, "{text}");
        }
    }
}
