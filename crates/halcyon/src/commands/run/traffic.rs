//! Which connections of the program its sidecar gets, as typed, and as its annotations say.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, anyhow};
use api::traffic::{Included, Traffic};
use launch::{Redirects, routes};

use crate::cli::RunArgs;

/// What was typed counts more than what was applied.
pub fn read(args: &RunArgs, annotations: &BTreeMap<String, String>) -> Result<Traffic> {
    let applied = Traffic::of(annotations).map_err(|(key, error)| anyhow!("the annotation `{key}`: {error}"))?;
    Ok(args.traffic.read()?.or(applied))
}

/// For outgoing connections.
pub fn redirects(traffic: &Traffic) -> Redirects {
    let mut exclude_blocks = traffic.exclude_outbound_blocks.clone().unwrap_or_default();
    exclude_blocks.extend(traffic.exclude_interfaces.iter().flat_map(|names| routes::sent_by(names)));
    Redirects {
        include_blocks: match &traffic.include_outbound_blocks {
            None | Some(Included::All) => None,
            Some(Included::These(list)) => Some(list.clone()),
        },
        exclude_blocks,
        include_ports: traffic.include_outbound_ports.clone().unwrap_or_default(),
        exclude_ports: traffic.exclude_outbound_ports.clone().unwrap_or_default(),
    }
}

/// Does the sidecar serve this port of the program at this address?
pub fn serves(traffic: &Traffic, address: IpAddr, port: u16) -> bool {
    let excluded = traffic.exclude_interfaces.as_ref().is_some_and(|names| routes::is_address_of(names, address));
    traffic.serves(port) && !excluded
}

/// The ports that lead past the sidecar.
pub fn beside(args: &RunArgs, traffic: &Traffic, address: IpAddr) -> Vec<(SocketAddr, u16)> {
    let ports = args.ports.iter().map(|port| port.number).filter(|port| !serves(traffic, address, *port));
    ports.map(|port| (SocketAddr::new(address, port), port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::run::args_of;

    fn run(words: &str) -> RunArgs {
        args_of(&format!("--service a {words}"))
    }

    #[test]
    fn typed_and_annotated() {
        let annotations = [
            ("traffic.sidecar.istio.io/excludeOutboundPorts", "5432"),
            ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/8"),
            ("traffic.sidecar.istio.io/excludeInboundPorts", "9001"),
            ("example.org/other", "x"),
        ];
        let annotations: BTreeMap<String, String> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let args = run("--port 9000 --port 9001 --exclude-outbound-ports 6379,11211");
        let traffic = read(&args, &annotations).unwrap();
        let rules = redirects(&traffic);
        for (to, expected) in [("10.1.1.1:5432", true), ("10.1.1.1:6379", false), ("192.0.2.1:80", false)] {
            assert_eq!(rules.include(to.parse().unwrap()), expected, "{to}");
        }
        let address: IpAddr = [127, 64, 0, 1].into();
        assert_eq!(beside(&args, &traffic, address), [(SocketAddr::new(address, 9001), 9001)]);
        let other = run("--port 9000 --include-inbound-ports= --exclude-interfaces lo");
        let traffic = read(&other, &annotations).unwrap();
        assert!(!serves(&traffic, address, 9000));
        assert!(redirects(&read(&run(""), &BTreeMap::new()).unwrap()).are_all());
        let error = read(&run("--exclude-outbound-ports x"), &annotations).unwrap_err();
        assert!(error.to_string().starts_with("--exclude-outbound-ports: `x` is not a port"), "{error}");
        let wrong = [("traffic.sidecar.istio.io/includeInboundPorts".to_owned(), "x".to_owned())].into();
        let error = read(&args, &wrong).unwrap_err();
        assert!(error.to_string().contains("includeInboundPorts"), "{error}");
    }
}
