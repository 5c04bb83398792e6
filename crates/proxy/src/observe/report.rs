//! What is told in a stream of reports: names once, by numbers after that.

use std::time::SystemTime;

use base::Clock;
use proto::halcyon::observe::v1 as wire;

use super::clusters::Clusters;
use super::tally::{EdgeLine, Tally};

/// So many lines go in one message.
const AT_ONCE: usize = 2000;

/// What was told in one stream.
pub(crate) struct Told {
    /// Told apart from the streams before.
    stream: u32,
    node: String,
    edges: u32,
    outcomes: u32,
    clusters: Clusters,
    clock: Clock,
    since: SystemTime,
}

impl Told {
    /// A new stream, of this number. What was counted began at `since`.
    pub(crate) fn begin(stream: u32, node: &str, clusters: Clusters, clock: Clock, since: SystemTime) -> Self {
        Self { stream, node: node.to_owned(), edges: 0, outcomes: 0, clusters, clock, since }
    }

    /// Until when it has told.
    pub(crate) fn told_until(&self) -> SystemTime {
        self.since
    }

    /// What is to be told now: one message at least, for whoever hears nothing does not know whether there is anybody.
    pub(crate) fn next(
        &mut self,
        tally: &Tally,
        tapped: Vec<wire::TappedExchange>,
        losses: Vec<wire::TapLoss>,
    ) -> Vec<wire::ReportRequest> {
        let now = self.clock.now();
        let window = now.duration_since(self.since).unwrap_or_default();
        self.since = now;
        let empty = wire::ReportRequest {
            until_ms: now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
            window_ms: u32::try_from(window.as_millis()).unwrap_or(u32::MAX).max(1),
            ..wire::ReportRequest::default()
        };
        let mut message = empty.clone();
        message.node = std::mem::take(&mut self.node);
        message.untold = tally.take_untold();
        message.clusters = self.clusters.changes();
        (message.tapped, message.losses) = (tapped, losses);
        let mut messages = vec![message];
        let (edges, outcomes) = tally.lines();
        for line in outcomes {
            let known = line.number.in_stream(self.stream);
            let Some(told) = line.take(known.unwrap_or(self.outcomes + 1)) else { continue };
            let message = room(&mut messages, &empty);
            if known.is_none() {
                let edge = self.number(&line.edge, message);
                self.outcomes += 1;
                line.number.set(self.stream, self.outcomes);
                message.outcomes.push(wire::Outcome { id: self.outcomes, edge, ..line.names.clone() });
            }
            message.exchanges.push(told);
        }
        for line in edges {
            // Of most edges no connection is told: they have no number before there is one.
            let Some(mut told) = line.connections.take(0) else { continue };
            let message = room(&mut messages, &empty);
            told.edge = self.number(&line, message);
            message.connections.push(told);
        }
        messages
    }

    /// The number of an edge, told with the message if it is new.
    fn number(&mut self, line: &EdgeLine, message: &mut wire::ReportRequest) -> u32 {
        line.number.in_stream(self.stream).unwrap_or_else(|| {
            self.edges += 1;
            line.number.set(self.stream, self.edges);
            message.edges.push(wire::Edge { id: self.edges, ..line.names.clone() });
            self.edges
        })
    }
}

/// The message that has room for one more.
fn room<'m>(messages: &'m mut Vec<wire::ReportRequest>, empty: &wire::ReportRequest) -> &'m mut wire::ReportRequest {
    let is_full = messages.last().is_none_or(|it| it.exchanges.len() + it.connections.len() >= AT_ONCE);
    if is_full {
        messages.push(empty.clone());
    }
    let last = messages.len() - 1;
    &mut messages[last]
}
