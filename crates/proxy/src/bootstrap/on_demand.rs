//! How virtual hosts are found when they are needed: as typed and as resolved.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::BootstrapError;

/// How virtual hosts are found when they are needed, rather than all be sent (xDS VHDS, incremental only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnDemand {
    /// The control plane is told that it need not send all, and clusters are asked for by name. Without it virtual hosts
    /// are still asked for where a route configuration says so.
    pub announced: bool,
    /// How long a request waits for its virtual host; then it fails. Default 5 s.
    pub wait: Duration,
    /// What nobody used for so long is given up, and asked for anew when it is needed. Default 5 min.
    pub idle: Duration,
    /// At most so many names are held; of more those go that were in use longest ago. Default 4096.
    pub max_names: usize,
}

impl Default for OnDemand {
    /// Not announced, and the defaults.
    fn default() -> Self {
        Self { announced: false, wait: Duration::from_secs(5), idle: Duration::from_secs(300), max_names: 4096 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OnDemandFile {
    wait_seconds: Option<f64>,
    idle_seconds: Option<f64>,
    max_names: Option<usize>,
}

impl OnDemandFile {
    /// With defaults filled in.
    pub(super) fn resolve(self, path: &Path) -> Result<OnDemand, BootstrapError> {
        let bad = |field, problem: String| BootstrapError::Value { path: path.to_owned(), field, problem };
        let seconds = |given: Option<f64>, default: Duration, field| match given.map(Duration::try_from_secs_f64) {
            None => Ok(default),
            Some(Ok(given)) if !given.is_zero() => Ok(given),
            Some(_) => Err(bad(field, "is no duration: expected seconds, more than zero".to_owned())),
        };
        let default = OnDemand::default();
        let max_names = self.max_names.unwrap_or(default.max_names);
        if max_names == 0 {
            return Err(bad("on_demand.max_names", "0 is not possible: expected 1 or more".to_owned()));
        }
        Ok(OnDemand {
            announced: true,
            wait: seconds(self.wait_seconds, default.wait, "on_demand.wait_seconds")?,
            idle: seconds(self.idle_seconds, default.idle, "on_demand.idle_seconds")?,
            max_names,
        })
    }
}
