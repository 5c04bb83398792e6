//! A script's function on its way through one direction of an exchange: it runs until it wants something, and goes on
//! when it has it.

use std::rc::Rc;

use mlua::{Error, FromLuaMulti, Function, IntoLuaMulti, MultiValue, Thread, ThreadStatus, Value};
use telemetry::Counter;

use crate::bytes::Buffer;
use crate::call::{Call, Own};
use crate::fields::{Fields, Part};
use crate::handle::Handle;
use crate::log::Line;
use crate::machine::{Machine, reason};
use crate::stream::Stream;

/// A function that runs.
pub(crate) struct Course {
    machine: Rc<Machine>,
    pub stream: Rc<Stream>,
    thread: Thread,
    errors: Counter,
}

/// What it wants.
pub(crate) enum Wish {
    /// The whole body, also if there is none.
    Body { always: bool },
    /// The next piece of the body.
    Chunk,
    /// The trailers.
    Trailers,
    /// An answer.
    Call(Box<Call>),
    /// To answer itself.
    Respond(Box<Own>),
    /// What is known of the exchange.
    Info,
    /// Nothing: it has ended.
    Nothing,
}

impl Course {
    /// The function begins.
    pub(crate) fn begin(
        machine: Rc<Machine>,
        function: &Function,
        stream: Rc<Stream>,
        errors: Counter,
    ) -> (Option<Self>, Wish) {
        let started = || {
            let thread = machine.lua.create_thread(function.clone())?;
            let handle = machine.lua.create_any_userdata(Handle(stream.clone()))?;
            Ok((thread, handle))
        };
        match started() {
            Ok((thread, handle)) => {
                stream.begin(thread.clone());
                let course = Self { machine, stream, thread, errors };
                let wish = course.go_on(handle.into_lua_multi(&course.machine.lua));
                (Some(course), wish)
            }
            Err(error) => {
                failed(&error, &stream, &errors);
                (None, Wish::Nothing)
            }
        }
    }

    /// It goes on with this.
    pub(crate) fn resume(&self, with: impl IntoLuaMulti) -> Wish {
        // Before it stands what was wrong with the wish: nothing.
        self.go_on(with.into_lua_multi(&self.machine.lua).map(|mut values| {
            values.push_front(Value::Nil);
            values
        }))
    }

    /// It goes on with an error, where it waits.
    pub(crate) fn refuse(&self, why: impl Into<String>) -> Wish {
        self.go_on(why.into().into_lua_multi(&self.machine.lua))
    }

    fn go_on(&self, with: mlua::Result<MultiValue>) -> Wish {
        let came = with.and_then(|values| {
            self.machine.refresh()?;
            self.thread.resume::<MultiValue>(values)
        });
        self.heed(came)
    }

    /// It goes on with nothing.
    pub(crate) fn resume_nil(&self) -> Wish {
        self.resume(Value::Nil)
    }

    /// It goes on with an answer.
    pub(crate) fn resume_answer(&self, repeated: bool, answer: Result<http::Response<::bytes::Bytes>, String>) -> Wish {
        match crate::call::answer(&self.machine.lua, repeated, answer) {
            Ok(values) => self.resume(values),
            Err(error) => self.refuse(error.to_string()),
        }
    }

    /// It goes on with the body, or the piece of it, of this number.
    pub(crate) fn resume_bytes(&self, which: u64) -> Wish {
        let buffer = Buffer { stream: self.stream.clone(), which };
        match self.machine.lua.create_any_userdata(buffer) {
            Ok(buffer) => self.resume(buffer),
            Err(error) => self.refuse(error.to_string()),
        }
    }

    /// It goes on with the trailers, if there are any.
    pub(crate) fn resume_trailers(&self) -> Wish {
        if !self.stream.has_trailers() {
            return self.resume_nil();
        }
        let trailers = Fields { stream: self.stream.clone(), part: Part::Trailers };
        match self.machine.lua.create_any_userdata(trailers) {
            Ok(trailers) => self.resume(trailers),
            Err(error) => self.refuse(error.to_string()),
        }
    }

    fn heed(&self, came: mlua::Result<MultiValue>) -> Wish {
        let mut came = came;
        loop {
            let values = match came {
                Ok(values) => values,
                Err(error) => {
                    failed(&error, &self.stream, &self.errors);
                    return self.end();
                }
            };
            if self.thread.status() != ThreadStatus::Resumable {
                return self.end();
            }
            match self.wish(values) {
                Ok(Some(wish)) => return wish,
                Ok(None) => {
                    failed(
                        &Error::runtime("coroutine.yield() outside of a coroutine of the script's own"),
                        &self.stream,
                        &self.errors,
                    );
                    return self.end();
                }
                // Said where the script stands, so that it names the line, and can be caught.
                Err(error) => came = self.thread.resume::<MultiValue>(text_of(error)),
            }
        }
    }

    fn end(&self) -> Wish {
        self.stream.end();
        Wish::Nothing
    }

    /// What it wants; none if that is nothing that there is.
    fn wish(&self, mut values: MultiValue) -> mlua::Result<Option<Wish>> {
        let what = match values.pop_front() {
            Some(Value::String(what)) => what.to_string_lossy(),
            _ => return Ok(None),
        };
        let lua = &self.machine.lua;
        Ok(Some(match what.as_str() {
            "body" => Wish::Body { always: bool::from_lua_multi(values, lua)? },
            "chunk" => Wish::Chunk,
            "trailers" => Wish::Trailers,
            "call" => Wish::Call(Box::new(Call::from_lua_multi(values, lua)?)),
            "respond" => Wish::Respond(Box::new(Own::from_lua_multi(values, lua)?)),
            "info" => Wish::Info,
            _ => return Ok(None),
        }))
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        self.stream.end();
    }
}

fn text_of(error: Error) -> String {
    match error {
        Error::RuntimeError(text) => text,
        other => other.to_string(),
    }
}

fn failed(error: &Error, stream: &Stream, errors: &Counter) {
    errors.inc();
    let name = &stream.shared.program.name;
    let reason = reason(error, name);
    tracing::error!(target: "lua", "the script {name}: {}", Line(&reason));
}
