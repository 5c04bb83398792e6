//! The calls of the API. Who may make them is asked by whoever mounts them: each says what its caller needs.

pub(crate) mod query;
mod tap;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::{Method, StatusCode, header};
use serde::Serialize;

use crate::documents::{ClusterList, GraphType, ObserveStatus, SeriesAnswer, Stat, Trace, TraceList};
use crate::graph::{self, GraphQuery, render};
use crate::observe::Observe;
use crate::series::{self, METRICS, Of, SeriesQuery, Split};
use crate::stat::{self, By, Direction, StatQuery};
use crate::table::Step;
use crate::traces::digest::TraceQuery;
use crate::traces::span::trace_id;
use crate::window::{Span, Window};
use query::{Refused, Words, wrong};

/// What the caller of a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// To read what is known of the mesh.
    Read,
    /// To look at single exchanges.
    Tap,
}

/// A call, for whoever mounts it behind a guard.
pub struct Route<S> {
    /// Its method.
    pub method: Method,
    /// Its path, as axum writes it.
    pub path: &'static str,
    /// What its caller needs.
    pub needs: Needs,
    /// What serves it.
    pub serve: MethodRouter<S>,
}

/// The longest window.
const MOST_WINDOW_S: u64 = 21_600;
const MOST_POINTS: u64 = 1_000;
const MOST_TRACES: u64 = 500;

const DIRECTIONS: [(&str, Direction); 2] = [("inbound", Direction::Inbound), ("outbound", Direction::Outbound)];

impl Observe {
    /// Every call, each with what it needs.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Vec<Route<S>> {
        let route = |path, needs, serve: MethodRouter<Self>| {
            let serve = serve.with_state(self.clone());
            Route { method: Method::GET, path, needs, serve }
        };
        vec![
            route("/v1/graph", Needs::Read, get(graph_call)),
            route("/v1/stat", Needs::Read, get(stat_call)),
            route("/v1/series", Needs::Read, get(series_call)),
            route("/v1/traces", Needs::Read, get(traces_call)),
            route("/v1/traces/{trace}", Needs::Read, get(trace_call)),
            route("/v1/clusters", Needs::Read, get(clusters_call)),
            route("/v1/observe", Needs::Read, get(status_call)),
            route("/v1/tap", Needs::Tap, get(tap::tap_call)),
        ]
    }

    /// What passed in a span of time: of Prometheus, if history is there and memory does not reach so far back.
    async fn window(&self, span: Span) -> Result<Window, Refused> {
        if let Some(prometheus) = self.0.prometheus.as_ref().filter(|_| span.from < self.past().remembered()) {
            return Ok(prometheus.window(span).await?);
        }
        self.answer(move |observe| observe.past().window(span)).await
    }

    /// Answers apart from the tasks that take reports in: a large answer takes a moment, and may wait for the disk.
    async fn answer<T: Send + 'static>(&self, act: impl FnOnce(&Self) -> T + Send + 'static) -> Result<T, Refused> {
        let observe = self.clone();
        let stopping =
            |_| Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the control plane is stopping", "ask again later");
        let answer = tokio::task::spawn_blocking(move || {
            let answer = act(&observe);
            // What it was made of is larger than the mesh's figures are.
            transport::memory::give_back();
            answer
        });
        answer.await.map_err(stopping)
    }
}

/// Bytes of a node or an edge of the graph as JSON, and somewhat more.
const ENTRY: usize = 1_000;

/// JSON of about so many bytes, written into room that need not grow.
fn json(value: &impl Serialize, about: usize) -> Response {
    let mut text = Vec::with_capacity(about);
    match serde_json::to_writer(&mut text, value) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), "this is a mistake of ours")
            .into_response(),
    }
}

#[derive(Clone, Copy)]
enum Format {
    Json,
    Vizceral,
    Dot,
    Mermaid,
}

