//! A proxy of one filter, and an upstream that echoes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use filter::{
    Alone, Answer, Around, Call, Chain, Ends, Extension, Extensions, Flow, Get, Limits, LocalResponse, Run, Sender,
    Stats, WholeAnswer,
};
use http::{HeaderMap, Request, Response};
use mesh_http::{Body, BodyErrorKind};
use model::access::Names;
use model::extension::{Lua, Wasm, WasmCode, WasmFailure};
use model::http_proxy::HttpFilter;
use model::route::{Action, DirectResponse, Found, PathMatch};
use model::{Route, VirtualHost};
use telemetry::{Exposition, Registry, Shard};

use crate::{Fetch, Modules};

/// A module with everything else as it usually is.
pub(super) fn settings(module: Vec<u8>) -> Wasm {
    Wasm {
        name: "w".into(),
        plugin: "plugin".into(),
        root_id: "root".into(),
        vm_id: "vm".into(),
        code: WasmCode::Inline(module.into()),
        configuration: Bytes::new(),
        vm_configuration: Bytes::new(),
        environment: BTreeMap::new(),
        host_environment: Vec::new(),
        reads_while_paused: false,
        failure: WasmFailure::Closed,
    }
}

/// Has nothing.
#[derive(Debug)]
pub(super) struct Nothing;

impl Fetch for Nothing {
    fn fetch(&self, uri: &str, _: Duration) -> std::pin::Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send>> {
        let why = format!("nothing is at {uri}");
        Box::pin(async move { Err(why) })
    }
}

/// One filter or several, and what is around them.
pub(super) struct Proxy {
    pub modules: Made,
    pub registry: Registry,
    pub chain: Chain,
    pub around: Surroundings,
}

/// Makes filters of one process.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub modules: Arc<Modules>,
}

impl Extensions for Made {
    fn lua(&self, _: &Arc<Lua>, _: &Shard, _: &str) -> Result<Arc<dyn Extension>, String> {
        Err("no scripts".to_owned())
    }

    fn wasm(&self, settings: &Arc<Wasm>, shard: &Shard, prefix: &str) -> Result<Arc<dyn Extension>, String> {
        self.modules.filter(settings, shard, prefix)
    }
}

impl Proxy {
    /// A proxy whose one filter is this module.
    pub(super) fn new(settings: Wasm) -> Self {
        Self::of(&[settings], Arc::new(Nothing)).unwrap()
    }

    /// The same, and the module sees bodies while it pauses heads.
    pub(super) fn reading(settings: Wasm) -> Self {
        Self::of(&[Wasm { reads_while_paused: true, ..settings }], Arc::new(Nothing)).unwrap()
    }

    /// A proxy of these filters.
    pub(super) fn of(settings: &[Wasm], fetch: Arc<dyn Fetch>) -> Result<Self, String> {
        let modules = Made { modules: Arc::new(Modules::new(fetch)) };
        Self::again(&modules, settings, Registry::new())
    }

    /// A proxy of these filters in a process that had others.
    pub(super) fn again(modules: &Made, settings: &[Wasm], registry: Registry) -> Result<Self, String> {
        let filters: Vec<_> = settings.iter().map(|one| HttpFilter::Wasm(Arc::new(one.clone()))).collect();
        let stats = Stats::new(&registry.shard(), "inbound").unwrap();
        let chain = Chain::new(&filters, &stats, None, modules)?;
        Ok(Self { modules: modules.clone(), registry, chain, around: Surroundings::default() })
    }

    /// What stands in the registry.
    pub(super) fn shows(&self, line: &str) -> bool {
        self.registry.expose(&Exposition::default()).lines().any(|shown| shown == line)
    }

    /// A request and what becomes of it.
    pub(super) async fn exchange(&self, mut request: Request<Body>) -> Outcome {
        let answer = Action::Respond(DirectResponse { status: 200, body: "".into() });
        let route = Route { name: "route-1".into(), ..Route::new(PathMatch::Prefix("/".into()), answer) };
        let host = VirtualHost::default();
        let mut run = self.chain.begin(Some(&Found { host: &host, route: &route }), 1);
        let flow = run.on_request(&mut request, &self.around).await;
        self.finish(&mut run, request, flow).await
    }

    async fn finish(&self, run: &mut Run<'_>, request: Request<Body>, flow: Flow) -> Outcome {
        let rerouted = matches!(flow, Flow::Reroute);
        let (head, body) = request.into_parts();
        let mut seen = None;
        let mut local = None;
        let mut response = match flow {
            Flow::Continue | Flow::Reroute => match body.collect(1 << 30).await {
                Ok(whole) => {
                    let mut response = Response::new(in_pieces(&whole.data));
                    response
                        .headers_mut()
                        .extend(head.headers.get("x-response").map(|v| (http::header::VIA, v.clone())));
                    seen = Some(whole);
                    response
                }
                Err(error) => {
                    let status = if error.kind == BodyErrorKind::TooLarge { 413 } else { 400 };
                    Response::builder().status(status).body(Body::empty()).unwrap()
                }
            },
            Flow::Respond(answer) => {
                local = Some((*answer).clone());
                answer.into_response(false)
            }
            Flow::Broken(kind) => {
                let status = if kind == BodyErrorKind::TooLarge { 413 } else { 400 };
                Response::builder().status(status).body(Body::empty()).unwrap()
            }
        };
        run.on_response(&mut response, &self.around).await;
        let (answer, body) = response.into_parts();
        let body = body.collect(1 << 30).await;
        Outcome {
            uri: head.uri.to_string(),
            request: head.headers,
            seen: seen.as_ref().map(|whole| text(&whole.data)),
            trailers: seen.and_then(|whole| whole.trailers),
            local,
            rerouted,
            status: answer.status.as_u16(),
            response: answer.headers,
            body: body.map(|whole| text(&whole.data)).map_err(|error| error.kind),
        }
    }
}

