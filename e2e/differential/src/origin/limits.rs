//! A rate limit service that counts nothing, so that it says the same to both proxies: what it is asked decides.
//!
//! It tells in the header `x-asked` what it was asked. A value of a descriptor may ask for something:
//!
//! | value | what is done |
//! |---|---|
//! | `over` | it is one too many |
//! | `raw` | likewise, with a body |
//! | `told` | there are limits, of which something is left |
//! | `fail`, `hang` | a status of gRPC that is no success, or no answer |

use bytes::Bytes;
use h2::server::SendResponse;
use prost::Message;
use proto::envoy::config::core::v3 as core;
use proto::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus, RateLimit};
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use proto::google::protobuf::Duration;

use super::grpc;

/// Where it is asked.
pub const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// Answers a question, which was framed as gRPC does.
pub async fn answer(question: &[u8], respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let asked = question.get(5..).and_then(|message| RateLimitRequest::decode(message).ok()).unwrap_or_default();
    let entries = || asked.descriptors.iter().flat_map(|one| &one.entries);
    let says = |value: &str| entries().any(|entry| entry.value == value);
    if says("hang") {
        grpc::hang(respond).await;
        return Ok(());
    }
    let over = says("over") || says("raw");
    let message = || said(&asked, over, says("raw"), says("told")).encode_to_vec();
    grpc::answer(respond, (!says("fail")).then(message))
}

fn said(asked: &RateLimitRequest, over: bool, raw: bool, told: bool) -> RateLimitResponse {
    let header = |key: &str, value: String| core::HeaderValue { key: key.into(), value, raw_value: Vec::new() };
    let descriptors = asked.descriptors.iter().map(|one| {
        let entries: Vec<_> = one.entries.iter().map(|entry| format!("{}={}", entry.key, entry.value)).collect();
        let hits = one.hits_addend.as_ref().map(|hits| format!(" x{}", hits.value)).unwrap_or_default();
        format!("[{}]{hits}", entries.join(" "))
    });
    let descriptors: Vec<_> = descriptors.collect();
    let limit = |number: u32, unit: Unit, name: &str| DescriptorStatus {
        code: Code::Ok as i32,
        current_limit: Some(RateLimit { name: name.into(), requests_per_unit: number, unit: unit as i32 }),
        limit_remaining: number / 2,
        duration_until_reset: Some(Duration { seconds: number.into(), nanos: 0 }),
        ..DescriptorStatus::default()
    };
    RateLimitResponse {
        overall_code: if over { Code::OverLimit } else { Code::Ok } as i32,
        statuses: if told { vec![limit(10, Unit::Minute, ""), limit(4, Unit::Day, "own")] } else { Vec::new() },
        response_headers_to_add: vec![header("x-asked", format!("{} {}", asked.domain, descriptors.join(" ")))],
        request_headers_to_add: vec![header("x-counted", "yes".into())],
        raw_body: if raw { b"not so fast".to_vec() } else { Vec::new() },
        ..RateLimitResponse::default()
    }
}
