//! Facts that can be looked up: a table from what a fact asks for (a name, a path, a port, a block of addresses) to values,
//! and all values whose facts hold for a call, found by hashing what the call has.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use ipnet::IpNet;
use smallvec::{SmallVec, smallvec};

use super::decide::plain;
use super::{Call, Operation, Source};
use crate::StringMatch;

/// What a fact asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Name(Shape, Box<str>),
    Path(Shape, Box<str>),
    Port(u16),
    Destination(IpNet),
    DirectRemote(IpNet),
    Source(IpNet),
    Remote(IpNet),
}

/// Which part of a text is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    Whole,
    Beginning,
    End,
}

/// The keys of a fact: it holds only if one of them is found.
pub(super) struct Keys {
    pub any: SmallVec<[Key; 1]>,
    /// And it holds whenever one of them is.
    pub exact: bool,
}

impl Keys {
    fn exact(key: Key) -> Option<Self> {
        Some(Self { any: smallvec![key], exact: true })
    }
}

/// Facts that may have keys.
pub(super) trait Keyed {
    /// Its keys, if it has any.
    fn keys(&self) -> Option<Keys>;
}

/// A range of more ports is asked, not looked up.
const MAX_PORTS: u16 = 16;

impl Keyed for Operation {
    fn keys(&self) -> Option<Keys> {
        match self {
            Self::Path(text) => of_text(text, Key::Path),
            Self::Template(template) => match template.beginning() {
                "/" => None,
                text => Some(Keys { any: smallvec![Key::Path(Shape::Beginning, text.into())], exact: false }),
            },
            Self::DestinationIp(block) => Keys::exact(Key::Destination(block.trunc())),
            Self::DestinationPort(ports) if ports.end().saturating_sub(*ports.start()) < MAX_PORTS => {
                Some(Keys { any: ports.clone().map(Key::Port).collect(), exact: true })
            }
            Self::DestinationPort(_) | Self::Header(_) | Self::ServerName(_) | Self::Metadata(_) => None,
        }
    }
}

impl Keyed for Source {
    fn keys(&self) -> Option<Keys> {
        match self {
            Self::Authenticated(Some(text)) => of_text(text, Key::Name),
            Self::Path(text) => of_text(text, Key::Path),
            Self::DirectRemoteIp(block) => Keys::exact(Key::DirectRemote(block.trunc())),
            Self::SourceIp(block) => Keys::exact(Key::Source(block.trunc())),
            Self::RemoteIp(block) => Keys::exact(Key::Remote(block.trunc())),
            Self::Authenticated(None) | Self::Header(_) | Self::Metadata(_) => None,
        }
    }
}

fn of_text(text: &StringMatch, key: impl Fn(Shape, Box<str>) -> Key) -> Option<Keys> {
    let (shape, value) = match text {
        StringMatch::Exact { value, ignore_case: false } => (Shape::Whole, value),
        StringMatch::Prefix { value, ignore_case: false } => (Shape::Beginning, value),
        StringMatch::Suffix { value, ignore_case: false } => (Shape::End, value),
        _ => return None,
    };
    Keys::exact(key(shape, value.as_str().into()))
}

/// Values by keys.
#[derive(Debug, Default)]
pub(super) struct Lookup<V> {
    names: Texts<V>,
    paths: Texts<V>,
    ports: HashMap<u16, V>,
    destination: Blocks<V>,
    direct_remote: Blocks<V>,
    source: Blocks<V>,
    remote: Blocks<V>,
}

impl<V: Default> Lookup<V> {
    /// The value of a key, to be set.
    pub fn entry(&mut self, key: Key) -> &mut V {
        match key {
            Key::Name(shape, text) => self.names.entry(shape, text),
            Key::Path(shape, text) => self.paths.entry(shape, text),
            Key::Port(port) => self.ports.entry(port).or_default(),
            Key::Destination(block) => self.destination.entry(block),
            Key::DirectRemote(block) => self.direct_remote.entry(block),
            Key::Source(block) => self.source.entry(block),
            Key::Remote(block) => self.remote.entry(block),
        }
    }

    /// Shows the values whose keys a call has, until one will do.
    pub fn any<'v>(&'v self, call: &Call<'_>, will_do: &mut dyn FnMut(&'v V) -> bool) -> bool {
        (!self.names.is_empty() && call.names().any(|name| self.names.any(name, will_do)))
            || (!self.paths.is_empty() && call.path().is_some_and(|path| self.paths.any(path, will_do)))
            || self.ports.get(&call.destination.port()).is_some_and(&mut *will_do)
            || self.destination.any(call.destination.ip(), will_do)
            || self.direct_remote.any(call.direct_remote, will_do)
            || self.source.any(call.source, will_do)
            || self.remote.any(call.remote, will_do)
    }
}

/// Values by texts, beginnings and ends.
#[derive(Debug, Default)]
struct Texts<V> {
    whole: HashMap<Box<str>, V>,
    beginnings: Cut<usize, Box<str>, V>,
    ends: Cut<usize, Box<str>, V>,
}

impl<V: Default> Texts<V> {
    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.beginnings.by.is_empty() && self.ends.by.is_empty()
    }

    fn entry(&mut self, shape: Shape, text: Box<str>) -> &mut V {
        match shape {
            Shape::Whole => self.whole.entry(text).or_default(),
            Shape::Beginning => self.beginnings.entry(text.len(), text),
            Shape::End => self.ends.entry(text.len(), text),
        }
    }

    fn any<'v>(&'v self, text: &str, will_do: &mut dyn FnMut(&'v V) -> bool) -> bool {
        let beginning = |length: &usize| self.beginnings.by.get(text.get(..*length)?);
        let end = |length: &usize| self.ends.by.get(text.get(text.len().checked_sub(*length)?..)?);
        self.whole.get(text).is_some_and(&mut *will_do)
            || self.beginnings.sizes.iter().filter_map(beginning).any(&mut *will_do)
            || self.ends.sizes.iter().filter_map(end).any(will_do)
    }
}

/// Values by blocks of addresses.
#[derive(Debug, Default)]
struct Blocks<V>(Cut<(bool, u8), IpNet, V>);

impl<V: Default> Blocks<V> {
    fn entry(&mut self, block: IpNet) -> &mut V {
        self.0.entry((block.addr().is_ipv4(), block.prefix_len()), block)
    }

    fn any<'v>(&'v self, ip: IpAddr, will_do: &mut dyn FnMut(&'v V) -> bool) -> bool {
        if self.0.by.is_empty() {
            return false;
        }
        let ip = plain(ip);
        let of_family = self.0.sizes.iter().filter(|(v4, _)| *v4 == ip.is_ipv4());
        of_family.filter_map(|(_, length)| self.0.by.get(&IpNet::new(ip, *length).ok()?.trunc())).any(will_do)
    }
}

/// Values by keys of a few sizes: what is looked for is cut to each of them.
#[derive(Debug, Default)]
struct Cut<S, K, V> {
    sizes: Vec<S>,
    by: HashMap<K, V>,
}

impl<S: PartialEq, K: Hash + Eq, V: Default> Cut<S, K, V> {
    fn entry(&mut self, size: S, key: K) -> &mut V {
        if !self.sizes.contains(&size) {
            self.sizes.push(size);
        }
        self.by.entry(key).or_default()
    }
}
