//! The way to mutual TLS: who takes plain text, which rules make clients send it, and what to apply in which order, so that
//! nothing is refused that is still in use: servers take both, then clients send TLS, then servers take nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::istio::{ClientTlsMode, DestinationRule, MutualTlsMode, PeerAuthentication};
use api::{Resource, ResourceKey, Spec};
use serde_json::{Value as Json, json};
use translate::access::question;
use translate::{Mode, Node, Role, World, deciding};

use crate::v1::{
    MutualTlsClient, MutualTlsPlan, MutualTlsPort, MutualTlsQuery, MutualTlsServer, MutualTlsStep, ProxyStatus,
};

/// The plan for the servers that a query means. `nodes` are the connected proxies, `status` what is known of them,
/// `resources` everything that is applied.
pub(crate) fn plan(
    world: &World,
    nodes: &[Node],
    status: &[ProxyStatus],
    resources: &[Arc<Resource>],
    query: &MutualTlsQuery,
) -> MutualTlsPlan {
    let targets: Vec<&Node> = nodes.iter().filter(|node| is_meant(node, query)).collect();
    let servers: Vec<MutualTlsServer> = targets.iter().filter_map(|node| server(world, node, status)).collect();
    let rules = rules(world, &targets);
    let peers: Vec<&Arc<Resource>> = resources.iter().filter(|it| peer(it).is_some()).collect();
    let mut notes = Vec::new();
    let permissive = permissive(&targets, &peers, world);
    let strict = strict(world, &targets, &peers, query, &mut notes);
    let off: Vec<Json> = rules.values().filter_map(|(rule, _)| with_mesh_tls(rule)).collect();
    notes_on_clients(world, &rules, &mut notes);
    let step = |title: &str, strict, documents: Vec<Json>| {
        (!documents.is_empty()).then(|| MutualTlsStep { title: title.to_owned(), strict, documents })
    };
    MutualTlsPlan {
        clients: rules.values().flat_map(|(rule, host)| client(rule, host)).collect(),
        steps: [
            step("servers take mutual TLS beside plain text (PERMISSIVE)", false, permissive),
            step("clients send mutual TLS (ISTIO_MUTUAL)", false, off),
            step("servers take nothing but mutual TLS (STRICT)", true, strict),
        ]
        .into_iter()
        .flatten()
        .collect(),
        servers,
        notes,
    }
}

fn is_meant(node: &Node, query: &MutualTlsQuery) -> bool {
    let of_namespace = query.namespace.is_empty() || query.namespace == node.namespace;
    let of_workload = query.workload.is_empty() || query.workload == *node.workload.name || query.workload == *node.id;
    matches!(&node.role, Role::Sidecar { ports, .. } if !ports.is_empty()) && of_namespace && of_workload
}

fn server(world: &World, node: &Node, status: &[ProxyStatus]) -> Option<MutualTlsServer> {
    let Role::Sidecar { ports, .. } = &node.role else { return None };
    let port = |port: &translate::InboundPort| MutualTlsPort {
        port: port.target,
        bind: port.bind,
        mode: word(world.mutual_tls(node, port.target)).to_owned(),
    };
    Some(MutualTlsServer {
        namespace: node.namespace.clone(),
        workload: node.workload.name.to_string(),
        node: node.id.to_string(),
        address: node.address,
        admin: status.iter().find(|proxy| *proxy.node == *node.id).and_then(|proxy| proxy.admin),
        ours: node.ours,
        ports: ports.iter().map(port).collect(),
    })
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Disable => "DISABLE",
        Mode::Permissive => "PERMISSIVE",
        Mode::Strict => "STRICT",
    }
}

fn ports(node: &Node) -> impl Iterator<Item = u16> + '_ {
    match &node.role {
        Role::Sidecar { ports, .. } => ports.as_slice(),
        Role::Program | Role::Gateway { .. } => &[],
    }
    .iter()
    .map(|port| port.target)
}

/// The rules of clients that say something of TLS towards these servers, each with the host.
type Rules = BTreeMap<ResourceKey, (Arc<Resource>, String)>;

