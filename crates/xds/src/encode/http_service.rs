//! Services of HTTP that the proxy itself tells.

use http::{HeaderName, HeaderValue};
use model::headers::{HeaderWrite, WriteAction};
use model::tracing::HttpService;
use proto::envoy::config::core::v3 as core;

use super::headers;
use super::http_uri::http_uri;

pub(super) fn http_service(service: &HttpService) -> core::HttpService {
    let uri = match &service.authority {
        Some(authority) => format!("http://{authority}{}", service.path),
        None => service.path.to_string(),
    };
    let add = |(name, value): &(HeaderName, HeaderValue)| {
        headers::write(&HeaderWrite { name: name.clone(), value: value.clone(), action: WriteAction::Append })
    };
    core::HttpService {
        http_uri: Some(http_uri(&uri, &service.cluster, service.timeout)),
        request_headers_to_add: service.headers.iter().map(add).collect(),
        formatters: Vec::new(),
    }
}
