//! The buffer filter, and what routes say to it.

use model::Buffer;
use model::buffer::BufferRule;
use proto::envoy::extensions::filters::http::buffer::v3 as wire;
use proto::envoy::extensions::filters::http::buffer::v3::buffer_per_route::Override;

use super::{At, Decoded, required, take};

pub(super) const BUFFER: &str = "envoy.extensions.filters.http.buffer.v3.Buffer";
pub(super) const PER_ROUTE: &str = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute";

pub(super) fn buffer(value: wire::Buffer, name: &str, at: &At<'_>) -> Decoded<Buffer> {
    Ok(Buffer { name: name.into(), max_bytes: limit(value, at)? })
}

fn limit(value: wire::Buffer, at: &At<'_>) -> Decoded<u32> {
    take!(value, at, wire::Buffer {
        used { max_request_bytes }
        harmless {}
        refused {}
    });
    let at = at.field("max_request_bytes");
    match required(max_request_bytes, &at)?.value {
        0 => Err(at.error("is 0", "1 byte or more")),
        bytes => Ok(bytes),
    }
}

/// What a route or virtual host says.
pub(super) fn per_route(value: wire::BufferPerRoute, at: &At<'_>) -> Decoded<BufferRule> {
    match required(value.r#override, at)? {
        Override::Disabled(true) => Ok(BufferRule::Off),
        Override::Disabled(false) => Err(at.field("disabled").error("is false", "true, or `buffer`")),
        Override::Buffer(value) => limit(value, &at.field("buffer")).map(BufferRule::Limit),
    }
}
