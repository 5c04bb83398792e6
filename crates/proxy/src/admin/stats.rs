//! `/stats` and `/stats/prometheus`: everything that is counted.

use ::http::{Request, Response, StatusCode, header};
use mesh_http::Body;
use telemetry::{Exposition, TextFormat};

use super::{Admin, Query, of_type, text};

pub(super) fn prometheus(admin: &Admin, request: &Request<Body>) -> Response<Body> {
    let accept = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let format = TextFormat::from_accept(accept);
    let body = admin.shared.registry.expose(&Exposition { format, ..Exposition::default() });
    of_type(StatusCode::OK, format.content_type(), body)
}

pub(super) fn plain(admin: &Admin, query: Query<'_>) -> Response<Body> {
    let prefix = query.get("filter").unwrap_or_default().to_owned();
    let used_only = query.get("usedonly").is_some();
    text(StatusCode::OK, admin.shared.registry.expose(&Exposition { prefix, used_only, ..Exposition::default() }))
}
