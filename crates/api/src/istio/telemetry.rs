//! Telemetry: what proxies count, write down and trace, and how.

use std::collections::BTreeMap;
use std::time::Duration;

use expression::Expression;

use super::destination_rule::check_place;
use super::{LabelSelector, TargetRef};
use crate::decode::{Decode, Spanned, choice, object};
use crate::problem::quoted;
use crate::report::{Report, Step};
use crate::syntax::is_header_name;
use crate::yaml::Node;

object! {
    /// What the proxies of some workloads count, write down and trace (`telemetry.istio.io`).
    Istio struct Telemetry {
        /// The workloads; none means all of the namespace, or of the mesh in its root namespace.
        selector "selector": Option<LabelSelector>,
        /// A gateway of the Gateway API, in place of a selector.
        target_ref "targetRef": Option<TargetRef>,
        /// The same, several.
        target_refs "targetRefs": Vec<TargetRef>,
        /// Spans.
        tracing "tracing": Vec<TelemetryTracing>,
        /// Metrics.
        metrics "metrics": Vec<TelemetryMetrics>,
        /// Access logs.
        access_logging "accessLogging": Vec<TelemetryLogging>,
    }
}

object! {
    /// Which side of an exchange is meant.
    Istio struct ModeSelector {
        /// The side.
        mode "mode": WorkloadMode,
    }
}

choice! {
    /// Sides of an exchange.
    enum WorkloadMode {
        /// Both.
        ClientAndServer "CLIENT_AND_SERVER",
        /// Who calls; a gateway is one.
        Client "CLIENT",
        /// Who is called.
        Server "SERVER",
    }
}

object! {
    /// A reference to a provider of the mesh's settings.
    Istio struct ProviderRef {
        /// Its name.
        name "name" (required): Spanned<String>,
    }
}

object! {
    /// How exchanges become spans.
    Istio struct TelemetryTracing {
        /// Of which side.
        match_ "match": Option<ModeSelector>,
        /// Who is told; none: as the next wider Telemetry says, or the settings of the mesh.
        providers "providers": Vec<ProviderRef>,
        /// The share of new traces that are recorded, in percent.
        random_sampling_percentage "randomSamplingPercentage": Option<f64>,
        /// Nobody is told; contexts go on.
        disable_span_reporting "disableSpanReporting": Option<bool>,
        /// Further tags, by their names.
        custom_tags "customTags": BTreeMap<String, TelemetryTag>,
        /// The request's id says whether a trace is recorded.
        use_request_id_for_trace_sampling "useRequestIdForTraceSampling": Option<bool>,
        /// Istio's own tags.
        enable_istio_tags "enableIstioTags": Option<bool>,
        /// Contexts do not go on.
        disable_context_propagation "disableContextPropagation": Option<bool>,
    }
}

object! {
    /// A tag of spans: one of its kinds.
    Istio struct TelemetryTag {
        /// A text.
        literal "literal": Option<TagLiteral>,
        /// A variable of the proxy's environment.
        environment "environment": Option<TagEnvironment>,
        /// A header of the request.
        header "header": Option<TagHeader>,
        /// A text with operators of access logs.
        formatter "formatter": Option<TagLiteral>,
    }
}

object! {
    /// A tag that is a text.
    Istio struct TagLiteral {
        /// The text.
        value "value" (required): String,
    }
}

object! {
    /// A tag from the proxy's environment.
    Istio struct TagEnvironment {
        /// The variable.
        name "name" (required): String,
        /// If it is not set.
        default_value "defaultValue": String,
    }
}

object! {
    /// A tag from a header.
    Istio struct TagHeader {
        /// The header.
        name "name" (required): String,
        /// If it is not there.
        default_value "defaultValue": String,
    }
}

object! {
    /// What is counted.
    Istio struct TelemetryMetrics {
        /// For whom; none: as the next wider Telemetry says, or the settings of the mesh.
        providers "providers": Vec<ProviderRef>,
        /// What is counted otherwise than it is by default, in this order.
        overrides "overrides": Vec<MetricOverride>,
        /// How often long connections are counted while they stand.
        reporting_interval "reportingInterval": Option<Duration>,
    }
}

object! {
    /// How some metrics are counted.
    Istio struct MetricOverride {
        /// Which; none: all.
        match_ "match": Option<MetricSelector>,
        /// They are not counted.
        disabled "disabled": Option<bool>,
        /// Their labels, by names.
        tag_overrides "tagOverrides": BTreeMap<String, TagOverride>,
    }
}

object! {
    /// Some metrics.
    Istio struct MetricSelector {
        /// One of Istio's.
        metric "metric": IstioMetric,
        /// Another one.
        custom_metric "customMetric": String,
        /// Of which side.
        mode "mode": WorkloadMode,
    }
}

