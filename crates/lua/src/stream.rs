//! One direction of an exchange, as its script has it: the head until it has gone on, the body as far as it is held, the
//! trailers once they are there.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ::bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use mesh_http::{Body, Collected, head};
use mlua::{Error, Thread};

use crate::fields::Part;
use crate::info::Info;
use crate::metadata::Shared;

const SCHEME: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// One direction of an exchange.
pub(crate) struct Stream {
    /// What both directions share.
    pub shared: Rc<Shared>,
    /// `http` or `https`.
    scheme: String,
    head: RefCell<Head>,
    /// The coroutine that this is for; none once it has ended.
    thread: RefCell<Option<Thread>>,
    /// The head was changed.
    changed: Cell<bool>,
    /// The script wants the route to be found again.
    pub reroutes: Cell<bool>,
    /// What is held of the body, and the how manieth piece that is.
    held: RefCell<(u64, Option<Bytes>)>,
    /// That is the whole body.
    whole: Cell<bool>,
    /// What is held was changed.
    rewritten: Cell<bool>,
    trailers: RefCell<Option<HeaderMap>>,
    /// What is told of the exchange, once it was asked for.
    pub info: RefCell<Option<Rc<Info>>>,
}

/// A head, with the body behind it.
enum Head {
    Request(Box<Request<Body>>),
    Response(Box<Response<Body>>),
    /// It has gone on.
    Gone,
}

impl Stream {
    fn of(shared: Rc<Shared>, scheme: &str, head: Head) -> Rc<Self> {
        Rc::new(Self {
            shared,
            scheme: scheme.to_owned(),
            head: RefCell::new(head),
            thread: RefCell::default(),
            changed: Cell::default(),
            reroutes: Cell::default(),
            held: RefCell::default(),
            whole: Cell::default(),
            rewritten: Cell::default(),
            trailers: RefCell::default(),
            info: RefCell::default(),
        })
    }

    /// A request, which is given back by [`request`](Self::request).
    pub(crate) fn of_request(shared: Rc<Shared>, scheme: &str, request: &mut Request<Body>) -> Rc<Self> {
        let request = std::mem::replace(request, Request::new(Body::empty()));
        Self::of(shared, scheme, Head::Request(Box::new(request)))
    }

    /// A response, which is given back by [`response`](Self::response).
    pub(crate) fn of_response(shared: Rc<Shared>, response: &mut Response<Body>) -> Rc<Self> {
        let response = std::mem::replace(response, Response::new(Body::empty()));
        Self::of(shared, "", Head::Response(Box::new(response)))
    }

    /// The head goes on.
    pub(crate) fn request(&self) -> Option<Request<Body>> {
        match self.gone() {
            Head::Request(request) => Some(*request),
            _ => None,
        }
    }

    /// The head goes on.
    pub(crate) fn response(&self) -> Option<Response<Body>> {
        match self.gone() {
            Head::Response(response) => Some(*response),
            _ => None,
        }
    }

