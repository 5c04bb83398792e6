//! What is said between the filter and the service (`envoy.service.ratelimit.v3`).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use model::rate_limit::Descriptor;
use prost::Message;
use proto::envoy::config::core::v3 as core;
use proto::envoy::extensions::common::ratelimit::v3 as common;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus, RateLimit};
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use proto::google::protobuf::UInt64Value;

use crate::told::{LIMIT, REMAINING, RESET};

/// What the service says of a request.
#[derive(Debug)]
pub(super) struct Said {
    /// It is one too many.
    pub limited: bool,
    /// Headers for the response.
    pub response_headers: HeaderMap,
    /// Headers for the request, if it goes on.
    pub request_headers: HeaderMap,
    /// In how many seconds the limits that are reached are no more, if any says so.
    pub wait: Option<u64>,
    /// The body of the answer, if it does not.
    pub body: String,
}

/// The question whether a request is one too many.
pub(super) fn question(domain: &str, descriptors: &[Descriptor]) -> Bytes {
    let entry = |(key, value): &(String, String)| Entry { key: key.clone(), value: value.clone() };
    let descriptor = |one: &Descriptor| common::RateLimitDescriptor {
        entries: one.entries.iter().map(entry).collect(),
        hits_addend: one.hits.map(|value| UInt64Value { value }),
        ..common::RateLimitDescriptor::default()
    };
    let descriptors = descriptors.iter().map(descriptor).collect();
    RateLimitRequest { domain: domain.to_owned(), descriptors, hits_addend: 0 }.encode_to_vec().into()
}

/// Reads the answer. `tells` is whether responses tell what is left, where a descriptor does not say.
///
/// # Errors
/// It is no answer.
pub(super) fn answer(bytes: &[u8], asked: &[Descriptor], tells: bool) -> Result<Said, String> {
    let answer = RateLimitResponse::decode(bytes).map_err(|error| format!("the answer cannot be read: {error}"))?;
    let mut response_headers = headers(&answer.response_headers_to_add);
    tell_limits(&answer.statuses, asked, tells, &mut response_headers);
    Ok(Said {
        wait: wait(&answer.statuses),
        limited: answer.overall_code == Code::OverLimit as i32,
        response_headers,
        request_headers: headers(&answer.request_headers_to_add),
        body: String::from_utf8_lossy(&answer.raw_body).into_owned(),
    })
}

fn wait(statuses: &[DescriptorStatus]) -> Option<u64> {
    let over = statuses.iter().filter(|status| status.code == Code::OverLimit as i32);
    let seconds = |left: &proto::google::protobuf::Duration| u64::try_from(left.seconds).unwrap_or_default();
    over.map(|status| status.duration_until_reset.as_ref().map_or(0, seconds)).max()
}

