//! A chain with one script, and a proxy around it whose one cluster answers as it is told.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use filter::{
    Alone, Answer, Around, Call, Chain, Ends, Exchange, Extension, Extensions, Flow, Get, Limits, Sender, Stats,
    WholeAnswer,
};
use http::{HeaderMap, Request, Response, StatusCode};
use lua::Scripts;
use mesh_http::Body;
use model::extension::{Lua, Script, Wasm};
use model::http_proxy::HttpFilter;
use model::route::{Action, DirectResponse, FilterRule, FilterRules, Found, PathMatch};
use model::{Route, VirtualHost, access};
use telemetry::{Exposition, Registry, Shard};

/// Makes scripts alone.
#[derive(Debug, Default)]
pub struct OnlyLua(pub Scripts);

impl Extensions for OnlyLua {
    fn lua(&self, settings: &Arc<Lua>, shard: &Shard, prefix: &str) -> Result<Arc<dyn Extension>, String> {
        self.0.filter(settings, shard, prefix)
    }

    fn wasm(&self, _: &Arc<Wasm>, _: &Shard, _: &str) -> Result<Arc<dyn Extension>, String> {
        Err("no modules here".to_owned())
    }
}

/// A filter with this script.
pub fn lua(script: &str) -> Lua {
    Lua {
        name: "script".into(),
        stat_prefix: "".into(),
        script: Some(Script::Text(script.into())),
        named: Default::default(),
        reroutes: true,
        context: None,
    }
}

/// A chain, what it counts, and the proxy around.
pub struct Rig {
    pub chain: Chain,
    pub registry: Registry,
    pub around: Cluster,
    pub rule: Option<FilterRule>,
}

impl Rig {
    /// With this script.
    pub fn new(script: &str) -> Self {
        Self::with(lua(script)).unwrap()
    }

    /// With this filter, if it can be made.
    pub fn with(settings: Lua) -> Result<Self, String> {
        let registry = Registry::new();
        let stats = Stats::new(&registry.shard(), "in").unwrap();
        let filters = [HttpFilter::Lua(Arc::new(settings))];
        let chain = Chain::new(&filters, &stats, None, &OnlyLua::default())?;
        assert!(chain.waits());
        Ok(Self { chain, registry, around: Cluster::default(), rule: None })
    }

    /// One exchange; the upstream answers with what is left of the request's body, and its headers.
    pub async fn exchange(&self, mut request: Request<Body>) -> Outcome {
        let answer = Action::Respond(DirectResponse { status: 200, body: "".into() });
        let named = self.rule.clone().map(|rule| ("script".into(), rule)).into_iter().collect();
        let filters = FilterRules { named, ..FilterRules::default() }.boxed();
        let route = Route { filters, name: "the-route".into(), ..Route::new(PathMatch::Prefix("/".into()), answer) };
        let host = VirtualHost::default();
        let mut run = self.chain.begin(Some(&Found { host: &host, route: &route }), 1);
        let mut reroutes = 0;
        loop {
            match run.on_request(&mut request, &self.around).await {
                Flow::Continue => break,
                Flow::Reroute => reroutes += 1,
                Flow::Respond(local) => {
                    let mut response = local.into_response(false);
                    run.on_response(&mut response, &self.around).await;
                    return Outcome::of(None, reroutes, response, self.errors()).await;
                }
                Flow::Broken(kind) => {
                    let mut response = Response::new(Body::empty());
                    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                    response.headers_mut().insert("x-broken", format!("{kind:?}").parse().unwrap());
                    return Outcome::of(None, reroutes, response, self.errors()).await;
                }
            }
        }
        let (head, body) = request.into_parts();
        let seen = body.collect(usize::MAX).await.unwrap();
        let mut response = Response::new(Body::from(seen.clone()));
        response.headers_mut().insert("server", "upstream".parse().unwrap());
        run.on_response(&mut response, &self.around).await;
        let upstream = Seen { head: Request::from_parts(head, ()), body: seen.data };
        Outcome::of(Some(upstream), reroutes, response, self.errors()).await
    }

