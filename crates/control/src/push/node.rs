//! Who a stream's proxy is: read from its node, checked against what its connection proves.

use model::Locality;
use proto::envoy::config::core::v3::Node as WireNode;
use proto::google::protobuf::{Struct, Value, value::Kind};
use serde_json::Value as Json;
use tonic::Status;
use translate::Node;

use crate::doors::Caller;
use crate::registration::NodeMetadata;
use crate::registry::{Registered, admit};

/// A proxy that was let in.
#[derive(Debug)]
pub struct Admitted {
    /// For translation.
    pub node: Node,
    /// What it said of itself.
    pub metadata: NodeMetadata,
    /// Its registration: only of a sidecar with a proven identity.
    pub registered: Option<Registered>,
}

/// Lets a node in, or says why not.
pub fn read(node: Option<&WireNode>, caller: &Caller, trust_domain: &str) -> Result<Admitted, Status> {
    let node = node.filter(|node| !node.id.is_empty()).ok_or_else(|| {
        Status::invalid_argument("the first request names no node: expected `node.id` and `node.metadata`")
    })?;
    let json = node.metadata.as_ref().map_or_else(|| Json::Object(Default::default()), json_of);
    let metadata: NodeMetadata = serde_json::from_value(json)
        .map_err(|e| Status::invalid_argument(format!("node `{}`: its metadata cannot be read: {e}", node.id)))?;
    let locality = node.locality.as_ref().map_or_else(Locality::default, |l| Locality {
        region: l.region.clone(),
        zone: l.zone.clone(),
        sub_zone: l.sub_zone.clone(),
    });
    if caller.is_tls {
        let identity = caller.identity.as_ref().ok_or_else(|| {
            Status::unauthenticated(format!(
                "node `{}`: the connection proves no identity; expected a client certificate of this mesh: ask \
                 `CreateCertificate` for one first, with a join token",
                node.id
            ))
        })?;
        admit(identity, trust_domain, &metadata).map_err(Status::permission_denied)?;
    }
    let read = metadata.node(&node.id, caller.identity.clone(), locality.clone()).ok_or_else(|| {
        Status::invalid_argument(format!(
            "node `{}`: it did not register, so no configuration can be made for it; expected the metadata NAMESPACE, \
             SERVICE_ACCOUNT, WORKLOAD_NAME, LABELS, and under HALCYON `instance`, `role` and `address`: start it \
             with `halcyon run` or `halcyon gateway`; or of a program that reads xDS itself GENERATOR: grpc",
            node.id
        ))
    })?;
    let registered = caller.identity.as_ref().and_then(|_| Registered::new(&node.id, &locality, &metadata));
    Ok(Admitted { node: read, metadata, registered })
}

fn json_of(fields: &Struct) -> Json {
    Json::Object(fields.fields.iter().map(|(key, value)| (key.clone(), json_of_value(value))).collect())
}

fn json_of_value(value: &Value) -> Json {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(b)) => Json::Bool(*b),
        // Protobuf knows floating point only; whole numbers are meant as such.
        Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() < 9e15 => Json::from(*n as i64),
        Some(Kind::NumberValue(n)) => serde_json::Number::from_f64(*n).map_or(Json::Null, Json::Number),
        Some(Kind::StringValue(s)) => Json::String(s.clone()),
        Some(Kind::ListValue(list)) => Json::Array(list.values.iter().map(json_of_value).collect()),
        Some(Kind::StructValue(fields)) => json_of(fields),
    }
}
