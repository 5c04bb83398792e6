//! What an instance has of its host: its contexts, what it asked for and is told, and the functions that it imports.

mod buffers;
mod calls;
mod general;
mod maps;
mod memory;
mod shared;
mod wasi;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use filter::Sender;
use http::HeaderMap;
use model::extension::Wasm;
use wasmtime::{Linker, Memory, StoreLimits, StoreLimitsBuilder, TypedFunc};

use crate::abi::{Abi, Status};
use crate::bounds;
use crate::context::{Context, Kind, Root, Stream};
use crate::metrics::Metrics;
use crate::plugin::Own;

pub(crate) use wasi::Exit;

/// The host's side of one instance.
pub(crate) struct Host {
    pub limits: StoreLimits,
    pub memory: Option<Memory>,
    /// The guest's own function that gives room in its memory.
    pub allocate: Option<TypedFunc<u32, u32>>,
    pub abi: Abi,
    /// Whose configuration all of the instance has.
    pub settings: Arc<Wasm>,
    pub own: Own,
    pub metrics: Metrics,
    /// Who sends requests: the latest that an exchange brought.
    pub sender: Rc<dyn Sender>,
    pub contexts: HashMap<u32, Context>,
    last_context: u32,
    /// The context that is called, and the one that the guest said it meant.
    called: u32,
    effective: u32,
    /// Requests that wait for answers.
    pub calls: HashSet<u32>,
    last_call: u32,
    /// The answer that the guest is told of just now, or why there is none.
    pub answer: Option<Result<Answer, String>>,
}

/// The answer to a request of a guest's.
#[derive(Debug)]
pub(crate) struct Answer {
    pub head: crate::heads::ResponseHead,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Host {
    /// The host of an instance that is not made yet.
    pub(crate) fn new(abi: Abi, settings: Arc<Wasm>, own: Own, sender: Rc<dyn Sender>) -> Self {
        let limits = StoreLimitsBuilder::new().memory_size(bounds::MEMORY).table_elements(bounds::TABLE).build();
        let metrics = Metrics::new(own.shard.clone(), own.names.clone());
        Self {
            limits,
            memory: None,
            allocate: None,
            abi,
            settings,
            own,
            metrics,
            sender,
            contexts: HashMap::new(),
            last_context: 0,
            called: 0,
            effective: 0,
            calls: HashSet::new(),
            last_call: 0,
            answer: None,
        }
    }

    /// A number for a new context.
    pub(crate) fn next_context(&mut self) -> u32 {
        loop {
            self.last_context = self.last_context.wrapping_add(1);
            if self.last_context != 0 && !self.contexts.contains_key(&self.last_context) {
                return self.last_context;
            }
        }
    }

    /// A context is called.
    pub(crate) fn enter(&mut self, context: u32) {
        (self.called, self.effective) = (context, 0);
    }

    /// The number of the context that the guest acts for.
    fn meant(&self) -> u32 {
        if self.contexts.contains_key(&self.effective) { self.effective } else { self.called }
    }

    /// The context that the guest acts for.
    fn context(&mut self) -> Result<&mut Context, Status> {
        let id = self.meant();
        self.contexts.get_mut(&id).ok_or(Status::BadArgument)
    }

    /// The exchange that the guest acts for.
    fn stream(&mut self) -> Result<&mut Stream, Status> {
        match &mut self.context()?.kind {
            Kind::Stream(stream) => Ok(stream),
            Kind::Root(_) => Err(Status::BadArgument),
        }
    }

    /// The root context that the guest acts for, and its number.
    fn root(&mut self) -> Result<(u32, &mut Root), Status> {
        let id = self.context()?.root;
        match self.contexts.get_mut(&id).map(|context| &mut context.kind) {
            Some(Kind::Root(root)) => Ok((id, root)),
            _ => Err(Status::BadArgument),
        }
    }

    /// The settings of the plugin that the guest acts for.
    fn plugin(&mut self) -> Arc<Wasm> {
        let of_root = self.root().map(|(_, root)| root.settings.clone());
        of_root.unwrap_or_else(|_| self.settings.clone())
    }
}

/// Gives a module all that it may import.
pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    general::link(linker)?;
    maps::link(linker)?;
    buffers::link(linker)?;
    calls::link(linker)?;
    shared::link(linker)?;
    wasi::link(linker)
}
