//! A service of gRPC that authorizes (`envoy.service.auth.v3.Authorization`). A request says in the header [`ANSWER`] what
//! is answered: a `CheckResponse` as JSON, or `fail` or `hang`. What was asked is remembered like a request to a backend.

use std::collections::BTreeMap;

use bytes::Bytes;
use h2::server::SendResponse;

use prost::Message;
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use proto::envoy::service::auth::v3::attribute_context::HttpRequest;
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use proto::envoy::r#type::v3::HttpStatus;
use proto::google::protobuf::{BoolValue, ListValue, Struct, Value as WireValue, value::Kind};
use proto::google::rpc;
use serde_json::Value;

use super::{ID, Memory, Seen, grpc};

/// Where it is asked.
pub const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
/// The header that says what is answered.
pub const ANSWER: &str = "x-answer";

/// Answers a question, which was framed as gRPC does and came with this head.
pub async fn answer(
    question: &[u8],
    head: &[(String, String)],
    memory: &Memory,
    respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let asked = question.get(5..).and_then(|message| CheckRequest::decode(message).ok()).unwrap_or_default();
    let attributes = asked.attributes.unwrap_or_default();
    let http = attributes.request.clone().and_then(|request| request.http).unwrap_or_default();
    let headers = headers(&http);
    let of = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    // A case that hides the answer from the service says it in the configuration.
    let told = head.iter().find(|(name, _)| name == ANSWER).map(|(_, value)| value.clone());
    memory.arrived(&of(ID).unwrap_or_default(), seen(&attributes, &http, &headers, head));
    let wanted = of(ANSWER).or(told).unwrap_or_else(|| "fail".to_owned());
    if wanted == "hang" {
        grpc::hang(respond).await;
        return Ok(());
    }
    grpc::answer(respond, message(&wanted))
}

/// None: it is no answer, which fails the call.
fn message(json: &str) -> Option<Vec<u8>> {
    Some(response(&serde_json::from_str(json).ok()?).encode_to_vec())
}

/// In whichever form they came.
fn headers(http: &HttpRequest) -> Vec<(String, String)> {
    let joined: BTreeMap<_, _> = http.headers.iter().collect();
    let joined = joined.into_iter().map(|(name, value)| (name.clone(), value.clone()));
    let raw = http.header_map.iter().flat_map(|map| &map.headers);
    let raw = raw.map(|header| (header.key.clone(), crate::http1::latin1(&header.raw_value)));
    joined.chain(raw).collect()
}

/// All of the question but what differs from run to run.
fn seen(
    attributes: &AttributeContext,
    http: &HttpRequest,
    headers: &[(String, String)],
    head: &[(String, String)],
) -> Seen {
    let hidden = ["x-request-id", ANSWER, ID];
    let mut told: Vec<(String, String)> = Vec::new();
    let mut tell = |name: String, value: String| told.push((name, value));
    for (name, value) in headers.iter().filter(|(name, _)| !hidden.contains(&name.as_str())) {
        tell(format!("told {name}"), value.clone());
    }
    for (name, value) in [
        ("host", &http.host),
        ("path", &http.path),
        ("scheme", &http.scheme),
        ("protocol", &http.protocol),
        ("query", &http.query),
        ("fragment", &http.fragment),
        ("size", &http.size.to_string()),
        ("body", &http.body),
    ] {
        tell(format!("http {name}"), value.clone());
    }
    tell("http raw body".into(), crate::http1::latin1(&http.raw_body));
    tell("source service".into(), attributes.source.as_ref().map(|it| it.service.clone()).unwrap_or_default());
    let extensions: BTreeMap<_, _> = attributes.context_extensions.iter().collect();
    tell("extensions".into(), format!("{extensions:?}"));
    let said = attributes.metadata_context.iter().flat_map(|said| &said.filter_metadata);
    // How long something took is another time each time.
    let field = |(name, value): (&String, &WireValue)| match name.ends_with("_duration") {
        true => (name.clone(), "(a time)".to_owned()),
        false => (name.clone(), format!("{value:?}")),
    };
    let said: BTreeMap<_, _> =
        said.map(|(name, fields)| (name, fields.fields.iter().map(field).collect::<BTreeMap<_, _>>())).collect();
    tell("metadata".into(), format!("{said:?}"));
    tell("tls".into(), format!("{:?}", attributes.tls_session));
    let of_call = |name: &str| name.starts_with("x-call") || name == "te";
    for (name, value) in head.iter().filter(|(name, _)| of_call(name)) {
        tell(format!("call {name}"), value.clone());
    }
    Seen { backend: "authz", line: format!("CHECK {}", http.method), headers: told, ..Seen::default() }
}

