//! What Kiali asks for its graph, health and detail pages: by the metrics and labels of Istio.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{open, traffic};
use crate::poll;
use crate::runner::Outcome;
use crate::world::World;

const LONG: Duration = Duration::from_secs(240);

/// Labels by which Kiali draws an edge.
const EDGE: [&str; 14] = [
    "source_cluster",
    "source_workload_namespace",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "destination_cluster",
    "destination_service_namespace",
    "destination_service",
    "destination_service_name",
    "destination_workload_namespace",
    "destination_workload",
    "destination_canonical_service",
    "destination_canonical_revision",
    "request_protocol",
];
/// Labels by which it says what became of requests, who proved to be who, and how.
const OUTCOME: [&str; 2] = ["response_code", "response_flags"];
const SECURITY: [&str; 3] = ["connection_security_policy", "source_principal", "destination_principal"];

/// A question: of a metric with a selector, by these labels besides [`EDGE`].
struct Question {
    what: &'static str,
    metric: &'static str,
    selector: &'static str,
    more: Vec<&'static str>,
    /// Labels that are `unknown`: so the question has it.
    unknown: &'static [&'static str],
}

fn questions() -> Vec<Question> {
    let requests = "istio_requests_total";
    let question = |what, metric, selector, more: &[&[&'static str]]| Question {
        what,
        metric,
        selector,
        more: more.concat(),
        unknown: &[],
    };
    let mut all = vec![
        Question {
            unknown: &[
                "destination_cluster",
                "destination_workload_namespace",
                "destination_workload",
                "destination_canonical_service",
                "destination_canonical_revision",
            ],
            ..question(
                "what never arrived",
                requests,
                r#"reporter=~"source|waypoint",source_workload_namespace!="default_",destination_workload_namespace="unknown",destination_workload="unknown",destination_service=~"^.+\\.default\\..+$""#,
                &[&OUTCOME],
            )
        },
        question(
            "what comes in",
            requests,
            r#"reporter=~"destination|waypoint",destination_workload_namespace="default",request_protocol="http""#,
            &[&OUTCOME, &SECURITY],
        ),
        question(
            "what goes out",
            requests,
            r#"reporter=~"source|waypoint",source_workload_namespace="default",destination_workload!="unknown",request_protocol="http""#,
            &[&OUTCOME],
        ),
        question(
            "gRPC that comes in",
            requests,
            r#"reporter="destination",destination_workload_namespace="default",request_protocol="grpc",grpc_response_status="0""#,
            &[&OUTCOME, &SECURITY, &["grpc_response_status"]],
        ),
        question(
            "gRPC that fails",
            requests,
            r#"reporter="source",source_workload_namespace="default",grpc_response_status=~"^[1-9]$|^1[0-6]$""#,
            &[&OUTCOME, &["grpc_response_status"]],
        ),
        question(
            "how long it takes",
            "istio_request_duration_milliseconds_bucket",
            r#"reporter="destination",destination_workload_namespace="default""#,
            &[&["le"]],
        ),
    ];
    for (what, metric) in [
        ("its durations", "istio_request_duration_milliseconds_sum"),
        ("how many they are of", "istio_request_duration_milliseconds_count"),
        ("sizes of requests", "istio_request_bytes_sum"),
        ("sizes of responses", "istio_response_bytes_sum"),
        ("sizes of requests in buckets", "istio_request_bytes_bucket"),
        ("sizes of responses in buckets", "istio_response_bytes_bucket"),
    ] {
        all.push(question(what, metric, r#"reporter="source",source_workload_namespace="default",destination_workload!="unknown",request_protocol="http""#, &[&OUTCOME]));
        all.push(question(
            what,
            metric,
            r#"reporter="destination",destination_workload_namespace="default""#,
            &[&OUTCOME],
        ));
    }
    for (what, metric) in [
        ("messages of gRPC from clients", "istio_request_messages_total"),
        ("messages of gRPC to clients", "istio_response_messages_total"),
    ] {
        all.push(question(what, metric, r#"reporter="source",source_workload_namespace="default""#, &[]));
        all.push(question(what, metric, r#"reporter="destination",destination_workload_namespace="default""#, &[]));
    }
    for (what, metric) in [
        ("bytes of TCP to clients", "istio_tcp_sent_bytes_total"),
        ("bytes of TCP from clients", "istio_tcp_received_bytes_total"),
        ("TCP connections that were opened", "istio_tcp_connections_opened_total"),
        ("TCP connections that were closed", "istio_tcp_connections_closed_total"),
    ] {
        all.push(question(what, metric, r#"reporter="source",source_workload_namespace="default""#, &[]));
        all.push(question(
            what,
            metric,
            r#"reporter="destination",destination_workload_namespace="default""#,
            &[&SECURITY],
        ));
    }
    all
}

impl Question {
    fn expression(&self) -> String {
        let labels = EDGE.iter().chain(&self.more).copied().collect::<Vec<_>>().join(",");
        format!("sum(rate({}{{{}}}[60s])) by ({labels}) > 0", self.metric, self.selector)
    }
}

/// Asks until each has an answer, and looks at every label of every line.
pub fn answers(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        let (mesh, prometheus) = open(world).await?;
        traffic::prepare(mesh, "echo").await?;
        let all = questions();
        let mut lines = 0;
        let mut waiting: Vec<&Question> = all.iter().collect();
        poll::until("an answer to each question", LONG, async || {
            traffic::round(&place, mesh).await?;
            let mut empty = Vec::new();
            for question in &waiting {
                let answer = prometheus.query(&question.expression()).await?;
                if answer.is_empty() {
                    empty.push(*question);
                }
                lines += answer.len();
                for line in &answer {
                    check(question, line)?;
                }
            }
            waiting = empty;
            let names: Vec<String> = waiting.iter().map(|it| format!("{} ({})", it.what, it.expression())).collect();
            ensure!(names.is_empty(), "nothing yet of {}", names.join("; "));
            Ok(())
        })
        .await?;
        Ok(format!("{} questions, {lines} lines", all.len()))
    })
}

fn check(question: &Question, line: &crate::prometheus::Series) -> Result<()> {
    for label in EDGE.iter().chain(&question.more) {
        let value = line.label(label);
        ensure!(!value.is_empty(), "{}: `{label}` is not there: {:?}", question.what, line.labels);
        let may_be_unknown = question.unknown.contains(label)
            // Visitors of a gateway are nobody's workload, and what never arrived has proven nothing.
            || label.starts_with("source_")
            || (*label == "destination_principal" && line.label("connection_security_policy") != "mutual_tls");
        ensure!(may_be_unknown || value != "unknown", "{}: `{label}` is unknown: {:?}", question.what, line.labels);
    }
    Ok(())
}