    /// Takes the head, with what was held of the body before what was not.
    fn gone(&self) -> Head {
        let mut head = std::mem::replace(&mut *self.head.borrow_mut(), Head::Gone);
        let (headers, body) = match &mut head {
            Head::Request(request) => {
                let request = &mut **request;
                // The borrow of the parts ends here: both are wanted at once.
                let body = std::mem::take(request.body_mut());
                (request.headers_mut(), body)
            }
            Head::Response(response) => {
                let response = &mut **response;
                let body = std::mem::take(response.body_mut());
                (response.headers_mut(), body)
            }
            Head::Gone => return head,
        };
        let body = match self.held.borrow_mut().1.take() {
            None => body,
            Some(data) => {
                if self.rewritten.take() {
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(data.len()));
                }
                Collected { data, trailers: self.trailers.borrow_mut().take() }.into()
            }
        };
        match &mut head {
            Head::Request(request) => *request.body_mut() = body,
            Head::Response(response) => *response.body_mut() = body,
            Head::Gone => {}
        }
        head
    }

    /// The script begins.
    pub(crate) fn begin(&self, thread: Thread) {
        *self.thread.borrow_mut() = Some(thread);
    }

    /// The script has ended: what it kept of this is of no use any more.
    pub(crate) fn end(&self) {
        *self.thread.borrow_mut() = None;
    }

    /// May this be used?
    pub(crate) fn check(&self) -> mlua::Result<()> {
        match *self.thread.borrow() {
            Some(_) => Ok(()),
            None => Err(Error::runtime("this is of an exchange that is over: objects are not to be kept")),
        }
    }

    /// May the script wait, in this coroutine?
    pub(crate) fn may_wait(&self, thread: &Thread) -> mlua::Result<()> {
        self.check()?;
        match &*self.thread.borrow() {
            Some(own) if own.to_pointer() == thread.to_pointer() => Ok(()),
            _ => Err(Error::runtime("a coroutine of the script's own cannot wait for anything")),
        }
    }

    /// Was the head changed?
    pub(crate) fn was_changed(&self) -> bool {
        self.changed.get()
    }

    pub(crate) fn is_request(&self) -> bool {
        matches!(*self.head.borrow(), Head::Request(_))
    }

    /// Is there a body to be read?
    pub(crate) fn has_body(&self) -> bool {
        match &*self.head.borrow() {
            Head::Request(request) => !request.body().is_end_stream() && !mesh_http::is_upgrade(request),
            Head::Response(response) => {
                !response.body().is_end_stream() && response.status() != StatusCode::SWITCHING_PROTOCOLS
            }
            Head::Gone => false,
        }
    }

    /// Takes the body, to read it.
    pub(crate) fn take_body(&self) -> Body {
        match &mut *self.head.borrow_mut() {
            Head::Request(request) => std::mem::take(request.body_mut()),
            Head::Response(response) => std::mem::take(response.body_mut()),
            Head::Gone => Body::empty(),
        }
    }

    /// Was the whole body read?
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.get()
    }

    /// The body was read.
    pub(crate) fn hold(&self, whole: Collected) -> u64 {
        *self.trailers.borrow_mut() = whole.trailers;
        self.whole.set(true);
        self.hold_piece(whole.data)
    }

    /// A piece of the body passes; by its number it is known again.
    pub(crate) fn hold_piece(&self, data: Bytes) -> u64 {
        let mut held = self.held.borrow_mut();
        *held = (held.0 + 1, Some(data));
        held.0
    }

    /// The number of the piece that is held.
    pub(crate) fn piece(&self) -> u64 {
        self.held.borrow().0
    }

    /// The piece goes on.
    pub(crate) fn release(&self) -> Bytes {
        self.held.borrow_mut().1.take().unwrap_or_default()
    }

    /// The piece of that number, if it is held still.
    pub(crate) fn bytes(&self, which: u64) -> Option<Bytes> {
        let held = self.held.borrow();
        if held.0 == which { held.1.clone() } else { None }
    }

    /// Other bytes in the place of the piece.
    pub(crate) fn set_bytes(&self, bytes: Bytes) {
        self.held.borrow_mut().1 = Some(bytes);
        self.rewritten.set(true);
    }

    /// The trailers came, or none.
    pub(crate) fn set_trailers(&self, trailers: Option<HeaderMap>) {
        *self.trailers.borrow_mut() = trailers;
    }

    pub(crate) fn has_trailers(&self) -> bool {
        self.trailers.borrow().is_some()
    }

    pub(crate) fn take_trailers(&self) -> Option<HeaderMap> {
        self.trailers.borrow_mut().take()
    }

    /// The length that a head tells is wrong if pieces change on their way.
    pub(crate) fn forget_length(&self) {
        match &mut *self.head.borrow_mut() {
            Head::Request(request) => drop(request.headers_mut().remove(header::CONTENT_LENGTH)),
            Head::Response(response) => drop(response.headers_mut().remove(header::CONTENT_LENGTH)),
            Head::Gone => {}
        }
    }

    /// Looks at headers or trailers; they are empty if they are not there.
    pub(crate) fn read<T>(&self, part: Part, look: impl FnOnce(&HeaderMap) -> T) -> T {
        if part == Part::Trailers {
            return match &*self.trailers.borrow() {
                Some(trailers) => look(trailers),
                None => look(&HeaderMap::new()),
            };
        }
        match &*self.head.borrow() {
            Head::Request(request) => look(request.headers()),
            Head::Response(response) => look(response.headers()),
            Head::Gone => look(&HeaderMap::new()),
        }
    }

    /// Changes headers or trailers.
    pub(crate) fn change(&self, part: Part, change: impl FnOnce(&mut HeaderMap)) -> mlua::Result<()> {
        if part == Part::Trailers {
            return match &mut *self.trailers.borrow_mut() {
                Some(trailers) => {
                    change(trailers);
                    Ok(())
                }
                None => Err(Error::runtime("the trailers have gone on: they cannot be changed any more")),
            };
        }
        match &mut *self.head.borrow_mut() {
            Head::Request(request) => change(request.headers_mut()),
            Head::Response(response) => change(response.headers_mut()),
            Head::Gone => return Err(gone()),
        }
        self.changed.set(true);
        Ok(())
    }

    /// What HTTP/2 writes as a field with a colon; and the host.
    pub(crate) fn special(&self, name: &str) -> Option<String> {
        match (&*self.head.borrow(), name) {
            (Head::Request(request), ":method") => Some(request.method().to_string()),
            (Head::Request(request), ":path") => {
                Some(request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned())
            }
            (Head::Request(_), ":scheme") => Some(self.scheme.clone()),
            (Head::Request(request), name) if is_host(name) => head::authority(request).map(str::to_owned),
            (Head::Response(response), ":status") => Some(response.status().as_str().to_owned()),
            _ => None,
        }
    }

    /// Another value there.
    pub(crate) fn set_special(&self, name: &str, value: &HeaderValue) -> mlua::Result<()> {
        let wrong = |expected: &str| {
            let value = String::from_utf8_lossy(value.as_bytes());
            Error::runtime(format!("`{value}` as {name}: expected {expected}"))
        };
        let text = value.to_str().unwrap_or_default();
        match (&mut *self.head.borrow_mut(), name) {
            (Head::Gone, _) => return Err(gone()),
            (Head::Request(request), ":method") => {
                *request.method_mut() = Method::from_bytes(value.as_bytes()).map_err(|_| wrong("a method"))?;
            }
            (Head::Request(request), ":path") => {
                head::set_target(request, text).then_some(()).ok_or_else(|| wrong("a path"))?;
            }
            (Head::Request(request), ":scheme") => drop(request.headers_mut().insert(SCHEME, value.clone())),
            (Head::Request(request), name) if is_host(name) => {
                head::set_authority(request, text).then_some(()).ok_or_else(|| wrong("a host"))?;
            }
            (Head::Response(response), ":status") => {
                let status = StatusCode::from_bytes(value.as_bytes()).ok().filter(|it| it.as_u16() >= 200);
                *response.status_mut() = status.ok_or_else(|| wrong("a status of 200 to 999"))?;
            }
            (_, name) => return Err(Error::runtime(format!("there is no {name} here"))),
        }
        self.changed.set(true);
        Ok(())
    }

    /// All fields, those with a colon first, as Envoy has them.
    pub(crate) fn all(&self, part: Part) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        if part == Part::Headers {
            let special = [":authority", ":path", ":method", ":scheme", ":status"].into_iter();
            all.extend(special.filter_map(|name| Some((name.to_owned(), self.special(name)?.into_bytes()))));
        }
        let hides_host = part == Part::Headers && self.is_request();
        self.read(part, |map| {
            let shown = map.iter().filter(|(name, _)| !hides_host || **name != header::HOST);
            all.extend(shown.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())));
        });
        all
    }
}

fn is_host(name: &str) -> bool {
    name == ":authority" || name.eq_ignore_ascii_case("host")
}

fn gone() -> Error {
    Error::runtime("the headers have gone on: they cannot be changed any more")
}
