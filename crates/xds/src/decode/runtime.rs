//! Runtime layers, as far as they say how many connections there may be.

use model::{ConnectionLimits, ResourceKind};
use proto::envoy::service::runtime::v3::Runtime;
use proto::google::protobuf::{Any, Struct, Value, value::Kind};

use super::{At, DecodeError, Decoded, open, take};
use crate::runtime::{COMMON, listener_of_key};

/// Limits to the number of connections.
pub fn connection_limits(any: &Any) -> Result<ConnectionLimits, DecodeError> {
    let value: Runtime = open(ResourceKind::Runtime, any)?;
    let resource = value.name.clone();
    let at = At::resource(&resource);
    take!(value, at, Runtime { used { name, layer } harmless {} refused {} });
    if name.is_empty() {
        return Err(at.field("name").error("is missing", "a name"));
    }
    let mut limits = ConnectionLimits { name: name.into(), ..ConnectionLimits::default() };
    let at = at.field("layer");
    match read(&mut limits, layer.unwrap_or_default(), &at)?.first() {
        Some(key) => Err(at.key(key).unsupported("keys that limit the number of connections only")),
        None => Ok(limits),
    }
}

/// Reads the limits of a layer, over those of the layers before. Gives the keys that mean nothing here, in order.
pub(super) fn read(limits: &mut ConnectionLimits, layer: Struct, at: &At<'_>) -> Decoded<Vec<String>> {
    let mut others = Vec::new();
    for (key, value) in layer.fields {
        if key == COMMON {
            limits.common = Some(number(&value, &at.key(&key))?);
        } else if let Some(listener) = listener_of_key(&key) {
            let most = number(&value, &at.key(&key))?;
            limits.by_listener.insert(listener.into(), most);
        } else {
            others.push(key);
        }
    }
    others.sort();
    Ok(others)
}

/// As Envoy reads an integer of its runtime: a whole number, or one as text. What is larger than any count limits nothing.
fn number(value: &Value, at: &At<'_>) -> Decoded<u32> {
    let found = match &value.kind {
        Some(Kind::NumberValue(number)) if *number >= 0.0 && number.fract() == 0.0 => Some(*number),
        Some(Kind::StringValue(text)) => text.parse::<u64>().ok().map(|number| number as f64),
        _ => None,
    };
    found.map(|number| number as u32).ok_or_else(|| at.error("is no number of connections", "a whole number"))
}
