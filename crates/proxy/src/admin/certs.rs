//! `/certs`: the certificates in use and how long they hold.

use std::time::SystemTime;

use ::http::Response;
use mesh_http::Body;
use serde_json::json;

use super::{Admin, json as answer_json};

pub(super) fn answer(admin: &Admin) -> Response<Body> {
    let now = SystemTime::now();
    let certificates: Vec<_> = admin
        .secrets
        .certificates()
        .into_iter()
        .map(|(name, cert)| {
            let left = cert.not_after.duration_since(now).unwrap_or_default();
            json!({
                "name": &*name,
                "serial_number": cert.serial,
                "subject": cert.subject,
                "issuer": cert.issuer,
                "subject_alt_names": { "uri": cert.uri_sans, "dns": cert.dns_sans },
                "sha256": cert.fingerprint,
                "valid_from": seconds(cert.not_before),
                "expiration_time": seconds(cert.not_after),
                "days_until_expiration": left.as_secs() / 86_400,
                "seconds_until_expiration": left.as_secs(),
            })
        })
        .collect();
    answer_json(&json!({ "certificates": certificates }))
}

/// Seconds since 1970.
fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
