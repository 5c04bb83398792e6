//! The buffer filter, and what routes say to it.

use model::Buffer;
use model::buffer::BufferRule;
use proto::envoy::extensions::filters::http::buffer::v3 as wire;
use proto::envoy::extensions::filters::http::buffer::v3::buffer_per_route::Override;

use super::number;

pub(super) fn buffer(buffer: &Buffer) -> wire::Buffer {
    limit(buffer.max_bytes)
}

fn limit(bytes: u32) -> wire::Buffer {
    wire::Buffer { max_request_bytes: number(bytes) }
}

pub(super) fn per_route(rule: BufferRule) -> wire::BufferPerRoute {
    let said = match rule {
        BufferRule::Off => Override::Disabled(true),
        BufferRule::Limit(bytes) => Override::Buffer(limit(bytes)),
    };
    wire::BufferPerRoute { r#override: Some(said) }
}
