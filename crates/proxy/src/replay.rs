//! A body that can be sent more than once: for retries and mirrors.
//!
//! Bodies that are at hand, or soon will be, are kept (up to a number of bytes, [`LIMIT`] by default); others stream through, and their request can
//! only be tried again as long as nothing of them was used, which the upstream side tells.

use std::future::poll_fn;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request};
use mesh_http::{Body, BodyError};

/// Bytes of a body that are kept for another try, unless the listener says another number.
pub(crate) const LIMIT: usize = 64 * 1024;

/// What the body of another try is made from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replay {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl Replay {
    /// The body once more.
    pub(crate) fn body(&self) -> Body {
        body(self.data.clone(), self.trailers.clone())
    }

    /// The request once more, for others than its upstream.
    pub(crate) fn copy(&self, request: &Request<Body>) -> Request<Body> {
        let mut copy = Request::new(self.body());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.version_mut() = request.version();
        *copy.headers_mut() = request.headers().clone();
        copy
    }
}

/// Makes a request's body repeatable if it allows that. Waits for a body whose length is known and small.
///
/// # Errors
/// The body broke off meanwhile.
pub(crate) async fn prepare(request: &mut Request<Body>, most: usize) -> Result<Option<Replay>, BodyError> {
    let length = request.body().exact_len();
    if request.body().is_end_stream() {
        return Ok(Some(Replay::default()));
    } else if length.is_some_and(|len| len > most as u64) {
        return Ok(None);
    }
    let incoming = std::mem::take(request.body_mut());
    let replay = if length.is_some() {
        let whole = incoming.collect(most).await?;
        Replay { data: whole.data, trailers: whole.trailers }
    } else {
        match what_is_there(incoming, most).await? {
            Arrived::Whole(data, trailers) => Replay { data, trailers },
            Arrived::Part(body) => {
                *request.body_mut() = body;
                return Ok(None);
            }
        }
    };
    *request.body_mut() = replay.body();
    Ok(Some(replay))
}

enum Arrived {
    Whole(Bytes, Option<HeaderMap>),
    Part(Body),
}

/// Takes what has arrived already. A short gRPC message comes with its head; a stream must not be waited for.
async fn what_is_there(mut incoming: Body, most: usize) -> Result<Arrived, BodyError> {
    let mut data = BytesMut::new();
    loop {
        let frame = poll_fn(|cx| Poll::Ready(incoming.poll_next(cx))).await;
        match frame {
            Poll::Pending if data.is_empty() => return Ok(Arrived::Part(incoming)),
            Poll::Pending => return Ok(Arrived::Part(Body::resumed(data.freeze(), incoming))),
            Poll::Ready(None) => return Ok(Arrived::Whole(data.freeze(), None)),
            Poll::Ready(Some(frame)) => match frame?.into_data() {
                Ok(more) => data.extend_from_slice(&more),
                Err(frame) => return Ok(Arrived::Whole(data.freeze(), frame.into_trailers().ok())),
            },
        }
        if data.len() > most {
            return Ok(Arrived::Part(Body::resumed(data.freeze(), incoming)));
        }
        if incoming.is_end_stream() {
            return Ok(Arrived::Whole(data.freeze(), None));
        }
    }
}

fn body(data: Bytes, trailers: Option<HeaderMap>) -> Body {
    let Some(trailers) = trailers else {
        return if data.is_empty() { Body::empty() } else { Body::full(data) };
    };
    let (mut sender, body) = Body::channel(2);
    // The channel has room for both; nobody can have closed it yet.
    let _ = sender.try_send(data);
    sender.finish_with(trailers);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn what_is_kept() {
        run(async {
            let (mut with_trailers, trailed) = Body::channel(4);
            with_trailers.send("abc").await.unwrap();
            with_trailers.finish_with(HeaderMap::from_iter([(http::header::AGE, "1".parse().unwrap())]));
            let (mut open, streaming) = Body::channel(4);
            open.send("abc").await.unwrap();
            let (_silent, waiting) = Body::channel(4);
            for (body, expected) in [
                (Body::empty(), Some("")),
                (Body::full("abc"), Some("abc")),
                (trailed, Some("abc")),
                (streaming, None),
                (waiting, None),
                (Body::full(vec![b'x'; LIMIT + 1]), None),
            ] {
                let name = format!("{body:?}");
                let mut request = Request::new(body);
                let kept = match prepare(&mut request, LIMIT).await.unwrap() {
                    None => None,
                    Some(replay) => Some(replay.body().collect(LIMIT).await.unwrap().data),
                };
                assert_eq!(kept.as_deref(), expected.map(str::as_bytes), "{name}");
            }
        });
    }

    #[test]
    fn nothing_is_lost_on_the_way() {
        run(async {
            let (mut sender, body) = Body::channel(4);
            sender.send("abc").await.unwrap();
            let mut request = Request::new(body);
            assert!(prepare(&mut request, LIMIT).await.unwrap().is_none());
            sender.send("def").await.unwrap();
            sender.finish();
            assert_eq!(request.into_body().collect(100).await.unwrap().data, "abcdef");
        });
    }
}
