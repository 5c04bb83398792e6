//! PeerAuthentication: who must speak mutual TLS to a workload.

use std::collections::BTreeMap;

use super::LabelSelector;
use crate::decode::{choice, object};
use crate::meta::check_selector;
use crate::report::Report;

object! {
    /// Who must speak mutual TLS (`security.istio.io`).
    Istio struct PeerAuthentication {
        /// The workloads; none means all of the namespace, or of the mesh in its root namespace.
        selector "selector": Option<LabelSelector>,
        /// The rule for all ports.
        mtls "mtls": Option<MutualTls>,
        /// Rules for single ports of the workload (not of its service).
        port_level_mtls "portLevelMtls": BTreeMap<u16, MutualTls>,
    }
}

object! {
    /// A rule on mutual TLS.
    Istio struct MutualTls {
        /// The rule.
        mode "mode": MutualTlsMode,
    }
}

choice! {
    /// Rules on mutual TLS.
    enum MutualTlsMode {
        /// As the next wider rule says; PERMISSIVE if there is none.
        Unset "UNSET",
        /// It is not spoken.
        Disable "DISABLE",
        /// It may be spoken.
        Permissive "PERMISSIVE",
        /// It must be spoken.
        Strict "STRICT",
    }
}

impl PeerAuthentication {
    pub(crate) fn check(&self, report: &mut Report) {
        let selects = self.selector.as_ref().is_some_and(|s| !s.match_labels.is_empty());
        report.opt("selector", &self.selector, |selector, r| {
            if selector.match_labels.is_empty() {
                r.warning("the selector names no label: it takes every workload of the namespace");
            }
            check_selector("matchLabels", &selector.match_labels, r);
        });
        if !self.port_level_mtls.is_empty() && !selects {
            report.field("portLevelMtls", |r| {
                r.error("rules for single ports need to know the workload")
                    .expected("`selector` with `matchLabels` beside them");
            });
        }
    }
}
