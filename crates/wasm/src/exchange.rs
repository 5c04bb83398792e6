//! One exchange in an instance: its context there, and what the guest has said of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use filter::LocalResponse;
use http::StatusCode;
use model::extension::WasmFailure;
use telemetry::ResponseFlags;

use crate::abi::{Callback, Side};
use crate::context::{Context, Stream};
use crate::plugin::Plugin;
use crate::vm::Vm;

/// An exchange; dropped, it is over.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub plugin: Arc<Plugin>,
    pub vm: Rc<Vm>,
    /// The number of its context.
    pub id: u32,
    /// It speaks gRPC.
    pub is_grpc: bool,
    /// What follows is no body, but the bytes of another protocol.
    pub is_upgrade: bool,
    /// An answer of the guest's that came while the body of the request was on its way.
    pub answer: RefCell<Option<LocalResponse>>,
}

/// How a message goes on.
#[derive(Debug)]
pub(crate) enum Step {
    Go,
    /// The guest wants to wait, and to see what follows if that is its way.
    Wait,
    /// The guest wants to wait, and to see nothing.
    WaitForAll,
    /// The guest answers itself.
    Answer(Box<LocalResponse>),
    /// The guest wants the stream to be broken off.
    Close,
    /// The guest is dead, for this reason.
    Dead(Arc<str>),
}

impl Exchange {
    /// Begins an exchange below a root context.
    pub(crate) fn new(
        plugin: Arc<Plugin>,
        (vm, root): (Rc<Vm>, u32),
        stream: Stream,
        is_grpc: bool,
        is_upgrade: bool,
    ) -> Self {
        let id = vm.host(|host| {
            let id = host.next_context();
            host.contexts.insert(id, Context::stream(root, stream));
            id
        });
        // If it dies of this, the next call says so.
        let _ = vm.call(Callback::ContextCreate, id, &[id, root]);
        Self { plugin, vm, id, is_grpc, is_upgrade, answer: RefCell::default() }
    }

    /// Calls the guest with a message of this side, and says how that goes on.
    pub(crate) fn call(&self, side: Side, callback: Callback, args: [u32; 2]) -> Step {
        self.vm.stream(self.id, |stream| stream.half(side).resumed = false);
        let [one, other] = args;
        match self.vm.call(callback, self.id, &[self.id, one, other]) {
            Err(why) => Step::Dead(why),
            Ok(action) => match (self.said(side), action.unwrap_or(0)) {
                (Step::Wait, 0) => Step::Go,
                // Heads know a second pause, which is of all that follows; in two kinds.
                (Step::Wait, 3 | 4) => Step::WaitForAll,
                (said, _) => said,
            },
        }
    }

    /// Waits until something lets the message go on.
    pub(crate) async fn wait(&self, side: Side) -> Step {
        loop {
            self.woken(side).await;
            match self.said(side) {
                Step::Wait => {}
                said => return said,
            }
        }
    }

    /// Waits until something may let the message go on.
    pub(crate) async fn woken(&self, side: Side) {
        match self.vm.stream(self.id, |stream| stream.woken[side as usize].clone()) {
            Some(woken) => woken.notified().await,
            None => std::future::pending().await,
        }
    }

    /// What the guest has said since it paused the message.
    pub(crate) fn said(&self, side: Side) -> Step {
        if let Some(why) = self.vm.died() {
            return Step::Dead(why);
        }
        let said = self.vm.stream(self.id, |stream| {
            if let Some(local) = stream.local.take() {
                return Step::Answer(Box::new(local));
            }
            match (std::mem::take(&mut stream.closed), std::mem::take(&mut stream.half(side).resumed)) {
                (true, _) => Step::Close,
                (false, true) => Step::Go,
                (false, false) => Step::Wait,
            }
        });
        said.unwrap_or(Step::Go)
    }

    /// Does the guest look at what follows the head?
    pub(crate) fn reads(&self, side: Side) -> bool {
        !self.is_upgrade && (self.vm.has(side.on_body()) || self.vm.has(side.on_trailers()))
    }

    /// Do messages pass though the guest is dead?
    pub(crate) fn fails_open(&self) -> bool {
        self.plugin.settings.failure == WasmFailure::Open
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.vm.end(self.id);
    }
}

/// The answer in the place of a module that is not there, or dead: Envoy's.
pub(crate) fn failed(why: &str) -> LocalResponse {
    LocalResponse {
        status: StatusCode::SERVICE_UNAVAILABLE,
        grpc_status: None,
        body: bytes::Bytes::new(),
        headers: http::HeaderMap::new(),
        details: "wasm_fail_stream".into(),
        why: Some(why.into()),
        flags: ResponseFlags::NONE,
    }
}