fn rules(world: &World, targets: &[&Node]) -> Rules {
    let services = targets
        .iter()
        .flat_map(|node| ports(node).flat_map(move |port| question::standing(world, node, port).services));
    let hosts: BTreeSet<Arc<str>> = services.collect();
    let of_host = |host: &Arc<str>| -> Vec<_> {
        let all = deciding::on_connections(world, host).into_iter();
        all.map(|rule| (rule.key(), (rule, host.to_string()))).collect()
    };
    hosts.iter().flat_map(of_host).filter(|(_, (rule, _))| !modes(rule).is_empty()).collect()
}

/// The modes of a rule that are not the mesh's own.
fn modes(rule: &Resource) -> Vec<ClientTlsMode> {
    let Spec::DestinationRule(rule) = &rule.spec else { return Vec::new() };
    let rule: &DestinationRule = rule;
    let subsets = rule.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
    let policies = rule.traffic_policy.iter().chain(subsets);
    let all = policies.flat_map(|policy| {
        policy.tls.iter().chain(policy.port_level_settings.iter().filter_map(|port| port.tls.as_ref()))
    });
    let mut modes: Vec<_> = all.map(|tls| tls.mode).filter(|mode| *mode != ClientTlsMode::IstioMutual).collect();
    modes.dedup();
    modes
}

fn client(rule: &Arc<Resource>, host: &str) -> Vec<MutualTlsClient> {
    let one = |mode: ClientTlsMode| MutualTlsClient {
        document: rule.key().to_string(),
        at: rule.origin.to_string(),
        host: host.to_owned(),
        mode: mode.as_str().to_owned(),
    };
    modes(rule).into_iter().map(one).collect()
}

fn notes_on_clients(world: &World, rules: &Rules, notes: &mut Vec<String>) {
    for (key, (rule, _)) in rules {
        if modes(rule).iter().any(|mode| matches!(mode, ClientTlsMode::Simple | ClientTlsMode::Mutual)) {
            notes.push(format!(
                "{key} ({}) sends TLS with certificates of its own, which STRICT refuses; it is left as it is: decide yourself",
                rule.origin
            ));
        }
    }
    if !world.settings.auto_mtls {
        notes.push(
            "`enableAutoMtls` is off in the mesh's settings: clients send plain text unless a DestinationRule says ISTIO_MUTUAL"
                .to_owned(),
        );
    }
}

/// A rule without the places where it turns TLS off.
fn with_mesh_tls(rule: &Arc<Resource>) -> Option<Json> {
    fn walk(json: &mut Json) -> bool {
        match json {
            Json::Object(fields) => {
                let mut changed = false;
                for (name, value) in fields.iter_mut() {
                    if name == "tls" && value.get("mode").and_then(Json::as_str) == Some("DISABLE") {
                        *value = json!({"mode": "ISTIO_MUTUAL"});
                        changed = true;
                    } else {
                        changed |= walk(value);
                    }
                }
                changed
            }
            Json::Array(list) => list.iter_mut().fold(false, |changed, value| walk(value) | changed),
            _ => false,
        }
    }
    let mut document = rule.document().clone();
    walk(document.get_mut("spec")?).then_some(document)
}

fn peer(resource: &Resource) -> Option<&PeerAuthentication> {
    match &resource.spec {
        Spec::PeerAuthentication(peer) => Some(peer),
        _ => None,
    }
}

/// The labels by which a document means some workloads; none: it means all of its namespace.
fn selector(resource: &Resource) -> Option<&BTreeMap<String, String>> {
    let labels = &peer(resource)?.selector.as_ref()?.match_labels;
    (!labels.is_empty()).then_some(labels)
}

fn selects(resource: &Resource, node: &Node) -> bool {
    let own = resource.meta.namespace.as_deref() == Some(&*node.namespace);
    own && selector(resource)
        .is_some_and(|labels| labels.iter().all(|(key, value)| node.labels.get(key) == Some(value)))
}

