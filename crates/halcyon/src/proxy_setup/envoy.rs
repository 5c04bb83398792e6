//! A stock Envoy as a sidecar: its bootstrap file, and its certificate as files that are kept fresh.
//!
//! Envoy cannot make a certificate request, so the launcher does what an agent does elsewhere: it makes the key, which
//! never leaves this machine, gets the certificate for it, and writes both where Envoy watches.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use launch::{Drain, HttpTarget, SidecarOutput, SidecarSpec};
use serde_json::{Value, json};

use super::certificate::Certificates;
use super::{ProxySetup, write_private};

/// A stock Envoy.
pub struct Envoy {
    /// Its program.
    pub program: PathBuf,
}

impl Envoy {
    /// Gets the first certificate, writes the files, and says how the process is started.
    pub async fn sidecar(&self, setup: &ProxySetup, output: SidecarOutput) -> Result<SidecarSpec> {
        let certificates = Certificates::new(setup.ticket.clone(), setup.folder.join("certificates"));
        let life = certificates.obtain().await.context("cannot get a certificate for Envoy")?;
        let folder = certificates.folder().to_owned();
        write_private(&folder, "roots.pem", setup.ticket.trust_bundle.as_bytes())?;
        tokio::spawn(certificates.keep_fresh(life));
        let bootstrap = serde_json::to_vec_pretty(&bootstrap(setup, &folder)?)?;
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

fn bootstrap(setup: &ProxySetup, certificates: &Path) -> Result<Value> {
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
            "secrets": [{ "name": "default", "tls_certificate": own_certificate(certificates) }],
            "clusters": [control_cluster(setup, certificates)?],
        },
    }))
}

fn socket_address(address: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": address, "port_value": port } })
}

fn own_certificate(folder: &Path) -> Value {
    json!({
        "certificate_chain": { "filename": folder.join("current/chain.pem") },
        "private_key": { "filename": folder.join("current/key.pem") },
        "watched_directory": { "path": folder },
    })
}

fn control_cluster(setup: &ProxySetup, certificates: &Path) -> Result<Value> {
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
            "tls_certificates": [own_certificate(certificates)],
            "validation_context": {
                "trusted_ca": { "filename": certificates.join("roots.pem") },
                "match_typed_subject_alt_names": name_check,
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
