//! History as Prometheus has it: Istio's standard metrics, read over its HTTP API into windows like our own.
//!
//! `increase` gives fractions; counts are kept a thousandfold and divided again for rates, so that little traffic is not
//! rounded to none. Istio's metrics do not know routes, and connections that stand are not read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use telemetry::spread;

use crate::api::query::Refused;
use crate::book::{Book, Kind};
use crate::file::ObserveError;
use crate::names::{EdgeNames, Peer, Protocol, Reporter, Security, Service, clip};
use crate::row::Cell;
use crate::series;
use crate::window::{Measure, Span, Sums, Window};

/// An answer is no larger, and comes within this.
const MOST_BYTES: usize = 128 << 20;
const PATIENCE: Duration = Duration::from_secs(20);
/// Edges of an answer that are told apart.
const MOST_EDGES: usize = 50_000;
/// Counts are kept so many times too large.
const SCALE: f64 = 1000.0;

const LABELS: &str = "reporter,source_workload,source_workload_namespace,source_canonical_service,\
    source_canonical_revision,source_principal,source_cluster,destination_workload,destination_workload_namespace,\
    destination_canonical_service,destination_canonical_revision,destination_principal,destination_cluster,\
    destination_service,destination_service_name,destination_service_namespace,request_protocol,response_code,\
    grpc_response_status,response_flags,connection_security_policy";

