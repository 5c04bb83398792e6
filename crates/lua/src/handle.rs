//! The handle that a script's functions are given.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mlua::{Error, Function, Lua, Table, Thread, UserDataFields, UserDataMethods, UserDataRef, Value};
use model::metadata::Fields as Values;

use crate::bytes::Buffer;
use crate::fields::{Fields, Part};
use crate::info::{Connection, StreamInfo, unsupported};
use crate::metadata::to_table;
use crate::stream::Stream;
use crate::{log, signature};

/// Envoy's `request_handle` and `response_handle`.
pub(crate) struct Handle(pub Rc<Stream>);

/// The methods of Envoy's handles: those that wait are Lua themselves.
pub(crate) fn register(lua: &Lua) -> mlua::Result<()> {
    let waits: Table = lua.load(include_str!("prelude.lua")).set_name("=halcyon").call(helpers(lua)?)?;
    let waits = waits.pairs::<String, Function>().collect::<mlua::Result<Vec<_>>>()?;
    lua.register_userdata_type::<Handle>(move |registry| {
        log::methods(registry);
        for (name, function) in waits {
            registry.add_field(name, function);
        }
        registry.add_method("headers", |lua, handle, ()| {
            handle.0.check()?;
            lua.create_any_userdata(Fields { stream: handle.0.clone(), part: Part::Headers })
        });
        registry.add_method("filterContext", |lua, handle, ()| {
            handle.0.check()?;
            to_table(lua, handle.0.shared.context.as_deref().unwrap_or(&Values::new()))
        });
        registry.add_method("clearRouteCache", |_, handle, ()| {
            handle.0.check()?;
            handle.0.reroutes.set(true);
            Ok(())
        });
        registry.add_method("base64Escape", |_, _, text: mlua::String| Ok(STANDARD.encode(&*text.as_bytes())));
        registry.add_method("timestamp", |_, _, resolution: Option<String>| Ok(now(resolution.as_deref())? as f64));
        registry.add_method("timestampString", |_, _, resolution: Option<String>| {
            Ok(now(resolution.as_deref())?.to_string())
        });
        registry.add_method("importPublicKey", |lua, _, (der, length): (mlua::String, usize)| {
            lua.create_any_userdata(signature::PublicKey::new(signature::part(&der, length)?))
        });
        registry.add_method("verifySignature", |_, _, asked: signature::Asked| asked.answer());
        unsupported(registry, "metadata");
        unsupported(registry, "setUpstreamOverrideHost");
    })?;
    let resolution = lua.create_table()?;
    resolution.set("MILLISECOND", MILLISECOND)?;
    resolution.set("MICROSECOND", MICROSECOND)?;
    lua.globals().set("EnvoyTimestampResolution", resolution)
}

const MILLISECOND: &str = "MILLISECOND";
const MICROSECOND: &str = "MICROSECOND";

/// What the methods that wait ask of the handle.
fn helpers(lua: &Lua) -> mlua::Result<(Function, Function, Function, Function, Function)> {
    type This = UserDataRef<Handle>;
    Ok((
        lua.create_function(|_, (handle, thread): (This, Thread)| handle.0.may_wait(&thread))?,
        lua.create_function(|_, handle: This| Ok(handle.0.info.borrow().is_some()))?,
        lua.create_function(|lua, handle: This| {
            let info = handle.0.info.borrow().clone().ok_or_else(unknown)?;
            lua.create_any_userdata(StreamInfo { stream: handle.0.clone(), info })
        })?,
        lua.create_function(|lua, handle: This| {
            let info = handle.0.info.borrow().clone().ok_or_else(unknown)?;
            lua.create_any_userdata(Connection { stream: handle.0.clone(), info })
        })?,
        lua.create_function(|lua, handle: This| match handle.0.is_whole() {
            true => {
                let buffer = Buffer { stream: handle.0.clone(), which: handle.0.piece() };
                lua.create_any_userdata(buffer).map(Value::UserData)
            }
            false => Ok(Value::Nil),
        })?,
    ))
}

fn unknown() -> Error {
    Error::runtime("it is not known here")
}

fn now(resolution: Option<&str>) -> mlua::Result<u128> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match resolution {
        None | Some(MILLISECOND) => Ok(since.as_millis()),
        Some(MICROSECOND) => Ok(since.as_micros()),
        Some(other) => Err(Error::runtime(format!("`{other}` as a resolution: expected MILLISECOND or MICROSECOND"))),
    }
}
