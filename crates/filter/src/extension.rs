//! Filters that other crates make: scripts and WebAssembly. What they cost, only those pay who have them.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use mesh_http::Body;
use model::extension::{Lua, Wasm};
use telemetry::Shard;

use crate::chain::{Facts, Flow};

/// A filter that is not built in. It may do what an [`HttpFilter`](crate::HttpFilter) may, phase by phase.
pub trait Extension: fmt::Debug + Send + Sync {
    /// The head of the request is there.
    fn on_request<'f>(&'f self, request: &'f mut Request<Body>, facts: &'f mut Facts<'_>) -> Phase<'f, Flow>;
    /// The head of the response is there.
    fn on_response<'f>(&'f self, response: &'f mut Response<Body>, facts: &'f mut Facts<'_>) -> Phase<'f, ()>;
}

/// A phase of an exchange, on its worker.
pub type Phase<'f, T> = Pin<Box<dyn Future<Output = T> + 'f>>;

/// Who makes the filters that are not built in.
pub trait Extensions: fmt::Debug + Send + Sync {
    /// A script as a filter, which counts at `shard` under the prefix of its HTTP proxy.
    ///
    /// # Errors
    /// Why there is none: the script is wrong, say.
    fn lua(&self, settings: &Arc<Lua>, shard: &Shard, prefix: &str) -> Result<Arc<dyn Extension>, String>;

    /// A WebAssembly module as a filter.
    ///
    /// # Errors
    /// Why there is none.
    fn wasm(&self, settings: &Arc<Wasm>, shard: &Shard, prefix: &str) -> Result<Arc<dyn Extension>, String>;
}

/// Makes none: for programs and tests that have no extensions.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoExtensions;

impl Extensions for NoExtensions {
    fn lua(&self, settings: &Arc<Lua>, _: &Shard, _: &str) -> Result<Arc<dyn Extension>, String> {
        Err(format!("the filter {} is a Lua script, and this program runs none", settings.name))
    }

    fn wasm(&self, settings: &Arc<Wasm>, _: &Shard, _: &str) -> Result<Arc<dyn Extension>, String> {
        Err(format!("the filter {} is a WebAssembly module, and this program runs none", settings.name))
    }
}

/// What an extension keeps of an exchange from its request to its response, and until it is over: then it is dropped.
#[derive(Default)]
pub(crate) struct Kept(Vec<(usize, Rc<dyn Any>)>);

impl Kept {
    /// Kept by the filter that stands at this address.
    pub(crate) fn insert(&mut self, filter: usize, value: Rc<dyn Any>) {
        self.0.retain(|(other, _)| *other != filter);
        self.0.push((filter, value));
    }

    pub(crate) fn get(&self, filter: usize) -> Option<Rc<dyn Any>> {
        self.0.iter().find(|(other, _)| *other == filter).map(|(_, value)| value.clone())
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("filters", &self.0.len()).finish_non_exhaustive()
    }
}