/// A metric and where its increase counts.
const METRICS: [(&str, Figure); 9] = [
    ("istio_requests_total", Figure::Count),
    ("istio_request_duration_milliseconds_bucket", Figure::Bucket),
    ("istio_request_duration_milliseconds_sum", Figure::Millis),
    ("istio_request_bytes_sum", Figure::BytesIn),
    ("istio_response_bytes_sum", Figure::BytesOut),
    ("istio_tcp_connections_opened_total", Figure::Count),
    ("istio_tcp_connections_closed_total", Figure::Closed),
    ("istio_tcp_received_bytes_total", Figure::BytesIn),
    ("istio_tcp_sent_bytes_total", Figure::BytesOut),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Figure {
    Count,
    Closed,
    Millis,
    BytesIn,
    BytesOut,
    Bucket,
}

/// The client.
pub(crate) struct Prometheus {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// Why Prometheus gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("Prometheus at {0} cannot be reached: {1}")]
    Unreachable(String, String),
    #[error("Prometheus at {0} did not answer within 20 s")]
    Late(String),
    #[error("Prometheus at {0} refused the question: {1}")]
    Refused(String, String),
    #[error("Prometheus at {0} gave an answer that cannot be read: {1}")]
    Strange(String, String),
}

impl From<Unanswered> for Refused {
    fn from(error: Unanswered) -> Self {
        let hint = "look at that server; the last ten minutes are answered without it";
        Self::new(StatusCode::BAD_GATEWAY, error.to_string(), hint)
    }
}

impl Prometheus {
    pub fn new(address: Uri) -> Result<Self, ObserveError> {
        let base = address.to_string().trim_end_matches('/').to_owned();
        if address.scheme_str() != Some("http") || address.authority().is_none() || address.query().is_some() {
            return Err(ObserveError::Prometheus { address: address.to_string() });
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { base, client })
    }

    /// What passed in a span.
    pub async fn window(&self, span: Span) -> Result<Window, Unanswered> {
        let step = span.to.saturating_sub(span.from).max(1000);
        let mut windows = self.ask(&[span.to], step).await?;
        windows.pop().ok_or_else(|| Unanswered::Strange(self.base.clone(), "nothing".to_owned()))
    }

    /// What passed in each step of a span, as [`series::parts`] cuts it.
    pub async fn windows(&self, span: Span, step: u64) -> Result<Vec<Window>, Unanswered> {
        let ends: Vec<u64> = series::parts(span, step).map(|part| part.to).collect();
        self.ask(&ends, step).await
    }

    async fn ask(&self, ends: &[u64], step: u64) -> Result<Vec<Window>, Unanswered> {
        let mut reading = Reading::new(ends, step);
        for (metric, figure) in METRICS {
            let labels = if figure == Figure::Bucket { format!("{LABELS},le") } else { LABELS.to_owned() };
            let selector = "{reporter=~\"source|destination\"}";
            let query = format!("sum by ({labels}) (increase({metric}{selector}[{}s])) > 0", step / 1000);
            reading.take(figure, self.range(&query, ends, step).await?);
        }
        Ok(reading.windows())
    }

    async fn range(&self, query: &str, ends: &[u64], step: u64) -> Result<Vec<Line>, Unanswered> {
        let second = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let (first, last) = (ends.first().copied().unwrap_or(0), ends.last().copied().unwrap_or(0));
        let (start, end, step) = (second(first), second(last), second(step));
        let body = format!("query={}&start={start}&end={end}&step={step}", escaped(query));
        let unreachable = |e: &dyn std::fmt::Display| Unanswered::Unreachable(self.base.clone(), e.to_string());
        let request = Request::post(format!("{}/api/v1/query_range", self.base))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| unreachable(&e))?;
        let asking = async {
            let response = self.client.request(request).await.map_err(|e| unreachable(&e))?;
            let status = response.status();
            let strange = |words: String| Unanswered::Strange(self.base.clone(), words);
            let body =
                Limited::new(response.into_body(), MOST_BYTES).collect().await.map_err(|e| strange(e.to_string()))?;
            let answer: Answer = match serde_json::from_slice(&body.to_bytes()) {
                Ok(answer) => answer,
                Err(_) if !status.is_success() => {
                    return Err(Unanswered::Refused(self.base.clone(), status.to_string()));
                }
                Err(error) => return Err(strange(error.to_string())),
            };
            match answer {
                Answer { data: Some(data), .. } => Ok(data.result),
                Answer { error, .. } => {
                    Err(Unanswered::Refused(self.base.clone(), error.unwrap_or_else(|| status.to_string())))
                }
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.map_err(|_| Unanswered::Late(self.base.clone()))?
    }
}

/// Prometheus' answer to a question over a range.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    result: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    metric: HashMap<String, String>,
    /// Seconds and, as text, the value.
    values: Vec<(f64, String)>,
}

/// Lines being put together.
struct Reading {
    ends: Vec<u64>,
    step: u64,
    book: Book,
    cells: Vec<HashMap<u32, Cell>>,
    /// Bounds and counts of histograms, by step and outcome.
    buckets: HashMap<(usize, u32), Vec<(f64, f64)>>,
}

impl Reading {
    fn new(ends: &[u64], step: u64) -> Self {
        Self {
            ends: ends.to_vec(),
            step,
            book: Book::new(MOST_EDGES, false),
            cells: ends.iter().map(|_| HashMap::new()).collect(),
            buckets: HashMap::new(),
        }
    }

    fn take(&mut self, figure: Figure, lines: Vec<Line>) {
        for line in lines {
            let Some(outcome) = self.outcome(&line.metric) else { continue };
            let bound = line.metric.get("le").and_then(|le| le.trim_start_matches('+').parse::<f64>().ok());
            for (at, value) in &line.values {
                let ms = (at * 1000.0).round() as u64;
                let Ok(step) = self.ends.binary_search(&ms) else { continue };
                let Some(value) = value.parse::<f64>().ok().filter(|it| it.is_finite() && *it > 0.0) else { continue };
                if figure == Figure::Bucket {
                    if let Some(bound) = bound {
                        self.buckets.entry((step, outcome)).or_default().push((bound, value));
                    }
                    continue;
                }
                let count = (value * SCALE).round() as u64;
                let cell = self.cells[step].entry(outcome).or_default();
                match figure {
                    Figure::Count => cell.count += count,
                    Figure::Closed => cell.closed += count,
                    Figure::Millis => cell.micros += count.saturating_mul(1000),
                    Figure::BytesIn => cell.bytes_in += count,
                    Figure::BytesOut => cell.bytes_out += count,
                    Figure::Bucket => {}
                }
            }
        }
    }

    /// The outcome of which a line tells; none if it does not say who.
    fn outcome(&mut self, labels: &HashMap<String, String>) -> Option<u32> {
        let label = |name: &str| match labels.get(name).map_or("", |it| it.as_str()) {
            "unknown" => "",
            text => text,
        };
        let text = |name: &str| -> Arc<str> { clip(label(name)).into() };
        let peer = |side: &str| {
            let of = |name: &str| text(&format!("{side}_{name}"));
            Arc::new(Peer {
                namespace: of("workload_namespace"),
                name: of("workload"),
                app: of("canonical_service"),
                // Istio's word for none.
                version: if label(&format!("{side}_canonical_revision")) == "latest" {
                    "".into()
                } else {
                    of("canonical_revision")
                },
                cluster: of("cluster"),
                principal: of("principal"),
            })
        };
        let protocol = match label("request_protocol") {
            "http" => Protocol::Http,
            "grpc" => Protocol::Grpc,
            _ => Protocol::Tcp,
        };
        let service = Service {
            host: text("destination_service"),
            name: text("destination_service_name"),
            namespace: text("destination_service_namespace"),
        };
        let names = EdgeNames {
            reporter: if label("reporter") == "source" { Reporter::Source } else { Reporter::Destination },
            source: peer("source"),
            destination: peer("destination"),
            service: Arc::new(service),
            protocol,
            security: match label("connection_security_policy") {
                "mutual_tls" => Security::MutualTls,
                "none" => Security::None,
                _ => Security::Unknown,
            },
        };
        let flags = label("response_flags");
        let kind = match protocol {
            Protocol::Tcp => Kind::Connections,
            Protocol::Http | Protocol::Grpc => Kind::Exchanges {
                route: "".into(),
                code: label("response_code").parse().unwrap_or(0),
                grpc: label("grpc_response_status").parse().ok(),
                flags: if flags == "-" { "".into() } else { clip(flags).into() },
            },
        };
        let (edge, _) = self.book.edge(names, 0);
        Some(self.book.outcome(&edge, kind).0.id)
    }

    fn windows(mut self) -> Vec<Window> {
        for ((step, outcome), mut bounds) in self.buckets {
            bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
            if let Some(cell) = self.cells[step].get_mut(&outcome) {
                spread_out(&bounds, cell);
            }
        }
        let outcomes = Arc::new(self.book.all());
        let measure = Measure { seconds: self.step as f64 / 1000.0, times: SCALE };
        let windows = self.ends.iter().zip(self.cells).map(|(to, cells)| {
            let mut sums = Sums::default();
            cells.iter().for_each(|(outcome, cell)| sums.add(*outcome, cell));
            Window { outcomes: outcomes.clone(), sums, measure, to: *to, notices: Vec::new() }
        });
        windows.collect()
    }
}

/// A histogram's counts up to each bound (in ms, ascending), evenly over our buckets, as Prometheus' own quantiles take it.
fn spread_out(bounds: &[(f64, f64)], cell: &mut Cell) {
    let (mut lower, mut before) = (0.0f64, 0.0f64);
    for (bound, upto) in bounds {
        let count = ((upto - before).max(0.0) * SCALE).round();
        let (from, to) = (lower * 1000.0, bound * 1000.0);
        if count >= 1.0 {
            let last =
                if to.is_finite() { spread::bucket((to - 1.0).max(from) as u64) } else { spread::bucket(from as u64) };
            let mut left = count;
            for bucket in spread::bucket(from as u64)..=last {
                let (start, end) = spread::bounds(bucket);
                let width = (end as f64).min(to) - (start as f64).max(from);
                let part = if bucket == last { left } else { (count * width / (to - from)).round().min(left) };
                if part >= 1.0 {
                    cell.add_to(bucket as u8, part as u64);
                    left -= part;
                }
            }
        }
        (lower, before) = (if bound.is_finite() { *bound } else { lower }, upto.max(before));
    }
}

/// As forms escape it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
