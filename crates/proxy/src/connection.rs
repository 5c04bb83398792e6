//! One downstream connection: what is found out about it, the chain that takes it, the end of its TLS; then HTTP or TCP.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::Direction;
use model::chain::{self, TransportKind};
use tokio::task::spawn_local;
use transport::Stream;
use transport::tls::{Peer, TlsError};

use crate::access;
use crate::http;
use crate::inspect::{self, InspectFault, Seen};
use crate::live::{Chain, Filter, ListenerPlan};
use crate::record::{self, Refused};
use crate::tcp;
use crate::worker::Worker;

/// How long a TLS handshake may take, as Envoy's `transport_socket_connect_timeout` on Istio's listeners.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// What is known of a downstream connection when its chain takes it.
#[derive(Debug)]
pub(crate) struct Downstream {
    /// Its number on its worker.
    pub id: u64,
    /// Who opened it.
    pub source: SocketAddr,
    /// The other end, where a PROXY header told who opened it. Few connections have one.
    pub told_by: Option<Box<IpAddr>>,
    /// Where it was meant to go.
    pub destination: SocketAddr,
    /// That may be gone on to: the connection was not made to a socket of our own.
    pub original: bool,
    /// The name of the chain that took it.
    pub chain: Arc<str>,
    /// The server name that it asked for.
    pub server_name: Option<String>,
    /// What TLS proved, if it was ended here.
    pub tls: Option<Box<Peer>>,
    /// The proven identity of the peer.
    pub principal: Option<Rc<str>>,
    /// Our own identity, as we proved it to the peer.
    pub local_principal: Option<Rc<str>>,
    /// Nothing was heard from it before its chain was chosen.
    pub silent: bool,
}

impl Downstream {
    /// Where connections to unknown destinations go on to (Envoy: where the address was restored).
    pub(crate) fn original_destination(&self) -> Option<&SocketAddr> {
        self.original.then_some(&self.destination)
    }

    /// Is it mutual TLS?
    pub(crate) fn is_mutual(&self) -> bool {
        self.tls.as_ref().is_some_and(|peer| peer.verified)
    }
}

/// Opens a connection and lets it be served to its end; `counted` is held until then.
pub(crate) async fn run(
    worker: Rc<Worker>,
    stream: Stream,
    plan: Arc<ListenerPlan>,
    seen: Seen,
    counted: impl Sized + 'static,
) {
    let is_inbound = plan.config.direction == Direction::Inbound;
    let Some((chain, stream, downstream)) = open(&worker, stream, plan, seen).await else { return };
    let is_plain = is_inbound && downstream.tls.is_none();
    let plain =
        is_plain.then(|| Box::new(worker.shared.plain.came(downstream.source.ip(), downstream.destination.port())));
    let counted = (counted, plain);
    // A task anew: it is no larger than its kind of serving needs, and it may last long.
    match chain.filter.clone() {
        Filter::Http(plan) => spawn_local(http::serve(worker, plan, chain, stream, downstream, counted)),
        Filter::Tcp(plan) => spawn_local(tcp::run(worker, plan, chain, stream, downstream, counted)),
    };
}

/// Finds the chain that takes a connection, and ends its TLS. None: it was refused, and that is written down.
async fn open(
    worker: &Rc<Worker>,
    mut stream: Stream,
    plan: Arc<ListenerPlan>,
    mut seen: Seen,
) -> Option<(Arc<Chain>, Stream, Downstream)> {
    if let Err(fault) = inspect::inspect(&mut stream, &plan.config.inspect, &worker.quiet, &mut seen).await {
        match fault {
            InspectFault::Gone => {}
            InspectFault::TimedOut => record::refused(worker, &plan, &seen, Refused::Silent),
            InspectFault::Header(how) => record::refused(worker, &plan, &seen, Refused::Header(how)),
        }
        return None;
    }
    let Some(chain) = select(&plan, &seen) else {
        record::refused(worker, &plan, &seen, Refused::NoChain);
        stream.reset();
        return None;
    };
    let mut downstream = Downstream {
        id: worker.next_connection(),
        source: seen.source,
        told_by: seen.told_by.map(Box::new),
        destination: seen.destination,
        original: seen.original,
        chain: chain.config.name.clone(),
        server_name: seen.server_name.take(),
        tls: None,
        principal: None,
        local_principal: None,
        silent: seen.silent,
    };
    match end_tls(worker, &chain, stream, &mut downstream).await {
        Ok(stream) => {
            access::passes(worker, &chain, stream, &downstream).await.map(|stream| (chain, stream, downstream))
        }
        Err(error) => {
            record::refused(worker, &plan, &seen, Refused::Tls(&error));
            None
        }
    }
}

fn select(plan: &ListenerPlan, seen: &Seen) -> Option<Arc<Chain>> {
    match chain::select(&plan.config.chains, &seen.view()) {
        Some(index) => plan.chains.get(index).cloned(),
        None => plan.default_chain.clone(),
    }
}

async fn end_tls(
    worker: &Worker,
    chain: &Chain,
    stream: Stream,
    downstream: &mut Downstream,
) -> Result<Stream, TlsError> {
    let Some(tls) = &chain.tls else { return Ok(stream) };
    let (stream, peer) = tls.accept(stream, HANDSHAKE).await?;
    downstream.server_name = peer.server_name.clone();
    if peer.verified {
        let ours = chain.certificate.as_ref().and_then(|c| c.certificate()?.spiffe_id());
        downstream.principal = peer.identity.as_ref().map(|id| worker.series.name(id.as_str()));
        downstream.local_principal = ours.map(|id| worker.series.name(id.as_str()));
    }
    downstream.tls = Some(Box::new(peer));
    Ok(stream)
}

/// Is this a plain connection at a listener that has chains for TLS only?
pub(crate) fn lacks_tls(plan: &ListenerPlan, seen: &Seen) -> bool {
    seen.transport == TransportKind::Plain && plan.all_chains().all(|chain| chain.tls.is_some())
}
