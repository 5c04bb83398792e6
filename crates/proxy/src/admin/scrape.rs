//! The metrics of the program beside ours, in one answer (Istio's merged scrape).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ::http::header::{self, HeaderValue};
use ::http::{Request, Response, StatusCode};
use mesh_http::{Body, ClientOptions, h1};
use telemetry::{Counter, DeclareError, Desc, Exposition, Shard, TextFormat};
use tokio::task::spawn_local;
use tokio::time::timeout;
use transport::{Connector, Netns};

use super::{Admin, of_type};
use crate::bootstrap::ProgramMetrics;

/// How long a program may take where the scraper does not say how long it waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// More of its metrics are not read.
const MOST: usize = 32 << 20;
/// Prometheus says here how many seconds it waits.
const WAITS: &str = "x-prometheus-scrape-timeout-seconds";

/// Asks the program for its metrics.
pub(crate) struct Scrape {
    at: ProgramMetrics,
    inside: Connector,
    failures: Counter,
}

impl Scrape {
    /// Of a program in this network namespace, or where the proxy is.
    ///
    /// # Errors
    /// Its counter is declared in another way: a mistake of the program.
    pub(crate) fn new(at: ProgramMetrics, netns: Option<Netns>, shard: &Shard) -> Result<Self, DeclareError> {
        let failures = Desc::new(
            "halcyon_program_scrape_failures_total",
            "Scrapes that have no metrics of the program, since it told none.",
        );
        let inside = Connector { netns, timeout: PATIENCE, ..Connector::default() };
        Ok(Self { at, inside, failures: shard.counters(failures)?.with(&[]) })
    }

    async fn ask(&self, patience: Duration) -> Result<String, String> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, self.at.port));
        let asked = async {
            let stream = self.inside.connect(&at.into()).await.map_err(|error| error.to_string())?;
            let request = Request::get(self.at.path.as_str())
                .header(header::HOST, at.to_string())
                .header(header::USER_AGENT, "halcyon-proxy")
                // Two texts can stand behind each other in this form alone.
                .header(header::ACCEPT, "text/plain;version=0.0.4")
                .body(Body::empty())
                .map_err(|error| error.to_string())?;
            let (sender, driver) = h1::connect(stream, &ClientOptions::default());
            let driving = spawn_local(driver);
            let answer = async {
                let answer = sender.send(request).await.map_err(|error| error.to_string())?;
                read(answer).await
            };
            let answer = answer.await;
            driving.abort();
            answer
        };
        let told = timeout(patience, asked).await.unwrap_or_else(|_| Err(format!("no answer within {patience:?}")));
        told.map_err(|problem| format!("http://{at}{}: {problem}", self.at.path))
    }
}

async fn read(answer: Response<Body>) -> Result<String, String> {
    if answer.status() != StatusCode::OK {
        return Err(format!("status {}; expected 200", answer.status().as_u16()));
    }
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.contains("openmetrics") || kind.contains("protobuf") {
        return Err(format!("it answers in `{kind}`; expected Prometheus' text format, which was asked for"));
    }
    let body = answer.into_body().collect(MOST).await.map_err(|error| error.to_string())?;
    String::from_utf8(body.data.to_vec()).map_err(|_| "what it answers is no text".to_owned())
}

/// Ours, and behind them the program's. Without those the answer says in a comment what is wrong.
pub(super) async fn merged(admin: &Admin, request: &Request<Body>) -> Response<Body> {
    let Some(scrape) = &admin.scrape else { return super::stats::prometheus(admin, request) };
    let waits = request.headers().get(WAITS).and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    let waits = waits.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).filter(|waits| !waits.is_zero());
    let theirs = scrape.ask(waits.map_or(PATIENCE, |waits| waits.min(PATIENCE))).await;
    if theirs.is_err() {
        scrape.failures.inc();
    }
    let mut text = super::stats::all(admin, &Exposition::default());
    match theirs {
        Ok(theirs) => text.push_str(&theirs),
        Err(problem) => {
            text.push_str(&format!("# metrics of the program are missing: {}\n", problem.replace('\n', " ")))
        }
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let mut answer = of_type(StatusCode::OK, TextFormat::Prometheus.content_type(), text);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
