//! Push: the discovery service that proxies hold a stream to.
//!
//! Owns the streams: who is let in, a configuration made for each at every new version, each resource encoded once and
//! shared. What goes out when is the session's to say (`xds::server`); what a configuration holds is `translate`'s.

mod intern;
mod node;
mod proxies;
mod stream;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::drain::Watch;
use base::{Clock, TrustDomain};
use futures_util::Stream;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use telemetry::{Counter, Desc, Family, Gauge, Histogram, Shard};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};
use xds::server::{DeltaServer, SotwServer};

use crate::doors::Caller;
use crate::registry::Desk;
use crate::store::Store;

pub(crate) use intern::Interner;
pub(crate) use proxies::{Made, Proxies};

/// What every stream works with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Push(Arc<Parts>);

struct Parts {
    store: Store,
    desk: Desk,
    proxies: Proxies,
    interner: Interner,
    trust_domain: TrustDomain,
    clock: Clock,
    drain: Watch,
    /// Translating is work for a processor: not more of it at a time than there are.
    permits: Semaphore,
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
        let translate = Desc::new(translate, "Time to make and encode the configuration of one proxy.");
        Ok(Self {
            connected: shard.gauges(Desc::new("halcyon_xds_proxies", "Connected proxies."))?.with(&[]),
            pushes: shard.counters(pushes)?,
            nacks: shard.counters(nacks)?,
            refused: shard.counters(refused)?.with(&[]),
            translate: shard.histograms(translate.unit("milliseconds"))?.with(&[]),
        })
    }
}

impl Push {
    /// The service, before any stream. Its streams end when `drain` begins.
    pub fn new(
        store: Store,
        desk: Desk,
        proxies: Proxies,
        trust_domain: TrustDomain,
        clock: Clock,
        drain: Watch,
        metrics: Metrics,
    ) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Parts {
            store,
            desk,
            proxies,
            interner: Interner::default(),
            trust_domain,
            clock,
            drain,
            permits: Semaphore::new(processors),
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
