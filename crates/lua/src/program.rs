//! Scripts that were read and found good, whoever runs them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use filter::Extension;
use model::extension::{Lua, Script};
use telemetry::Shard;

use crate::filter::LuaFilter;
use crate::machine::Machine;

/// A script, and what there is in it.
#[derive(Debug)]
pub(crate) struct Program {
    /// What its log lines and errors call it.
    pub name: Arc<str>,
    /// The text.
    pub text: Arc<str>,
    /// It has `envoy_on_request`.
    pub on_request: bool,
    /// It has `envoy_on_response`.
    pub on_response: bool,
}

/// Makes filters of scripts. The same script under the same name is one program, however often it is configured: its
/// globals outlive a new configuration.
#[derive(Debug, Clone, Default)]
pub struct Scripts(Arc<Mutex<HashMap<(Arc<str>, Arc<str>), Weak<Program>>>>);

impl Scripts {
    /// A script as a filter, which counts at `shard` under the prefix of its HTTP proxy.
    ///
    /// # Errors
    /// The script, or its file, cannot be read; the text says where and why.
    pub fn filter(&self, settings: &Arc<Lua>, shard: &Shard, prefix: &str) -> Result<Arc<dyn Extension>, String> {
        Ok(Arc::new(LuaFilter::new(settings.clone(), self.clone(), shard, prefix)?))
    }

    /// Reads a script, and runs what stands outside of its functions.
    ///
    /// # Errors
    /// As [`filter`](Self::filter).
    pub(crate) fn program(&self, name: &Arc<str>, script: &Script) -> Result<Arc<Program>, String> {
        let text = match script {
            Script::Text(text) => text.clone(),
            Script::File(path) => {
                let text = std::fs::read_to_string(&**path);
                text.map_err(|error| format!("the script {name}: {path}: {error}; expected a file of Lua"))?.into()
            }
        };
        let key = (name.clone(), text.clone());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(program);
        }
        let tried = Machine::new(name, &text)?;
        let program = Arc::new(Program {
            name: name.clone(),
            text,
            on_request: tried.on_request.is_some(),
            on_response: tried.on_response.is_some(),
        });
        known.retain(|_, program| program.strong_count() > 0);
        known.insert(key, Arc::downgrade(&program));
        Ok(program)
    }
}
