//! The stream by which a proxy tells the control plane what it sees (`halcyon.observe.v1.Observation`).

use std::future::Future;
use std::pin::Pin;

use proto::halcyon::observe::v1::observation_client::ObservationClient;
use proto::halcyon::observe::v1::{ReportRequest, ReportResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};

use super::Link;

/// Messages that may wait for the network.
const IN_FLIGHT: usize = 8;

/// Why a stream of reports ended.
#[derive(Debug, thiserror::Error)]
pub enum ReportsEnd {
    /// The control plane has no such service.
    #[error("the control plane takes no reports")]
    NotOffered,
    /// The control plane closed it in good order.
    #[error("the control plane closed the stream")]
    Closed,
    /// It broke, or was refused.
    #[error("{0}")]
    Broken(String),
}

/// A stream of reports.
pub struct Reports {
    messages: Option<mpsc::Sender<ReportRequest>>,
    answers: Answers,
}

enum Answers {
    /// The control plane answers when it has heard something.
    Opening(Pin<Box<dyn Future<Output = Result<Response<Streaming<ReportResponse>>, Status>> + Send>>),
    Open(Box<Streaming<ReportResponse>>),
}

impl Reports {
    /// Opens one over a link.
    pub fn open(link: Link) -> Self {
        let (messages, outbound) = mpsc::channel(IN_FLIGHT);
        let opening = async move { ObservationClient::new(link).report(ReceiverStream::new(outbound)).await };
        Self { messages: Some(messages), answers: Answers::Opening(Box::pin(opening)) }
    }

    /// Where messages are left. Whoever holds it keeps the stream open; none once it is being closed.
    pub fn messages(&self) -> Option<mpsc::Sender<ReportRequest>> {
        self.messages.clone()
    }

    /// What the control plane wants from now on. May be given up and asked again.
    ///
    /// # Errors
    /// Why the stream ended.
    pub async fn wish(&mut self) -> Result<ReportResponse, ReportsEnd> {
        loop {
            match &mut self.answers {
                Answers::Opening(opening) => {
                    self.answers = Answers::Open(Box::new(opening.as_mut().await.map_err(ended)?.into_inner()));
                }
                Answers::Open(answers) => return answers.message().await.map_err(ended)?.ok_or(ReportsEnd::Closed),
            }
        }
    }

    /// Says that nothing more comes, and waits until the control plane has read all that came.
    pub async fn close(mut self) {
        self.messages = None;
        while self.wish().await.is_ok() {}
    }
}

fn ended(status: Status) -> ReportsEnd {
    match status.code() {
        Code::Unimplemented => ReportsEnd::NotOffered,
        _ => ReportsEnd::Broken(status.message().to_owned()),
    }
}
