//! The filter: an exchange's way through a module, first its request and then its response.

use std::rc::Rc;
use std::sync::Arc;

use filter::{Extension, Facts, Flow, LocalResponse, Phase};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use mesh_http::grpc::is_grpc;
use mesh_http::{Body, BodyErrorKind, is_upgrade};
use model::extension::WasmFailure;

use crate::abi::{Callback, Side};
use crate::context::{About, Stream};
use crate::exchange::{Exchange, Step, failed};
use crate::heads::{RequestHead, ResponseHead};
use crate::plugin::Plugin;
use crate::pump::{Piece, Pump, Stop};
use crate::worker;

/// A module as a filter. Several may share a plugin; each has exchanges of its own.
#[derive(Debug)]
pub(crate) struct WasmFilter {
    plugin: Arc<Plugin>,
}

/// A body, or how far it is through the guest already.
enum Rest {
    Untouched(Body),
    Begun(Box<Pump>, Option<Piece>),
}

impl WasmFilter {
    /// The filter of a plugin.
    pub(crate) fn new(plugin: Arc<Plugin>) -> Self {
        Self { plugin }
    }

    async fn request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let entered = match self.plugin.load.get().await {
            Ok(compiled) => worker::enter(&self.plugin, &compiled, facts.around.sender()),
            Err(why) => Err(why),
        };
        let entered = match entered {
            Ok(entered) => entered,
            Err(_) if self.plugin.settings.failure == WasmFailure::Open => return Flow::Continue,
            Err(why) => return Flow::Respond(Box::new(failed(&why))),
        };
        let is_upgrade = is_upgrade(request) || request.method() == Method::CONNECT;
        let is_grpc = is_grpc(request.headers());
        let scheme = facts.around.view(request).scheme.to_owned();
        let stream = Stream::new(RequestHead::take(request, &scheme), About::new(facts));
        let exchange = Rc::new(Exchange::new(self.plugin.clone(), entered, stream, is_grpc, is_upgrade));
        facts.keep(self, exchange.clone());
        let ends = request.body().is_end_stream();
        let mut body = Rest::Untouched(std::mem::take(request.body_mut()));
        let mut step = exchange.head(Side::Request, Callback::RequestHeaders, ends);
        if matches!(step, Step::Wait | Step::WaitForAll) {
            step = match exchange.paused(Side::Request, ends || matches!(step, Step::WaitForAll), &mut body).await {
                Ok(step) => step,
                Err(kind) => {
                    exchange.give_request(request);
                    return Flow::Broken(kind);
                }
            };
        }
        let reroute = exchange.give_request(request);
        match step {
            Step::Go | Step::Wait | Step::WaitForAll => {}
            Step::Answer(local) => return Flow::Respond(local),
            Step::Close => return Flow::Broken(BodyErrorKind::Cancelled),
            Step::Dead(_) if exchange.fails_open() => {}
            Step::Dead(why) => return Flow::Respond(Box::new(failed(&why))),
        }
        *request.body_mut() = exchange.through(Side::Request, ends, body, request.headers_mut());
        if reroute { Flow::Reroute } else { Flow::Continue }
    }

    async fn response(&self, response: &mut Response<Body>, facts: &mut Facts<'_>) {
        let Some(exchange) = facts.kept(self).and_then(|kept| kept.downcast::<Exchange>().ok()) else { return };
        let instead = exchange.answer.take();
        if let Some(local) = instead {
            replace(response, local, &exchange, facts);
        }
        exchange.vm.stream(exchange.id, |stream| {
            stream.about.routed(facts);
            stream.response = Some(ResponseHead::take(response));
            stream.half(Side::Response).open = true;
        });
        let ends = response.body().is_end_stream();
        let mut body = Rest::Untouched(std::mem::take(response.body_mut()));
        let mut step = exchange.head(Side::Response, Callback::ResponseHeaders, ends);
        if matches!(step, Step::Wait | Step::WaitForAll) {
            step = match exchange.paused(Side::Response, ends || matches!(step, Step::WaitForAll), &mut body).await {
                Ok(step) => step,
                Err(kind) => Step::Answer(Box::new(broken(kind))),
            };
        }
        exchange.give_response(response);
        let local = match step {
            Step::Go | Step::Wait | Step::WaitForAll => None,
            Step::Dead(_) if exchange.fails_open() => None,
            Step::Answer(local) => Some(*local),
            Step::Close => Some(failed("the module has closed the stream")),
            Step::Dead(why) => Some(failed(&why)),
        };
        match local {
            None => {
                let ends = ends || response.status() == StatusCode::SWITCHING_PROTOCOLS;
                *response.body_mut() = exchange.through(Side::Response, ends, body, response.headers_mut());
            }
            Some(local) => replace(response, local, &exchange, facts),
        }
    }
}

