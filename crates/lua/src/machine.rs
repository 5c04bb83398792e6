//! A script on a worker: its globals and its two functions.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mlua::ChunkMode;
use mlua::{Error, Function, HookTriggers, Lua, LuaOptions, StdLib, Value, VmState};

use rustix::time::ClockId;

use crate::program::Program;
use crate::{bytes, fields, handle, info, metadata, signature};

/// The most memory that a script may hold on a worker, in bytes.
pub const MEMORY: usize = 64 << 20;
/// How long a script may compute from one wait to the next, in time of the processor.
pub const TIME: Duration = Duration::from_secs(1);
/// After how many instructions the time is looked at.
const STEP: u32 = 10_000;

/// What of `os` a script has.
const OS: [&str; 4] = ["clock", "date", "difftime", "time"];

/// Code that was compiled before can break the engine's own memory: no script may make or load any.
const TEXT_ONLY: &str = "\
local load = load
_G.load = function(chunk, name, _, env) return load(chunk, name, 't', env) end
loadstring, string.dump = _G.load, nil";

/// A script that was read.
pub(crate) struct Machine {
    pub lua: Lua,
    pub on_request: Option<Function>,
    pub on_response: Option<Function>,
    spent: Rc<Spent>,
}

/// What a script has used since its last wait.
#[derive(Default)]
struct Spent {
    /// The time of this thread when that was first looked at.
    since: Cell<Option<Duration>>,
    /// It is too much.
    all: Cell<bool>,
}

impl Spent {
    /// Is there nothing left?
    fn is_all(&self) -> bool {
        let now = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
        let now = Duration::try_from(now).unwrap_or_default();
        let since = self.since.get().unwrap_or(now);
        self.since.set(Some(since));
        self.all.set(self.all.get() || now.saturating_sub(since) > TIME);
        self.all.get()
    }
}

thread_local! {
    /// The scripts of this worker, by the place of their programs, which stays taken as long as it stands here.
    static MACHINES: RefCell<HashMap<usize, (Weak<Program>, Rc<Machine>)>> = RefCell::default();
}

impl Machine {
    /// The program on this worker.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn of(program: &Arc<Program>) -> Result<Rc<Self>, String> {
        let key = Arc::as_ptr(program).addr();
        if let Some(known) = MACHINES.with_borrow(|all| all.get(&key).map(|(_, machine)| machine.clone())) {
            return Ok(known);
        }
        let machine = Rc::new(Self::new(&program.name, &program.text)?);
        MACHINES.with_borrow_mut(|all| {
            all.retain(|_, (program, _)| program.strong_count() > 0);
            all.insert(key, (Arc::downgrade(program), machine.clone()));
        });
        Ok(machine)
    }

    /// Reads a script, and runs what stands outside of its functions.
    ///
    /// # Errors
    /// It is no Lua, or fails; the text says where and why.
    pub(crate) fn new(name: &Arc<str>, text: &str) -> Result<Self, String> {
        let spent = Rc::<Spent>::default();
        let read = || {
            let lua = engine(&spent)?;
            lua.load(text).set_name(format!("={name}")).set_mode(ChunkMode::Text).exec()?;
            let function = |function: &str| match lua.globals().get(function)? {
                Value::Function(function) => Ok(Some(function)),
                Value::Nil => Ok(None),
                other => Err(Error::runtime(format!("{function} is a {}, expected a function", other.type_name()))),
            };
            let (on_request, on_response) = (function("envoy_on_request")?, function("envoy_on_response")?);
            Ok(Self { lua: lua.clone(), on_request, on_response, spent: spent.clone() })
        };
        let machine = read().map_err(|error| format!("the script {name}: {}", reason(&error, name)))?;
        if machine.on_request.is_none() && machine.on_response.is_none() {
            tracing::warn!("the script {name} has neither envoy_on_request nor envoy_on_response: it does nothing");
        }
        Ok(machine)
    }

    /// A script goes on after a wait.
    ///
    /// # Errors
    /// There is no memory left.
    pub(crate) fn refresh(&self) -> mlua::Result<()> {
        self.spent.since.set(None);
        if self.spent.all.replace(false) {
            watch(&self.lua, &self.spent, STEP)?;
        }
        Ok(())
    }
}

/// An engine with what scripts may use, and bounds.
fn engine(spent: &Rc<Spent>) -> mlua::Result<Lua> {
    let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH | StdLib::BIT;
    let lua = Lua::new_with(libraries | StdLib::OS | StdLib::JIT, LuaOptions::default())?;
    // Code of the machine's own would not be interrupted.
    lua.load("jit.off()").exec()?;
    let globals = lua.globals();
    let (all, os) = (globals.get::<mlua::Table>("os")?, lua.create_table()?);
    for name in OS {
        os.set(name, all.get::<Value>(name)?)?;
    }
    globals.set("os", os)?;
    for name in ["jit", "dofile", "loadfile", "collectgarbage", "newproxy"] {
        globals.set(name, Value::Nil)?;
    }
    lua.load(TEXT_ONLY).exec()?;
    handle::register(&lua)?;
    fields::register(&lua)?;
    bytes::register(&lua)?;
    info::register(&lua)?;
    metadata::register(&lua)?;
    signature::register(&lua)?;
    watch(&lua, spent, STEP)?;
    lua.set_memory_limit(MEMORY)?;
    Ok(lua)
}

/// Looks at the time after so many instructions. From the moment that there is none left every single one fails: a script
/// cannot catch its end and go on.
fn watch(lua: &Lua, spent: &Rc<Spent>, step: u32) -> mlua::Result<()> {
    let spent = spent.clone();
    lua.set_global_hook(HookTriggers::new().every_nth_instruction(step), move |lua, debug| {
        if !spent.is_all() {
            return Ok(VmState::Continue);
        }
        if step != 1 {
            watch(lua, &spent, 1)?;
        }
        let line = debug.current_line().map(|line| format!("line {line}: ")).unwrap_or_default();
        Err(Error::runtime(format!("{line}it computes for {TIME:?} without a wait: the script is ended")))
    })
}

/// Why a script failed, in one line, with the script's own line.
pub(crate) fn reason(error: &Error, name: &str) -> String {
    let (mut cause, mut line) = (error, None);
    while let Error::CallbackError { traceback, cause: inner } = cause {
        line = line.or_else(|| line_of(traceback, name));
        cause = inner;
    }
    let text = match cause {
        Error::SyntaxError { message, .. } | Error::RuntimeError(message) => message.clone(),
        Error::MemoryError(_) => format!("no more than {} MiB of memory for a script", MEMORY >> 20),
        other => other.to_string(),
    };
    let text = text.split("\nstack traceback").next().unwrap_or_default();
    let text = text.strip_prefix(&format!("{name}:")).map_or_else(|| text.to_owned(), |text| format!("line {text}"));
    match line {
        Some(line) if !text.starts_with("line ") => format!("line {line}: {text}"),
        _ => text,
    }
}

/// The first line of the script's that a traceback names.
fn line_of(traceback: &str, name: &str) -> Option<u32> {
    let (_, rest) = traceback.split_once(&format!("{name}:"))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
