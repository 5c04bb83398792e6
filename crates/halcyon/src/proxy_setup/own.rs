//! The bootstrap file of our own proxy.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::{METRICS, ProxySetup, READINESS};

/// The program's namespace, as its sidecar reaches it.
pub struct Inside {
    /// The namespace's name in addresses.
    pub name: String,
    /// Where unconnected sockets of it are handed out.
    pub sockets: PathBuf,
    /// The DNS sockets inside, by UDP and TCP.
    pub dns: Vec<SocketAddr>,
}

/// The file's text.
pub fn bootstrap(setup: &ProxySetup, inside: Option<&Inside>) -> Result<String> {
    let mut file = json!({
        "node": {
            "id": setup.node_id(),
            "cluster": format!("{}.{}", setup.workload, setup.namespace),
            "metadata": setup.metadata(true),
            "locality": setup.locality,
        },
        "control_plane": {
            "address": setup.ticket.control,
            "server_identity": setup.ticket.server.as_str(),
            "trust_bundle_pem": setup.ticket.trust_bundle,
            "token": setup.ticket.token,
        },
        "identity": { "spiffe_id": setup.ticket.identity.as_str() },
        "workers": setup.started.workers,
        "state_dir": setup.folder.join("state"),
        "admin": { "address": setup.admin() },
        "readiness": { "address": SocketAddr::new(setup.address, READINESS) },
        "metrics": { "address": SocketAddr::new(setup.address, METRICS) },
        "drain_seconds": setup.started.drain.as_secs_f64(),
        "explain": setup.explain,
    });
    if let Some(ready) = &setup.ready {
        file["program_ready"] = json!(ready);
    }
    if let Some(metrics) = &setup.metrics {
        file["metrics"]["program"] = json!({ "port": metrics.port, "path": metrics.path });
    }
    if let Some(certificates) = setup.certificates.bootstrap() {
        file["certificates"] = certificates;
    }
    if let Some(path) = &setup.workload_api {
        file["workload_api"] = json!({ "path": path });
    }
    file["observe"] = json!({ "redact_headers": setup.tell.redact_headers, "tap_bodies": setup.tell.tap_bodies });
    if setup.on_demand {
        file["on_demand"] = json!({});
    }
    if let Some(inside) = inside {
        file["netns"] = json!({ "name": inside.name, "sockets_path": inside.sockets });
        file["dns"] = json!({ "udp": inside.dns, "tcp": inside.dns });
    }
    Ok(serde_json::to_string_pretty(&file)?)
}
