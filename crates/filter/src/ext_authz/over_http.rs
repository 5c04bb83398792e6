//! A service of HTTP: the question, which is a request like the client's, and the answer.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use model::StringMatch;
use model::ext_authz::{AskedPath, HttpAuthorizer};
use model::headers::WriteAction;
use model::metadata::{Fields, Value};

use super::question::clean;
use super::verdict::{Answer, Changes, RawAction, RawHeader, Verdict};

const TOOK: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
const REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
/// What answers to refused clients always have of the service's, where it is listed what they have.
const ALWAYS: [HeaderName; 3] = [header::CONTENT_LENGTH, header::WWW_AUTHENTICATE, header::LOCATION];

/// The question about a request, of which the service is told these headers and this piece of its body.
///
/// # Errors
/// The target that it would have is none.
pub(super) fn question(
    service: &HttpAuthorizer,
    request: &Request<impl Sized>,
    authority: &str,
    headers: HeaderMap,
    body: Option<Bytes>,
) -> Result<Request<Bytes>, String> {
    let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let target = match &service.path {
        AskedPath::Prefixed(prefix) => format!("{prefix}{target}"),
        AskedPath::Fixed(path) => path.clone(),
    };
    let mut question = Request::new(body.unwrap_or_default());
    *question.method_mut() = request.method().clone();
    *question.uri_mut() = target.parse::<Uri>().map_err(|error| format!("{target}: {error}"))?;
    let length = HeaderValue::from(question.body().len());
    let own = question.headers_mut();
    *own = headers;
    own.insert(header::CONTENT_LENGTH, length);
    own.extend(HeaderValue::try_from(authority).ok().map(|host| (header::HOST, host)));
    for (name, value) in &service.headers {
        own.insert(name, value.clone());
    }
    Ok(question)
}

/// Reads the answer, which took so long, and what it says of the request.
pub(super) fn verdict(service: &HttpAuthorizer, answer: Response<Bytes>, took: Duration) -> (Verdict, Fields) {
    let (mut head, body) = answer.into_parts();
    // As of every answer of an upstream; a refused client that is told all headers is told this one too.
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    head.headers.insert(TOOK, HeaderValue::from(milliseconds));
    if head.status.is_server_error() {
        return (Verdict::Error(None), Fields::new());
    }
    let remove = head.headers.get_all(REMOVE).iter().filter_map(|value| value.to_str().ok());
    let remove = remove.flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty());
    let remove: Vec<String> = remove.map(str::to_owned).collect();
    head.headers.remove(REMOVE);
    let said = of_headers(&head.headers, &service.metadata, RawAction::Join).into_iter();
    let said = said.map(|header| (header.name, Value::Text(clean(&header.value)))).collect();
    if head.status != StatusCode::OK {
        let headers = for_client(service, &head.headers);
        return (Verdict::Deny(Answer { status: Some(head.status), headers, body }), said);
    }
    let overwrite = RawAction::Write(WriteAction::Overwrite);
    let mut headers = of_headers(&head.headers, &service.upstream, overwrite);
    headers.extend(of_headers(&head.headers, &service.upstream_append, RawAction::Write(WriteAction::Append)));
    let response = of_headers(&head.headers, &service.client_on_success, RawAction::Write(WriteAction::Append));
    (Verdict::Allow(Box::new(Changes { headers, remove, response, ..Changes::default() })), said)
}

/// What a refused client gets of the answer's headers.
fn for_client(service: &HttpAuthorizer, headers: &HeaderMap) -> Vec<RawHeader> {
    let is_told = |name: &HeaderName| match &service.client[..] {
        [] => true,
        listed => ALWAYS.contains(name) || listed.iter().any(|one| one.matches(name.as_str())),
    };
    let told = headers.iter().filter(|(name, _)| is_told(name));
    let append = RawAction::Write(WriteAction::Append);
    told.map(|(name, value)| RawHeader::new(name.as_str(), value.as_bytes(), append)).collect()
}

fn of_headers(headers: &HeaderMap, names: &[StringMatch], action: RawAction) -> Vec<RawHeader> {
    let is_named = |name: &HeaderName| names.iter().any(|one| one.matches(name.as_str()));
    let named = headers.iter().filter(|(name, _)| is_named(name));
    named.map(|(name, value)| RawHeader::new(name.as_str(), value.as_bytes(), action)).collect()
}
