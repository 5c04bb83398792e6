//! Changes to messages of any type: lists of filters, merging.

use api::istio::PatchOperation;
use prost::Message;
use schema::{DynamicMessage, Field, ReflectMessage};

/// What happens to lists when messages are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// They grow.
    Grow,
    /// The new ones take the place of the old ones.
    Replace,
}

impl Lists {
    /// As an operation has it.
    pub fn of(operation: PatchOperation) -> Self {
        if operation == PatchOperation::MergeAndReplaceList { Self::Replace } else { Self::Grow }
    }
}

/// Merges a message into another of its type: what it says counts, maps get its entries, and messages below are merged.
/// Durations, single values in envelopes and typed configurations are wholes.
pub fn merge(into: &mut DynamicMessage, from: &DynamicMessage, lists: Lists) {
    for (field, value) in from.fields() {
        match value {
            Field::List(items) if lists == Lists::Grow => {
                if let Field::List(list) = into.get_field_mut(&field) {
                    list.extend(items.iter().cloned());
                }
            }
            Field::Map(entries) => {
                if let Field::Map(map) = into.get_field_mut(&field) {
                    map.extend(entries.clone());
                }
            }
            Field::Message(below) if into.has_field(&field) && !is_whole(below) => {
                if let Field::Message(message) = into.get_field_mut(&field) {
                    merge(message, below, lists);
                }
            }
            other => into.set_field(&field, other.clone()),
        }
    }
}

fn is_whole(message: &DynamicMessage) -> bool {
    let descriptor = message.descriptor();
    let name = descriptor.full_name();
    name.starts_with("google.protobuf.") && name != "google.protobuf.Struct"
}

/// Merges something that has a name and a typed configuration; the latter too, where both are of one type.
///
/// # Errors
/// They are of two types.
pub fn merge_named(into: &mut DynamicMessage, from: &DynamicMessage, lists: Lists) -> Result<(), String> {
    let mut rest = from.clone();
    let config = rest.take_field_by_name(CONFIG);
    merge(into, &rest, lists);
    let Some(Field::Message(theirs)) = config else { return Ok(()) };
    let ours = into.get_field_by_name(CONFIG).and_then(|value| value.as_message().and_then(opened));
    let merged = match (ours, opened(&theirs)) {
        (Some(mut ours), Some(theirs)) => {
            let (is, was) = (theirs.descriptor(), ours.descriptor());
            if is != was {
                return Err(format!(
                    "is of type `{}`, and what stands there is of `{}`",
                    is.full_name(),
                    was.full_name()
                ));
            }
            merge(&mut ours, &theirs, lists);
            closed(&ours)
        }
        _ => theirs,
    };
    into.set_field_by_name(CONFIG, Field::Message(merged));
    Ok(())
}

const CONFIG: &str = "typed_config";

/// Changes the typed configuration of a filter; says whether anything is different.
pub fn in_config<E>(
    filter: &mut DynamicMessage,
    change: impl FnOnce(&mut DynamicMessage) -> Result<bool, E>,
) -> Result<bool, E> {
    let config = filter.get_field_by_name(CONFIG).and_then(|value| value.as_message().and_then(opened));
    let Some(mut config) = config else { return Ok(false) };
    let is_other = change(&mut config)?;
    if is_other {
        filter.set_field_by_name(CONFIG, Field::Message(closed(&config)));
    }
    Ok(is_other)
}

/// The message in an envelope.
fn opened(any: &DynamicMessage) -> Option<DynamicMessage> {
    schema::decode(&text(any, "type_url"), any.get_field_by_name("value")?.as_bytes()?)
}

fn closed(message: &DynamicMessage) -> DynamicMessage {
    let any = schema::descriptor("google.protobuf.Any").expect("the schema has envelopes");
    let mut any = DynamicMessage::new(any);
    any.set_field_by_name(
        "type_url",
        Field::String(format!("type.googleapis.com/{}", message.descriptor().full_name())),
    );
    any.set_field_by_name("value", Field::Bytes(message.encode_to_vec().into()));
    any
}

/// Changes a list of filters: the value goes to its place, or what has the anchor's name goes. Merging is not for here.
pub fn in_list(
    list: &mut Vec<Field>,
    operation: PatchOperation,
    value: Option<&DynamicMessage>,
    anchor: Option<&str>,
) -> bool {
    let new = value.map(|value| Field::Message(value.clone()));
    let at = anchor.map(|name| list.iter().position(|it| is_named(it, name)));
    match (operation, at, new) {
        (PatchOperation::Add, _, Some(new)) | (PatchOperation::InsertAfter, None, Some(new)) => list.push(new),
        (PatchOperation::InsertFirst, _, Some(new)) | (PatchOperation::InsertBefore, None, Some(new)) => {
            list.insert(0, new);
        }
        (PatchOperation::InsertBefore, Some(Some(at)), Some(new)) => list.insert(at, new),
        (PatchOperation::InsertAfter, Some(Some(at)), Some(new)) => list.insert(at + 1, new),
        (PatchOperation::Replace, Some(Some(at)), Some(new)) => list[at] = new,
        (PatchOperation::Remove, Some(Some(_)), _) => {
            list.retain(|it| !anchor.is_some_and(|name| is_named(it, name)));
        }
        _ => return false,
    }
    true
}

/// The lists and messages below a message, without setting what is not set.
pub fn list<'m>(message: &'m mut DynamicMessage, field: &str) -> Option<&'m mut Vec<Field>> {
    match message.get_field_by_name_mut(field)? {
        Field::List(list) => Some(list),
        _ => None,
    }
}

/// A message below a message, if it is set.
pub fn below<'m>(message: &'m mut DynamicMessage, field: &str) -> Option<&'m mut DynamicMessage> {
    if !message.has_field_by_name(field) {
        return None;
    }
    message.get_field_by_name_mut(field)?.as_message_mut()
}

/// The text of a field; empty if there is none.
pub fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Has it this name, or is the name one that Envoy once had for it?
pub fn is_named(item: &Field, name: &str) -> bool {
    let known = OLD_NAMES.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
    item.as_message().is_some_and(|message| text(message, "name") == known)
}

const OLD_NAMES: [(&str, &str); 5] = [
    ("envoy.http_connection_manager", "envoy.filters.network.http_connection_manager"),
    ("envoy.tcp_proxy", "envoy.filters.network.tcp_proxy"),
    ("envoy.router", "envoy.filters.http.router"),
    ("envoy.fault", "envoy.filters.http.fault"),
    ("envoy.cors", "envoy.filters.http.cors"),
];
