//! Requests by HTTP/2.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::Answer;
use super::send1::shown;
use crate::case::Request;
use crate::http1::{Io, bytes_of, latin1};
use crate::origin::ID;

/// A request, and its answer.
pub async fn send(stream: Box<dyn Io>, request: &Request, id: &str) -> Result<Answer> {
    let (sender, connection) = h2::client::handshake(stream).await?;
    let running = tokio::task::spawn_local(async move {
        // How it ended is seen at the request.
        let _ = connection.await;
    });
    let answer = exchange(sender, request, id).await;
    running.abort();
    Ok(match answer {
        Ok(answer) => answer,
        Err(error) => failed(Answer::default(), &error),
    })
}

async fn exchange(
    sender: h2::client::SendRequest<Bytes>,
    request: &Request,
    id: &str,
) -> Result<Answer, anyhow::Error> {
    let mut sender = sender.ready().await?;
    let mut parts = http::Request::new(());
    *parts.method_mut() = Method::from_bytes(request.method.as_bytes())?;
    *parts.uri_mut() = uri(request)?;
    *parts.headers_mut() = map(&request.headers)?;
    parts.headers_mut().insert(ID, HeaderValue::from_str(id)?);
    let connect = request.method == "CONNECT";
    let protocol = parts.headers_mut().remove("x-protocol");
    if let Some(protocol) = protocol {
        parts.extensions_mut().insert(h2::ext::Protocol::from(protocol.to_str()?));
    }
    let ends = request.body.is_none() && request.trailers.is_empty();
    let (response, mut body) = sender.send_request(parts, ends)?;
    if !ends && !connect {
        let bytes = Bytes::from(request.body.clone().unwrap_or_default());
        body.send_data(bytes, request.trailers.is_empty())?;
        if !request.trailers.is_empty() {
            body.send_trailers(map(&request.trailers)?)?;
        }
    }
    let response = response.await?;
    let mut answer = Answer::default();
    let (head, mut received) = response.into_parts();
    answer.status = head.status.as_str().to_owned();
    answer.outcome.push("status", &answer.status);
    answer.outcome.headers("header", &pairs(&head.headers));
    if connect && head.status.is_success() {
        body.send_data(Bytes::from(request.body.clone().unwrap_or_default()), true)?;
    }
    let mut bytes = Vec::new();
    while let Some(piece) = received.data().await {
        match piece {
            Ok(piece) => {
                // Nobody else uses the window.
                let _ = received.flow_control().release_capacity(piece.len());
                bytes.extend_from_slice(&piece);
            }
            Err(error) => {
                answer.outcome.push("body", shown(&latin1(&bytes)));
                answer.outcome.push("end", reason(&error));
                return Ok(answer);
            }
        }
    }
    let encoding = head.headers.get("content-encoding").and_then(|value| value.to_str().ok());
    answer.takes_body(encoding, &bytes);
    match received.trailers().await {
        Ok(Some(trailers)) => answer.outcome.headers("trailer", &pairs(&trailers)),
        Ok(None) => {}
        Err(error) => answer.outcome.push("end", reason(&error)),
    }
    Ok(answer)
}

fn uri(request: &Request) -> Result<Uri> {
    let scheme = if request.tls.is_some() { "https" } else { "http" };
    if request.method == "CONNECT" && !request.headers.iter().any(|(name, _)| name == "x-protocol") {
        return Ok(Uri::builder().authority(request.path.as_str()).build()?);
    }
    let uri = Uri::builder().scheme(scheme).authority(request.host.as_str()).path_and_query(request.path.as_str());
    uri.build().with_context(|| format!("{}{}", request.host, request.path))
}

fn failed(mut answer: Answer, error: &anyhow::Error) -> Answer {
    answer.status = match error.downcast_ref::<h2::Error>() {
        Some(error) => reason(error),
        None => error.to_string(),
    };
    answer.outcome.push("status", &answer.status);
    answer
}

fn reason(error: &h2::Error) -> String {
    let kind = if error.is_go_away() { "GOAWAY" } else { "RST_STREAM" };
    match error.reason() {
        Some(reason) => format!("{kind} {reason:?}"),
        None => "the connection ended".to_owned(),
    }
}

fn map(pairs: &[(String, String)]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_bytes(&bytes_of(value))?);
    }
    Ok(headers)
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), latin1(value.as_bytes()))).collect()
}
