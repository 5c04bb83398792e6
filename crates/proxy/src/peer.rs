//! Who is at the other end, for telemetry: workloads told each other in Istio's headers `x-envoy-peer-metadata-id` and
//! `x-envoy-peer-metadata` (base64 of a protobuf `Struct`), so that sidecars of both kinds label alike.
//!
//! They are sent on mesh TLS only and believed on mutual TLS only. A peer sends the same bytes each time, so they are
//! read once and then compared.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use model::WorkloadRef;
use prost::Message as _;
use proto::google::protobuf::value::Kind;
use proto::google::protobuf::{Struct, Value};

use crate::bootstrap::Node;

const ID: HeaderName = HeaderName::from_static("x-envoy-peer-metadata-id");
const METADATA: HeaderName = HeaderName::from_static("x-envoy-peer-metadata");
/// Longer metadata is not read.
const MAX_BYTES: usize = 16 * 1024;

/// The two headers of this proxy, made once.
#[derive(Debug, Clone)]
pub(crate) struct Card {
    id: HeaderValue,
    metadata: HeaderValue,
}

impl Card {
    /// From the node as the control plane knows it.
    pub(crate) fn of(node: &Node) -> Self {
        let text = |key: &str| node.metadata.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        let labels = node.metadata.get("LABELS").and_then(|v| v.as_object());
        let label = |key: &str| Some(labels?.get(key)?.as_str()?.to_owned());
        let known = ["service.istio.io/canonical-name", "service.istio.io/canonical-revision", "app", "version"];
        let labels = known.iter().filter_map(|key| Some(((*key).to_owned(), string(label(key)?)))).collect();
        let mut fields: BTreeMap<String, Value> = ["NAME", "NAMESPACE", "WORKLOAD_NAME", "CLUSTER_ID"]
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), string(Some(text(key)).filter(|t| !t.is_empty())?))))
            .collect();
        fields.insert("LABELS".to_owned(), kind(Kind::StructValue(Struct { fields: labels })));
        let encoded = STANDARD.encode(Struct { fields: fields.into_iter().collect() }.encode_to_vec());
        Self {
            id: HeaderValue::from_str(&node.id).unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            metadata: HeaderValue::from_str(&encoded).unwrap_or_else(|_| HeaderValue::from_static("")),
        }
    }

    /// Writes the headers.
    pub(crate) fn show(&self, headers: &mut HeaderMap) {
        headers.insert(ID, self.id.clone());
        headers.insert(METADATA, self.metadata.clone());
    }
}

/// The workload of this proxy, for its own side of the labels.
pub(crate) fn workload_of(node: &Node) -> WorkloadRef {
    let text = |key: &str| node.metadata.get(key).and_then(|v| v.as_str()).unwrap_or_default();
    let labels = node.metadata.get("LABELS").and_then(|v| v.as_object());
    let label = |key: &str| labels.and_then(|l| l.get(key)?.as_str());
    named(text("WORKLOAD_NAME"), text("NAME"), text("NAMESPACE"), text("CLUSTER_ID"), label)
}

/// Removes the headers from a message and gives the metadata's raw value.
pub(crate) fn take(headers: &mut HeaderMap) -> Option<HeaderValue> {
    headers.remove(ID);
    headers.remove(METADATA)
}

/// Peers by the metadata that they sent, so that each is read once per worker, and the same peer is the same object.
#[derive(Debug, Default)]
pub(crate) struct Peers(RefCell<HashMap<HeaderValue, Rc<WorkloadRef>>>);

/// More are not remembered: then all are read anew.
const MAX_PEERS: usize = 4096;

impl Peers {
    /// The workload of `raw`.
    pub(crate) fn read(&self, raw: HeaderValue) -> Option<Rc<WorkloadRef>> {
        if let Some(known) = self.0.borrow().get(&raw) {
            return Some(known.clone());
        }
        let workload = Rc::new(parse(&raw)?);
        let mut all = self.0.borrow_mut();
        if all.len() >= MAX_PEERS {
            all.clear();
        }
        all.insert(raw, workload.clone());
        Some(workload)
    }
}

