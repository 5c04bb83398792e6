//! `/stats` and `/stats/prometheus`: everything that is counted.

use std::time::SystemTime;

use ::http::{Request, Response, StatusCode, header};
use mesh_http::Body;
use telemetry::{DeclareError, Desc, Exposition, Registry, Shard, TextFormat, process};

use super::{Admin, Query, of_type, text};

/// Everything that is counted, and what is so at this moment: what the process uses, and when its certificates end.
pub(super) fn all(admin: &Admin, wanted: &Exposition) -> String {
    let now = Registry::new();
    let shard = now.shard();
    let shown = process::show(&shard, env!("CARGO_PKG_VERSION")).and_then(|()| certificates(admin, &shard));
    if let Err(error) = shown {
        tracing::error!("metrics of the process are not shown: {error}");
    }
    admin.shared.registry.expose_with(&now, wanted)
}

fn certificates(admin: &Admin, shard: &Shard) -> Result<(), DeclareError> {
    let help = "When a certificate ends, in seconds since 1970; `default` is the workload's own.";
    let ends = shard.gauges(Desc::new("halcyon_certificate_expiry_timestamp_seconds", help).labels(&["name"]))?;
    for (name, certificate) in admin.secrets.certificates() {
        let at = certificate.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        ends.with(&[&*name]).set(at.as_secs() as i64);
    }
    Ok(())
}

pub(super) fn prometheus(admin: &Admin, request: &Request<Body>) -> Response<Body> {
    let accept = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let format = TextFormat::from_accept(accept);
    let body = all(admin, &Exposition { format, ..Exposition::default() });
    of_type(StatusCode::OK, format.content_type(), body)
}

pub(super) fn plain(admin: &Admin, query: Query<'_>) -> Response<Body> {
    let prefix = query.get("filter").unwrap_or_default().to_owned();
    let used_only = query.get("usedonly").is_some();
    text(StatusCode::OK, all(admin, &Exposition { prefix, used_only, ..Exposition::default() }))
}
