//! What the control plane is told of the traffic.

use std::path::Path;

use http::HeaderName;
use serde::Deserialize;

use super::BootstrapError;
use crate::observe::TapRules;

/// As typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ObserveFile {
    #[serde(default)]
    redact_headers: Vec<String>,
    #[serde(default)]
    tap_bodies: bool,
}

impl ObserveFile {
    pub(super) fn resolve(self, path: &Path) -> Result<TapRules, BootstrapError> {
        let bad = |problem| BootstrapError::Value { path: path.to_owned(), field: "observe.redact_headers", problem };
        let name = |name: &String| {
            name.parse::<HeaderName>()
                .map_err(|_| bad(format!("`{name}` is no name of a header: expected one such as `x-api-key`")))
        };
        let redact = self.redact_headers.iter().map(name).collect::<Result<_, _>>()?;
        Ok(TapRules { redact, bodies: self.tap_bodies })
    }
}