choice! {
    /// Istio's metrics.
    enum IstioMetric {
        /// All of them.
        All "ALL_METRICS",
        /// `istio_requests_total`
        RequestCount "REQUEST_COUNT",
        /// `istio_request_duration_milliseconds`
        RequestDuration "REQUEST_DURATION",
        /// `istio_request_bytes`
        RequestSize "REQUEST_SIZE",
        /// `istio_response_bytes`
        ResponseSize "RESPONSE_SIZE",
        /// `istio_tcp_connections_opened_total`
        TcpOpened "TCP_OPENED_CONNECTIONS",
        /// `istio_tcp_connections_closed_total`
        TcpClosed "TCP_CLOSED_CONNECTIONS",
        /// `istio_tcp_sent_bytes_total`
        TcpSent "TCP_SENT_BYTES",
        /// `istio_tcp_received_bytes_total`
        TcpReceived "TCP_RECEIVED_BYTES",
        /// `istio_request_messages_total`
        RequestMessages "GRPC_REQUEST_MESSAGES",
        /// `istio_response_messages_total`
        ResponseMessages "GRPC_RESPONSE_MESSAGES",
    }
}

object! {
    /// What becomes of a label.
    Istio struct TagOverride {
        /// It is set, or taken away.
        operation "operation": TagOperation,
        /// What it is set to.
        value "value": Option<Expression>,
    }
}

choice! {
    /// What is done with a label.
    enum TagOperation {
        /// It is set, whether it was there or not.
        Upsert "UPSERT",
        /// It is taken away.
        Remove "REMOVE",
    }
}

object! {
    /// What is written down.
    Istio struct TelemetryLogging {
        /// Of which side.
        match_ "match": Option<ModeSelector>,
        /// Where; none: as the next wider Telemetry says, or the settings of the mesh.
        providers "providers": Vec<ProviderRef>,
        /// Nothing is.
        disabled "disabled": Option<bool>,
        /// Of what alone.
        filter "filter": Option<LoggingFilter>,
    }
}

object! {
    /// What is written down.
    Istio struct LoggingFilter {
        /// Exchanges for which this is true; none: all.
        expression "expression": Option<Expression>,
    }
}

/// An expression is parsed where it is written, so that a mistake in it is told there.
impl Decode for Expression {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let text = String::decode(node, report)?;
        if text.is_empty() {
            return None;
        }
        match Self::parse(&text) {
            Ok(expression) => {
                for name in expression.elsewhere() {
                    report
                        .warning(format!("our proxies do not know the attribute `{name}`: for them it is never there"));
                }
                Some(expression)
            }
            Err(error) => {
                report
                    .error(format!("the expression {} cannot be read: {error}", quoted(&text)))
                    .expected("CEL over Envoy's attributes, such as `response.code >= 400`");
                None
            }
        }
    }
}

impl WorkloadMode {
    /// Does it take in who calls (`client`), or who is called?
    pub fn takes(self, client: bool) -> bool {
        self == Self::ClientAndServer || (self == Self::Client) == client
    }
}

impl Telemetry {
    pub(crate) fn check(&self, report: &mut Report) {
        check_place(self.selector.as_ref(), self.target_ref.is_some() || !self.target_refs.is_empty(), report);
        report.each("tracing", &self.tracing, TelemetryTracing::check);
        report.each("metrics", &self.metrics, |metrics, r| {
            r.each("overrides", &metrics.overrides, MetricOverride::check);
        });
    }
}

impl TelemetryTracing {
    fn check(&self, report: &mut Report) {
        if self.providers.len() > 1 {
            report.field("providers", |r| {
                r.error("spans go to one provider").expected("one");
            });
        }
        if self.random_sampling_percentage.is_some_and(|share| !(0.0..=100.0).contains(&share)) {
            report.field("randomSamplingPercentage", |r| {
                r.error("it is no share").expected("a number from 0 to 100");
            });
        }
        for (name, tag) in &self.custom_tags {
            report.field("customTags", |r| r.down(Step::Key(name.clone()), |r| tag.check(r)));
        }
    }
}

impl TelemetryTag {
    fn check(&self, report: &mut Report) {
        let kinds =
            [self.literal.is_some(), self.environment.is_some(), self.header.is_some(), self.formatter.is_some()];
        if kinds.into_iter().filter(|is_there| *is_there).count() != 1 {
            report
                .error("nothing says, or several things say, where the tag's value comes from")
                .expected("one of `literal`, `environment`, `header`, `formatter`");
        }
        report.opt("header", &self.header, |header, r| {
            if !is_header_name(&header.name) {
                r.field("name", |r| {
                    r.error(format!("{} is no name of a header", quoted(&header.name)))
                        .expected("one such as `x-team`");
                });
            }
        });
    }
}

impl MetricOverride {
    fn check(&self, report: &mut Report) {
        for (name, tag) in &self.tag_overrides {
            report.field("tagOverrides", |r| {
                r.down(Step::Key(name.clone()), |r| {
                    if !is_label(name) {
                        r.error(format!("{} is no name of a label", quoted(name)))
                            .expected("letters, digits and `_`, no digit first");
                    }
                    match (tag.operation, &tag.value) {
                        (TagOperation::Upsert, None) => {
                            r.error("nothing says what the label is set to").expected("`value`, an expression");
                        }
                        (TagOperation::Remove, Some(_)) => {
                            r.field("value", |r| {
                                r.warning("a label that is taken away has no value");
                            });
                        }
                        _ => {}
                    }
                });
            });
        }
    }
}

/// The names that Prometheus allows (its data model, "metric names and labels").
fn is_label(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
        && !name.starts_with("__")
}
