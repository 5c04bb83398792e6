//! Lua scripts as HTTP filters, by the interface of Envoy's `envoy.filters.http.lua`, on the engine that Envoy has (LuaJIT,
//! Lua 5.1 with parts of 5.2; here without its compiler to machine code, so that a script can be interrupted).
//!
//! Knows no proxy, no pool and no wire form. A script is read once where a configuration is applied, and then by each
//! worker that runs it, which keeps its globals to itself. Every exchange runs `envoy_on_request` and `envoy_on_response`
//! as coroutines, which wait for bodies and for answers of services without holding up anybody.
//!
//! | bound | |
//! |---|---|
//! | memory of a script on a worker | [`MEMORY`] |
//! | time of the processor between two waits | [`TIME`] |
//! | a body that is read whole | what may wait of a connection ([`Around::buffer_limit`](filter::Around)) |
//!
//! A script that fails is logged and counted (`envoy_http_lua_errors`), and the exchange goes on with what it has done so
//! far, as in Envoy. Scripts have `string`, `table`, `math`, `bit`, `coroutine`, and of `os` what tells the time; they
//! reach no file, no other module and no program.

mod bytes;
mod call;
mod chunks;
mod course;
mod fields;
mod filter;
mod handle;
mod info;
mod log;
mod machine;
mod metadata;
mod program;
mod signature;
mod stream;

pub use machine::{MEMORY, TIME};
pub use program::Scripts;
