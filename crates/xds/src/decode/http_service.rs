//! Services of HTTP that are told, each in a cluster of the proxy.

use std::sync::Arc;

use http::HeaderValue;
use http::uri::PathAndQuery;
use model::tracing::HttpService;
use proto::envoy::config::core::v3 as core;

use super::http_uri::{HttpUri, http_uri};
use super::{At, Decoded, each, headers, take};

pub(super) fn http_service(value: core::HttpService, at: &At<'_>) -> Decoded<HttpService> {
    take!(value, at, core::HttpService {
        used { http_uri, request_headers_to_add }
        harmless {}
        refused { formatters }
    });
    let at_uri = at.field("http_uri");
    let HttpUri { uri, cluster, timeout } = self::http_uri(http_uri, &at_uri, |uri, _| Ok(uri))?;
    let (authority, path) = target(&uri, &at_uri.field("uri"))?;
    // Its requests have nothing to which anything could be added.
    let headers = each(request_headers_to_add, &at.field("request_headers_to_add"), headers::header_write)?;
    let headers = headers.into_iter().flatten().map(|write| (write.name, write.value)).collect();
    Ok(HttpService { cluster, authority, path, timeout, headers })
}

/// What stands in a URI: a host, which may be missing, and a path.
fn target(uri: &str, at: &At<'_>) -> Decoded<(Option<Arc<str>>, PathAndQuery)> {
    let rest = uri.split_once("//").map_or(uri, |(_, rest)| rest);
    let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let target = if target.is_empty() { "/" } else { target };
    Ok((authority(host, at)?, path(target, at)?))
}

/// The authority of requests; none is said by an empty text.
pub(super) fn authority(text: &str, at: &At<'_>) -> Decoded<Option<Arc<str>>> {
    match HeaderValue::from_str(text) {
        Ok(_) => Ok((!text.is_empty()).then(|| text.into())),
        Err(_) => Err(at.error(format!("is {text:?}"), "a host, and a port if it needs one")),
    }
}

/// The path of requests.
pub(super) fn path(text: &str, at: &At<'_>) -> Decoded<PathAndQuery> {
    let read = text.parse().ok().filter(|_| text.starts_with('/'));
    read.ok_or_else(|| at.error(format!("is {text:?}"), "a path, such as `/api/v2/spans`"))
}
