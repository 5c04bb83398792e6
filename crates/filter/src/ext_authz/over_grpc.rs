//! The answer of a service of gRPC (`envoy.service.auth.v3.CheckResponse`).

use http::StatusCode;
use model::headers::WriteAction;
use prost::Message;
use proto::envoy::config::core::v3::HeaderValueOption;
use proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::service::auth::v3::{CheckResponse, OkHttpResponse};
use proto::envoy::r#type::v3::HttpStatus;

use super::question::fields;
use super::verdict::{Answer, Changes, RawAction, RawHeader, Verdict};

/// Where the service is asked.
pub const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Reads the answer, and what it says of the request.
///
/// # Errors
/// It is no answer.
pub(super) fn verdict(bytes: &[u8]) -> Result<(Verdict, model::metadata::Fields), String> {
    let answer = read(bytes)?;
    let allowed = is_ok(&answer);
    let metadata = answer.dynamic_metadata.map(fields).unwrap_or_default();
    Ok(match answer.http_response {
        Some(HttpResponse::OkResponse(ok)) if allowed => {
            let metadata = older(&ok).unwrap_or(metadata);
            (Verdict::Allow(Box::new(changes(ok))), metadata)
        }
        _ if allowed => (Verdict::Allow(Box::default()), metadata),
        Some(HttpResponse::DeniedResponse(denied)) => {
            let status = status(denied.status).unwrap_or(StatusCode::FORBIDDEN);
            (Verdict::Deny(self::answer(Some(status), denied.headers, denied.body)), metadata)
        }
        Some(HttpResponse::ErrorResponse(error)) => {
            (Verdict::Error(Some(self::answer(status(error.status), error.headers, error.body))), metadata)
        }
        _ => (Verdict::Deny(self::answer(Some(StatusCode::FORBIDDEN), Vec::new(), String::new())), metadata),
    })
}

/// May a connection stand?
///
/// # Errors
/// It is no answer.
pub fn connection_allowed(bytes: &[u8]) -> Result<bool, String> {
    read(bytes).map(|answer| is_ok(&answer))
}

fn read(bytes: &[u8]) -> Result<CheckResponse, String> {
    CheckResponse::decode(bytes).map_err(|error| format!("the answer cannot be read: {error}"))
}

fn is_ok(answer: &CheckResponse) -> bool {
    answer.status.as_ref().is_none_or(|status| status.code == 0)
}

#[allow(deprecated)]
fn older(ok: &OkHttpResponse) -> Option<model::metadata::Fields> {
    ok.dynamic_metadata.clone().map(fields)
}

fn changes(ok: OkHttpResponse) -> Changes {
    Changes {
        headers: ok.headers.into_iter().filter_map(|option| header(option, of_request)).collect(),
        remove: ok.headers_to_remove,
        response: ok.response_headers_to_add.into_iter().filter_map(|option| header(option, of_response)).collect(),
        set_query: ok.query_parameters_to_set.into_iter().map(|parameter| (parameter.key, parameter.value)).collect(),
        remove_query: ok.query_parameters_to_remove,
    }
}

fn answer(status: Option<StatusCode>, headers: Vec<HeaderValueOption>, body: String) -> Answer {
    let headers = headers.into_iter().filter_map(|option| header(option, of_response)).collect();
    Answer { status, headers, body: body.into() }
}

fn status(status: Option<HttpStatus>) -> Option<StatusCode> {
    status.filter(|status| status.code > 0).and_then(|status| StatusCode::from_u16(status.code as u16).ok())
}

fn header(option: HeaderValueOption, action: impl Fn(&HeaderValueOption) -> RawAction) -> Option<RawHeader> {
    let action = action(&option);
    let header = option.header?;
    Some(RawHeader::new(header.key, header.value, action))
}

/// Of requests Envoy 1.40 reads the older field alone: without it a header overwrites, whatever `append_action` says, so that
/// no client's value is left beside that of the service.
#[allow(deprecated)]
fn of_request(option: &HeaderValueOption) -> RawAction {
    match &option.append {
        Some(append) if append.value => RawAction::Join,
        _ => RawAction::Write(WriteAction::Overwrite),
    }
}

/// Of responses the older field counts if it is set, even where the newer one says something else.
#[allow(deprecated)]
fn of_response(option: &HeaderValueOption) -> RawAction {
    match (&option.append, HeaderAppendAction::try_from(option.append_action)) {
        (Some(append), _) if append.value => RawAction::Write(WriteAction::Append),
        (Some(_), _) => RawAction::Write(WriteAction::Overwrite),
        (None, Ok(HeaderAppendAction::AppendIfExistsOrAdd)) => RawAction::Write(WriteAction::Append),
        (None, Ok(HeaderAppendAction::AddIfAbsent)) => RawAction::Write(WriteAction::AddIfAbsent),
        (None, Ok(HeaderAppendAction::OverwriteIfExistsOrAdd)) => RawAction::Write(WriteAction::Overwrite),
        (None, Ok(HeaderAppendAction::OverwriteIfExists)) => RawAction::Write(WriteAction::OverwriteIfThere),
        (None, Err(_)) => RawAction::Unknown,
    }
}
