//! One instance of a module on one worker: started, called, and dead after its first trap.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use filter::Sender;
use model::extension::Wasm;
use wasmtime::{Func, Store, Trap, Val};

use crate::abi::Callback;
use crate::bounds;
use crate::compiled::Compiled;
use crate::context::{Context, Kind, Root, Stream};
use crate::host::{Answer, Exit, Host};
use crate::plugin::Plugin;
use crate::stats::Stats;

/// An instance.
pub(crate) struct Vm {
    guest: RefCell<Guest>,
    /// What each [`Callback`] is in this module.
    exports: Box<[Option<Export>]>,
    /// Its virtual machine was told that it starts.
    started: Cell<bool>,
    /// Why it is dead, if it is.
    died: RefCell<Option<Arc<str>>>,
    /// Exchanges that ended while the guest ran.
    ended: RefCell<Vec<u32>>,
    stats: Stats,
}

struct Guest(Store<Host>);

#[derive(Clone, Copy)]
struct Export {
    func: Func,
    params: usize,
    results: usize,
}

impl Vm {
    /// A new instance, as far as it needs no plugin.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn start(compiled: &Compiled, plugin: &Plugin, sender: Rc<dyn Sender>) -> Result<Rc<Self>, Arc<str>> {
        let host = Host::new(compiled.abi, plugin.settings.clone(), plugin.own.clone(), sender);
        let mut store = Store::new(compiled.linked.module().engine(), host);
        store.limiter(|host| &mut host.limits);
        store.set_epoch_deadline(bounds::TICKS_PER_CALL);
        let instance = compiled
            .linked
            .instantiate(&mut store)
            .map_err(|error| format!("the module could not be instantiated: {}", words(&error)))
            .inspect_err(|why| count(&plugin.stats, &plugin.settings, why))?;
        let memory = instance.get_memory(&mut store, "memory");
        let allocate = ["proxy_on_memory_allocate", "malloc"];
        let allocate = allocate.iter().find_map(|name| instance.get_typed_func(&mut store, name).ok());
        let exports = Callback::ALL.iter().map(|callback| {
            let func = instance.get_func(&mut store, callback.name())?;
            let ty = func.ty(&store);
            Some(Export { func, params: ty.params().len(), results: ty.results().len() })
        });
        let exports = exports.collect();
        (store.data_mut().memory, store.data_mut().allocate) = (memory, allocate);
        plugin.stats.created.inc();
        plugin.stats.active.inc();
        let vm = Rc::new(Self {
            guest: RefCell::new(Guest(store)),
            exports,
            started: Cell::new(false),
            died: RefCell::default(),
            ended: RefCell::default(),
            stats: plugin.stats.clone(),
        });
        // A module is a library or a program; a library may have a main function all the same.
        let first = if vm.has(Callback::Initialize) { Callback::Initialize } else { Callback::Start };
        vm.call(first, 0, &[])?;
        if first == Callback::Initialize {
            vm.call(Callback::Main, 0, &[0, 0])?;
        }
        Ok(vm)
    }

    /// The context of a plugin, whose configuration the guest has taken.
    ///
    /// # Errors
    /// The guest refuses it, or died.
    pub(crate) fn add_root(&self, root: Root) -> Result<u32, Arc<str>> {
        let (settings, wakes) = (root.settings.clone(), root.wakes.clone());
        let id = self.host(|host| {
            let id = host.next_context();
            host.contexts.insert(id, Context::root(id, root));
            id
        });
        self.call(Callback::ContextCreate, id, &[id, 0])?;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if !self.started.replace(true) {
            let size = length(&self.host(|host| host.settings.vm_configuration.clone()));
            if self.call(Callback::VmStart, id, &[id, size])? == Some(0) {
                let why = "the module refuses to start: proxy_on_vm_start answered false; its log may say why";
                return Err(self.die(why.into()));
            }
        }
        if self.call(Callback::Configure, id, &[id, length(&settings.configuration)])? == Some(0) {
            wakes.period.set(None);
            self.remove(id);
            let why = "the module refuses its configuration: proxy_on_configure answered false; its log may say why";
            count(&self.stats, &settings, why);
            return Err(why.into());
        }
        Ok(id)
    }

    /// Does the module export it?
    pub(crate) fn has(&self, callback: Callback) -> bool {
        self.exports[callback as usize].is_some()
    }

    /// Why it is dead, if it is.
    pub(crate) fn died(&self) -> Option<Arc<str>> {
        self.died.borrow().clone()
    }

    /// Calls the guest for a context, and gives what it answers; nothing, if it does not export that.
    ///
    /// # Errors
    /// It is dead, or was now.
    pub(crate) fn call(&self, callback: Callback, context: u32, args: &[u32]) -> Result<Option<u32>, Arc<str>> {
        if let Some(why) = self.died() {
            return Err(why);
        }
        let Some(export) = self.exports[callback as usize] else { return Ok(None) };
        let called = self.guest.borrow_mut().call(export, context, args);
        let answer = match called {
            Ok(answer) => answer,
            // A program that has run to its end.
            Err(error) if is_end(&error, callback) => None,
            Err(error) => {
                return Err(self.die(format!("the module failed in {}: {}", callback.name(), words(&error)).into()));
            }
        };
        let ended = std::mem::take(&mut *self.ended.borrow_mut());
        ended.into_iter().for_each(|id| self.end(id));
        Ok(answer)
    }

    /// Shows the host's side. Not while the guest runs.
    pub(crate) fn host<T>(&self, look: impl FnOnce(&mut Host) -> T) -> T {
        look(self.guest.borrow_mut().0.data_mut())
    }

    /// Shows the context of an exchange, if there still is one.
    pub(crate) fn stream<T>(&self, id: u32, look: impl FnOnce(&mut Stream) -> T) -> Option<T> {
        self.host(|host| match host.contexts.get_mut(&id).map(|context| &mut context.kind) {
            Some(Kind::Stream(stream)) => Some(look(stream)),
            _ => None,
        })
    }

    /// The answer to a request of the guest's is there, or will not come. It is told in its root context: which exchange it
    /// was for, the guest knows.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(crate) fn answered(
        &self,
        root: u32,
        token: u32,
        answer: Result<Answer, String>,
    ) -> Result<Option<u32>, Arc<str>> {
        let (headers, body) = self.host(|host| {
            host.calls.remove(&token);
            let sizes = match &answer {
                Ok(answer) => (answer.head.headers.len() as u32 + 1, answer.body.len() as u32),
                Err(_) => (0, 0),
            };
            host.answer = Some(answer);
            sizes
        });
        let told = self.call(Callback::HttpCallResponse, root, &[root, token, headers, body, 0]);
        self.host(|host| host.answer = None);
        told
    }

    /// An exchange is over.
    pub(crate) fn end(&self, id: u32) {
        if self.guest.try_borrow_mut().is_err() {
            self.ended.borrow_mut().push(id);
            return;
        }
        // Envoy's order. Whether the guest is done with an exchange it may say, but nothing waits for it.
        for callback in [Callback::Log, Callback::Done, Callback::Delete] {
            let _ = self.call(callback, id, &[id]);
        }
        self.remove(id);
    }

    /// Forgets a context.
    pub(crate) fn remove(&self, id: u32) {
        let context = self.host(|host| host.contexts.remove(&id));
        drop(context);
    }

    /// From now on it is dead.
    fn die(&self, why: Arc<str>) -> Arc<str> {
        self.host(|host| {
            count(&self.stats, &host.settings, &why);
            host.calls.clear();
            let streams = host.contexts.values().filter_map(|context| match &context.kind {
                Kind::Stream(stream) => Some(stream),
                Kind::Root(_) => None,
            });
            streams.for_each(|stream| stream.wake());
        });
        self.died.replace(Some(why.clone()));
        why
    }
}

