//! The instances of one worker: made for the first exchange that needs them, shared by all later ones, replaced when they
//! died if their filter wants that, and gone with the last filter.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use base::Backoff;
use filter::Sender;
use model::extension::WasmFailure;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::bounds;
use crate::compiled::Compiled;
use crate::context::{Root, Wakes};
use crate::plugin::{Plugin, VmKey};
use crate::root::{self, Coming};
use crate::vm::Vm;

thread_local! {
    static SLOTS: RefCell<HashMap<VmKey, Slot>> = RefCell::default();
}

/// The place of an instance.
#[derive(Default)]
struct Slot {
    vm: Option<Rc<Vm>>,
    /// By the plugins' own numbers.
    plugins: HashMap<u64, State>,
}

/// A plugin in its instance.
struct State {
    at: At,
    /// Between tries, if any are made.
    backoff: Backoff,
}

enum At {
    /// Not begun.
    Nothing,
    /// This is its root context.
    Root(u32, Rc<Wakes>),
    Failed {
        why: Arc<str>,
        retry: Instant,
    },
}

/// The instance for an exchange, and the root context of its plugin.
///
/// # Errors
/// Why there is none.
pub(crate) fn enter(
    plugin: &Arc<Plugin>,
    compiled: &Compiled,
    sender: Rc<dyn Sender>,
) -> Result<(Rc<Vm>, u32), Arc<str>> {
    let key = plugin.vm_key(compiled);
    // Out of the table while guests run: nothing that they bring about finds it borrowed.
    let mut slot = SLOTS.with_borrow_mut(|slots| slots.remove(key)).unwrap_or_default();
    let entered = slot.enter(key, plugin, compiled, sender);
    SLOTS.with_borrow_mut(|slots| slots.insert(key.clone(), slot));
    entered
}

impl Slot {
    fn enter(
        &mut self,
        key: &VmKey,
        plugin: &Plugin,
        compiled: &Compiled,
        sender: Rc<dyn Sender>,
    ) -> Result<(Rc<Vm>, u32), Arc<str>> {
        self.bury();
        let reloads = plugin.settings.failure == WasmFailure::Reload;
        let state = self.plugins.entry(plugin.id).or_insert_with(|| {
            tokio::task::spawn_local(end_with(key.clone(), plugin.id, plugin.gone()));
            State { at: At::Nothing, backoff: Backoff::new(bounds::RETRY_BASE, bounds::RETRY_MAX) }
        });
        let again = match &state.at {
            At::Root(root, _) => {
                if let Some(vm) = &self.vm {
                    vm.host(|host| host.sender = sender);
                    return Ok((vm.clone(), *root));
                }
                false
            }
            At::Nothing => false,
            At::Failed { why, .. } if !reloads => return Err(why.clone()),
            At::Failed { why, retry } if Instant::now() < *retry => {
                plugin.stats.reload_backoff.inc();
                return Err(why.clone());
            }
            At::Failed { .. } => true,
        };
        let begun = begin(&mut self.vm, plugin, compiled, sender);
        if again {
            let counter = if begun.is_ok() { &plugin.stats.reload_success } else { &plugin.stats.reload_failure };
            counter.inc();
        }
        match begun {
            Ok((vm, root, wakes)) => {
                state.at = At::Root(root, wakes);
                Ok((vm, root))
            }
            Err(why) => {
                let retry = Instant::now() + state.backoff.next_delay();
                state.at = At::Failed { why: why.clone(), retry };
                Err(why)
            }
        }
    }

    /// Notices that the instance died: all its plugins have failed with it.
    fn bury(&mut self) {
        let Some(why) = self.vm.as_ref().and_then(|vm| vm.died()) else { return };
        self.vm = None;
        for state in self.plugins.values_mut().filter(|state| matches!(state.at, At::Root(..))) {
            let retry = Instant::now() + state.backoff.next_delay();
            state.at = At::Failed { why: why.clone(), retry };
        }
    }
}

/// The root context of a plugin, in the instance that there is or in a new one.
fn begin(
    place: &mut Option<Rc<Vm>>,
    plugin: &Plugin,
    compiled: &Compiled,
    sender: Rc<dyn Sender>,
) -> Result<(Rc<Vm>, u32, Rc<Wakes>), Arc<str>> {
    let vm = match place {
        Some(vm) => {
            vm.host(|host| host.sender = sender);
            vm.clone()
        }
        None => Vm::start(compiled, plugin, sender)?,
    };
    let wakes = Rc::<Wakes>::default();
    let (queues, items) = mpsc::channel(bounds::QUEUE_ITEMS);
    let (calls, called) = mpsc::unbounded_channel();
    let root = Root { settings: plugin.settings.clone(), wakes: wakes.clone(), queues, calls };
    let root = vm.add_root(root);
    if vm.died().is_none() {
        *place = Some(vm.clone());
    }
    let root = root?;
    let coming = Coming { queues: items, calls: called };
    tokio::task::spawn_local(root::drive(Rc::downgrade(&vm), root, wakes.clone(), coming));
    Ok((vm, root, wakes))
}

/// Ends what a plugin has here when nobody has it any more, and the instance with the last plugin.
async fn end_with(key: VmKey, plugin: u64, mut gone: tokio::sync::watch::Receiver<()>) {
    while gone.changed().await.is_ok() {}
    let state = SLOTS.with_borrow_mut(|slots| {
        let slot = slots.get_mut(&key)?;
        let state = slot.plugins.remove(&plugin)?;
        let vm = slot.vm.clone();
        if slot.plugins.is_empty() {
            slots.remove(&key);
        }
        Some((state.at, vm?))
    });
    if let Some((At::Root(root, wakes), vm)) = state {
        root::end(vm, root, wakes).await;
    }
}
