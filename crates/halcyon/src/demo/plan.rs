//! What the demo starts, with which arguments, and the documents it applies.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use control::v1::Document;

/// Where this demo is.
pub struct Place {
    /// The control plane's data directory.
    pub data_dir: PathBuf,
    /// The gateway's address.
    pub gateway: SocketAddr,
    /// The dashboard's, if the user said one.
    pub dashboard: Option<SocketAddr>,
}

const MESH: [(&str, &str); 4] = [
    ("bookinfo.yaml", include_str!("../../../../samples/bookinfo/mesh/bookinfo.yaml")),
    ("gateway.yaml", include_str!("../../../../samples/bookinfo/mesh/gateway.yaml")),
    ("destination-rules.yaml", include_str!("../../../../samples/bookinfo/mesh/destination-rules.yaml")),
    ("tracing.yaml", include_str!("../../../../samples/bookinfo/mesh/tracing.yaml")),
];

/// Bookinfo's services, gateway and subsets. They are built in, so that an installed `halcyon` needs no other file.
pub fn documents() -> Vec<Document> {
    MESH.iter().map(|(file, text)| Document { file: format!("bookinfo/{file}"), text: text.to_string() }).collect()
}

/// The path of a sample, as one would type it.
pub fn sample(name: &str) -> String {
    let folder = std::env::var_os("HALCYON_SAMPLES").map_or_else(|| PathBuf::from("samples"), PathBuf::from);
    let path = folder.join("bookinfo/mesh").join(name);
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(&path).display().to_string()
}

/// `halcyon control`, on free ports, so that it meets nobody.
pub fn control(place: &Place) -> Vec<OsString> {
    let mut arguments = common(place);
    for word in ["control", "--xds-port", "0", "--plain-xds-port", "0", "--metrics-port", "0"] {
        arguments.push(word.into());
    }
    if let Some(address) = place.dashboard {
        arguments.extend(["--dashboard".into(), address.to_string().into()]);
    }
    arguments
}

/// `halcyon gateway`; the document's port 8080 is opened where the user wants it.
pub fn gateway(place: &Place) -> Vec<OsString> {
    let mut arguments = common(place);
    let map = format!("8080={}", place.gateway.port());
    for word in ["gateway", "--bind", &place.gateway.ip().to_string(), "--map", &map, "--explain"] {
        arguments.push(word.into());
    }
    arguments
}

fn common(place: &Place) -> Vec<OsString> {
    vec!["--data-dir".into(), place.data_dir.clone().into()]
}

/// Where the sidecar of the workload behind Envoy is, and the first of its upstreams' ports.
const ENVOY_ADDRESS: &str = "127.77.0.1";
const FIRST_UPSTREAM: u16 = 19080;

/// One of Bookinfo's workloads.
pub struct Workload {
    service: &'static str,
    version: &'static str,
    env: &'static [(&'static str, &'static str)],
    calls: &'static [&'static str],
    envoy: Option<PathBuf>,
}

impl Workload {
    /// All six. `stock_envoy` is `workload=program`.
    pub fn all(stock_envoy: Option<&str>) -> Result<Vec<Self>> {
        let workload = |service, version, env, calls| Self { service, version, env, calls, envoy: None };
        let mut all = vec![
            workload("ratings", "v1", &[][..], &[][..]),
            workload("details", "v1", &[], &[]),
            workload("reviews", "v1", &[], &[]),
            workload("reviews", "v2", &[("ENABLE_RATINGS", "true")], &["ratings"]),
            workload("reviews", "v3", &[("ENABLE_RATINGS", "true"), ("STAR_COLOR", "red")], &["ratings"]),
            workload("productpage", "v1", &[], &["details", "reviews", "ratings"]),
        ];
        if let Some(text) = stock_envoy {
            let (name, program) = text.split_once('=').context("--stock-envoy: expected WORKLOAD=PROGRAM")?;
            let found = all.iter_mut().find(|w| w.name() == name);
            let known = "ratings-v1, details-v1, reviews-v1, reviews-v2, reviews-v3 or productpage-v1";
            found.with_context(|| format!("there is no workload `{name}`; expected {known}"))?.envoy =
                Some(program.into());
        }
        Ok(all)
    }

    /// Such as `reviews-v2`.
    pub fn name(&self) -> String {
        format!("{}-{}", self.service, self.version)
    }

    /// Variables of the program, by the names that Bookinfo has everywhere.
    pub fn variables(&self) -> Vec<(String, String)> {
        // As in Kubernetes, where a pod's name is its host name: the pages say who served them.
        let host = ("HOSTNAME".to_owned(), self.name());
        let own = self.env.iter().map(|(name, value)| (name.to_string(), value.to_string())).chain([host]);
        let upstreams = self.calls.iter().zip(FIRST_UPSTREAM..).flat_map(|(call, port)| {
            let name = call.to_ascii_uppercase();
            [(format!("{name}_HOSTNAME"), ENVOY_ADDRESS.to_owned()), (format!("{name}_SERVICE_PORT"), port.to_string())]
        });
        own.chain(upstreams.filter(|_| self.envoy.is_some())).collect()
    }

    /// `halcyon run` with the program behind it. Behind Envoy nothing is captured: upstreams have local ports.
    pub fn arguments(&self, place: &Place, bookinfo: &Path) -> Vec<OsString> {
        let mut arguments = common(place);
        arguments.extend(
            ["run", "--service", self.service, "--version", self.version, "--port", "9080:http"].map(OsString::from),
        );
        // All of it leaves together.
        arguments.extend(["--leave-delay", "0s"].map(OsString::from));
        if let Some(envoy) = &self.envoy {
            arguments.extend(["--envoy".into(), envoy.into()]);
            arguments.extend(["--capture", "none", "--address", ENVOY_ADDRESS].map(OsString::from));
            for (call, port) in self.calls.iter().zip(FIRST_UPSTREAM..) {
                arguments.extend(["--upstream".into(), format!("{call}:9080={port}").into()]);
            }
        }
        let bind = if self.envoy.is_some() { "127.0.0.1" } else { "0.0.0.0" };
        arguments.extend(["--".into(), bookinfo.into()]);
        arguments.extend(["--role", self.service, "--port", "9080", "--bind", bind].map(OsString::from));
        arguments
    }
}
