//! What a trace is known by without its spans: for lists and searches.

use std::collections::{BTreeMap, BTreeSet};

use super::span::Span;
use crate::documents::{TraceService, TraceSummary};
use crate::moment;
use crate::tally::significant;

/// The digest of a trace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Digest {
    pub start_us: u64,
    end_us: u64,
    root: (String, String),
    spans: usize,
    errors: usize,
    /// Spans and errors by service.
    services: BTreeMap<String, (usize, usize)>,
    namespaces: BTreeSet<String>,
    operations: BTreeSet<String>,
    codes: BTreeSet<String>,
}

/// What is asked. Empty: any.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraceQuery {
    pub service: String,
    pub namespace: String,
    /// A part of an operation's name.
    pub operation: String,
    pub least_ms: Option<f64>,
    pub most_ms: Option<f64>,
    pub errors: bool,
    pub tags: Vec<(String, String)>,
    pub code: String,
    pub from_ms: Option<u64>,
    pub to_ms: Option<u64>,
    pub limit: usize,
}

impl Digest {
    pub fn of(spans: &[Span]) -> Self {
        let mut digest = Self {
            start_us: spans.iter().map(|span| span.start_us).min().unwrap_or(0),
            end_us: spans.iter().map(Span::end_us).max().unwrap_or(0),
            spans: spans.len(),
            ..Self::default()
        };
        let root = spans.iter().min_by_key(|span| (span.parent != 0, span.start_us, span.id));
        digest.root = root.map(|span| (span.service.clone(), span.name.clone())).unwrap_or_default();
        for span in spans {
            let of = digest.services.entry(span.service.clone()).or_default();
            of.0 += 1;
            of.1 += usize::from(span.error);
            digest.errors += usize::from(span.error);
            digest.operations.insert(span.name.clone());
            digest.namespaces.insert(span.namespace.clone());
            digest.codes.extend(span.codes().map(str::to_owned));
        }
        digest
    }

    fn duration_ms(&self) -> f64 {
        self.end_us.saturating_sub(self.start_us) as f64 / 1000.0
    }

    pub fn service_names(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// About the memory that it takes.
    pub fn bytes(&self) -> u64 {
        let sets = [&self.namespaces, &self.operations, &self.codes];
        let texts = sets.into_iter().flatten().chain(self.services.keys()).map(|text| text.len() + 48).sum::<usize>();
        (texts + self.root.0.len() + self.root.1.len() + 256) as u64
    }

    pub fn summary(&self, trace: u128) -> TraceSummary {
        let services = self.services.iter();
        TraceSummary {
            trace_id: format!("{trace:032x}"),
            start: moment::shown(self.start_us / 1000),
            duration_ms: significant(self.duration_ms()),
            root_service: self.root.0.clone(),
            root_name: self.root.1.clone(),
            spans: self.spans,
            errors: self.errors,
            services: services
                .map(|(name, (spans, errors))| TraceService { name: name.clone(), spans: *spans, errors: *errors })
                .collect(),
        }
    }
}

impl TraceQuery {
    pub fn fits(&self, digest: &Digest) -> bool {
        let part = |wanted: &str, found: &BTreeSet<String>| {
            wanted.is_empty() || found.iter().any(|it| it.to_lowercase().contains(&wanted.to_lowercase()))
        };
        let ms = digest.duration_ms();
        // `reviews` is `reviews.default` too, as proxies of the field name services.
        let service =
            |name: &str| name == self.service || name.split_once('.').is_some_and(|(it, _)| it == self.service);
        let namespace = |name: &str| name.split('.').nth(1) == Some(&*self.namespace);
        (self.service.is_empty() || digest.service_names().any(service))
            && (self.namespace.is_empty()
                || digest.namespaces.contains(&self.namespace)
                || digest.service_names().any(namespace))
            && part(&self.operation, &digest.operations)
            && (self.code.is_empty() || digest.codes.contains(&self.code))
            && (!self.errors || digest.errors > 0)
            && self.least_ms.is_none_or(|least| ms >= least)
            && self.most_ms.is_none_or(|most| ms <= most)
            && self.from_ms.is_none_or(|from| digest.end_us / 1000 >= from)
            && self.to_ms.is_none_or(|to| digest.start_us / 1000 <= to)
    }

    /// Does it ask for what the digest does not have?
    pub fn needs_spans(&self) -> bool {
        !self.tags.is_empty()
    }

    /// Has each tag, on whichever span?
    pub fn fits_spans(&self, spans: &[Span]) -> bool {
        self.tags.iter().all(|(key, value)| spans.iter().any(|span| span.attribute(key) == Some(value)))
    }
}
