//! What a case is: data that says what is sent, and what of the outcome is compared.

use std::time::Duration;

/// One bootstrap file, and the cases that run through it.
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// Envoy's bootstrap as YAML, with names such as `$B1` in the place of ports: see [`crate::place`].
    pub bootstrap: String,
    /// EnvoyFilters that change the file first: see [`crate::patches`].
    pub patches: Option<String>,
    /// How long to wait before the first case, for example until health checks have looked.
    pub settle: Duration,
    /// One after the other.
    pub cases: Vec<Case>,
}

impl Group {
    /// A group that may begin as soon as its listeners are there.
    pub fn new(name: &'static str, bootstrap: impl Into<String>, cases: Vec<Case>) -> Self {
        Self { name, bootstrap: bootstrap.into(), patches: None, settle: Duration::ZERO, cases }
    }

    /// With the file changed by EnvoyFilters.
    pub fn patched(self, filters: String) -> Self {
        Self { patches: Some(filters), ..self }
    }

    /// Lets the proxies run for so many milliseconds first.
    pub fn settled_for(self, milliseconds: u64) -> Self {
        Self { settle: Duration::from_millis(milliseconds), ..self }
    }
}

/// Some requests whose outcome must be the same on both sides.
pub struct Case {
    /// Its name, unique in its group.
    pub name: &'static str,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// What is compared.
    pub compare: Compare,
    /// How long it is expected to take, if that is not "at once".
    pub about: Option<Duration>,
    /// Where the outcomes are known to differ.
    pub differs: Vec<Differs>,
}

/// A known difference. The run fails if there is none any more.
pub struct Differs {
    /// Which lines of the outcome differ, by the beginnings of their names.
    pub lines: &'static [&'static str],
    /// Why, as it stands in `docs/envoy-compatibility.md`.
    pub reason: &'static str,
}

/// What of an outcome is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// All of it.
    Everything,
    /// All of it but what the origins got: where a body goes wrong, its head may have been sent on already.
    Answer,
    /// All of it but which of the backends it was.
    AnyBackend,
    /// How many requests each backend got, as far as chance allows.
    Spread,
    /// How many requests each backend got, in order of size, exactly.
    Counts,
    /// Which backend got which request.
    Choice,
    /// How many requests had which status.
    Statuses,
}

/// One request, or the same one several times.
pub struct Step {
    /// What is sent.
    pub request: Request,
    /// How often; `{n}` in a path or a header's value is then the number.
    pub times: usize,
    /// All of them at once.
    pub together: bool,
    /// How long to wait before.
    pub pause: Duration,
    /// Under way meanwhile: it is sent first, and given up at the end. Nothing of it is compared.
    pub during: Option<Request>,
}

/// What is sent on a connection of its own.
#[derive(Debug, Clone)]
pub struct Request {
    /// The listener: `$LISTEN`, or another name that the bootstrap has.
    pub to: &'static str,
    /// In which form.
    pub wire: Wire,
    /// The handshake before it.
    pub tls: Option<Tls>,
    /// The method.
    pub method: &'static str,
    /// The target.
    pub path: String,
    /// The `host` header or `:authority`; empty for none.
    pub host: String,
    /// More headers.
    pub headers: Vec<(String, String)>,
    /// The body; with none neither length nor chunks are sent.
    pub body: Option<Vec<u8>>,
    /// Trailers; with some, an HTTP/1.1 body goes in chunks.
    pub trailers: Vec<(String, String)>,
}

/// The form of a request.
#[derive(Debug, Clone)]
pub enum Wire {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge, or by ALPN with TLS.
    Http2,
    /// These bytes, to which so many HTTP/1.1 answers are expected.
    Raw(Vec<u8>, usize),
    /// An upgrade or tunnel: a request by HTTP/1.1, then the body is sent once the answer's head is there.
    Tunnel,
    /// HTTP/2's preface and empty settings, then these bytes; the frames of the answer are named.
    Frames(Vec<u8>),
    /// These bytes; everything that comes back is the answer.
    Tcp(Vec<u8>),
}

/// The client's side of a handshake.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// The name that is asked for; none: no such extension.
    pub sni: Option<&'static str>,
    /// What is offered.
    pub alpn: Vec<&'static str>,
    /// Which certificate is shown: `client` is signed by the tests' authority, `stranger` by another.
    pub certificate: Option<&'static str>,
}

/// A case of one request.
pub fn case(name: &'static str, request: Request) -> Case {
    Case::of(name, vec![once(request)])
}