/// The documents that turn mutual TLS off at these servers, with PERMISSIVE in place of that.
fn permissive(targets: &[&Node], peers: &[&Arc<Resource>], world: &World) -> Vec<Json> {
    let is_off = |node: &&&Node| ports(node).any(|port| world.mutual_tls(node, port) == Mode::Disable);
    let off: Vec<&Node> = targets.iter().filter(is_off).copied().collect();
    let root = world.settings.root_namespace.as_str();
    let concerns = |it: &&&Arc<Resource>| {
        let namespace = it.meta.namespace.as_deref().unwrap_or_default();
        let wide = selector(it).is_none();
        off.iter().any(|node| selects(it, node) || (wide && (namespace == node.namespace || namespace == root)))
    };
    let changed = |it: &&Arc<Resource>| with_modes(it, |mode| mode == MutualTlsMode::Disable, "PERMISSIVE");
    peers.iter().filter(concerns).filter_map(changed).collect()
}

/// What makes these servers take nothing but mutual TLS.
fn strict(
    world: &World,
    targets: &[&Node],
    peers: &[&Arc<Resource>],
    query: &MutualTlsQuery,
    notes: &mut Vec<String>,
) -> Vec<Json> {
    let is_open = |node: &&&Node| ports(node).any(|port| world.mutual_tls(node, port) != Mode::Strict);
    let open: Vec<&Node> = targets.iter().filter(is_open).copied().collect();
    let mut documents: BTreeMap<String, Json> = BTreeMap::new();
    let mut add = |document: Json| {
        let name = format!("{}/{}", document["metadata"]["namespace"], document["metadata"]["name"]);
        documents.insert(name, document);
    };
    let is_other = |mode: MutualTlsMode| !matches!(mode, MutualTlsMode::Strict | MutualTlsMode::Unset);
    for it in peers.iter().filter(|it| open.iter().any(|node| selects(it, node))) {
        if !query.workload.is_empty() {
            notes.push(format!(
                "{} ({}) is for all workloads that it selects, not for this one alone",
                it.key(),
                it.origin
            ));
        }
        with_modes(it, is_other, "STRICT").into_iter().for_each(&mut add);
    }
    for node in &open {
        let of_namespace =
            |it: &&&Arc<Resource>| it.meta.namespace.as_deref() == Some(&*node.namespace) && selector(it).is_none();
        if !query.workload.is_empty() {
            if !peers.iter().any(|it| selects(it, node)) {
                add(of_workload(node));
            }
        } else if let Some(wide) =
            peers.iter().filter(of_namespace).min_by_key(|it| (it.meta.created, it.meta.name.clone()))
        {
            add(with_modes(wide, is_other, "STRICT").unwrap_or_else(|| said(wide)));
        } else {
            add(document(&node.namespace, "default", None));
        }
    }
    documents.into_values().collect()
}

/// The document with STRICT as its mode, where it said none.
fn said(wide: &Resource) -> Json {
    let mut document = wide.document().clone();
    document["spec"]["mtls"] = json!({"mode": "STRICT"});
    document
}

fn of_workload(node: &Node) -> Json {
    let by = |key: &str| node.labels.get(key).map(|value| (key.to_owned(), Json::from(value.clone())));
    let labels: serde_json::Map<String, Json> = ["app", "version"].into_iter().filter_map(by).collect();
    let labels = match labels.is_empty() {
        false => labels,
        true => node.labels.iter().map(|(key, value)| (key.clone(), Json::from(value.clone()))).collect(),
    };
    document(&node.namespace, &format!("{}-mtls", node.workload.name), Some(labels))
}

fn document(namespace: &str, name: &str, labels: Option<serde_json::Map<String, Json>>) -> Json {
    let mut spec = json!({"mtls": {"mode": "STRICT"}});
    if let Some(labels) = labels {
        spec["selector"] = json!({"matchLabels": labels});
    }
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

/// A document with another mode wherever it has one of these; none if it has none of them.
fn with_modes(resource: &Resource, of: impl Fn(MutualTlsMode) -> bool, mode: &str) -> Option<Json> {
    let written = peer(resource)?;
    let mut document = resource.document().clone();
    let mut changed = false;
    if written.mtls.as_ref().is_some_and(|mtls| of(mtls.mode)) {
        document["spec"]["mtls"] = json!({"mode": mode});
        changed = true;
    }
    for (port, mtls) in &written.port_level_mtls {
        if of(mtls.mode) {
            document["spec"]["portLevelMtls"][port.to_string()] = json!({"mode": mode});
            changed = true;
        }
    }
    changed.then_some(document)
}
