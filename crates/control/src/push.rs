//! Push: the discovery service that proxies hold a stream to.
//!
//! Owns the streams: who is let in, what each may have at every new version (only those whom a change concerns are looked
//! at), each resource encoded once and shared. What goes out when is the session's to say (`xds::server`); what a configuration holds is `translate`'s.

mod graph;
mod intern;
mod node;
mod proxies;
mod stream;

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use base::drain::Watch;
use base::{Clock, TrustDomain};
use futures_util::Stream;
use model::ResourceKind;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use telemetry::{Counter, Desc, Family, Gauge, Histogram, Shard};
use tokio::sync::mpsc::UnboundedReceiver;
use tonic::{Request, Response, Status, Streaming};
use xds::server::{DeltaServer, SotwServer};

use crate::doors::Caller;
use crate::registry::Desk;
use crate::store::{Step, Store};

use graph::Graph;
pub(crate) use graph::config;
pub(crate) use proxies::{Holding, Made, Proxies};

/// What every stream works with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Push(Arc<Parts>);

struct Parts {
    store: Store,
    desk: Desk,
    proxies: Proxies,
    graph: Mutex<Graph>,
    trust_domain: TrustDomain,
    clock: Clock,
    drain: Watch,
    streams: AtomicU64,
    metrics: Metrics,
}

/// What push counts.
#[derive(Clone)]
pub(crate) struct Metrics {
    connected: Gauge,
    pushes: Family<Counter>,
    nacks: Family<Counter>,
    refused: Counter,
    translate: Histogram,
}

impl Metrics {
    /// Declares them.
    pub fn new(shard: &Shard) -> Result<Self, telemetry::DeclareError> {
        let pushes = Desc::new("halcyon_xds_pushes_total", "Responses sent to proxies, by type.").labels(&["type"]);
        let nacks = Desc::new("halcyon_xds_nacks_total", "Responses that proxies refused, by type.").labels(&["type"]);
        let refused = Desc::new("halcyon_xds_refused_total", "Streams that were not let in.");
        let translate = "halcyon_translate_milliseconds";
        let translate = Desc::new(translate, "Time to make and encode what a change, or a proxy that joins, needs.");
        let types = ResourceKind::ALL.map(ResourceKind::short);
        Ok(Self {
            connected: shard.gauges(Desc::new("halcyon_xds_proxies", "Connected proxies."))?.with(&[]),
            pushes: shard.counters(pushes)?.shown(&types),
            nacks: shard.counters(nacks)?.shown(&types),
            refused: shard.counters(refused)?.with(&[]),
            translate: shard.histograms(translate.unit("milliseconds"))?.with(&[]),
        })
    }
}

impl Push {
    /// The service, before any stream; `steps` is what the store does from now on. Its streams end when `drain` begins.
    pub fn new(
        store: Store,
        steps: UnboundedReceiver<Step>,
        desk: Desk,
        proxies: Proxies,
        trust_domain: TrustDomain,
        clock: Clock,
        drain: Watch,
        metrics: Metrics,
    ) -> Self {
        let graph = Mutex::new(Graph::new(store.now(), steps));
        Self(Arc::new(Parts {
            store,
            desk,
            proxies,
            graph,
            trust_domain,
            clock,
            drain,
            streams: AtomicU64::new(1),
            metrics,
        }))
    }

    fn next_stream(&self) -> u64 {
        self.0.streams.fetch_add(1, Ordering::Relaxed)
    }
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Push {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let caller = caller(&request);
        Ok(Response::new(stream::open(self.clone(), caller, request.into_inner(), SotwServer::new)))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let caller = caller(&request);
        Ok(Response::new(stream::open(self.clone(), caller, request.into_inner(), DeltaServer::new)))
    }
}

fn caller<T>(request: &Request<T>) -> Caller {
    request.extensions().get::<Caller>().cloned().unwrap_or_default()
}
