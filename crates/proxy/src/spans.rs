//! Exchanges as spans, for services that take them by OTLP or by the API of Zipkin.

mod send;
mod span;
mod tag;
mod zipkin;

use std::sync::Arc;

use model::tracing::{SpanSink, Tail, Tracing};
use proto::opentelemetry::proto::trace::v1::Span;

use crate::outlet::{Outlet, Outlets};
use crate::record::Summary;

pub(crate) use send::follow;
use tag::Tag;

/// So many spans wait at most, for each service.
const QUEUE: usize = 2000;

/// Where the spans of an HTTP proxy go, if they go anywhere, and which.
pub(crate) struct Spans {
    tracing: Arc<Tracing>,
    tags: Vec<Tag>,
    sinks: Vec<Arc<Outlet<SpanSink, Span>>>,
}

/// All services of the process that take spans.
pub(crate) struct SpanServices(pub Outlets<SpanSink, Span>);

impl Default for SpanServices {
    fn default() -> Self {
        Self(Outlets::new(QUEUE))
    }
}

impl SpanServices {
    /// Where spans go by these settings.
    ///
    /// # Errors
    /// A tag cannot be read; the text says which and why.
    pub(crate) fn open(&self, tracing: &Arc<Tracing>) -> Result<Spans, String> {
        let tags = tracing.tags.iter().map(Tag::new).collect::<Result<_, _>>()?;
        let sinks = tracing.sinks.iter().map(|settings| self.0.open(settings)).collect();
        Ok(Spans { tracing: tracing.clone(), tags, sinks })
    }
}

impl Spans {
    /// May a span be made of an exchange, recorded or not?
    pub(crate) fn may_be(&self, recorded: bool) -> bool {
        self.sinks.iter().any(|sink| recorded || sink.settings.tail.is_some())
    }

    /// An exchange is over.
    pub(crate) fn exchange(&self, summary: &Summary<'_>) {
        let Some(context) = summary.facts.span else { return };
        let is_recorded = context.sampled == Some(true);
        let is_for = |sink: &&Arc<Outlet<SpanSink, Span>>| {
            is_recorded || sink.settings.tail.is_some_and(|tail| ended_so(tail, summary))
        };
        for sink in self.sinks.iter().filter(is_for) {
            sink.tell(|| span::of(summary, context, &self.tracing, &self.tags));
        }
    }
}

impl std::fmt::Debug for Spans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spans({:?})", self.tracing)
    }
}

/// Is it one that is told though its trace is not recorded?
fn ended_so(tail: Tail, summary: &Summary<'_>) -> bool {
    tail.errors && span::is_error(summary) || tail.slower_than.is_some_and(|least| summary.duration >= least)
}