/// The last peer read on one connection: most connections have one peer only, and to compare is cheaper than to look up.
#[derive(Debug, Default)]
pub(crate) struct LastPeer(RefCell<Option<(HeaderValue, Rc<WorkloadRef>)>>);

impl LastPeer {
    /// The workload of `raw`.
    pub(crate) fn read(&self, raw: HeaderValue, peers: &Peers) -> Option<Rc<WorkloadRef>> {
        let mut last = self.0.borrow_mut();
        if let Some((known, workload)) = &*last
            && *known == raw
        {
            return Some(workload.clone());
        }
        let workload = peers.read(raw.clone())?;
        *last = Some((raw, workload.clone()));
        Some(workload)
    }
}

fn parse(raw: &HeaderValue) -> Option<WorkloadRef> {
    if raw.len() > MAX_BYTES {
        return None;
    }
    let fields = Struct::decode(&*STANDARD.decode(raw.as_bytes()).ok()?).ok()?.fields;
    let text = |key: &str| fields.get(key).and_then(as_text).unwrap_or_default();
    let labels = match fields.get("LABELS").and_then(|v| v.kind.as_ref()) {
        Some(Kind::StructValue(labels)) => Some(&labels.fields),
        _ => None,
    };
    let label = |key: &str| labels.and_then(|l| as_text(l.get(key)?));
    Some(named(text("WORKLOAD_NAME"), text("NAME"), text("NAMESPACE"), text("CLUSTER_ID"), label))
}

/// Istio's order of preference for the canonical names.
fn named<'a>(
    workload: &'a str,
    name: &'a str,
    namespace: &str,
    cluster: &str,
    label: impl Fn(&str) -> Option<&'a str>,
) -> WorkloadRef {
    let workload = if workload.is_empty() { name } else { workload };
    let service = label("service.istio.io/canonical-name").or_else(|| label("app")).unwrap_or(workload);
    let version = label("service.istio.io/canonical-revision").or_else(|| label("version")).unwrap_or("latest");
    WorkloadRef {
        name: workload.into(),
        namespace: namespace.into(),
        service: service.into(),
        version: version.into(),
        cluster: cluster.into(),
    }
}

fn as_text(value: &Value) -> Option<&str> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn string(text: String) -> Value {
    kind(Kind::StringValue(text))
}

fn kind(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        let metadata = serde_json::json!({
            "NAME": "reviews-v1-abc", "NAMESPACE": "default", "WORKLOAD_NAME": "reviews-v1", "CLUSTER_ID": "one",
            "LABELS": {"app": "reviews", "version": "v1", "secret": "x"}
        });
        Node { id: "sidecar~1".into(), metadata: metadata.as_object().unwrap().clone(), ..Node::default() }
    }

    #[test]
    fn there_and_back() {
        let mut headers = HeaderMap::new();
        Card::of(&node()).show(&mut headers);
        let raw = take(&mut headers).unwrap();
        assert!(headers.is_empty());
        let (peers, here, there) = (Peers::default(), LastPeer::default(), LastPeer::default());
        let seen = here.read(raw.clone(), &peers).unwrap();
        assert_eq!(*seen, workload_of(&node()));
        assert_eq!((&*seen.service, &*seen.version), ("reviews", "v1"));
        assert!(Rc::ptr_eq(&seen, &there.read(raw, &peers).unwrap()), "the same bytes are not read twice");
    }

    #[test]
    fn nonsense() {
        for text in ["", "!", "AAAA", &"A".repeat(MAX_BYTES + 1)] {
            let found = Peers::default().read(HeaderValue::from_str(text).unwrap());
            assert!(found.is_none_or(|w| w.name.is_empty()), "{text}");
        }
    }
}
