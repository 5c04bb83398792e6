//! Headers and trailers as scripts see them.

use std::rc::Rc;

use http::{HeaderName, HeaderValue};
use mlua::{Error, Lua, MetaMethod, UserDataMethods, Value};

use crate::log;
use crate::stream::Stream;

/// The headers of a stream, or its trailers.
pub(crate) struct Fields {
    pub stream: Rc<Stream>,
    pub part: Part,
}

/// Which fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Headers,
    Trailers,
}

/// The methods of Envoy's header object.
pub(crate) fn register(lua: &Lua) -> mlua::Result<()> {
    lua.register_userdata_type::<Fields>(|registry| {
        log::methods(registry);
        registry.add_method("get", |lua, fields, key: mlua::String| {
            let values = fields.values(&key)?;
            if values.is_empty() {
                return Ok(Value::Nil);
            }
            lua.create_string(values.join(&b","[..])).map(Value::String)
        });
        registry.add_method("getAtIndex", |lua, fields, (key, index): (mlua::String, i64)| {
            let values = fields.values(&key)?;
            match usize::try_from(index).ok().and_then(|index| values.get(index)) {
                Some(value) => lua.create_string(value).map(Value::String),
                None => Ok(Value::Nil),
            }
        });
        registry.add_method("getNumValues", |_, fields, key: mlua::String| Ok(fields.values(&key)?.len()));
        registry.add_method("add", |_, fields, (key, value): (mlua::String, mlua::String)| {
            fields.stream.check()?;
            let (name, value) = (name(&key)?, self::value(&value)?);
            fields.stream.change(fields.part, |map| _ = map.append(name, value))
        });
        registry.add_method("replace", |_, fields, (key, value): (mlua::String, mlua::String)| {
            fields.stream.check()?;
            let value = self::value(&value)?;
            if fields.part == Part::Headers && is_special(&key) {
                return fields.stream.set_special(&key.to_string_lossy(), &value);
            }
            let name = name(&key)?;
            fields.stream.change(fields.part, |map| drop(map.insert(name, value)))
        });
        registry.add_method("remove", |_, fields, key: mlua::String| {
            fields.stream.check()?;
            let name = name(&key)?;
            fields.stream.change(fields.part, |map| drop(map.remove(name)))
        });
        registry.add_method("setHttp1ReasonPhrase", |_, _, _: mlua::String| {
            Err::<(), _>(Error::runtime("reason phrases are not supported: a status has its own"))
        });
        registry.add_meta_method(MetaMethod::Pairs, |lua, fields, ()| {
            fields.stream.check()?;
            let mut all = fields.stream.all(fields.part).into_iter();
            let next = lua.create_function_mut(move |lua, _: (Value, Value)| match all.next() {
                Some((name, value)) => Ok((Some(lua.create_string(name)?), Some(lua.create_string(value)?))),
                None => Ok((None, None)),
            })?;
            Ok((next, Value::Nil, Value::Nil))
        });
    })
}

impl Fields {
    fn values(&self, key: &mlua::String) -> mlua::Result<Vec<Vec<u8>>> {
        self.stream.check()?;
        if self.part == Part::Headers && is_special(key) {
            let value = self.stream.special(&key.to_string_lossy());
            return Ok(value.map(String::into_bytes).into_iter().collect());
        }
        // What no name can be is not there.
        let Ok(name) = HeaderName::from_bytes(&key.as_bytes()) else { return Ok(Vec::new()) };
        Ok(self.stream.read(self.part, |map| map.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect()))
    }
}

/// Is it `:path` and its like, or the host, which HTTP/2 has there?
fn is_special(key: &mlua::String) -> bool {
    let key = key.as_bytes();
    key.starts_with(b":") || key.eq_ignore_ascii_case(b"host")
}

fn name(key: &mlua::String) -> mlua::Result<HeaderName> {
    HeaderName::from_bytes(&key.as_bytes())
        .map_err(|_| Error::runtime(format!("`{}` is no name of a header", key.to_string_lossy())))
}

pub(crate) fn value(text: &mlua::String) -> mlua::Result<HeaderValue> {
    HeaderValue::from_bytes(&text.as_bytes())
        .map_err(|_| Error::runtime(format!("`{}` is no value of a header", text.to_string_lossy())))
}