async fn graph_call(State(observe): State<Observe>, RawQuery(query): RawQuery) -> Result<Response, Refused> {
    let words = Words::read(query.as_deref(), &["window", "type", "namespace", "at", "format"])?;
    let formats =
        [("json", Format::Json), ("vizceral", Format::Vizceral), ("dot", Format::Dot), ("mermaid", Format::Mermaid)];
    let format = words.word("format", &formats, Format::Json)?;
    let kinds = [
        ("workload", GraphType::Workload),
        ("app", GraphType::App),
        ("versionedApp", GraphType::VersionedApp),
        ("service", GraphType::Service),
    ];
    let query = GraphQuery {
        kind: words.word("type", &kinds, GraphType::Workload)?,
        namespaces: words.list("namespace"),
        at: words.moment("at")?,
        window_s: words.number("window", 1, MOST_WINDOW_S, 60)?,
    };
    observe.watched();
    let window = observe.window(query.span(observe.now())).await?;
    let answer = observe.answer(move |observe| {
        let graph = graph::graph(&window, &query);
        // What it was made of is as large as the answer.
        drop(window);
        let text = |text: String| ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response();
        match format {
            Format::Json => json(&graph, ENTRY * (graph.nodes.len() + graph.edges.len())),
            Format::Vizceral => Json(render::vizceral(&graph, observe.now())).into_response(),
            Format::Dot => text(render::dot(&graph)),
            Format::Mermaid => text(render::mermaid(&graph)),
        }
    });
    answer.await
}

async fn stat_call(State(observe): State<Observe>, RawQuery(query): RawQuery) -> Result<Json<Stat>, Refused> {
    let known = ["by", "window", "namespace", "name", "from", "to", "direction", "at"];
    let words = Words::read(query.as_deref(), &known)?;
    let query = StatQuery {
        by: words.word("by", &By::WORDS, By::Service)?,
        direction: words.word("direction", &DIRECTIONS, Direction::Inbound)?,
        namespace: words.text("namespace"),
        name: words.text("name"),
        from: words.pair("from")?,
        to: words.pair("to")?,
        at: words.moment("at")?,
        window_s: words.number("window", 1, MOST_WINDOW_S, 60)?,
    };
    observe.watched();
    let window = observe.window(query.span(observe.now())).await?;
    observe.answer(move |_| Json(stat::stat(&window, &query))).await
}

async fn series_call(State(observe): State<Observe>, RawQuery(query): RawQuery) -> Result<Json<SeriesAnswer>, Refused> {
    let known = ["of", "direction", "metrics", "split", "from", "to", "window", "points"];
    let words = Words::read(query.as_deref(), &known)?;
    let now = observe.now();
    let to = words.moment("to")?.unwrap_or(now).min(now);
    let window = 1000 * words.number("window", 1, MOST_WINDOW_S, 3_600)?;
    let from = words.moment("from")?.unwrap_or(to.saturating_sub(window));
    if from >= to {
        return Err(wrong("from", words.get("from").unwrap_or_default(), "a time before `to`, and in the past"));
    }
    let mut metrics = words.list("metrics");
    if metrics.is_empty() {
        metrics = ["rps", "success", "p50", "p95", "p99"].map(str::to_owned).to_vec();
    }
    if let Some(unknown) = metrics.iter().find(|metric| !METRICS.iter().any(|(name, _)| name == metric)) {
        let names: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
        return Err(wrong("metrics", unknown, &format!("some of: {}", names.join(", "))));
    }
    let split = words.get("split").map(|_| words.word("split", &Split::WORDS, Split::Code)).transpose()?;
    let query = SeriesQuery {
        of: of(words.get("of").unwrap_or("mesh"))?,
        direction: words.word("direction", &DIRECTIONS, Direction::Inbound)?,
        metrics,
        split,
        span: Span { from, to },
        points: words.number("points", 1, MOST_POINTS, 120)?,
    };
    observe.watched();
    if let Some(prometheus) = observe.0.prometheus.as_ref().filter(|_| from < observe.past().remembered()) {
        let step = series::step_ms(query.span, query.points, Step::Medium);
        let windows = prometheus.windows(query.span, step).await?;
        return observe.answer(move |_| Json(series::series_of(&windows, query.span, step, &query))).await;
    }
    observe.answer(move |observe| Json(series::series(&observe.past(), &query, &observe.0.series))).await
}

