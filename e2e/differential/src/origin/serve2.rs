//! A backend's connection of HTTP/2.

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

use super::act::{End, Plan};
use super::{DO, FOREVER, ID, Memory, Rewound, Seen, authz, limits};

/// Serves requests as they come.
pub async fn serve(stream: Rewound, backend: &'static str, memory: &Memory) {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let (end, mut ended) = tokio::sync::mpsc::unbounded_channel::<()>();
    loop {
        tokio::select! {
            next = connection.accept() => match next {
                Some(Ok((request, respond))) => {
                    let (memory, end) = (memory.clone(), end.clone());
                    tokio::task::spawn_local(async move {
                        if one(request, respond, backend, &memory).await == Connection::Ends {
                            // The other side may be gone already.
                            let _ = end.send(());
                        }
                    });
                }
                _ => return,
            },
            _ = ended.recv() => return,
        }
    }
}

#[derive(PartialEq, Eq)]
enum Connection {
    Stays,
    Ends,
}

async fn one(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    backend: &'static str,
    memory: &Memory,
) -> Connection {
    let (head, mut body) = request.into_parts();
    let text = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    if head.uri.path() == limits::PATH {
        // A failure shows at the other end.
        let _ = limits::answer(&whole(&mut body).await, respond).await;
        return Connection::Stays;
    }
    if head.uri.path() == authz::PATH {
        // Likewise.
        let _ = authz::answer(&whole(&mut body).await, &pairs(&head.headers), memory, respond).await;
        return Connection::Stays;
    }
    let id = text(ID);
    let mut headers =
        vec![(":authority".to_owned(), head.uri.authority().map(ToString::to_string).unwrap_or_default())];
    headers.push((":scheme".to_owned(), head.uri.scheme_str().unwrap_or_default().to_owned()));
    if let Some(protocol) = head.extensions.get::<h2::ext::Protocol>() {
        headers.push((":protocol".to_owned(), protocol.as_str().to_owned()));
    }
    headers.extend(pairs(&head.headers).into_iter().filter(|(name, _)| name != ID && name != DO));
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let line = format!("{} {path} HTTP/2", head.method);
    let number = memory.arrived(&id, Seen { backend, line, headers, ..Seen::default() });
    let plan = Plan::read(&text(DO), backend, number, &path);
    let switch = matches!(plan.end, End::Switch(_)) || head.method == http::Method::CONNECT;
    if !switch {
        let bytes = whole(&mut body).await;
        let trailers = body.trailers().await.ok().flatten().map(|trailers| pairs(&trailers)).unwrap_or_default();
        memory.whole(&id, number, bytes, trailers);
    }
    tokio::time::sleep(plan.delay).await;
    match plan.end {
        End::Close => return Connection::Ends,
        End::H2Reset(code) => {
            respond.send_reset(Reason::from(code));
            return Connection::Stays;
        }
        End::Hang | End::Raw(_) => {
            let _ = tokio::time::timeout(FOREVER, futures_util::future::poll_fn(|cx| respond.poll_reset(cx))).await;
            return Connection::Stays;
        }
        _ => {}
    }
    // A failure shows at the other end.
    let _ = answer(respond, body, plan, switch, head.method == http::Method::HEAD).await;
    Connection::Stays
}

/// The body, as far as it comes.
async fn whole(body: &mut RecvStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(piece)) = body.data().await {
        // Nobody else uses the window.
        let _ = body.flow_control().release_capacity(piece.len());
        bytes.extend_from_slice(&piece);
    }
    bytes
}

async fn answer(
    mut respond: SendResponse<Bytes>,
    mut body: RecvStream,
    plan: Plan,
    switch: bool,
    is_head: bool,
) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(plan.status).unwrap_or(StatusCode::BAD_GATEWAY);
    *head.headers_mut() = map(&plan.headers);
    if switch {
        let mut send = respond.send_response(head, false)?;
        while let Some(piece) = body.data().await {
            let piece = piece?;
            let _ = body.flow_control().release_capacity(piece.len());
            send.send_data(piece, false)?;
        }
        return send.send_data(Bytes::new(), true);
    }
    let empty = is_head || (plan.body.is_empty() && plan.trailers.is_empty());
    let mut send = respond.send_response(head, empty && plan.end == End::Answer)?;
    match plan.end {
        End::Answer if empty => Ok(()),
        End::Answer if plan.trailers.is_empty() => send.send_data(plan.body.into(), true),
        End::Answer => {
            send.send_data(plan.body.into(), false)?;
            send.send_trailers(map(&plan.trailers))
        }
        ending => {
            send.send_data(plan.body[..plan.body.len() / 2].to_vec().into(), false)?;
            if ending == End::Stall {
                let _ = tokio::time::timeout(FOREVER, futures_util::future::poll_fn(|cx| send.poll_reset(cx))).await;
            } else {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                send.send_reset(Reason::INTERNAL_ERROR);
            }
            Ok(())
        }
    }
}

/// Names and values.
pub(super) fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), crate::http1::latin1(value.as_bytes()))).collect()
}

fn map(pairs: &[(String, String)]) -> HeaderMap {
    let field = |(name, value): &(String, String)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    };
    let mut headers = HeaderMap::new();
    pairs.iter().filter_map(field).for_each(|(name, value)| {
        headers.append(name, value);
    });
    headers
}