impl Exchange {
    /// Shows the guest a head.
    fn head(&self, side: Side, callback: Callback, ends: bool) -> Step {
        let count = self.vm.stream(self.id, |stream| stream.head(side).map_or(0, |head| head.len()));
        self.call(side, callback, [count.unwrap_or_default() as u32, ends.into()])
    }

    /// A head is paused: waits, and shows the guest the body meanwhile if it wants that.
    async fn paused(self: &Rc<Self>, side: Side, ends: bool, body: &mut Rest) -> Result<Step, BodyErrorKind> {
        if ends || !self.plugin.settings.reads_while_paused || !self.reads(side) {
            return Ok(self.wait(side).await);
        }
        let Rest::Untouched(source) = std::mem::replace(body, Rest::Untouched(Body::empty())) else {
            return Ok(Step::Go);
        };
        let mut pump = Box::new(Pump::held(self.clone(), side, source));
        match pump.released().await {
            Ok(piece) => {
                *body = Rest::Begun(pump, piece);
                Ok(Step::Go)
            }
            Err(Stop::Broken(error)) => Err(error.kind),
            Err(Stop::Step(step)) => Ok(step),
        }
    }

    /// The body that goes on. A length that the guest has made another is told anew where it is known.
    fn through(self: &Rc<Self>, side: Side, ends: bool, body: Rest, headers: &mut http::HeaderMap) -> Body {
        match body {
            Rest::Untouched(body) if ends || !self.reads(side) || self.vm.died().is_some() => body,
            Rest::Untouched(body) => Pump::new(self.clone(), side, body).into_body(None),
            Rest::Begun(pump, piece) => {
                if pump.is_over() && headers.contains_key(CONTENT_LENGTH) {
                    let length = if let Some(Piece::Data(data)) = &piece { data.len() } else { 0 };
                    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                }
                match piece {
                    None if pump.is_over() && !pump.has_trailers() => Body::empty(),
                    Some(Piece::Data(data)) if pump.is_over() && !pump.has_trailers() => Body::full(data),
                    piece => pump.into_body(piece),
                }
            }
        }
    }

    /// Gives the request its head, of which the guest keeps a copy to look at. True: its route is to be found again.
    fn give_request(&self, request: &mut Request<Body>) -> bool {
        let given = self.vm.stream(self.id, |stream| {
            stream.half(Side::Request).open = false;
            (stream.request.clone(), std::mem::take(&mut stream.reroute))
        });
        let Some((head, reroute)) = given else { return false };
        if let Some(head) = head {
            head.give(request);
        }
        reroute
    }

    /// Gives the response its head.
    fn give_response(&self, response: &mut Response<Body>) {
        let head = self.vm.stream(self.id, |stream| {
            stream.half(Side::Response).open = false;
            stream.response.clone()
        });
        if let Some(head) = head.flatten() {
            head.give(response);
        }
    }
}

/// Puts an answer of ours in the place of a response.
fn replace(response: &mut Response<Body>, local: LocalResponse, exchange: &Exchange, facts: &mut Facts<'_>) {
    facts.flags.insert(local.flags);
    *response = local.into_response(exchange.is_grpc);
    exchange.vm.stream(exchange.id, |stream| {
        if let Some(head) = &mut stream.response {
            (head.status, head.headers) = (response.status(), response.headers().clone());
        }
    });
}

/// The answer in the place of a response whose body broke off before its head went on. Envoy answers 500 to one that is too
/// large to be held.
fn broken(kind: BodyErrorKind) -> LocalResponse {
    let (status, details) = match kind {
        BodyErrorKind::TooLarge => (StatusCode::INTERNAL_SERVER_ERROR, "response_payload_too_large"),
        _ => (StatusCode::BAD_GATEWAY, "upstream_reset_after_response_started"),
    };
    LocalResponse { status, details: details.into(), ..failed(&format!("the response broke off: {kind}")) }
}

impl Extension for WasmFilter {
    fn on_request<'f>(&'f self, request: &'f mut Request<Body>, facts: &'f mut Facts<'_>) -> Phase<'f, Flow> {
        Box::pin(self.request(request, facts))
    }

    fn on_response<'f>(&'f self, response: &'f mut Response<Body>, facts: &'f mut Facts<'_>) -> Phase<'f, ()> {
        Box::pin(self.response(response, facts))
    }
}
