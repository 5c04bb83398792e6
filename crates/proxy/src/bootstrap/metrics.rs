//! Where metrics are told to scrapers, with those of the program.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http::uri::PathAndQuery;
use serde::Deserialize;

use super::BootstrapError;

/// A series that did not change for so long is no longer told, unless the file says otherwise.
pub(crate) const IDLE: Duration = Duration::from_secs(3600);

/// As typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricsFile {
    address: SocketAddr,
    program: Option<ProgramFile>,
    #[serde(default = "idle")]
    idle_seconds: f64,
}

fn idle() -> f64 {
    IDLE.as_secs_f64()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramFile {
    port: u16,
    path: String,
}

/// Where metrics are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// The address at which scrapers ask.
    pub address: SocketAddr,
    /// Where the program tells its own; none: it has none.
    pub program: Option<ProgramMetrics>,
    /// A series that did not change for so long is no longer told. Default an hour.
    pub idle: Duration,
}

/// Where a program tells its metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramMetrics {
    /// Its port on loopback, in its own network namespace if it has one.
    pub port: u16,
    /// The path.
    pub path: PathAndQuery,
}

impl MetricsFile {
    pub(super) fn resolve(self, path: &Path) -> Result<Metrics, BootstrapError> {
        let bad = |field, problem| BootstrapError::Value { path: path.to_owned(), field, problem };
        let idle = Duration::try_from_secs_f64(self.idle_seconds).ok().filter(|idle| !idle.is_zero());
        let idle = idle.ok_or_else(|| {
            bad("metrics.idle_seconds", format!("is {}: expected seconds, more than zero", self.idle_seconds))
        })?;
        let program = self.program.map(|program| match program.path.parse::<PathAndQuery>() {
            Ok(path) if program.path.starts_with('/') => Ok(ProgramMetrics { port: program.port, path }),
            _ => Err(bad(
                "metrics.program.path",
                format!("`{}` is no path: expected one such as `/metrics`", program.path),
            )),
        });
        Ok(Metrics { address: self.address, program: program.transpose()?, idle })
    }
}
