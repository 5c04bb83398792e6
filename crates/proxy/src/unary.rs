//! One message to a service of gRPC and one back (gRPC's `PROTOCOL-HTTP2.md`), and one request of HTTP with its whole answer,
//! over the proxy's own pools.

use std::time::Duration;

use ::http::uri::Authority;
use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use bytes::Bytes;
use filter::{Call, Exchange, Get};
use mesh_http::Body;
use mesh_http::grpc::{self, GrpcStatus, PREFIX};
use tokio::time::timeout;
use upstream::{Event, Pick};

use crate::live::View;

const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
const EXPECTED: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// The largest answer that is read, in bytes (gRPC's usual bound).
const LARGEST: usize = 4 << 20;

/// Makes a call.
///
/// # Errors
/// There is no good answer in time; the text says why.
pub(crate) async fn call(view: &View, call: Call<'_>) -> Result<Bytes, String> {
    let pools =
        view.pools(&call.service.cluster).ok_or_else(|| format!("there is no cluster {}", call.service.cluster))?;
    let mut request = request_of(&call)?;
    let exchange = async {
        let pick = Pick { downstream: Version::HTTP_2, ..Pick::new(rand::random()) };
        let sent = pools.send(&mut request, &pick).await.map_err(|failure| failure.to_string())?;
        let (head, body) = sent.response.into_parts();
        let whole = body.collect(LARGEST).await.map_err(|error| error.to_string())?;
        check(&head, whole.trailers.as_ref())?;
        message(&whole.data)
    };
    match call.timeout {
        None => exchange.await,
        Some(limit) => timeout(limit, exchange).await.unwrap_or_else(|_| {
            pools.stats().count(Event::RequestTimeout);
            Err(format!("no answer within {limit:?}"))
        }),
    }
}

/// Gets what stands at a URI.
///
/// # Errors
/// There is no answer of status 200 in time; the text says why.
pub(crate) async fn get(view: &View, get: &Get) -> Result<Bytes, String> {
    let uri: Uri = get.uri.parse().map_err(|error| format!("{}: {error}", get.uri))?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let host = uri.authority().map(Authority::as_str).unwrap_or_default();
    let request = Request::get(target).header(header::HOST, host).header(header::ACCEPT, "application/json");
    let request = request.body(Bytes::new()).map_err(|error| error.to_string())?;
    let answer = exchange(view, Exchange { cluster: &get.cluster, request, timeout: Some(get.timeout) }).await?;
    match answer.status() {
        StatusCode::OK => Ok(answer.into_body()),
        other => Err(format!("the answer has status {other}")),
    }
}

/// Sends a request, and waits for the whole answer.
///
/// # Errors
/// There is none in time; the text says why.
pub(crate) async fn exchange(view: &View, exchange: Exchange<'_>) -> Result<Response<Bytes>, String> {
    let Exchange { cluster, request, timeout: limit } = exchange;
    let pools = view.pools(cluster).ok_or_else(|| format!("there is no cluster {cluster}"))?;
    let mut request = request.map(Body::full);
    tell_own(request.headers_mut(), limit);
    let exchange = async {
        let sent = pools.send(&mut request, &Pick::new(rand::random())).await.map_err(|failure| failure.to_string())?;
        let (head, body) = sent.response.into_parts();
        let whole = body.collect(LARGEST).await.map_err(|error| error.to_string())?;
        Ok(Response::from_parts(head, whole.data))
    };
    match limit {
        None => exchange.await,
        Some(limit) => timeout(limit, exchange).await.unwrap_or_else(|_| {
            pools.stats().count(Event::RequestTimeout);
            Err(format!("no answer within {limit:?}"))
        }),
    }
}

/// What Envoy says of requests of its own: that they come from within, and how long an answer is waited for.
fn tell_own(headers: &mut HeaderMap, limit: Option<Duration>) {
    headers.insert(INTERNAL, HeaderValue::from_static("true"));
    if let Some(limit) = limit {
        let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        headers.insert(EXPECTED, HeaderValue::from(milliseconds));
    }
}