fn of(text: &str) -> Result<Of, Refused> {
    let parts: Vec<String> = text.split('/').map(str::to_owned).collect();
    let named = parts.iter().all(|part| !part.is_empty());
    let two = || (parts[1].clone(), parts[2].clone());
    Ok(match (&*parts[0], parts.len()) {
        ("mesh", 1) => Of::Mesh,
        ("namespace", 2) if named => Of::Namespace(parts[1].clone()),
        ("workload", 3) if named => Of::Workload(two().0, two().1),
        ("app", 3) if named => Of::App(two().0, two().1),
        ("service", 3) if named => Of::Service(two().0, two().1),
        ("edge", 5) => Of::Edge([1, 2, 3, 4].map(|at| parts[at].clone())),
        _ => {
            let expected =
                "mesh, namespace/NS, workload/NS/NAME, app/NS/NAME, service/NS/NAME or edge/SRCNS/SRC/DSTNS/DST";
            return Err(wrong("of", text, expected));
        }
    })
}

async fn traces_call(State(observe): State<Observe>, RawQuery(query): RawQuery) -> Result<Json<TraceList>, Refused> {
    let known = ["service", "namespace", "operation", "minMs", "maxMs", "errors", "tag", "code", "from", "to", "limit"];
    let words = Words::read(query.as_deref(), &known)?;
    let tag = |text: &str| {
        let pair = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        pair.ok_or_else(|| wrong("tag", text, "KEY=VALUE"))
    };
    let query = TraceQuery {
        service: words.text("service"),
        namespace: words.text("namespace"),
        operation: words.text("operation"),
        least_ms: words.millis("minMs")?,
        most_ms: words.millis("maxMs")?,
        errors: words.flag("errors")?,
        tags: words.all("tag").map(tag).collect::<Result<_, _>>()?,
        code: words.text("code"),
        from_ms: words.moment("from")?,
        to_ms: words.moment("to")?,
        limit: words.number("limit", 1, MOST_TRACES, 50)? as usize,
    };
    observe.answer(move |observe| Json(observe.0.traces.list(&query))).await
}

async fn trace_call(State(observe): State<Observe>, Path(id): Path<String>) -> Result<Json<Trace>, Refused> {
    let trace = trace_id(&id).ok_or_else(|| wrong("traceId", &id, "32 (or 16) hexadecimal digits, not all 0"))?;
    let found = observe.answer(move |observe| observe.0.traces.get(trace)).await?;
    let none = || {
        let words = format!("there is no trace {id}");
        Refused::new(
            StatusCode::NOT_FOUND,
            words,
            "it was not sampled, has not come yet, or has given way to newer ones",
        )
    };
    found.map(Json).ok_or_else(none)
}

async fn clusters_call(
    State(observe): State<Observe>,
    RawQuery(query): RawQuery,
) -> Result<Json<ClusterList>, Refused> {
    let words = Words::read(query.as_deref(), &["workload", "node", "service"])?;
    words.pair("workload")?;
    let (workload, node, service) = (words.text("workload"), words.text("node"), words.text("service"));
    observe.watched();
    observe.answer(move |observe| Json(observe.clusters(&workload, &node, &service))).await
}

async fn status_call(
    State(observe): State<Observe>,
    RawQuery(query): RawQuery,
) -> Result<Json<ObserveStatus>, Refused> {
    Words::read(query.as_deref(), &[])?;
    observe.answer(|observe| Json(observe.status())).await
}

#[cfg(test)]
mod tests;
