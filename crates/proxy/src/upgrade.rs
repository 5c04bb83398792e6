//! Leaving HTTP: WebSocket and other upgrades of HTTP/1.1, and CONNECT. Once both sides have agreed, bytes are carried
//! both ways until both have ended.

use std::rc::Rc;

use ::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use mesh_http::{Body, OnUpgrade};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http_plan::HttpPlan;
use crate::record::Record;
use crate::respond::Fault;

/// The downstream end of an upgrade that was asked for.
pub(crate) struct Wanted(OnUpgrade);

/// Does the request ask for an upgrade, and is it let through?
pub(crate) fn wanted(request: &mut Request<Body>, plan: &HttpPlan) -> Result<Option<Wanted>, Fault> {
    let allowed = |name: &str| plan.proxy.upgrades.iter().any(|u| u.eq_ignore_ascii_case(name));
    if request.method() == Method::CONNECT {
        if !allowed("CONNECT") {
            return Err(Fault::UpgradeRefused);
        }
        return Ok(request.body_mut().on_upgrade().map(Wanted));
    }
    if !mesh_http::is_upgrade(request) {
        return Ok(None);
    }
    let name = request.headers().get(header::UPGRADE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if name.eq_ignore_ascii_case("h2c") || !asks_for_it(request.headers()) {
        // An offer, not a demand (RFC 9113, section 3.1): it is not taken up.
        request.headers_mut().remove(header::UPGRADE);
        return Ok(None);
    }
    if !allowed(name) {
        return Err(Fault::UpgradeRefused);
    }
    Ok(request.body_mut().on_upgrade().map(Wanted))
}

/// `Upgrade` counts only if `Connection` names it (RFC 9110, section 7.8).
fn asks_for_it(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

/// Joins both ends if the upstream agreed.
pub(crate) fn join(wanted: Option<Wanted>, response: &mut Response<Body>, record: &Rc<Record>) {
    let Some(Wanted(downstream)) = wanted else { return };
    let agreed = match record.method() == Method::CONNECT {
        true => response.status().is_success(),
        false => response.status() == StatusCode::SWITCHING_PROTOCOLS,
    };
    let Some(upstream) = response.body_mut().on_upgrade().filter(|_| agreed) else { return };
    record.goes_on_as_tunnel();
    let record = record.clone();
    record.connection().clone().tunnel(async move {
        if let (Some(downstream), Some(upstream)) = tokio::join!(downstream, upstream) {
            let (from_down, to_down) = tokio::io::split(downstream);
            let (from_up, to_up) = tokio::io::split(upstream);
            tokio::join!(
                carry(from_down, to_up, |bytes| record.request_data(bytes)),
                carry(from_up, to_down, |bytes| record.response_data(bytes)),
            );
        }
        record.close();
    });
}

/// One direction, to its end; the end is passed on.
async fn carry(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, count: impl Fn(usize)) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..length]).await.is_err() || to.flush().await.is_err() {
            return;
        }
        count(length);
    }
    // The other direction may still have something to say.
    let _ = to.shutdown().await;
}
