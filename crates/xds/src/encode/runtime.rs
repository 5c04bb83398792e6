//! Runtime layers, as far as they say how many connections there may be.

use model::{ConnectionLimits, ResourceKind};
use prost::Message;
use proto::google::protobuf::Any;

use super::ordered::{Runtime, Struct, Value};
use crate::runtime::{COMMON, key_of_listener};
use crate::type_url;

/// Limits to the number of connections.
pub fn connection_limits(limits: &ConnectionLimits) -> Any {
    let common = limits.common.map(|most| (COMMON.to_owned(), Value::number(most.into())));
    let by_listener = limits.by_listener.iter();
    let by_listener = by_listener.map(|(name, most)| (key_of_listener(name), Value::number((*most).into())));
    let layer = Struct { fields: by_listener.chain(common).collect() };
    let wire = Runtime { name: limits.name.to_string(), layer: Some(layer) };
    Any { type_url: type_url(ResourceKind::Runtime).to_owned(), value: wire.encode_to_vec() }
}
