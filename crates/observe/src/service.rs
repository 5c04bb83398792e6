//! `halcyon.observe.v1.Observation` on the wire: proxies tell, and hear what else they should tell.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use proto::halcyon::observe::v1::observation_server::{Observation, ObservationServer};
use proto::halcyon::observe::v1::{ReportRequest, ReportResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status, Streaming};

use crate::ingest::Teller;
use crate::observe::Observe;

/// A message is no larger.
const MOST_MESSAGE_BYTES: usize = 4 << 20;
/// The first message comes within this.
const FIRST: Duration = Duration::from_secs(10);
/// Reports are not taken more often: who tells faster waits.
const PACE: Duration = Duration::from_millis(50);

/// Says who may tell.
pub trait Tellers: Send + Sync + 'static {
    /// Who tells, by what the door knows of the caller (`extensions` of its request) and by the node that it says it is.
    ///
    /// # Errors
    /// The status with which the stream ends.
    fn teller(&self, extensions: &Extensions, node: &str) -> Result<Teller, Status>;
}

impl<F> Tellers for F
where
    F: Fn(&Extensions, &str) -> Result<Teller, Status> + Send + Sync + 'static,
{
    fn teller(&self, extensions: &Extensions, node: &str) -> Result<Teller, Status> {
        self(extensions, node)
    }
}

/// The service.
#[derive(Clone)]
pub struct Reports {
    observe: Observe,
    tellers: Arc<dyn Tellers>,
}

impl Observe {
    /// The service to which proxies report, for a door that knows its callers.
    pub fn service(&self, tellers: impl Tellers) -> ObservationServer<Reports> {
        ObservationServer::new(Reports { observe: self.clone(), tellers: Arc::new(tellers) })
            .max_decoding_message_size(MOST_MESSAGE_BYTES)
            .accept_compressed(CompressionEncoding::Gzip)
    }
}

type Answers = mpsc::Sender<Result<ReportResponse, Status>>;

#[tonic::async_trait]
impl Observation for Reports {
    type ReportStream = Pin<Box<ReceiverStream<Result<ReportResponse, Status>>>>;

    async fn report(&self, request: Request<Streaming<ReportRequest>>) -> Result<Response<Self::ReportStream>, Status> {
        let (_, extensions, messages) = request.into_parts();
        let (to, answers) = mpsc::channel(4);
        let reports = self.clone();
        // Apart, so that neither direction waits for the other.
        tokio::spawn(async move {
            if let Err(status) = reports.session(&extensions, messages, &to).await {
                let _ = to.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

impl Reports {
    async fn session(
        &self,
        extensions: &Extensions,
        mut messages: Streaming<ReportRequest>,
        to: &Answers,
    ) -> Result<(), Status> {
        let metrics = &self.observe.0.metrics;
        let late = || Status::deadline_exceeded("no report came; expected the first one, with the node, at once");
        let first = tokio::time::timeout(FIRST, messages.message()).await.map_err(|_| late())??;
        let Some(first) = first else { return Ok(()) };
        let teller = self.tellers.teller(extensions, &first.node).inspect_err(|status| {
            metrics.streams_refused.with(&["unknown"]).inc();
            tracing::warn!("reports of what was seen: {}", status.message());
        })?;
        let Some(mut sitting) = self.observe.sit(teller) else {
            metrics.streams_refused.with(&["too_many"]).inc();
            return Err(Status::resource_exhausted("as many proxies tell already as may; try again later"));
        };
        sitting.take(&first);
        let replaced = sitting.replaced();
        let mut wanted = self.observe.wanted();
        wanted.mark_changed();
        let mut over = self.observe.over();
        loop {
            tokio::select! {
                () = async { drop(over.wait_for(|over| *over).await) } => return Ok(()),
                () = to.closed() => return Ok(()),
                () = replaced.notified() => {
                    metrics.streams_refused.with(&["replaced"]).inc();
                    return Err(Status::aborted("another stream of the same node has begun"));
                }
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let answer = wanted.borrow_and_update().clone();
                    // Who does not listen is not waited for: the next answer replaces this one.
                    if to.try_send(Ok(answer)).is_err() {
                        if to.is_closed() {
                            return Ok(());
                        }
                        tokio::time::sleep(PACE).await;
                        wanted.mark_changed();
                    }
                }
                message = messages.message() => {
                    let Some(report) = message? else { return Ok(()) };
                    sitting.take(&report);
                    tokio::time::sleep(PACE).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
