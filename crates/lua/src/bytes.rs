//! Bodies, and pieces of them, as scripts see them.

use std::rc::Rc;

use ::bytes::Bytes;
use mlua::{Error, Lua, UserDataMethods};

use crate::log;
use crate::stream::Stream;

/// The body of a stream, or the piece of it that passes: the `which`th.
pub(crate) struct Buffer {
    pub stream: Rc<Stream>,
    pub which: u64,
}

impl Buffer {
    fn get(&self) -> mlua::Result<Bytes> {
        self.stream.check()?;
        self.stream.bytes(self.which).ok_or_else(|| Error::runtime("this piece of the body has passed"))
    }
}

/// `length`, `getBytes`, `setBytes`.
pub(crate) fn register(lua: &Lua) -> mlua::Result<()> {
    lua.register_userdata_type::<Buffer>(|registry| {
        log::methods(registry);
        registry.add_method("length", |_, buffer, ()| Ok(buffer.get()?.len()));
        registry.add_method("getBytes", |lua, buffer, (index, length): (usize, usize)| {
            let bytes = buffer.get()?;
            let end = index.checked_add(length).filter(|end| *end <= bytes.len());
            let end = end.ok_or_else(|| {
                Error::runtime(format!("bytes {index} to {index}+{length} of {}: expected some within", bytes.len()))
            })?;
            lua.create_string(&bytes[index..end])
        });
        registry.add_method("setBytes", |_, buffer, text: mlua::String| {
            buffer.get()?;
            let bytes = Bytes::copy_from_slice(&text.as_bytes());
            let length = bytes.len();
            buffer.stream.set_bytes(bytes);
            Ok(length)
        });
    })
}
