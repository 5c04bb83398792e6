//! A body that is changed on its way, piece by piece: compressed, or put into another framing.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

use super::Body;
use crate::error::{BodyError, BodyErrorKind, Side};

/// What is done to the pieces of a body. It holds little more than a piece of it at a time, and gives on what it can at
/// once: whoever reads the other end may wait for it.
pub trait BodyMap {
    /// What goes on in the place of a piece; empty if more is needed first.
    ///
    /// # Errors
    /// The body is not what it says; it ends with this.
    fn data(&mut self, data: Bytes) -> Result<Bytes, BodyErrorKind>;

    /// What goes on after the last piece, and the trailers behind it. Called once.
    ///
    /// # Errors
    /// The body is not what it says; it ends with this.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Ending, BodyErrorKind>;
}

/// The end of a changed body.
#[derive(Debug, Default)]
pub struct Ending {
    /// What is left of it.
    pub data: Bytes,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

/// A body and what changes it.
pub(super) struct Mapped {
    source: Body,
    map: Box<dyn BodyMap>,
    /// The source is at its end, and so is the map.
    ended: bool,
    /// To be told after the last piece.
    trailers: Option<HeaderMap>,
}

impl Mapped {
    pub(super) fn new(source: Body, map: impl BodyMap + 'static) -> Self {
        Self { source, map: Box::new(map), ended: false, trailers: None }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.ended && self.trailers.is_none()
    }

    pub(super) fn side(&self) -> Side {
        self.source.side()
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if self.ended {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let changed = match ready!(self.source.poll_next(cx)).transpose() {
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(data) => self.piece(data),
                    Err(frame) => self.end(frame.into_trailers().ok()),
                },
                Ok(None) => self.end(None),
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            };
            match changed {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(kind) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(BodyError::new(self.side(), kind))));
                }
            }
        }
    }

    /// A piece; with the last one comes the end, if it is known to be the last.
    fn piece(&mut self, data: Bytes) -> Result<Bytes, BodyErrorKind> {
        let changed = self.map.data(data)?;
        if !self.source.is_end_stream() {
            return Ok(changed);
        }
        let rest = self.end(None)?;
        if changed.is_empty() || rest.is_empty() {
            return Ok(if rest.is_empty() { changed } else { rest });
        }
        let mut both = BytesMut::with_capacity(changed.len() + rest.len());
        both.extend_from_slice(&changed);
        both.extend_from_slice(&rest);
        Ok(both.freeze())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Bytes, BodyErrorKind> {
        self.ended = true;
        let Ending { data, trailers } = self.map.end(trailers)?;
        self.trailers = trailers;
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::AGE;

    use super::*;

    /// Doubles every byte, and tells its end.
    struct Twice;

    impl BodyMap for Twice {
        fn data(&mut self, data: Bytes) -> Result<Bytes, BodyErrorKind> {
            if data == "bad" {
                return Err(BodyErrorKind::Malformed);
            }
            Ok(data.iter().flat_map(|byte| [*byte; 2]).collect::<Vec<u8>>().into())
        }

        fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Ending, BodyErrorKind> {
            Ok(Ending { data: "!".into(), trailers })
        }
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn pieces_ends_and_trailers() {
        run(async {
            assert_eq!(Body::mapped(Body::full("ab"), Twice).collect(99).await.unwrap().data, "aabb!");
            assert_eq!(Body::mapped(Body::empty(), Twice).collect(99).await.unwrap().data, "!");
            let (mut sender, body) = Body::channel(4);
            let mut body = Body::mapped(body, Twice);
            assert_eq!((body.exact_len(), body.is_end_stream()), (None, false));
            sender.send("a").await.unwrap();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "aa", "a piece does not wait");
            sender.finish_with(HeaderMap::from_iter([(AGE, HeaderValue::from_static("1"))]));
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "!");
            assert!(!body.is_end_stream(), "trailers follow");
            assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap()[AGE], "1");
            assert!(body.is_end_stream() && body.frame().await.is_none());
        });
    }

    #[test]
    fn what_breaks_off_stays_broken() {
        run(async {
            let error = Body::mapped(Body::full("bad"), Twice).collect(99).await.unwrap_err();
            assert_eq!(error.kind, BodyErrorKind::Malformed);
            let (sender, body) = Body::channel(4);
            drop(sender);
            let error = Body::mapped(body, Twice).collect(99).await.unwrap_err();
            assert_eq!(error.kind, BodyErrorKind::Cancelled, "no end is made up");
        });
    }
}
