//! How Istio's standard metrics are counted, where that differs from the default.

use std::collections::BTreeMap;
use std::sync::Arc;

use expression::Expression;

macro_rules! metrics {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// One of Istio's standard metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $($(#[$doc])* $variant,)*
        }

        impl Metric {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

metrics! {
    /// Requests.
    RequestCount "istio_requests_total",
    /// How long they took.
    RequestDuration "istio_request_duration_milliseconds",
    /// Bytes of their bodies.
    RequestSize "istio_request_bytes",
    /// Bytes of responses' bodies.
    ResponseSize "istio_response_bytes",
    /// Messages of gRPC in requests.
    RequestMessages "istio_request_messages_total",
    /// Messages of gRPC in responses.
    ResponseMessages "istio_response_messages_total",
    /// Connections that were opened.
    TcpOpened "istio_tcp_connections_opened_total",
    /// Connections that were closed.
    TcpClosed "istio_tcp_connections_closed_total",
    /// Bytes to clients.
    TcpSent "istio_tcp_sent_bytes_total",
    /// Bytes from clients.
    TcpReceived "istio_tcp_received_bytes_total",
}

impl Metric {
    /// The metric of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|metric| metric.name() == name)
    }
}

/// What differs from the default, by metric.
pub type MetricRules = BTreeMap<Metric, MetricRule>;

/// How a metric is counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetricRule {
    /// It is not.
    pub dropped: bool,
    /// Labels that are set to the value of an expression, or taken away.
    pub labels: BTreeMap<Arc<str>, Option<Expression>>,
}
