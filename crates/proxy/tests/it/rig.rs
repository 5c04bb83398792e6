//! What the tests are made of: an origin, a client, and the model's values in few words.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use ::http::{HeaderMap, Request, Response, StatusCode};
use mesh_http::{Body, ServerOptions, h1};
use model::cluster::Discovery;
use model::http_proxy::RouteSource;
use model::listener::Inspect;
use model::route::{Action, Forward, PathMatch};
use model::{
    Cluster, Config, Direction, Endpoint, EndpointSet, FilterChain, HttpProxy, Listener, LocalityEndpoints,
    NetworkFilter, Route, RouteConfiguration, TcpProxy, VirtualHost,
};
use proxy::bootstrap::Bootstrap;
use proxy::{Options, Proxy};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

/// Longer than anything here takes; only a bug makes a test wait for it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test on one thread.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new()
        .block_on(&runtime, async { tokio::time::timeout(PATIENCE, test).await.expect("the test takes too long") })
}

/// An address of loopback at which nobody listens now. Its port is one that the kernel gives to no connection by itself, so
/// that it stays free until it is bound, and again when it is bound a second time.
pub fn free_address() -> SocketAddr {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Runs side by side begin at different places.
    let begin = std::process::id().wrapping_mul(131) % COUNT;
    let mut ports = std::iter::repeat_with(|| FIRST + (begin + NEXT.fetch_add(1, Relaxed)) % COUNT);
    let found = ports.find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port as u16)).ok());
    found.and_then(|listener| listener.local_addr().ok()).unwrap()
}

/// A proxy that runs this.
pub async fn proxy(name: &str, config: Config) -> Proxy {
    proxy_of(node(name), config).await
}

/// A proxy of this bootstrap that runs this.
pub async fn proxy_of(bootstrap: Bootstrap, config: Config) -> Proxy {
    let proxy = Proxy::start(bootstrap, Options::default()).unwrap();
    assert_eq!(proxy.handle().replace(config).await, []);
    proxy
}

/// The bootstrap of a workload of that name.
pub fn node(name: &str) -> Bootstrap {
    let text = format!(
        r#"{{"node": {{"id": "sidecar~{name}", "metadata": {{"NAME": "{name}-1", "NAMESPACE": "default",
        "WORKLOAD_NAME": "{name}-v1", "LABELS": {{"app": "{name}", "version": "v1"}}}}}}, "drain_seconds": 5}}"#
    );
    Bootstrap::parse("test".as_ref(), &text).unwrap()
}

/// A server on loopback that answers by `handler`, HTTP/1.1 or HTTP/2.
pub async fn origin<F>(handler: impl Fn(Request<Body>) -> F + 'static) -> SocketAddr
where
    F: Future<Output = Response<Body>> + 'static,
{
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let handler = Rc::new(handler);
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let handler = handler.clone();
            spawn_local(async move {
                let options = ServerOptions::default();
                let handle = |request| {
                    let handler = handler.clone();
                    async move { handler(request).await }
                };
                mesh_http::serve(stream, &options, std::future::pending(), handle).await
            });
        }
    });
    addr
}

/// A server that answers with its name and the request's path and headers.
pub async fn named_origin(name: &'static str) -> SocketAddr {
    origin(move |request: Request<Body>| async move {
        let headers: String =
            request.headers().iter().map(|(n, v)| format!("{n}: {}\n", v.to_str().unwrap())).collect();
        Response::new(Body::from(format!("{name} {}\n{headers}", request.uri().path())))
    })
    .await
}

/// A response read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
    pub trailers: Option<HeaderMap>,
}

/// Sends one request on a connection of its own.
pub async fn send(to: SocketAddr, request: Request<Body>) -> Answer {
    try_send(to, request).await.unwrap()
}

/// The same, where perhaps nobody answers yet.
pub async fn try_send(to: SocketAddr, request: Request<Body>) -> Result<Answer, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(to).await?;
    let (sender, driver) = h1::connect(stream, &Default::default());
    spawn_local(driver);
    Ok(read(sender.send(request).await?).await)
}