fn request_of(call: &Call<'_>) -> Result<Request<Body>, String> {
    let mut request = Request::post(call.path)
        .version(Version::HTTP_2)
        .header(header::HOST, authority(call.service.authority()))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Body::full(grpc::frame(0, &call.message)))
        .map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    if let Some(limit) = call.timeout
        && let Ok(text) = HeaderValue::try_from(grpc::format_timeout(limit))
    {
        headers.insert(grpc::GRPC_TIMEOUT, text);
    }
    for (name, value) in &call.service.metadata {
        headers.append(name, value.clone());
    }
    Ok(request)
}

/// Names of clusters may have what no authority has.
pub(crate) fn authority(text: &str) -> String {
    match Authority::try_from(text) {
        Ok(_) => text.to_owned(),
        Err(_) => text.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect(),
    }
}

/// Was it answered well? The status stands in the trailers, or in the head of an answer without a message.
fn check(head: &::http::response::Parts, trailers: Option<&HeaderMap>) -> Result<(), String> {
    let status =
        GrpcStatus::of_answer(&head.headers, trailers).unwrap_or_else(|| match GrpcStatus::from_http(head.status) {
            // Without a status it is no answer of gRPC.
            GrpcStatus::OK => GrpcStatus::UNKNOWN,
            other => other,
        });
    if status == GrpcStatus::OK {
        Ok(())
    } else {
        Err(format!("the service answers with the gRPC status {}", status.0))
    }
}

/// The one message of an answer.
fn message(data: &Bytes) -> Result<Bytes, String> {
    let broken = || "the answer is no message of gRPC".to_owned();
    let prefix: &[u8; PREFIX] = data.first_chunk().ok_or_else(broken)?;
    let [0, length @ ..] = *prefix else {
        return Err("the answer is compressed, though nobody asked for it".to_owned());
    };
    let rest = data.slice(PREFIX..);
    if rest.len() == u32::from_be_bytes(length) as usize { Ok(rest) } else { Err(broken()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        for (data, expected) in [
            (&b"\0\0\0\0\x02ab"[..], Some(&b"ab"[..])),
            (b"\0\0\0\0\0", Some(b"")),
            (b"", None),
            (b"\0\0\0", None),
            (b"\x01\0\0\0\x01a", None),
            (b"\0\0\0\0\x03ab", None),
            (b"\0\0\0\0\x01ab", None),
        ] {
            let found = message(&Bytes::from_static(data));
            assert_eq!(found.as_deref().ok(), expected, "{data:?}: {found:?}");
        }
    }

    #[test]
    fn answers() {
        let head = |status: u16, grpc: Option<&'static str>| {
            let mut response = ::http::Response::builder().status(status);
            if let Some(status) = grpc {
                response = response.header(grpc::GRPC_STATUS, status);
            }
            response.body(()).unwrap().into_parts().0
        };
        let trailers = |status: &'static str| -> HeaderMap {
            [(grpc::GRPC_STATUS, HeaderValue::from_static(status))].into_iter().collect()
        };
        for (head, trailers, good) in [
            (head(200, None), Some(trailers("0")), true),
            (head(200, Some("0")), None, true),
            (head(200, None), Some(trailers("14")), false),
            (head(200, Some("8")), None, false),
            (head(200, None), None, false),
            (head(503, None), None, false),
        ] {
            assert_eq!(check(&head, trailers.as_ref()).is_ok(), good, "{head:?} {trailers:?}");
        }
    }

    #[test]
    fn authorities() {
        for (name, expected) in
            [("limits", "limits"), ("a:80", "a:80"), ("outbound|80||limits.a", "outbound-80--limits.a")]
        {
            assert_eq!(authority(name), expected);
        }
    }
}
