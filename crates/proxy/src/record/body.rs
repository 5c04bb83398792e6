//! The request's body as it passes.

use std::cell::Cell;
use std::rc::Rc;

use ::http::HeaderMap;
use mesh_http::grpc::Messages;
use mesh_http::{BodyEnd, BodyWatch};
use tokio::time::Instant;

use super::Record;

/// Counts messages of gRPC in a piece of a body.
pub(super) fn count(messages: &Cell<Messages>, data: &[u8]) {
    let mut known = messages.get();
    known.data(data);
    messages.set(known);
}

/// The request's body passes.
pub(super) struct RequestWatch(pub Rc<Record>);

impl BodyWatch for RequestWatch {
    fn data(&self, data: &[u8]) {
        self.0.request_data(data.len());
        if let Some(bodies) = &*self.0.bodies.borrow() {
            bodies.request(data);
        }
        if self.0.grpc {
            count(&self.0.request_messages, data);
        }
    }
    fn trailers(&self, _trailers: &HeaderMap) {}
    fn end(&self, _end: BodyEnd) {
        self.0.progress.moves();
        self.0.progress.receiving.set(false);
        if let Some(counted) = &mut self.0.facts.borrow_mut().counted {
            counted.whole = Instant::now();
        }
    }
}
