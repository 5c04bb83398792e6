//! A body that a script looks at as it passes, piece by piece.

use ::bytes::Bytes;
use http::HeaderMap;
use mesh_http::{BodyErrorKind, BodyMap, Ending};

use crate::course::{Course, Wish};

/// What a script still wants of a body that passes.
pub(crate) struct Chunks {
    course: Course,
    waits: Waits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Chunk,
    Trailers,
    /// For nothing: what is to come passes as it is.
    Over,
}

impl Chunks {
    /// The script waits for this.
    pub(crate) fn new(course: Course, wish: &Wish) -> Self {
        let waits = match wish {
            Wish::Chunk => Waits::Chunk,
            Wish::Trailers => Waits::Trailers,
            _ => Waits::Over,
        };
        Self { course, waits }
    }

    /// What the script wants next. What it cannot have while a body passes, it is told.
    fn heed(&mut self, mut wish: Wish) {
        self.waits = loop {
            let refused = match wish {
                Wish::Chunk => break Waits::Chunk,
                Wish::Trailers => break Waits::Trailers,
                Wish::Nothing => break Waits::Over,
                Wish::Body { .. } => "body() cannot be had after bodyChunks() or trailers()",
                Wish::Call(_) => "httpCall() cannot be made while the body passes: it is made before, or after body()",
                Wish::Respond(_) => "respond() is too late: the headers have gone on",
                Wish::Info => "it is not known here",
            };
            wish = self.course.refuse(refused);
        };
    }

    fn piece(&mut self, data: Bytes) -> Bytes {
        let which = self.course.stream.hold_piece(data);
        let wish = self.course.resume_bytes(which);
        self.heed(wish);
        self.course.stream.release()
    }
}

impl BodyMap for Chunks {
    fn data(&mut self, data: Bytes) -> Result<Bytes, BodyErrorKind> {
        Ok(if self.waits == Waits::Chunk { self.piece(data) } else { data })
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Ending, BodyErrorKind> {
        let stream = self.course.stream.clone();
        stream.set_trailers(trailers);
        if self.waits == Waits::Chunk {
            // As in Envoy, the last piece is empty; what a script makes of it after its loop still goes out.
            let which = stream.hold_piece(Bytes::new());
            let mut wish = self.course.resume_bytes(which);
            while matches!(wish, Wish::Chunk) {
                wish = self.course.resume_nil();
            }
            self.heed(wish);
        }
        while self.waits == Waits::Trailers {
            let wish = self.course.resume_trailers();
            self.heed(wish);
        }
        Ok(Ending { data: stream.release(), trailers: stream.take_trailers() })
    }
}