    fn errors(&self) -> u64 {
        let text = self.registry.expose(&Exposition::default());
        let line = text.lines().find(|line| line.starts_with("envoy_http_lua_errors{")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// What came of an exchange.
pub struct Outcome {
    /// What the upstream saw, if it was asked.
    pub upstream: Option<Seen>,
    /// How often the route was found again.
    pub reroutes: u32,
    pub response: Response<()>,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
    /// How often scripts have failed.
    pub errors: u64,
}

/// A request at the upstream.
pub struct Seen {
    pub head: Request<()>,
    pub body: Bytes,
}

impl Outcome {
    async fn of(upstream: Option<Seen>, reroutes: u32, response: Response<Body>, errors: u64) -> Self {
        let (head, body) = response.into_parts();
        let whole = body.collect(usize::MAX).await.unwrap();
        let response = Response::from_parts(head, ());
        Self { upstream, reroutes, response, body: whole.data, trailers: whole.trailers, errors }
    }

    /// A header that the upstream saw.
    pub fn sent(&self, name: &str) -> String {
        text(self.upstream.as_ref().unwrap().head.headers(), name)
    }

    /// A header that the client got.
    pub fn got(&self, name: &str) -> String {
        text(self.response.headers(), name)
    }
}

/// All values of a header, by comma; `-` if it is not there.
pub fn text(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
    if values.is_empty() { "-".to_owned() } else { values.join(",") }
}

/// A request with a body of pieces.
pub fn request(pieces: &[&'static str]) -> Request<Body> {
    let body = if pieces.is_empty() { Body::empty() } else { self::pieces(pieces, None) };
    Request::get("/shop?q=1").header("host", "shop.example").header("x-a", "1").header("x-a", "2").body(body).unwrap()
}

/// A body of pieces, with a trailer.
pub fn pieces(pieces: &[&'static str], trailer: Option<&'static str>) -> Body {
    let (mut sender, body) = Body::channel(99);
    for piece in pieces {
        assert!(sender.try_send(Bytes::from_static(piece.as_bytes())).unwrap());
    }
    match trailer {
        Some(value) => sender.finish_with(HeaderMap::from_iter([("x-end".parse().unwrap(), value.parse().unwrap())])),
        None => sender.finish(),
    }
    body
}

/// What was asked of the cluster, and what it answers.
#[derive(Debug, Default)]
pub struct Cluster {
    alone: Alone,
    pub asked: Rc<RefCell<Vec<(Request<Bytes>, Option<Duration>)>>>,
    /// None: no answer comes.
    pub answer: Option<(u16, &'static [(&'static str, &'static str)], &'static str)>,
    pub limit: Option<usize>,
}

impl Cluster {
    fn answers(&self, request: Request<Bytes>, timeout: Option<Duration>) -> Result<Response<Bytes>, String> {
        self.asked.borrow_mut().push((request, timeout));
        let (status, headers, body) = self.answer.ok_or("no answer")?;
        let mut response = Response::new(Bytes::from_static(body.as_bytes()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        Ok(response)
    }
}

impl Around for Cluster {
    filter::as_alone!();
    fn is_asked_why(&self, _: &Request<Body>) -> bool {
        true
    }
    fn service_cluster(&self) -> &str {
        ""
    }
    fn has_cluster(&self, name: &str) -> bool {
        name == "auth"
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
    fn exchange<'c>(&'c self, exchange: Exchange<'c>) -> WholeAnswer<'c> {
        Box::pin(async move {
            // An answer takes its time: the script waits.
            tokio::task::yield_now().await;
            self.answers(exchange.request, exchange.timeout)
        })
    }
    fn sender(&self) -> Rc<dyn Sender> {
        Rc::new(Beside(self.asked.clone()))
    }
    fn buffer_limit(&self) -> usize {
        self.limit.unwrap_or(1 << 20)
    }
    fn ends(&self, _: &str) -> Ends<'_> {
        static URIS: std::sync::LazyLock<Vec<String>> =
            std::sync::LazyLock::new(|| vec!["spiffe://cluster.local/ns/a/sa/b".to_owned()]);
        Ends {
            source: ([10, 0, 0, 1], 4000).into(),
            destination: ([10, 0, 0, 2], 9080).into(),
            peer: Some(access::Names { uris: &URIS, dns: &[], subject: "" }),
            own: Some("spiffe://cluster.local/ns/a/sa/own"),
            certificate: None,
            server_name: Some("shop.example"),
            labels: None,
        }
    }
}

#[derive(Debug)]
struct Beside(Rc<RefCell<Vec<(Request<Bytes>, Option<Duration>)>>>);

impl Sender for Beside {
    fn send(&self, _: Arc<str>, request: Request<Bytes>, timeout: Option<Duration>) -> WholeAnswer<'static> {
        self.0.borrow_mut().push((request, timeout));
        Box::pin(async { Err("nobody waits".to_owned()) })
    }
}
