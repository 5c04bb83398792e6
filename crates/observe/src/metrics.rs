//! What is counted of observing itself.

use telemetry::{Counter, DeclareError, Desc, Family, Gauge, Shard};

/// The handles.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub reports: Counter,
    /// Parts of reports that were not taken, by reason.
    pub refused: Family<Counter>,
    /// Streams that were refused or ended by us, by reason.
    pub streams_refused: Family<Counter>,
    pub tellers: Gauge,
    pub edges: Gauge,
    /// Spans, by what became of them.
    pub spans: Family<Counter>,
    pub tapped: Family<Counter>,
    /// 1 while history is not written.
    pub history_stopped: Gauge,
    pub history_bytes: Gauge,
    pub traces: Gauge,
}

impl Metrics {
    pub fn new(shard: &Shard) -> Result<Self, DeclareError> {
        let counter = |name: &str, help: &str| Ok::<_, DeclareError>(shard.counters(Desc::new(name, help))?.with(&[]));
        let by = |name: &str, help: &str, label: &str| shard.counters(Desc::new(name, help).labels(&[label]));
        let gauge = |name: &str, help: &str| Ok::<_, DeclareError>(shard.gauges(Desc::new(name, help))?.with(&[]));
        Ok(Self {
            reports: counter("halcyon_observe_reports_total", "Reports of proxies on what they saw.")?,
            refused: by(
                "halcyon_observe_refused_total",
                "Parts of reports that were not taken, by reason: foreign, malformed or overflow.",
                "reason",
            )?
            .shown(&["foreign", "malformed", "overflow"]),
            streams_refused: by(
                "halcyon_observe_streams_refused_total",
                "Streams of reports that were refused or ended, by reason: unknown, too_many or replaced.",
                "reason",
            )?,
            tellers: gauge("halcyon_observe_tellers", "Proxies that tell what they see.")?,
            edges: gauge("halcyon_observe_edges", "Edges that are told apart.")?,
            spans: by(
                "halcyon_observe_spans_total",
                "Spans that came, by what became of them: kept, malformed or dropped.",
                "result",
            )?
            .shown(&["kept", "malformed", "dropped"]),
            tapped: by(
                "halcyon_observe_tapped_total",
                "Tapped exchanges that came, by what became of them: shown, dropped or foreign.",
                "result",
            )?,
            history_stopped: gauge(
                "halcyon_observe_history_stopped",
                "1 while history is not written, as on a full disk; else 0.",
            )?,
            history_bytes: gauge("halcyon_observe_history_bytes", "Bytes that history takes on the disk.")?,
            traces: gauge("halcyon_observe_traces", "Traces that are kept.")?,
        })
    }
}