impl Guest {
    fn call(&mut self, export: Export, context: u32, args: &[u32]) -> wasmtime::Result<Option<u32>> {
        let store = &mut self.0;
        store.set_epoch_deadline(bounds::TICKS_PER_CALL);
        store.data_mut().enter(context);
        let mut params = [const { Val::I32(0) }; 5];
        params.iter_mut().zip(args).for_each(|(param, arg)| *param = Val::I32(arg.cast_signed()));
        let mut results = [const { Val::I32(0) }; 1];
        export.func.call(store, &params[..export.params], &mut results[..export.results])?;
        Ok(results[..export.results].first().and_then(Val::i32).map(i32::cast_unsigned))
    }
}

/// A failure is counted, and told to whoever reads the log.
fn count(stats: &Stats, plugin: &Wasm, why: &str) {
    stats.failed.inc();
    let (name, root, vm) = (&*plugin.plugin, &*plugin.root_id, &*plugin.vm_id);
    tracing::error!(target: "wasm", plugin = name, root, vm, "{why}");
}

/// Has a program said that it ran to its end, and that all went well?
fn is_end(error: &wasmtime::Error, callback: Callback) -> bool {
    let at_start = matches!(callback, Callback::Initialize | Callback::Start | Callback::Main);
    at_start && matches!(error.downcast_ref(), Some(Exit(0)))
}

/// Why a guest stopped.
fn words(error: &wasmtime::Error) -> String {
    match (error.downcast_ref::<Trap>(), error.downcast_ref::<Exit>()) {
        (Some(Trap::Interrupt), _) => {
            format!("it ran longer than {:?}, which one call may", bounds::TICK * bounds::TICKS_PER_CALL as u32)
        }
        (Some(trap), _) => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
        (None, Some(exit)) => exit.to_string(),
        (None, None) => error.root_cause().to_string(),
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.stats.active.dec();
    }
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm").field("died", &self.died).finish_non_exhaustive()
    }
}
