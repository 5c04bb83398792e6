//! What a client holds: raw resources with their versions, fit to be kept on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use model::ResourceKind;
use prost::Message;
use proto::google::protobuf::Any;
use xxhash_rust::xxh3::xxh3_64;

use crate::{DecodeError, Resource, decode, kind_of, type_url};

/// Everything that is held, by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    kinds: BTreeMap<ResourceKind, BTreeMap<Arc<str>, HeldResource>>,
}

/// A resource as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldResource {
    /// The server's version of it; empty where the variant has none.
    pub version: Arc<str>,
    /// Its bytes, without the envelope's type URL.
    pub value: Bytes,
}

/// Why kept bytes are not what was held once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeldError {
    /// They do not begin as they should: something else, or another format.
    #[error("the kept configuration has an unknown format; remove it, and it will be fetched anew")]
    Format,
    /// The checksum is another.
    #[error("the kept configuration is damaged; remove it, and it will be fetched anew")]
    Damaged,
}

/// What the bytes begin with; the number is the format's.
const MAGIC: &[u8; 8] = b"HALHELD1";

impl Held {
    /// The resource of a name.
    pub fn get(&self, kind: ResourceKind, name: &str) -> Option<&HeldResource> {
        self.kinds.get(&kind)?.get(name)
    }

    /// The names of a kind and their resources.
    pub fn of_kind(&self, kind: ResourceKind) -> impl Iterator<Item = (&Arc<str>, &HeldResource)> {
        self.kinds.get(&kind).into_iter().flatten()
    }

    /// Is nothing held?
    pub fn is_empty(&self) -> bool {
        self.kinds.values().all(BTreeMap::is_empty)
    }

    /// Decodes everything, in the order in which it would have come.
    pub fn decode(&self) -> Vec<Result<Resource, DecodeError>> {
        let each = ResourceKind::ALL
            .into_iter()
            .flat_map(|kind| self.of_kind(kind).map(move |(name, held)| (kind, name, held)));
        each.map(|(kind, name, held)| Ok(decode::resource(kind, &held.any(kind))?.under(name))).collect()
    }

    /// Bytes for a file. They hold what the secrets hold, so only the owner may read the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let dump = Dump {
            kinds: self
                .kinds
                .iter()
                .map(|(kind, resources)| DumpKind {
                    type_url: type_url(*kind).to_owned(),
                    resources: resources
                        .iter()
                        .map(|(name, held)| DumpResource {
                            name: name.to_string(),
                            version: held.version.to_string(),
                            value: held.value.clone(),
                        })
                        .collect(),
                })
                .collect(),
        };
        let body = dump.encode_to_vec();
        [&MAGIC[..], &xxh3_64(&body).to_be_bytes(), &body].concat()
    }

    /// Reads what [`Held::to_bytes`] wrote. Types that are not known any more are left out.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HeldError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(HeldError::Format)?;
        let (sum, body) = rest.split_first_chunk().ok_or(HeldError::Damaged)?;
        if u64::from_be_bytes(*sum) != xxh3_64(body) {
            return Err(HeldError::Damaged);
        }
        let dump = Dump::decode(body).map_err(|_| HeldError::Damaged)?;
        let mut held = Self::default();
        for DumpKind { type_url, resources } in dump.kinds {
            let Some(kind) = kind_of(&type_url) else { continue };
            for DumpResource { name, version, value } in resources {
                held.insert(kind, name.into(), HeldResource { version: version.into(), value });
            }
        }
        Ok(held)
    }

    pub(super) fn insert(&mut self, kind: ResourceKind, name: Arc<str>, resource: HeldResource) {
        self.kinds.entry(kind).or_default().insert(name, resource);
    }

    pub(super) fn retain(&mut self, kind: ResourceKind, keep: impl Fn(&Arc<str>) -> bool) {
        if let Some(resources) = self.kinds.get_mut(&kind) {
            resources.retain(|name, _| keep(name));
        }
    }

    pub(super) fn remove(&mut self, kind: ResourceKind, name: &str) {
        if let Some(resources) = self.kinds.get_mut(&kind) {
            resources.remove(name);
        }
    }
}

impl HeldResource {
    fn any(&self, kind: ResourceKind) -> Any {
        Any { type_url: type_url(kind).to_owned(), value: self.value.to_vec() }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Dump {
    #[prost(message, repeated, tag = "1")]
    kinds: Vec<DumpKind>,
}

#[derive(Clone, PartialEq, Message)]
struct DumpKind {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(message, repeated, tag = "2")]
    resources: Vec<DumpResource>,
}

#[derive(Clone, PartialEq, Message)]
struct DumpResource {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(bytes = "bytes", tag = "3")]
    value: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_and_read() {
        let mut held = Held::default();
        let resource = |version: &str| HeldResource { version: version.into(), value: Bytes::from_static(b"bytes") };
        held.insert(ResourceKind::Cluster, "a".into(), resource("1"));
        held.insert(ResourceKind::Secret, "b".into(), resource(""));
        let bytes = held.to_bytes();
        assert_eq!(Held::from_bytes(&bytes), Ok(held));
        for (bytes, expected) in [
            (&bytes[..bytes.len() - 1], HeldError::Damaged),
            (&bytes[..12], HeldError::Damaged),
            (b"something else", HeldError::Format),
            (b"", HeldError::Format),
        ] {
            assert_eq!(Held::from_bytes(bytes), Err(expected));
        }
    }
}
