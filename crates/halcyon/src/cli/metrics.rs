//! Where a program tells its own metrics.

use std::str::FromStr;

use clap::Args;

/// Metrics of the program.
#[derive(Debug, Clone, Default, Args)]
pub struct MetricsArgs {
    /// The port, and the path, at which the program tells its metrics to Prometheus (default: as the annotations
    /// prometheus.io/scrape, prometheus.io/port and prometheus.io/path of its Deployment or WorkloadGroup say). The sidecar
    /// tells them with its own at port 15020.
    #[arg(long = "metrics", value_name = "PORT[/PATH]")]
    pub metrics: Option<MetricsAt>,
}

/// `9102`, or `9102/metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsAt {
    /// The port.
    pub port: u16,
    /// The path.
    pub path: String,
}

impl MetricsAt {
    /// The path where nothing is said.
    pub const PATH: &str = "/metrics";
}

impl FromStr for MetricsAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, path) = match text.find('/') {
            Some(at) => (&text[..at], &text[at..]),
            None => (text, Self::PATH),
        };
        match port.parse() {
            Ok(port) if port > 0 => Ok(Self { port, path: path.to_owned() }),
            _ => Err(format!("`{port}` is no port; expected `9102`, or `9102/metrics`")),
        }
    }
}
