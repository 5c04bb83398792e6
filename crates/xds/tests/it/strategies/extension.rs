//! Scripts and WebAssembly modules.

use model::extension::{Lua, LuaChoice, LuaRule, Script, Wasm, WasmCode, WasmFailure};
use model::metadata::{Fields, Value};
use proptest::collection::btree_map;

use super::*;

fn script() -> BoxedStrategy<Script> {
    prop_oneof![
        "-- [ -~]{1,40}(\n-- [ -~]{1,40})?".prop_map(|text: String| Script::Text(text.into())),
        name().prop_map(Script::File),
    ]
    .boxed()
}

fn fields() -> BoxedStrategy<Fields> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i32>().prop_map(|number| Value::Number(number.into())),
        "[a-z]{0,5}".prop_map(Value::Text),
    ];
    let value = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::List),
            btree_map("[a-z]{1,3}", inner, 0..3).prop_map(Value::Fields),
        ]
    });
    btree_map("[a-z]{1,3}", value, 0..3).boxed()
}

/// A script as a filter.
pub fn lua(filter_name: impl Strategy<Value = Arc<str>> + 'static) -> BoxedStrategy<Lua> {
    let named = btree_map(name(), script(), 0..3);
    let prefix = prop_oneof![Just(Arc::from("")), name()];
    (filter_name, prefix, of(script()), named, any::<bool>(), of(fields()))
        .prop_map(|(name, stat_prefix, script, named, reroutes, context)| Lua {
            name,
            stat_prefix,
            script,
            named,
            reroutes,
            context,
        })
        .boxed()
}

/// What a route says to it.
pub fn lua_rule() -> BoxedStrategy<LuaRule> {
    let choice =
        prop_oneof![Just(LuaChoice::Off), name().prop_map(LuaChoice::Named), script().prop_map(LuaChoice::Script),];
    (of(choice), of(fields())).prop_map(|(script, context)| LuaRule { script, context }).boxed()
}

/// A module as a filter.
pub fn wasm(filter_name: impl Strategy<Value = Arc<str>> + 'static) -> BoxedStrategy<Wasm> {
    let uri = ("(http|https|oci)", "[a-z.]{1,9}").prop_map(|(scheme, rest)| Arc::from(format!("{scheme}://{rest}")));
    let remote = (uri, of("[0-9a-f]{64}".prop_map(|text: String| Arc::from(text))), 1..10_000_000_u64);
    let code = prop_oneof![
        vec(any::<u8>(), 1..20).prop_map(|bytes| WasmCode::Inline(bytes.into())),
        name().prop_map(WasmCode::File),
        remote.prop_map(|(uri, sha256, ms)| WasmCode::Remote { uri, sha256, timeout: Duration::from_millis(ms) }),
    ];
    let failure = prop_oneof![Just(WasmFailure::Closed), Just(WasmFailure::Open), Just(WasmFailure::Reload)];
    let bytes = || vec(any::<u8>(), 0..20).prop_map(bytes::Bytes::from);
    let names = (filter_name, name(), name(), name());
    (names, code, bytes(), bytes(), btree_map(name(), name(), 0..3), vec(name(), 0..3), failure, any::<bool>())
        .prop_map(
            |(
                (name, plugin, root_id, vm_id),
                code,
                configuration,
                vm,
                environment,
                host_environment,
                failure,
                reads,
            )| Wasm {
                name,
                plugin,
                root_id,
                vm_id,
                code,
                configuration,
                vm_configuration: vm,
                environment,
                host_environment,
                reads_while_paused: reads,
                failure,
            },
        )
        .boxed()
}
