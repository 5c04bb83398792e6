//! What scripts write to the proxy's log.

use std::fmt;

use mlua::{UserDataMethods, UserDataRegistry};

/// Text of strangers in one line: control characters are shown.
pub(crate) struct Line<'a>(pub &'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// The methods that every object has.
pub(crate) fn methods<T: 'static>(registry: &mut UserDataRegistry<T>) {
    macro_rules! level {
        ($($name:literal => $level:ident),*) => {
            $(registry.add_method($name, |_, _, message: mlua::String| {
                tracing::$level!(target: "lua", "script log: {}", Line(&message.to_string_lossy()));
                Ok(())
            });)*
        };
    }
    level!(
        "logTrace" => trace, "logDebug" => debug, "logInfo" => info, "logWarn" => warn, "logErr" => error,
        "logCritical" => error
    );
}
