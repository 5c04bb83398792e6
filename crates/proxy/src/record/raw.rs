//! What is known of one raw connection: opened once, closed exactly once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::{Cluster, Direction};
use tokio::time::Instant;
use transport::copy::Counters;
use upstream::Exchange;

use crate::connection::Downstream;
use crate::live::TcpPlan;
use crate::series::{Shape, TcpSeries};
use crate::tcp::End;
use crate::worker::Worker;

/// What is known of one raw connection.
pub(crate) struct TcpRecord<'a> {
    /// The downstream end.
    pub downstream: &'a Downstream,
    /// Bytes so far.
    pub counters: &'a Counters,
    /// Whose traffic it is.
    pub direction: Direction,
    /// When it began.
    pub begun_at: SystemTime,
    /// The cluster's name.
    pub cluster: Option<Arc<str>>,
    /// The cluster's settings, if it exists.
    pub cluster_config: Option<Arc<Cluster>>,
    /// The place on the endpoint, held until the end.
    pub exchange: Option<Exchange>,
    worker: &'a Worker,
    plan: &'a TcpPlan,
    begun: Instant,
    series: Option<TcpSeries>,
}

impl<'a> TcpRecord<'a> {
    /// How it is counted, if otherwise than by default.
    pub(crate) fn shape(&self) -> Option<&Arc<Shape>> {
        self.plan.shape.as_ref()
    }

    /// Opens the record of a connection that a chain took.
    pub(crate) fn open(
        worker: &'a Worker,
        plan: &'a TcpPlan,
        direction: Direction,
        downstream: &'a Downstream,
        counters: &'a Counters,
    ) -> Self {
        Self {
            downstream,
            counters,
            direction,
            begun_at: SystemTime::now(),
            cluster: None,
            cluster_config: None,
            exchange: None,
            worker,
            plan,
            begun: Instant::now(),
            series: None,
        }
    }

    /// It goes to this cluster, if there is such a one.
    pub(crate) fn toward<'n>(&mut self, name: &'n Arc<str>) -> &'n str {
        self.cluster = Some(name.clone());
        name
    }

    /// The upstream connection stands.
    pub(crate) fn opened(&mut self, cluster: &Arc<Cluster>, exchange: Exchange) {
        self.cluster_config = Some(cluster.clone());
        self.exchange = Some(exchange);
        self.series = Some(self.worker.series.tcp_opened(self));
    }

    /// Reports what has passed since the last report.
    pub(crate) fn report(&self) {
        if let Some(series) = &self.series {
            series.report(self.counters);
        }
    }

    /// How long it has taken so far.
    pub(crate) fn duration(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The connection is over.
    pub(crate) fn close(self, end: End) {
        self.report();
        if let Some(series) = &self.series {
            series.closed(end.flags);
        }
        self.plan.logs.connection(&self.worker.writers, &self, &end);
    }
}
