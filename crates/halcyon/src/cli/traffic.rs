//! Which connections of a program its sidecar gets: Istio's annotations as options.

use anyhow::{Result, anyhow};
use api::traffic::Traffic;
use clap::Args;

/// Each counts more than the annotation `traffic.sidecar.istio.io/…` of the same name, of the WorkloadGroup of `--group`, else
/// of a Deployment or Pod with the same labels.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which connections the sidecar gets (with capture)")]
pub struct TrafficArgs {
    /// Destinations that it gets, such as `10.0.0.0/8,192.0.2.1`, or `*` (default: `*`). What it does not get goes out as it
    /// is, beside the mesh; what is local stays local.
    #[arg(long, value_name = "CIDR,…")]
    include_outbound_ip_ranges: Option<String>,
    /// Destinations that it does not get.
    #[arg(long, value_name = "CIDR,…")]
    exclude_outbound_ip_ranges: Option<String>,
    /// Ports that it gets, whatever the destination is, if that is not excluded.
    #[arg(long, value_name = "PORT,…")]
    include_outbound_ports: Option<String>,
    /// Ports that it does not get.
    #[arg(long, value_name = "PORT,…")]
    exclude_outbound_ports: Option<String>,
    /// Those of the ports said by --port that it serves, or `*` (default: `*`). Others lead to the program as they are.
    #[arg(long, value_name = "PORT,…")]
    include_inbound_ports: Option<String>,
    /// Those of the ports said by --port that it does not serve, if it serves all others.
    #[arg(long, value_name = "PORT,…")]
    exclude_inbound_ports: Option<String>,
    /// Network interfaces of this machine: what its routes send by them goes out as it is, and if --address is one of theirs,
    /// no port is served.
    #[arg(long, value_name = "NAME,…")]
    exclude_interfaces: Option<String>,
}

impl TrafficArgs {
    /// What was said.
    pub fn read(&self) -> Result<Traffic> {
        let mut traffic = Traffic::default();
        for (option, annotation, value) in [
            ("include-outbound-ip-ranges", "includeOutboundIPRanges", &self.include_outbound_ip_ranges),
            ("exclude-outbound-ip-ranges", "excludeOutboundIPRanges", &self.exclude_outbound_ip_ranges),
            ("include-outbound-ports", "includeOutboundPorts", &self.include_outbound_ports),
            ("exclude-outbound-ports", "excludeOutboundPorts", &self.exclude_outbound_ports),
            ("include-inbound-ports", "includeInboundPorts", &self.include_inbound_ports),
            ("exclude-inbound-ports", "excludeInboundPorts", &self.exclude_inbound_ports),
            ("exclude-interfaces", "excludeInterfaces", &self.exclude_interfaces),
        ] {
            if let Some(value) = value {
                traffic.read(annotation, value).map_err(|error| anyhow!("--{option}: {error}"))?;
            }
        }
        Ok(traffic)
    }
}
