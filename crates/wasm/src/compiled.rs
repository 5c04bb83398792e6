//! The engine, and modules that it has compiled and that were found to fit. Each is compiled once for the process.

use std::collections::HashMap;
use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, Weak};

use sha2::{Digest as _, Sha256};
use wasmtime::{Config, ExternType, InstancePre, Linker, Module, UnknownImportError, ValType};

use crate::abi::{Abi, Callback};
use crate::bounds;
use crate::host::{self, Host};
use crate::shared::lock;

/// The SHA-256 of a module.
pub(crate) type Digest = [u8; 32];

/// Compiles modules, and lets time pass for those that run.
pub(crate) struct Engine {
    engine: wasmtime::Engine,
    /// Each module has a lock of its own, so that others do not wait while it is compiled.
    modules: Mutex<HashMap<Digest, Arc<Mutex<Weak<Compiled>>>>>,
    /// Dropped, it stops the thread that counts the time.
    _ticks: mpsc::Sender<()>,
}

/// A module that may be instantiated.
pub(crate) struct Compiled {
    pub digest: Digest,
    pub abi: Abi,
    /// The module with all that it imports.
    pub linked: InstancePre<Host>,
}

impl Engine {
    /// An engine, and the thread that counts its time.
    ///
    /// # Errors
    /// This machine cannot run WebAssembly, or no more threads.
    pub(crate) fn new() -> Result<Self, String> {
        let mut config = Config::new();
        config.epoch_interruption(true);
        let engine = wasmtime::Engine::new(&config)
            .map_err(|error| format!("this machine cannot run WebAssembly modules: {error:#}"))?;
        let (ticks, stopped) = mpsc::channel();
        let weak = engine.weak();
        let tick = move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(bounds::TICK) {
                let Some(engine) = weak.upgrade() else { break };
                engine.increment_epoch();
            }
        };
        std::thread::Builder::new()
            .name("wasm-ticks".to_owned())
            .spawn(tick)
            .map_err(|error| format!("no thread could be had that bounds the time of WebAssembly modules: {error}"))?;
        Ok(Self { engine, modules: Mutex::default(), _ticks: ticks })
    }

    /// The module of these bytes, compiled if it is not yet. `what` it is, for errors.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn compiled(&self, bytes: &[u8], what: &str) -> Result<Arc<Compiled>, String> {
        let digest: Digest = Sha256::digest(bytes).into();
        let place = {
            let mut modules = lock(&self.modules);
            modules.retain(|_, place| Arc::strong_count(place) > 1 || lock(place).strong_count() > 0);
            modules.entry(digest).or_default().clone()
        };
        let mut place = lock(&place);
        if let Some(compiled) = place.upgrade() {
            return Ok(compiled);
        }
        let compiled = Arc::new(self.compile(bytes, digest).map_err(|why| format!("{what} {why}"))?);
        *place = Arc::downgrade(&compiled);
        Ok(compiled)
    }

    /// The module of this digest, if somebody has it. While it is compiled, nobody has.
    pub(crate) fn known(&self, digest: &Digest) -> Option<Arc<Compiled>> {
        let place = lock(&self.modules).get(digest)?.clone();
        let known = place.try_lock().ok()?;
        known.upgrade()
    }

    fn compile(&self, bytes: &[u8], digest: Digest) -> Result<Compiled, String> {
        if bytes.len() > bounds::MODULE {
            let most = bounds::MODULE;
            return Err(format!(
                "has {} bytes; a module may have {most}: make it smaller, with wasm-opt say",
                bytes.len()
            ));
        }
        // Only the binary form: what begins with these bytes.
        if !bytes.starts_with(b"\0asm") {
            return Err(
                "is no WebAssembly: expected a module in the binary format, which begins with \\0asm".to_owned()
            );
        }
        let module = Module::from_binary(&self.engine, bytes)
            .map_err(|error| format!("is no WebAssembly module that can be run: {}", one_line(&error)))?;
        let abi = abi(&module)?;
        exports(&module)?;
        let mut linker = Linker::new(&self.engine);
        host::link(&mut linker).map_err(|error| format!("cannot be linked: {error:#}"))?;
        let linked =
            linker.instantiate_pre(&module).map_err(|error| match error.downcast_ref::<UnknownImportError>() {
                Some(unknown) => format!(
                    "imports {} from {}, which no version of Proxy-Wasm up to {} has: build it for Proxy-Wasm, without \
                 other imports",
                    unknown.name(),
                    unknown.module(),
                    Abi::V0_2_1
                ),
                None => format!("imports a function with other parameters than Proxy-Wasm's: {}", one_line(&error)),
            })?;
        Ok(Compiled { digest, abi, linked })
    }
}

/// The newest version that the module says it was made for.
fn abi(module: &Module) -> Result<Abi, String> {
    if let Some(abi) = module.exports().filter_map(|export| Abi::of_export(export.name())).max() {
        return Ok(abi);
    }
    let known = Abi::ALL.map(|abi| abi.to_string()).join(", ");
    let other = module.exports().find_map(|export| Some(export.name().strip_prefix(Abi::PREFIX)?.replace('_', ".")));
    Err(match other {
        Some(other) => format!("is made for version {other} of Proxy-Wasm; known are {known}"),
        None => format!("does not say for which version of Proxy-Wasm it is made: expected an export {}*", Abi::PREFIX),
    })
}

/// Is everything there that is asked of a module, and of the right type?
fn exports(module: &Module) -> Result<(), String> {
    if !matches!(module.get_export("memory"), Some(ExternType::Memory(memory)) if !memory.is_64()) {
        return Err("exports no 32-bit memory under the name memory".to_owned());
    }
    for callback in Callback::ALL {
        let name = callback.name();
        let Some(export) = module.get_export(name) else { continue };
        let fits = export.func().is_some_and(|func| {
            func.params().chain(func.results()).all(|value| matches!(value, ValType::I32))
                && callback.params().contains(&func.params().len())
                && func.results().len() <= 1
        });
        if !fits {
            return Err(format!("exports {name} with another type than Proxy-Wasm's: {export:?}"));
        }
    }
    Ok(())
}

/// An error and its causes.
fn one_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("modules", &lock(&self.modules).len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("abi", &self.abi).finish_non_exhaustive()
    }
}
