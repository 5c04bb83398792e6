//! What an instance knows of its contexts: root contexts, one for each plugin, and streams, one for each exchange.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use filter::{Facts, LocalResponse};
use http::HeaderMap;
use model::extension::Wasm;
use tokio::sync::{Notify, mpsc};

use crate::abi::{Side, Status};
use crate::bounds;
use crate::heads::{Map, RequestHead, ResponseHead};
use crate::host::Answer;

/// A context.
pub(crate) struct Context {
    /// The root context that it belongs to; a root's own.
    pub root: u32,
    pub kind: Kind,
    properties: HashMap<Vec<u8>, Bytes>,
}

pub(crate) enum Kind {
    Root(Root),
    Stream(Box<Stream>),
}

/// The context of a plugin.
pub(crate) struct Root {
    pub settings: Arc<Wasm>,
    pub wakes: Rc<Wakes>,
    /// Who is told of queues that it registers.
    pub queues: mpsc::Sender<u32>,
    /// Who waits for the answers to its requests.
    pub calls: mpsc::UnboundedSender<Calling>,
}

/// A request that waits for its answer: its number, and that.
pub(crate) type Calling = Pin<Box<dyn Future<Output = (u32, Result<Answer, String>)>>>;

/// What wakes the driver of a root context.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    /// How often it ticks.
    pub period: Cell<Option<Duration>>,
    /// The guest has said, late, that it is done.
    pub done: Cell<bool>,
    /// Either of them was set.
    pub changed: Notify,
}

/// The context of an exchange.
pub(crate) struct Stream {
    pub request: Option<RequestHead>,
    pub response: Option<ResponseHead>,
    sides: [Half; 2],
    /// The answer that the guest gives itself.
    pub local: Option<LocalResponse>,
    /// The guest wants the stream to be broken off.
    pub closed: bool,
    /// The route is to be found again.
    pub reroute: bool,
    pub about: About,
    /// Told, for each way, whenever any of this may let it go on.
    pub woken: [Rc<Notify>; 2],
}

/// One way of an exchange.
#[derive(Default)]
pub(crate) struct Half {
    /// The head may be changed.
    pub open: bool,
    /// The guest has said that what it paused may go on.
    pub resumed: bool,
    /// What the guest is shown of the body.
    pub body: Option<BytesMut>,
    pub trailers: Option<HeaderMap>,
    /// The bytes of the body so far.
    pub bytes: u64,
}

/// What is known of an exchange beside its messages. Taken when it begins: later on, nobody can be asked.
pub(crate) struct About {
    pub started: SystemTime,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub mtls: bool,
    pub server_name: Option<String>,
    pub peer_uri: Option<String>,
    pub peer_dns: Option<String>,
    pub peer_subject: Option<String>,
    pub own_uri: Option<String>,
    pub route: Option<Arc<str>>,
    pub cluster: Option<String>,
}

impl Context {
    /// The root context of a plugin.
    pub(crate) fn root(id: u32, root: Root) -> Self {
        Self { root: id, kind: Kind::Root(root), properties: HashMap::new() }
    }

    /// The context of an exchange.
    pub(crate) fn stream(root: u32, stream: Stream) -> Self {
        Self { root, kind: Kind::Stream(Box::new(stream)), properties: HashMap::new() }
    }

    /// A property that the guest has set.
    pub(crate) fn property(&self, path: &[u8]) -> Option<&Bytes> {
        self.properties.get(path)
    }

    /// Sets a property.
    pub(crate) fn set_property(&mut self, path: &[u8], value: &[u8]) -> Result<(), Status> {
        let others = self.properties.iter().filter(|(other, _)| *other != path);
        let (count, held) = others.fold((0, 0), |(n, held), (path, value)| (n + 1, held + path.len() + value.len()));
        if count >= bounds::PROPERTIES || held + path.len() + value.len() > bounds::PROPERTY_BYTES {
            return Err(Status::InternalFailure);
        }
        self.properties.insert(path.to_vec(), Bytes::copy_from_slice(value));
        Ok(())
    }
}

impl Stream {
    /// An exchange that begins.
    pub(crate) fn new(request: RequestHead, about: About) -> Self {
        let open = Half { open: true, ..Half::default() };
        Self {
            request: Some(request),
            response: None,
            sides: [open, Half::default()],
            local: None,
            closed: false,
            reroute: false,
            about,
            woken: Default::default(),
        }
    }

    /// Something may let the exchange go on.
    pub(crate) fn wake(&self) {
        self.woken.iter().for_each(|side| side.notify_one());
    }

    /// One way of it.
    pub(crate) fn half(&mut self, side: Side) -> &mut Half {
        &mut self.sides[side as usize]
    }

    /// The same, to look at.
    pub(crate) fn half_of(&self, side: Side) -> &Half {
        &self.sides[side as usize]
    }

    /// The head of one way.
    pub(crate) fn head(&mut self, side: Side) -> Option<Map<'_>> {
        match side {
            Side::Request => self.request.as_mut().map(Map::Request),
            Side::Response => self.response.as_mut().map(Map::Response),
        }
    }
}

impl About {
    /// What filters are told.
    pub(crate) fn new(facts: &Facts<'_>) -> Self {
        let ends = facts.around.ends("");
        let first = |names: &[String]| names.first().cloned();
        let mut about = Self {
            started: SystemTime::now(),
            source: ends.source,
            destination: ends.destination,
            // Who has proven nothing has no names.
            mtls: ends
                .peer
                .is_some_and(|peer| !(peer.uris.is_empty() && peer.dns.is_empty() && peer.subject.is_empty())),
            server_name: ends.server_name.map(str::to_owned),
            peer_uri: ends.peer.and_then(|peer| first(peer.uris)),
            peer_dns: ends.peer.and_then(|peer| first(peer.dns)),
            peer_subject: ends.peer.map(|peer| peer.subject.to_owned()).filter(|subject| !subject.is_empty()),
            own_uri: ends.own.map(str::to_owned),
            route: None,
            cluster: None,
        };
        about.routed(facts);
        about
    }

    /// The route may be another by now.
    pub(crate) fn routed(&mut self, facts: &Facts<'_>) {
        self.route = facts.route.map(|route| route.name.clone());
        self.cluster = facts.cluster().map(str::to_owned);
    }
}
