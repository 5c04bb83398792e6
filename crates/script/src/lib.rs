//! Whether a text is Lua, by the engine that will run it: so that a wrong script is told where it is written, and not only
//! by the proxies that get it. Nothing of the text is run.

use mlua::ChunkMode;
use mlua::{Error, Lua, LuaOptions, StdLib};

/// The most memory that reading a script may take, in bytes.
const MEMORY: usize = 64 << 20;
/// What the engine calls the text in its errors.
const NAME: &str = "script";

/// Why a text is no Lua.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Fault {
    /// The line of the text, from 1 on, where the engine says it.
    pub line: Option<u32>,
    /// In the engine's words.
    pub reason: String,
}

/// Reads a script and runs nothing of it. Text only: code that was compiled before could do what no text can.
///
/// # Errors
/// [`Fault`].
pub fn check(text: &str) -> Result<(), Fault> {
    let read = || {
        let lua = Lua::new_with(StdLib::NONE, LuaOptions::default())?;
        lua.set_memory_limit(MEMORY)?;
        lua.load(text).set_name(format!("={NAME}")).set_mode(ChunkMode::Text).into_function()
    };
    read().map(drop).map_err(|error| fault(&error))
}

fn fault(error: &Error) -> Fault {
    let reason = match error {
        Error::SyntaxError { message, .. } | Error::RuntimeError(message) => message.clone(),
        Error::MemoryError(_) => format!("reading it takes more than {} MiB", MEMORY >> 20),
        other => other.to_string(),
    };
    let placed =
        reason.strip_prefix(NAME).and_then(|rest| rest.strip_prefix(':')).and_then(|rest| rest.split_once(": "));
    match placed.and_then(|(line, rest)| Some((line.parse().ok()?, rest))) {
        Some((line, rest)) => Fault { line: Some(line), reason: rest.to_owned() },
        None => Fault { line: None, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lua_and_what_is_not() {
        assert_eq!(check("function envoy_on_request(handle)\n  handle:headers():add('a', 'b')\nend"), Ok(()));
        assert_eq!(check(""), Ok(()));
        assert_eq!(check("while true do end"), Ok(()), "it is read, not run");
        for (text, line, reason) in [
            ("function f(\n  handle:x(", Some(2), "')' expected near ':'"),
            ("local a = 1\nlocal b = = 2", Some(2), "unexpected symbol near '='"),
            ("x = 'open", Some(1), "unfinished string near"),
            ("goto nowhere", Some(1), "undefined label 'nowhere'"),
            ("\u{1b}LJ\u{2}", None, "attempt to load a binary chunk"),
        ] {
            let fault = check(text).unwrap_err();
            assert_eq!(fault.line, line, "{text:?}: {fault}");
            assert!(fault.reason.contains(reason), "{text:?}: {fault}");
        }
        let deep = format!("x = {}1{}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(check(&deep).unwrap_err().reason.contains("too many"), "{}", check(&deep).unwrap_err());
    }
}
