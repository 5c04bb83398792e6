//! A downstream connection that speaks HTTP, from its first request to its end.

use std::cell::{OnceCell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use ::http::Request;
use mesh_http::{Body, ServeEnd, head};
use model::route::RequestView;
use tokio::task::JoinSet;
use tokio::time::sleep;
use transport::Stream;
use upstream::Ends;

use crate::connection::Downstream;
use crate::edge::{self, Caller};
use crate::http_plan::HttpPlan;
use crate::lifetime::{self, Lifetime};
use crate::live::Chain;
use crate::peer::LastPeer;
use crate::request;
use crate::series::HttpStats;
use crate::worker::Worker;

/// What all exchanges of one connection share.
pub(crate) struct HttpConnection {
    /// The worker it lives on.
    pub worker: Rc<Worker>,
    /// What is known of the peer.
    pub downstream: Downstream,
    /// The peer as headers name it.
    pub caller: Caller,
    /// The peer's certificate, as services are told it that ask for it.
    pub certificate: Option<Box<str>>,
    /// The workload that the peer said it is.
    pub peer: LastPeer,
    /// Limits of its own; most have none.
    pub limits: filter::ConnectionLimits,
    /// What is counted per HTTP proxy.
    pub stats: Rc<HttpStats>,
    plan: Arc<HttpPlan>,
    /// What bounds it; most have no bounds.
    lifetime: Option<Box<Lifetime>>,
    /// Made when there is one.
    tunnels: RefCell<Option<JoinSet<()>>>,
    /// Made when an upstream connection tells them.
    ends: OnceCell<Rc<Ends>>,
}

impl HttpConnection {
    /// How HTTP is served here.
    pub(crate) fn plan(&self) -> &Arc<HttpPlan> {
        &self.plan
    }

    /// Its ends, as upstream connections tell them that are made for it.
    pub(crate) fn ends(&self) -> &Rc<Ends> {
        let Downstream { source, destination, .. } = self.downstream;
        self.ends.get_or_init(|| Rc::new(Ends { source, destination }))
    }

    /// Runs what follows an upgrade; the connection counts as live until it ends.
    pub(crate) fn tunnel(&self, work: impl Future<Output = ()> + 'static) {
        self.tunnels.borrow_mut().get_or_insert_default().spawn_local(work);
    }

    async fn finish_tunnels(&self) {
        let Some(mut tunnels) = self.tunnels.take() else { return };
        while tunnels.join_next().await.is_some() {}
    }
}

/// Serves the connection to its end. A retired chain lets it finish, for as long as a drain may last.
// A function that returns a block: an async function would hold its arguments twice.
pub(crate) fn serve(
    worker: Rc<Worker>,
    plan: Arc<HttpPlan>,
    chain: Arc<Chain>,
    stream: Stream,
    downstream: Downstream,
    counted: impl Sized,
) -> impl Future<Output = ()> {
    let peer = downstream.tls.as_deref();
    let certificate = edge::certificate(&stream, peer, chain.certificate.as_ref(), &plan.proxy);
    let told = plan.tells_certificates().then(|| edge::peer_certificate(&stream)).flatten();
    let conn = Rc::new(HttpConnection {
        certificate: told.map(String::into_boxed_str),
        caller: Caller::new(downstream.source, downstream.destination, peer, certificate),
        lifetime: Lifetime::new(&plan.proxy.limits),
        peer: LastPeer::default(),
        limits: filter::ConnectionLimits::default(),
        stats: worker.series.http(&plan.proxy.stat_prefix),
        tunnels: RefCell::default(),
        ends: OnceCell::new(),
        worker,
        downstream,
        plan,
    });
    async move {
        let _counted = &counted;
        conn.stats.connections.inc();
        conn.stats.active.inc();
        let handle = |request: Request<Body>| {
            conn.lifetime.iter().for_each(|lifetime| lifetime.carries_one());
            request::handle(conn.clone(), request)
        };
        let agreed = conn.downstream.tls.as_ref().and_then(|peer| peer.alpn.as_deref());
        let serving = async {
            let ends = lifetime::over(conn.lifetime.as_deref(), &conn.plan.proxy.limits, chain.watch(), rand::random());
            let end = mesh_http::serve(stream, conn.plan.options(agreed), ends, handle).await;
            conn.finish_tunnels().await;
            end
        };
        let end = tokio::select! {
            biased;
            end = serving => end,
            () = overdue(&conn.worker, &chain) => ServeEnd::Drained,
        };
        conn.stats.active.dec();
        if let ServeEnd::Protocol(what) = &end {
            conn.stats.protocol_errors.inc();
            tracing::debug!("connection of {}: {what}", conn.downstream.source);
        }
    }
}

/// Completes when the chain has been retired for as long as a drain may last.
pub(crate) async fn overdue(worker: &Worker, chain: &Chain) {
    chain.watch().started().await;
    sleep(worker.shared.drain).await;
}

/// The request's head as routing looks at it.
pub(crate) fn view_of(request: &Request<Body>) -> RequestView<'_> {
    RequestView {
        method: request.method(),
        scheme: edge::scheme(request.headers()),
        authority: head::authority(request).unwrap_or_default(),
        path: request.uri().path(),
        query: request.uri().query(),
        headers: request.headers(),
        metadata: request.extensions().get(),
    }
}