/// Reads a response whole.
pub async fn read(response: Response<Body>) -> Answer {
    let (head, body) = response.into_parts();
    let whole = body.collect(1 << 20).await.unwrap();
    let body = String::from_utf8(whole.data.to_vec()).unwrap();
    Answer { status: head.status, headers: head.headers, body, trailers: whole.trailers }
}

/// A GET.
pub fn get(host: &str, path: &str) -> Request<Body> {
    Request::get(path).header("host", host).body(Body::empty()).unwrap()
}

/// GETs `path` of the host `test`.
pub async fn fetch(to: SocketAddr, path: &str) -> Answer {
    send(to, get("test", path)).await
}

/// A cluster with these endpoints.
pub fn cluster(name: &str, endpoints: &[SocketAddr]) -> Cluster {
    cluster_of(name, endpoints.iter().map(|addr| Endpoint::plain(*addr)).collect())
}

/// A cluster with these endpoints.
pub fn cluster_of(name: &str, endpoints: Vec<Endpoint>) -> Cluster {
    let group = LocalityEndpoints { endpoints, ..LocalityEndpoints::default() };
    let set = EndpointSet::new(name, vec![group]);
    Cluster { connect_timeout: Duration::from_secs(2), ..Cluster::new(name, Discovery::Static(set)) }
}

/// A route by the path's beginning.
pub fn route(prefix: &str, action: Action) -> Route {
    Route { name: prefix.into(), ..Route::new(PathMatch::Prefix(prefix.into()), action) }
}

/// Everything to one cluster.
pub fn to(cluster: &str) -> Action {
    Action::Forward(Box::new(Forward::to(cluster)))
}

/// One virtual host for all names.
pub fn table(routes: Vec<Route>) -> RouteConfiguration {
    let host = VirtualHost { name: "all".into(), domains: vec!["*".into()], routes, ..VirtualHost::default() };
    RouteConfiguration::new("r", vec![host])
}

/// An HTTP proxy over these routes.
pub fn http(routes: Vec<Route>) -> HttpProxy {
    HttpProxy::new("test", RouteSource::Inline(Arc::new(table(routes))))
}

/// A chain for everything.
pub fn chain(filter: NetworkFilter) -> FilterChain {
    FilterChain::new("chain", filter)
}

/// A chain of HTTP for everything.
pub fn http_chain(http: HttpProxy) -> FilterChain {
    chain(NetworkFilter::Http(Box::new(http)))
}

/// A chain of TCP for everything.
pub fn tcp_chain(cluster: &str) -> FilterChain {
    chain(NetworkFilter::Tcp(TcpProxy::to(cluster)))
}

/// A listener that is bound.
pub fn listener(name: &str, addr: SocketAddr, direction: Direction, chains: Vec<FilterChain>) -> Listener {
    Listener {
        name: name.into(),
        address: addr.into(),
        bind: true,
        use_original_destination: false,
        direction,
        inspect: Inspect::default(),
        chains,
        default_chain: None,
        access_logs: Vec::new(),
        buffer_limit: None,
        ignores_common_limit: false,
    }
}

/// All of these together.
pub fn config(listeners: Vec<Listener>, clusters: Vec<Cluster>) -> Config {
    let mut config = Config::default();
    config.listeners.extend(listeners.into_iter().map(|l| (l.name.clone(), Arc::new(l))));
    config.clusters.extend(clusters.into_iter().map(|c| (c.name.clone(), Arc::new(c))));
    config
}

/// The value of the one series of `family` that has all these labels; zero if there is none.
pub fn counted(proxy: &Proxy, family: &str, labels: &[(&str, &str)]) -> f64 {
    let text = proxy.handle().registry().expose(&telemetry::Exposition::default());
    let wanted: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let of_family = |line: &&str| line.split(['{', ' ']).next() == Some(family);
    let lines = text.lines().filter(of_family).filter(|line| wanted.iter().all(|w| line.contains(w.as_str())));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Waits until that series has that value; it is written when the exchange is over, which the client does not see.
pub async fn until_counted(proxy: &Proxy, family: &str, labels: &[(&str, &str)], value: f64) {
    while counted(proxy, family, labels) < value {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(counted(proxy, family, labels), value, "{family} {labels:?}");
}
