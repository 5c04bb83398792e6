//! What is said of an exchange beside its head, and values between Lua and the model.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use mlua::{Error, IntoLua, Lua, MetaMethod, Table, UserDataMethods, Value as LuaValue};
use model::metadata::{Fields, Metadata, Value};

use crate::log;
use crate::program::Program;
use crate::stream::Stream;

/// How deep tables may stand in each other.
const DEPTH: usize = 16;

/// What both directions of an exchange share.
pub(crate) struct Shared {
    /// What runs.
    pub program: Arc<Program>,
    /// What the route tells it.
    pub context: Option<Arc<Fields>>,
    /// What filters have said.
    pub metadata: RefCell<Metadata>,
    /// The version of HTTP of the request.
    pub protocol: &'static str,
}

/// Envoy's dynamic metadata.
pub(crate) struct Dynamic(pub Rc<Stream>);

/// `get`, `set` and iteration.
pub(crate) fn register(lua: &Lua) -> mlua::Result<()> {
    lua.register_userdata_type::<Dynamic>(|registry| {
        log::methods(registry);
        registry.add_method("get", |lua, dynamic, filter: String| {
            dynamic.0.check()?;
            match dynamic.0.shared.metadata.borrow().said(&filter) {
                Some(fields) => to_table(lua, fields).map(LuaValue::Table),
                None => Ok(LuaValue::Nil),
            }
        });
        registry.add_method("set", |_, dynamic, (filter, key, value): (String, String, LuaValue)| {
            dynamic.0.check()?;
            let value = from_lua(&value, 0)?;
            dynamic.0.shared.metadata.borrow_mut().of(filter).insert(key, value);
            Ok(())
        });
        registry.add_meta_method(MetaMethod::Pairs, |lua, dynamic, ()| {
            dynamic.0.check()?;
            let all: Vec<_> =
                dynamic.0.shared.metadata.borrow().all().map(|(name, it)| (name.to_owned(), it.clone())).collect();
            let mut all = all.into_iter();
            let next = lua.create_function_mut(move |lua, _: (LuaValue, LuaValue)| match all.next() {
                Some((name, fields)) => Ok((Some(name), Some(to_table(lua, &fields)?))),
                None => Ok((None, None)),
            })?;
            Ok((next, LuaValue::Nil, LuaValue::Nil))
        });
    })
}

/// Values by name, as a table.
pub(crate) fn to_table(lua: &Lua, fields: &Fields) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, fields.len())?;
    for (key, value) in fields {
        table.raw_set(key.as_str(), to_lua(lua, value)?)?;
    }
    Ok(table)
}

fn to_lua(lua: &Lua, value: &Value) -> mlua::Result<LuaValue> {
    match value {
        Value::Null => Ok(LuaValue::Nil),
        Value::Bool(value) => value.into_lua(lua),
        Value::Number(number) => number.into_lua(lua),
        Value::Text(text) => text.as_str().into_lua(lua),
        Value::List(values) => {
            let table = lua.create_table_with_capacity(values.len(), 0)?;
            for value in values {
                table.raw_push(to_lua(lua, value)?)?;
            }
            Ok(LuaValue::Table(table))
        }
        Value::Fields(fields) => to_table(lua, fields).map(LuaValue::Table),
    }
}

/// Tables whose keys are 1, 2, 3 are lists, others are values by name.
fn from_lua(value: &LuaValue, depth: usize) -> mlua::Result<Value> {
    if depth > DEPTH {
        return Err(Error::runtime(format!("a value of metadata has more than {DEPTH} tables in each other")));
    }
    Ok(match value {
        LuaValue::Nil => Value::Null,
        LuaValue::Boolean(value) => Value::Bool(*value),
        LuaValue::Integer(number) => Value::Number(*number as f64),
        LuaValue::Number(number) => Value::Number(*number),
        LuaValue::String(text) => Value::Text(text.to_string_lossy()),
        LuaValue::Table(table) if table.raw_len() > 0 => {
            let values = table.sequence_values::<LuaValue>().map(|value| from_lua(&value?, depth + 1));
            Value::List(values.collect::<mlua::Result<_>>()?)
        }
        LuaValue::Table(table) => {
            let one = |pair: mlua::Result<(LuaValue, LuaValue)>| {
                let (key, value) = pair?;
                Ok((key.to_string()?, from_lua(&value, depth + 1)?))
            };
            Value::Fields(table.pairs().map(one).collect::<mlua::Result<_>>()?)
        }
        other => {
            let kind = other.type_name();
            return Err(Error::runtime(format!(
                "a {kind} as metadata: expected a text, a number, a boolean or a table"
            )));
        }
    })
}
