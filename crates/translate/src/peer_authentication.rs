//! Who must speak mutual TLS: the mode of each port of a workload.

use std::collections::BTreeMap;

use api::istio::{MutualTls, MutualTlsMode, PeerAuthentication};

use crate::node::Node;
use crate::service::selected;
use crate::world::{Document, World};

/// How a port takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Plain text only; TLS passes to the program as it is.
    Disable,
    /// Both.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

impl World {
    /// The mode of a port of the program that `node` stands beside. The narrowest policy that says something decides:
    /// the port, the workload, its namespace, the mesh; of two at the same level the older. Nothing said is
    /// [`Mode::Permissive`].
    pub fn mutual_tls(&self, node: &Node, port: u16) -> Mode {
        self.mutual_tls_of(&node.namespace, &node.labels, port)
    }

    /// The same for a workload, as its clients have to know it.
    pub(crate) fn mutual_tls_of(&self, own: &str, labels: &BTreeMap<String, String>, port: u16) -> Mode {
        let root = &self.settings.root_namespace;
        let selects = |p: &PeerAuthentication| {
            p.selector.as_ref().filter(|s| !s.match_labels.is_empty()).map(|s| selected(&s.match_labels, labels))
        };
        let workload = self.oldest(|d| d.namespace() == own && selects(d.spec()) == Some(true));
        let namespace = self.oldest(|d| d.namespace() == own && own != root && selects(d.spec()).is_none());
        let mesh = self.oldest(|d| d.namespace() == root && selects(d.spec()).is_none());
        let of_port = workload.and_then(|d| said(d.spec().port_level_mtls.get(&port)));
        let wider = [workload, namespace, mesh].into_iter().flatten();
        of_port.or_else(|| wider.filter_map(|d| said(d.spec().mtls.as_ref())).next()).unwrap_or(Mode::Permissive)
    }

    fn oldest(&self, fits: impl Fn(&Document<PeerAuthentication>) -> bool) -> Option<&Document<PeerAuthentication>> {
        self.peer_authentications.iter().filter(|d| fits(d)).min_by_key(|d| d.age())
    }
}

fn said(mtls: Option<&MutualTls>) -> Option<Mode> {
    match mtls?.mode {
        MutualTlsMode::Unset => None,
        MutualTlsMode::Disable => Some(Mode::Disable),
        MutualTlsMode::Permissive => Some(Mode::Permissive),
        MutualTlsMode::Strict => Some(Mode::Strict),
    }
}