/// Headers that can be sent; others the service has made up.
fn headers(list: &[core::HeaderValue]) -> HeaderMap {
    let one = |header: &core::HeaderValue| {
        let value = if header.value.is_empty() { &header.raw_value[..] } else { header.value.as_bytes() };
        Some((HeaderName::from_bytes(header.key.as_bytes()).ok()?, HeaderValue::from_bytes(value).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in list.iter().filter_map(one) {
        headers.append(name, value);
    }
    headers
}

/// `x-ratelimit-*` (draft 03 of the RFC): of the limit of which least is left, and beside it what all are.
fn tell_limits(statuses: &[DescriptorStatus], asked: &[Descriptor], tells: bool, headers: &mut HeaderMap) {
    let is_told = |number: usize| asked.get(number).and_then(|one| one.tells_limits).unwrap_or(tells);
    let limits =
        || statuses.iter().enumerate().filter_map(|(at, status)| Some((at, status, status.current_limit.as_ref()?)));
    let Some((at, status, limit)) = limits().min_by_key(|(_, status, _)| status.limit_remaining) else { return };
    if !is_told(at) {
        return;
    }
    let mut text = limit.requests_per_unit.to_string();
    for (_, _, RateLimit { name, requests_per_unit, unit }) in limits().filter(|(at, ..)| is_told(*at)) {
        let window = seconds(*unit);
        if window > 0 {
            text += &format!(", {requests_per_unit};w={window}");
            if !name.is_empty() {
                text += &format!(";name=\"{name}\"");
            }
        }
    }
    let reset = status.duration_until_reset.as_ref().map_or(0, |left| left.seconds.max(0));
    headers.extend(HeaderValue::try_from(text).ok().map(|text| (LIMIT, text)));
    headers.insert(REMAINING, HeaderValue::from(status.limit_remaining));
    headers.insert(RESET, HeaderValue::from(reset));
}

fn seconds(unit: i32) -> u32 {
    const DAY: u32 = 24 * 60 * 60;
    match Unit::try_from(unit) {
        Ok(Unit::Second) => 1,
        Ok(Unit::Minute) => 60,
        Ok(Unit::Hour) => 60 * 60,
        Ok(Unit::Day) => DAY,
        Ok(Unit::Week) => 7 * DAY,
        Ok(Unit::Month) => 30 * DAY,
        Ok(Unit::Year) => 365 * DAY,
        Ok(Unit::Unknown) | Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use proto::google::protobuf::Duration;

    use super::*;

    fn status(limit: Option<(u32, Unit, &str)>, limit_remaining: u32, reset: i64) -> DescriptorStatus {
        let current_limit = limit.map(|(requests_per_unit, unit, name)| RateLimit {
            name: name.to_owned(),
            requests_per_unit,
            unit: unit as i32,
        });
        let duration_until_reset = Some(Duration { seconds: reset, nanos: 0 });
        DescriptorStatus { current_limit, limit_remaining, duration_until_reset, ..DescriptorStatus::default() }
    }

    fn asked(tells: &[Option<bool>]) -> Vec<Descriptor> {
        tells.iter().map(|tells_limits| Descriptor { tells_limits: *tells_limits, ..Descriptor::default() }).collect()
    }

    #[test]
    fn what_responses_tell_of_limits() {
        let minute = || status(Some((1, Unit::Minute, "first")), 2, 3);
        let hour = || status(Some((4, Unit::Hour, "")), 5, 6);
        for (statuses, says, tells, expected) in [
            (vec![minute(), hour()], [None, None], true, Some("1, 1;w=60;name=\"first\", 4;w=3600 2 3")),
            (vec![minute(), hour()], [None, None], false, None),
            (vec![minute(), hour()], [Some(true), None], false, Some("1, 1;w=60;name=\"first\" 2 3")),
            (vec![minute(), hour()], [Some(false), None], true, None),
            (vec![minute(), hour()], [None, Some(false)], true, Some("1, 1;w=60;name=\"first\" 2 3")),
            (vec![hour(), minute()], [None, None], true, Some("1, 4;w=3600, 1;w=60;name=\"first\" 2 3")),
            (vec![status(Some((7, Unit::Unknown, "x")), 1, 0)], [None, None], true, Some("7 1 0")),
            (vec![status(None, 0, 0), hour()], [None, None], true, Some("4, 4;w=3600 5 6")),
            (vec![status(None, 0, 0)], [None, None], true, None),
            (vec![], [None, None], true, None),
        ] {
            let mut headers = HeaderMap::new();
            tell_limits(&statuses, &asked(&says), tells, &mut headers);
            let shown = headers.get(LIMIT).map(|limit| {
                let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
                format!("{} {} {}", text(limit), text(&headers[REMAINING]), text(&headers[RESET]))
            });
            assert_eq!(shown.as_deref(), expected, "{statuses:?} {says:?} {tells}");
        }
    }

    #[test]
    fn questions_and_answers() {
        let descriptor = Descriptor { entries: vec![("k".into(), "v".into())], hits: Some(3), ..Descriptor::default() };
        let sent = RateLimitRequest::decode(question("d", &[descriptor])).unwrap();
        assert_eq!((&*sent.domain, sent.descriptors.len(), sent.hits_addend), ("d", 1, 0));
        assert_eq!(sent.descriptors[0].hits_addend.as_ref().map(|hits| hits.value), Some(3));
        assert_eq!((&*sent.descriptors[0].entries[0].key, &*sent.descriptors[0].entries[0].value), ("k", "v"));
        let header = |key: &str, value: &str, raw: &[u8]| core::HeaderValue {
            key: key.into(),
            value: value.into(),
            raw_value: raw.to_vec(),
        };
        let said = RateLimitResponse {
            overall_code: Code::OverLimit as i32,
            response_headers_to_add: vec![header("A", "1", b""), header("a", "", b"2"), header("no name", "3", b"")],
            request_headers_to_add: vec![header("b", "4\n", b""), header("c", "5", b"")],
            raw_body: b"too many".to_vec(),
            ..RateLimitResponse::default()
        };
        let said = answer(&said.encode_to_vec(), &[], false).unwrap();
        let all: Vec<_> = said.response_headers.get_all("a").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!((said.limited, all, said.response_headers.len()), (true, vec!["1", "2"], 2));
        assert_eq!((said.request_headers.len(), &said.request_headers["c"]), (1, &HeaderValue::from_static("5")));
        assert_eq!(said.body, "too many");
        assert!(answer(&[0xff], &[], false).is_err());
    }
}
