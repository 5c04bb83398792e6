//! A file changed by EnvoyFilters, by the control plane's own code, so that Envoy runs what our proxies are sent.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use model::{Config, Locality};
use serde_json::{Value, json};
use translate::{Inputs, Node, Role, World};
use xds::Resource;

/// The file with the listeners and clusters that EnvoyFilters for gateways make of its own.
///
/// # Errors
/// A patch is not understood, changes nothing, or is left out.
pub fn apply(file: &str, filters: &str) -> Result<String> {
    let mut config = Config::default();
    let resources = envoyfile::parse("bootstrap.yaml", file)?.resources;
    resources.into_iter().for_each(|resource| resource.insert_into(&mut config));
    let parsed = api::parse("filters.yaml", filters);
    ensure!(parsed.problems.is_empty(), "the EnvoyFilters: {:?}", parsed.problems);
    let count: usize = filters.matches("applyTo:").count();
    let world = World::new(Inputs { resources: parsed.resources, ..Inputs::default() });
    let outcomes = control::Patcher::default().patch(&world, &gateway(), &mut config, true);
    for outcome in &outcomes {
        ensure!(outcome.refused.is_none(), "patch {} is left out: {:?}", outcome.index, outcome.refused);
    }
    for index in 0..count {
        ensure!(outcomes.iter().any(|outcome| outcome.index == index), "patch {index} changes nothing");
    }
    let mut whole: Value = serde_saphyr::from_str(file)?;
    let listeners = config.listeners.into_values().map(|it| written(&Resource::Listener(it)));
    let clusters = config.clusters.into_values().map(|it| written(&Resource::Cluster(it)));
    whole["static_resources"] = json!({
        "listeners": listeners.collect::<Result<Vec<_>>>()?,
        "clusters": clusters.collect::<Result<Vec<_>>>()?,
    });
    Ok(whole.to_string())
}

/// What goes over the wire, in words.
fn written(resource: &Resource) -> Result<Value> {
    let any = xds::encode::resource(resource);
    let message = schema::decode(&any.type_url, &any.value).context("the schema does not have it")?;
    Ok(serde_json::to_value(&message)?)
}

fn gateway() -> Node {
    let bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Node {
        id: "gateway".into(),
        role: Role::Gateway { bind, ports: BTreeMap::new(), edge: Default::default() },
        namespace: "istio-system".to_owned(),
        labels: BTreeMap::new(),
        identity: None,
        address: bind,
        locality: Locality::default(),
        workload: Default::default(),
        ours: true,
        on_demand: false,
    }
}
