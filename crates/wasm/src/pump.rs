//! A body on its way through a guest, piece by piece. What the guest pauses is held until it lets it go on, and shown to it
//! as one with what comes meanwhile.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use mesh_http::body::BodySender;
use mesh_http::{Body, BodyEnd, BodyError, BodyErrorKind, BodyWatch};

use crate::abi::Side;
use crate::bounds;
use crate::exchange::{Exchange, Step};

/// A body and the guest that it goes through.
pub(crate) struct Pump {
    exchange: Rc<Exchange>,
    side: Side,
    source: Body,
    /// The guest has what it is shown, and wants to wait.
    is_paused: bool,
    /// The source is at its end, and the guest knows.
    ended: bool,
    /// What comes now, the guest is not shown: it is dead, and what it would see passes.
    is_blind: bool,
    /// To be given next.
    trailers: Option<HeaderMap>,
}

/// Why a body does not go on.
pub(crate) enum Stop {
    Broken(BodyError),
    /// What the guest said, or came to.
    Step(Step),
}

/// What goes on.
pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Pump {
    /// The way of this body through the guest.
    pub(crate) fn new(exchange: Rc<Exchange>, side: Side, source: Body) -> Self {
        Self { exchange, side, source, is_paused: false, ended: false, is_blind: false, trailers: None }
    }

    /// The same while the head before it is paused: nothing goes on until the guest says so.
    pub(crate) fn held(exchange: Rc<Exchange>, side: Side, source: Body) -> Self {
        Self { is_paused: true, ..Self::new(exchange, side, source) }
    }

    /// Has the guest seen, and let go, all of it?
    pub(crate) fn is_over(&self) -> bool {
        self.ended && !self.is_paused
    }

    /// Are trailers to come?
    pub(crate) fn has_trailers(&self) -> bool {
        self.trailers.is_some()
    }

    /// Waits until the guest lets go what it paused, and gives what there is of the body by then.
    pub(crate) async fn released(&mut self) -> Result<Option<Piece>, Stop> {
        while !self.advance().await? {}
        let data = self.take();
        Ok((!data.is_empty()).then_some(Piece::Data(data)))
    }

    /// The next piece; none at the end.
    async fn next(&mut self) -> Result<Option<Piece>, Stop> {
        loop {
            if !self.is_paused {
                if let Some(trailers) = self.trailers.take() {
                    return Ok(Some(Piece::Trailers(trailers)));
                }
                if self.ended {
                    return Ok(None);
                }
            }
            if self.advance().await? {
                let data = self.take();
                if !data.is_empty() {
                    return Ok(Some(Piece::Data(data)));
                }
            }
        }
    }

    /// Waits until something happens. True: the guest lets go what it has.
    async fn advance(&mut self) -> Result<bool, Stop> {
        let step = if self.ended {
            self.exchange.wait(self.side).await
        } else {
            tokio::select! {
                frame = self.source.frame() => self.shown(frame)?,
                () = self.exchange.woken(self.side), if !self.is_blind => match self.exchange.said(self.side) {
                    // Nothing was held up.
                    Step::Go if !self.is_paused => Step::Wait,
                    said => said,
                },
            }
        };
        match step {
            Step::Wait | Step::WaitForAll => return Ok(false),
            Step::Go => {}
            Step::Dead(_) if self.exchange.fails_open() => self.is_blind = true,
            step => return Err(Stop::Step(step)),
        }
        self.is_paused = false;
        Ok(true)
    }

    /// Shows the guest what came.
    fn shown(&mut self, frame: Option<Result<Frame<Bytes>, BodyError>>) -> Result<Step, Stop> {
        let frame = frame.transpose().map_err(Stop::Broken)?;
        let step = match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                self.ended = self.source.is_end_stream();
                self.hold(&data)?;
                self.show_data()
            }
            Some(Err(frame)) => {
                self.ended = true;
                self.show_trailers(frame.into_trailers().unwrap_or_default())
            }
            None => {
                self.ended = true;
                self.hold(&[])?;
                self.show_data()
            }
        };
        self.is_paused = matches!(step, Step::Wait | Step::WaitForAll);
        Ok(step)
    }

    /// Puts data to what the guest is shown.
    fn hold(&mut self, data: &[u8]) -> Result<(), Stop> {
        let side = self.side;
        let held = self.exchange.vm.stream(self.exchange.id, |stream| {
            let half = stream.half(side);
            half.bytes += data.len() as u64;
            let body = half.body.get_or_insert_with(BytesMut::new);
            body.extend_from_slice(data);
            body.len()
        });
        if self.is_paused && held.is_some_and(|held| held > bounds::PAUSED_BODY) {
            return Err(Stop::Broken(self.error(BodyErrorKind::TooLarge)));
        }
        Ok(())
    }

    fn show_data(&mut self) -> Step {
        if self.is_blind {
            return Step::Go;
        }
        let length = self
            .exchange
            .vm
            .stream(self.exchange.id, |stream| stream.half_of(self.side).body.as_ref().map_or(0, BytesMut::len));
        let args = [length.unwrap_or_default() as u32, self.ended.into()];
        self.exchange.call(self.side, self.side.on_body(), args)
    }

    fn show_trailers(&mut self, trailers: HeaderMap) -> Step {
        let count = trailers.len() as u32;
        self.exchange.vm.stream(self.exchange.id, |stream| stream.half(self.side).trailers = Some(trailers));
        if self.is_blind {
            return Step::Go;
        }
        self.exchange.call(self.side, self.side.on_trailers(), [count, 0])
    }

    /// What the guest lets go. At trailers, if there are any, it may look later on too.
    fn take(&mut self) -> Bytes {
        let taken = self.exchange.vm.stream(self.exchange.id, |stream| {
            let half = stream.half(self.side);
            (half.body.take(), half.trailers.clone())
        });
        let (body, trailers) = taken.unwrap_or_default();
        self.trailers = trailers;
        body.map(BytesMut::freeze).unwrap_or_default()
    }

    fn error(&self, kind: BodyErrorKind) -> BodyError {
        let side = match self.side {
            Side::Request => mesh_http::Side::Downstream,
            Side::Response => mesh_http::Side::Upstream,
        };
        BodyError::new(side, kind)
    }

    /// As a body, behind a first piece. It goes on whenever its reader waits for more.
    pub(crate) fn into_body(self, first: Option<Piece>) -> Body {
        let (sender, mut body) = Body::channel(1);
        let work: Pin<Box<dyn Future<Output = ()>>> = Box::pin(self.feed(sender, first));
        body.on_frame(Rc::new(Feeding(RefCell::new(Some(work)))));
        // Whoever reads it may want to watch it too; a body has one watch.
        Body::resumed(Bytes::new(), body)
    }

    async fn feed(mut self, mut sender: BodySender, first: Option<Piece>) {
        let mut piece = first;
        loop {
            match piece {
                Some(Piece::Data(data)) => {
                    let Ok(()) = sender.send(data).await else { return };
                }
                Some(Piece::Trailers(trailers)) => return sender.finish_with(trailers),
                None => {}
            }
            piece = match self.next().await {
                Ok(Some(piece)) => Some(piece),
                Ok(None) => return sender.finish(),
                Err(Stop::Broken(error)) => return sender.abort(error),
                Err(Stop::Step(step)) => {
                    // The head of the request is sent already: the answer takes the place of the response.
                    let local = match step {
                        Step::Answer(local) => Some(*local),
                        Step::Dead(why) => Some(crate::exchange::failed(&why)),
                        Step::Go | Step::Wait | Step::WaitForAll | Step::Close => None,
                    };
                    self.exchange.answer.replace(local.filter(|_| self.side == Side::Request));
                    return sender.abort(self.error(BodyErrorKind::Cancelled));
                }
            };
        }
    }
}

/// Feeds a body in its reader's task: each time that the reader has to wait, the work goes on.
struct Feeding(RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>);

impl BodyWatch for Feeding {
    fn data(&self, _: &[u8]) {}

    fn trailers(&self, _: &HeaderMap) {}

    fn end(&self, _: BodyEnd) {
        // Outside of the borrow: what is dropped with it may be much.
        let work = self.0.take();
        drop(work);
    }

    fn poll_limit(&self, cx: &mut Context<'_>) -> Poll<BodyErrorKind> {
        let work = self.0.take();
        if let Some(mut work) = work
            && work.as_mut().poll(cx).is_pending()
        {
            self.0.replace(Some(work));
        }
        Poll::Pending
    }
}
