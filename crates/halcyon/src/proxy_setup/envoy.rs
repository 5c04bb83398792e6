//! A stock Envoy as a sidecar: its bootstrap file. Certificate and roots come from the agent beside it, also those with
//! which it meets the control plane: files of a bootstrap are read once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use launch::{Drain, HttpTarget, SidecarOutput, SidecarSpec};
use model::tls::{AGENT, MESH_ROOTS, OWN_CERTIFICATE};
use serde_json::{Value, json};

use super::ProxySetup;
use super::agent::Agent;

/// A stock Envoy.
pub struct Envoy {
    /// Its program.
    pub program: PathBuf,
}

impl Envoy {
    /// Gets the first certificate, writes the files, and says how the process is started.
    pub async fn sidecar(&self, setup: &ProxySetup, output: SidecarOutput) -> Result<SidecarSpec> {
        std::fs::create_dir_all(&setup.folder).with_context(|| setup.folder.display().to_string())?;
        let socket = Agent::start(setup).await?.serve(&setup.folder.join("sds.sock"), setup.workload_api.as_deref())?;
        let bootstrap = serde_json::to_vec_pretty(&bootstrap(setup, &socket)?)?;
        let file = setup.write("envoy.json", &bootstrap)?;
        let workers = setup.started.workers.to_string();
        let log_level = ["--log-level", "warning"];
        let mut args: Vec<std::ffi::OsString> = vec!["-c".into(), file.into(), "--concurrency".into(), workers.into()];
        args.extend(log_level.into_iter().chain(["--disable-hot-restart"]).map(Into::into));
        Ok(SidecarSpec {
            program: self.program.clone().into(),
            args,
            env: setup.started.env.clone(),
            output,
            ready: HttpTarget::new(setup.admin(), "/ready"),
            ready_within: Duration::from_secs(30),
            drain: Drain {
                // It does not tell the control plane.
                departure: None,
                request: Some(HttpTarget::new(setup.admin(), "/drain_listeners?graceful")),
                settle: Duration::from_secs(1),
                grace: Duration::from_secs(5),
            },
        })
    }
}

fn bootstrap(setup: &ProxySetup, agent: &Path) -> Result<Value> {
    let ads = json!({ "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "10s" });
    Ok(json!({
        "node": {
            "id": setup.node_id(),
            "cluster": format!("{}.{}", setup.workload, setup.namespace),
            "metadata": setup.metadata(false),
            "locality": setup.locality,
        },
        "admin": { "address": socket_address(&setup.admin().ip().to_string(), setup.admin().port()) },
        "dynamic_resources": {
            "lds_config": ads, "cds_config": ads,
            "ads_config": {
                "api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "control" } }],
            },
        },
        // How many connections there may be, which may change while it runs.
        "layered_runtime": {
            "layers": [{ "name": "connections", "rtds_layer": { "name": "connections", "rtds_config": ads } }],
        },
        "static_resources": {
            "clusters": [control_cluster(setup)?, agent_cluster(agent)],
        },
    }))
}

fn socket_address(address: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": address, "port_value": port } })
}

/// A secret of the agent.
fn secret(name: &str) -> Value {
    json!({
        "name": name,
        "sds_config": {
            "resource_api_version": "V3",
            "initial_fetch_timeout": "10s",
            "api_config_source": {
                "api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": AGENT } }],
            },
        },
    })
}

fn agent_cluster(socket: &Path) -> Value {
    json!({
        "name": AGENT,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": AGENT,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": { "pipe": { "path": socket } } } }] }],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        },
    })
}

fn control_cluster(setup: &ProxySetup) -> Result<Value> {
    let (host, port) = setup.ticket.control.rsplit_once(':').context("the control plane's address has no port")?;
    let port: u16 = port.parse().context("the control plane's port is no number")?;
    let options = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { "http2_protocol_options": { "connection_keepalive": { "interval": "30s", "timeout": "5s" } } },
    });
    let name_check = json!([{ "san_type": "URI", "matcher": { "exact": setup.ticket.server.as_str() } }]);
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [secret(OWN_CERTIFICATE)],
            "combined_validation_context": {
                "default_validation_context": { "match_typed_subject_alt_names": name_check },
                "validation_context_sds_secret_config": secret(MESH_ROOTS),
            },
        },
    });
    Ok(json!({
        "name": "control",
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "control",
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket_address(host, port) } }] }],
        },
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options },
        "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
    }))
}