/// A `CheckResponse` out of the JSON of the fields that cases use.
#[allow(deprecated)] // the older place of metadata is still read
fn response(value: &Value) -> CheckResponse {
    let said = |value: &Value| value.as_object().map(structure);
    let denied = |value: &Value| (http_status(value), options(&value["headers"]), text(&value["body"]));
    let http_response = if let Some(ok) = value.get("ok_response") {
        Some(HttpResponse::OkResponse(OkHttpResponse {
            headers: options(&ok["headers"]),
            headers_to_remove: texts(&ok["headers_to_remove"]),
            response_headers_to_add: options(&ok["response_headers_to_add"]),
            query_parameters_to_set: list(&ok["query_parameters_to_set"], |it| core::QueryParameter {
                key: text(&it["key"]),
                value: text(&it["value"]),
            }),
            query_parameters_to_remove: texts(&ok["query_parameters_to_remove"]),
            dynamic_metadata: said(&ok["dynamic_metadata"]),
        }))
    } else if let Some(refusal) = value.get("denied_response") {
        let (status, headers, body) = denied(refusal);
        Some(HttpResponse::DeniedResponse(DeniedHttpResponse { status, headers, body }))
    } else if let Some(error) = value.get("error_response") {
        let (status, headers, body) = denied(error);
        Some(HttpResponse::ErrorResponse(DeniedHttpResponse { status, headers, body }))
    } else {
        None
    };
    let code = value["status"]["code"].as_i64().unwrap_or_default() as i32;
    CheckResponse {
        status: Some(rpc::Status { code, ..rpc::Status::default() }),
        dynamic_metadata: said(&value["dynamic_metadata"]),
        http_response,
    }
}

fn http_status(value: &Value) -> Option<HttpStatus> {
    let code = value["status"]["code"].as_i64()?;
    Some(HttpStatus { code: code as i32 })
}

#[allow(deprecated)] // `append` is still read
fn options(value: &Value) -> Vec<core::HeaderValueOption> {
    list(value, |it| {
        let header = &it["header"];
        core::HeaderValueOption {
            header: Some(core::HeaderValue {
                key: text(&header["key"]),
                value: text(&header["value"]),
                raw_value: text(&header["raw_value"]).into_bytes(),
            }),
            append: it["append"].as_bool().map(|value| BoolValue { value }),
            append_action: match it["append_action"].as_str() {
                Some(name) => HeaderAppendAction::from_str_name(name).unwrap_or_default() as i32,
                None => it["append_action"].as_i64().unwrap_or_default() as i32,
            },
            ..core::HeaderValueOption::default()
        }
    })
}

fn list<T>(value: &Value, read: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().map(|list| list.iter().map(read).collect()).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    list(value, text)
}

fn structure(fields: &serde_json::Map<String, Value>) -> Struct {
    Struct { fields: fields.iter().map(|(key, value)| (key.clone(), wire(value))).collect() }
}

fn wire(value: &Value) -> WireValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(it) => Kind::BoolValue(*it),
        Value::Number(it) => Kind::NumberValue(it.as_f64().unwrap_or_default()),
        Value::String(it) => Kind::StringValue(it.clone()),
        Value::Array(list) => Kind::ListValue(ListValue { values: list.iter().map(wire).collect() }),
        Value::Object(fields) => Kind::StructValue(structure(fields)),
    };
    WireValue { kind: Some(kind) }
}
