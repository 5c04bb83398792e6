//! What a service of gRPC is asked (`envoy.service.auth.v3.CheckRequest`), about a request or about a connection.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use model::Metadata;
use model::access::Names;
use model::ext_authz::ConnectionExtAuthz;
use model::metadata::{Fields, Value};
use prost::Message;
use proto::envoy::config::core::v3 as core;
use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request, TlsSession};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use proto::google::protobuf::{ListValue, Struct, Timestamp, Value as WireValue, value::Kind};

/// The two ends of a connection, as services are told them.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    /// Who opened it.
    pub source: SocketAddr,
    /// Where it was meant to go.
    pub destination: SocketAddr,
    /// Who the client has proven to be; none without TLS.
    pub peer: Option<Names<'a>>,
    /// As whom we have proven ourselves.
    pub own: Option<&'a str>,
    /// The client's certificate, if it is told: PEM, URL-encoded.
    pub certificate: Option<&'a str>,
    /// The name that the client asked for by TLS.
    pub server_name: Option<&'a str>,
    /// What our node is labelled with, if it is told.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

/// What a question says beside the ends.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Of the request.
    pub http: HttpRequest,
    /// Who the request says that it comes from.
    pub service: String,
    /// What the route says.
    pub extensions: HashMap<String, String>,
    /// What filters have said.
    pub metadata: core::Metadata,
    /// The name that the client asked for by TLS.
    pub server_name: Option<String>,
}

/// About a request.
pub(super) fn of_request(told: Told, ends: &Ends<'_>) -> Bytes {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = Timestamp { seconds: now.as_secs() as i64, nanos: now.subsec_nanos() as i32 };
    let attributes = AttributeContext {
        source: Some(Peer { service: told.service, ..source(ends) }),
        destination: Some(destination(ends)),
        request: Some(Request { time: Some(time), http: Some(told.http) }),
        context_extensions: told.extensions,
        metadata_context: Some(told.metadata),
        route_metadata_context: Some(core::Metadata::default()),
        tls_session: told.server_name.map(|sni| TlsSession { sni }),
    };
    CheckRequest { attributes: Some(attributes) }.encode_to_vec().into()
}

/// The question whether a connection may stand, of which filters have said this.
pub fn connection_question(asks: &ConnectionExtAuthz, ends: &Ends<'_>, said: &Metadata) -> Bytes {
    let server_name = ends.server_name.unwrap_or_default();
    let attributes = AttributeContext {
        source: Some(source(ends)),
        destination: Some(Peer { service: server_name.to_owned(), ..destination(ends) }),
        metadata_context: Some(metadata(&asks.metadata, Some(said))),
        tls_session: asks.server_name.then(|| TlsSession { sni: server_name.to_owned() }),
        ..AttributeContext::default()
    };
    CheckRequest { attributes: Some(attributes) }.encode_to_vec().into()
}

fn source(ends: &Ends<'_>) -> Peer {
    Peer {
        address: Some(wire_address(ends.source)),
        principal: ends.peer.as_ref().map(principal).unwrap_or_default().to_owned(),
        certificate: ends.certificate.unwrap_or_default().to_owned(),
        ..Peer::default()
    }
}

fn destination(ends: &Ends<'_>) -> Peer {
    let labels = ends.labels.into_iter().flatten();
    Peer {
        address: Some(wire_address(ends.destination)),
        principal: ends.own.unwrap_or_default().to_owned(),
        labels: labels.map(|(name, value)| (name.clone(), value.clone())).collect(),
        ..Peer::default()
    }
}

/// The first name: an URI before a DNS name before the subject.
fn principal<'n>(names: &Names<'n>) -> &'n str {
    names.uris.first().or_else(|| names.dns.first()).map_or(names.subject, String::as_str)
}

/// An address, as services are told it.
pub fn wire_address(at: SocketAddr) -> core::Address {
    use core::socket_address::PortSpecifier;
    let socket = core::SocketAddress {
        address: at.ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(at.port().into())),
        ..core::SocketAddress::default()
    };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}

/// What filters have said under these names.
pub(super) fn metadata(names: &[Arc<str>], said: Option<&Metadata>) -> core::Metadata {
    let of = |name: &Arc<str>| Some((name.to_string(), structure(said?.said(name)?)));
    core::Metadata { filter_metadata: names.iter().filter_map(of).collect(), ..core::Metadata::default() }
}

fn structure(fields: &Fields) -> Struct {
    Struct { fields: fields.iter().map(|(key, value)| (key.clone(), wire(value))).collect() }
}

fn wire(value: &Value) -> WireValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(it) => Kind::BoolValue(*it),
        Value::Number(it) => Kind::NumberValue(*it),
        Value::Text(it) => Kind::StringValue(it.clone()),
        Value::List(list) => Kind::ListValue(ListValue { values: list.iter().map(wire).collect() }),
        Value::Fields(fields) => Kind::StructValue(structure(fields)),
    };
    WireValue { kind: Some(kind) }
}

/// The same the other way.
pub(super) fn fields(structure: Struct) -> Fields {
    structure.fields.into_iter().map(|(key, value)| (key, value_of(value))).collect()
}

fn value_of(value: WireValue) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(it)) => Value::Bool(it),
        Some(Kind::NumberValue(it)) => Value::Number(it),
        Some(Kind::StringValue(it)) => Value::Text(it),
        Some(Kind::ListValue(list)) => Value::List(list.values.into_iter().map(value_of).collect()),
        Some(Kind::StructValue(it)) => Value::Fields(fields(it)),
    }
}

/// A text of these bytes: an exclamation mark stands for each that belongs to no character, as in Envoy.
pub(super) fn clean(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '!'));
    }
    text
}