/// A step of one request.
pub fn once(request: Request) -> Step {
    Step { request, times: 1, together: false, pause: Duration::ZERO, during: None }
}

impl Case {
    /// A case of several steps.
    pub fn of(name: &'static str, steps: Vec<Step>) -> Self {
        Self { name, steps, compare: Compare::Everything, about: None, differs: Vec::new() }
    }

    /// Says what is compared.
    pub fn compare(self, compare: Compare) -> Self {
        Self { compare, ..self }
    }

    /// Both proxies must take about so many milliseconds.
    pub fn about(self, milliseconds: u64) -> Self {
        Self { about: Some(Duration::from_millis(milliseconds)), ..self }
    }

    /// Repeats the first step so many times, one after the other.
    pub fn times(mut self, times: usize) -> Self {
        self.steps.iter_mut().for_each(|step| step.times = times);
        self
    }

    /// Repeats each step so many times, all at once.
    pub fn together(mut self, times: usize) -> Self {
        self.steps.iter_mut().for_each(|step| (step.times, step.together) = (times, true));
        self
    }
}

impl Step {
    /// So many times.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// All of them at once.
    pub fn together(self, times: usize) -> Self {
        Self { times, together: true, ..self }
    }

    /// While an origin has this one.
    pub fn during(self, held: Request) -> Self {
        Self { during: Some(held), ..self }
    }

    /// After so many milliseconds.
    pub fn after(self, milliseconds: u64) -> Self {
        Self { pause: Duration::from_millis(milliseconds), ..self }
    }
}

/// A GET.
pub fn get(path: &str) -> Request {
    Request {
        to: "LISTEN",
        wire: Wire::Http1,
        tls: None,
        method: "GET",
        path: path.to_owned(),
        host: "a.example".to_owned(),
        headers: Vec::new(),
        body: None,
        trailers: Vec::new(),
    }
}

/// A POST.
pub fn post(path: &str, body: &str) -> Request {
    Request { method: "POST", body: Some(body.as_bytes().to_vec()), ..get(path) }
}

/// Bytes that are answered once, in the form of HTTP/1.1. `{id}` stands for the header by which a request is known.
pub fn raw(bytes: impl AsRef<[u8]>) -> Request {
    Request { wire: Wire::Raw(bytes.as_ref().to_vec(), 1), ..get("/") }
}

/// Frames of HTTP/2 after the preface.
pub fn frames(bytes: Vec<u8>) -> Request {
    Request { wire: Wire::Frames(bytes), ..get("/") }
}

/// Bytes through a TCP proxy.
pub fn tcp(bytes: &str) -> Request {
    Request { wire: Wire::Tcp(bytes.as_bytes().to_vec()), ..get("/") }
}

impl Request {
    /// To another listener.
    pub fn to(self, name: &'static str) -> Self {
        Self { to: name, ..self }
    }

    /// With another method.
    pub fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    /// For another host.
    pub fn host(self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self }
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With one more trailer.
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Asks the origin for something: see [`crate::origin`].
    pub fn asks(self, what: &str) -> Self {
        self.header("x-do", what)
    }

    /// By HTTP/2.
    pub fn h2(self) -> Self {
        Self { wire: Wire::Http2, ..self }
    }

    /// As a tunnel, in which the body is sent.
    pub fn tunnel(self, body: &str) -> Self {
        Self { wire: Wire::Tunnel, body: Some(body.as_bytes().to_vec()), ..self }
    }

    /// With TLS and that name.
    pub fn tls(self, sni: &'static str) -> Self {
        Self { tls: Some(Tls { sni: Some(sni).filter(|sni| !sni.is_empty()), ..Tls::default() }), ..self }
    }

    /// Offers protocols in the handshake.
    pub fn alpn(mut self, alpn: &[&'static str]) -> Self {
        self.tls.get_or_insert_default().alpn = alpn.to_vec();
        self
    }

    /// Shows a certificate in the handshake.
    pub fn shows(mut self, certificate: &'static str) -> Self {
        self.tls.get_or_insert_default().certificate = Some(certificate);
        self
    }

    /// Are these bytes in which a proxy may find no id?
    pub fn is_bytes(&self) -> bool {
        matches!(self.wire, Wire::Raw(..) | Wire::Frames(_) | Wire::Tcp(_))
    }

    /// How many answers raw bytes are expected to get.
    pub fn answers(mut self, count: usize) -> Self {
        if let Wire::Raw(_, expected) = &mut self.wire {
            *expected = count;
        }
        self
    }
}