/// A body of four pieces at most, none of them very short.
fn in_pieces(data: &[u8]) -> Body {
    let (mut sender, body) = Body::channel(9);
    for piece in data.chunks((data.len() / 4).max(3)) {
        assert!(sender.try_send(Bytes::copy_from_slice(piece)).unwrap());
    }
    sender.finish();
    body
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What became of a request.
#[derive(Debug)]
pub(super) struct Outcome {
    pub uri: String,
    /// The head that the upstream saw, or would have.
    pub request: HeaderMap,
    /// The body that it saw; none if it was not asked.
    pub seen: Option<String>,
    pub trailers: Option<HeaderMap>,
    pub local: Option<LocalResponse>,
    pub rerouted: bool,
    pub status: u16,
    pub response: HeaderMap,
    pub body: Result<String, BodyErrorKind>,
}

impl Outcome {
    /// A header of the request.
    pub(super) fn told(&self, name: &str) -> Option<&str> {
        self.request.get(name).map(|value| value.to_str().unwrap())
    }

    /// Why it was refused, if it was.
    pub(super) fn why(&self) -> Option<&str> {
        let local = self.local.as_ref()?;
        assert_eq!((local.status.as_u16(), &*local.details, local.body.len()), (503, "wasm_fail_stream", 0));
        local.why.as_deref()
    }
}

/// A GET without a body.
pub(super) fn get() -> Request<Body> {
    let request = Request::get("/path?q=1").header("host", "reviews:80").header("x-response", "yes");
    request.body(Body::empty()).unwrap()
}

/// A POST of these pieces.
pub(super) fn post(pieces: &[&str], trailers: bool) -> Request<Body> {
    let (mut sender, body) = Body::channel(1000);
    for piece in pieces {
        assert!(sender.try_send(Bytes::copy_from_slice(piece.as_bytes())).unwrap());
    }
    match trailers {
        true => sender.finish_with(HeaderMap::from_iter([(http::header::AGE, "1".parse().unwrap())])),
        false => sender.finish(),
    }
    Request::post("/").header("host", "reviews").body(body).unwrap()
}

/// Runs a test on a worker whose time passes when nothing else happens.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// A proxy with a cluster `a`, which answers what it was asked, late.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    alone: Alone,
    names: Vec<String>,
    pub calls: Rc<Calls>,
}

/// The requests that were sent.
#[derive(Debug, Default)]
pub(super) struct Calls(pub RefCell<Vec<String>>);

/// Sends them.
#[derive(Debug)]
struct Sending(Rc<Calls>);

impl Sender for Sending {
    fn send(&self, cluster: Arc<str>, request: Request<Bytes>, timeout: Option<Duration>) -> WholeAnswer<'static> {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        let line = format!("{cluster} {} {host}{} {timeout:?}", request.method(), request.uri());
        self.0.0.borrow_mut().push(line);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            if &*cluster != "a" {
                return Err(format!("there is no cluster {cluster}"));
            }
            Ok(Response::builder().status(201).header("x-answer", "late").body(request.into_body()).unwrap())
        })
    }
}

impl Around for Surroundings {
    filter::as_alone!();
    fn is_asked_why(&self, _: &Request<Body>) -> bool {
        false
    }
    fn service_cluster(&self) -> &str {
        ""
    }
    fn has_cluster(&self, _: &str) -> bool {
        true
    }
    fn route_limits(&self, _: &Route, _: &VirtualHost) -> Option<&Limits> {
        None
    }
    fn call<'c>(&'c self, call: Call<'c>) -> Answer<'c> {
        self.alone.call(call)
    }
    fn get(&self, get: Get) -> Answer<'_> {
        self.alone.get(get)
    }
    fn get_beside(&self, get: Get, done: Box<dyn FnOnce(Result<Bytes, String>)>) {
        self.alone.get_beside(get, done);
    }
    fn sender(&self) -> Rc<dyn Sender> {
        Rc::new(Sending(self.calls.clone()))
    }
    fn ends(&self, _: &str) -> Ends<'_> {
        let uris = if self.names.is_empty() { &[][..] } else { &self.names[..1] };
        Ends {
            source: "10.0.0.1:1234".parse().unwrap(),
            destination: "10.0.0.2:80".parse().unwrap(),
            peer: Some(Names { uris, dns: &[], subject: "CN=x" }),
            own: Some("spiffe://own"),
            certificate: None,
            server_name: Some("sni.example"),
            labels: None,
        }
    }
}
