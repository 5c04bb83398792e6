//! Filters that users write: Lua scripts, with what routes say to them, and WebAssembly modules.

use model::extension::{Lua, LuaChoice, LuaRule, Script, Wasm, WasmCode, WasmFailure};
use proto::envoy::config::core::v3::async_data_source::Specifier as Anywhere;
use proto::envoy::config::core::v3::data_source::Specifier;
use proto::envoy::config::core::v3::http_uri::HttpUpstreamType;
use proto::envoy::config::core::v3::{AsyncDataSource, DataSource, HttpUri, RemoteDataSource};
use proto::envoy::extensions::filters::http::lua::v3 as lua;
use proto::envoy::extensions::filters::http::lua::v3::lua_per_route::Override;
use proto::envoy::extensions::filters::http::wasm::v3 as wasm;
use proto::envoy::extensions::wasm::v3::plugin_config::Vm;
use proto::envoy::extensions::wasm::v3::{EnvironmentVariables, FailurePolicy, PluginConfig, VmConfig};
use proto::google::protobuf::{Any, BoolValue, BytesValue, StringValue};

use super::ordered::{LuaRouteTail, LuaTail, Struct, WasmTail, joined};
use super::{duration, pack, packed};

/// Envoy's name of the cluster that it would fetch from; our proxies fetch past it.
const FETCHED_FROM: &str = "wasm";

pub(super) fn lua(lua: &Lua) -> Any {
    let head = lua::Lua {
        default_source_code: lua.script.as_ref().map(script),
        stat_prefix: lua.stat_prefix.to_string(),
        clear_route_cache: (!lua.reroutes).then_some(BoolValue { value: false }),
        ..lua::Lua::default()
    };
    let tail = LuaTail {
        source_codes: lua.named.iter().map(|(name, text)| (name.to_string(), script(text))).collect(),
        filter_context: lua.context.as_ref().map(Struct::of_fields),
    };
    packed::<lua::Lua>(joined(&head, &tail))
}

pub(super) fn lua_route(rule: &LuaRule) -> Any {
    let said = rule.script.as_ref().map(|choice| match choice {
        LuaChoice::Off => Override::Disabled(true),
        LuaChoice::Named(name) => Override::Name(name.to_string()),
        LuaChoice::Script(text) => Override::SourceCode(script(text)),
    });
    let head = lua::LuaPerRoute { r#override: said, ..lua::LuaPerRoute::default() };
    let tail = LuaRouteTail { filter_context: rule.context.as_ref().map(Struct::of_fields) };
    packed::<lua::LuaPerRoute>(joined(&head, &tail))
}

fn script(script: &Script) -> DataSource {
    let specifier = match script {
        Script::Text(text) => Specifier::InlineString(text.to_string()),
        Script::File(path) => Specifier::Filename(path.to_string()),
    };
    DataSource { specifier: Some(specifier), ..DataSource::default() }
}

pub(super) fn wasm(module: &Wasm) -> Any {
    let variables = EnvironmentVariables {
        host_env_keys: module.host_environment.iter().map(ToString::to_string).collect(),
        ..EnvironmentVariables::default()
    };
    let vm = VmConfig {
        vm_id: module.vm_id.to_string(),
        runtime: "envoy.wasm.runtime.v8".to_owned(),
        code: Some(code(&module.code)),
        configuration: bytes(&module.vm_configuration),
        environment_variables: (!variables.host_env_keys.is_empty()).then_some(variables),
        ..VmConfig::default()
    };
    let policy = match module.failure {
        WasmFailure::Closed => FailurePolicy::FailClosed,
        WasmFailure::Open => FailurePolicy::FailOpen,
        WasmFailure::Reload => FailurePolicy::FailReload,
    };
    let plugin = PluginConfig {
        name: module.plugin.to_string(),
        root_id: module.root_id.to_string(),
        configuration: bytes(&module.configuration),
        failure_policy: policy as i32,
        vm: Some(Vm::VmConfig(vm)),
        allow_on_headers_stop_iteration: module.reads_while_paused.then_some(BoolValue { value: true }),
        ..PluginConfig::default()
    };
    let variables = module.environment.iter().map(|(key, value)| (key.to_string(), value.to_string()));
    packed::<wasm::Wasm>(joined(&wasm::Wasm { config: Some(plugin) }, &WasmTail::of_environment(variables.collect())))
}

fn code(code: &WasmCode) -> AsyncDataSource {
    let local = |specifier| Anywhere::Local(DataSource { specifier: Some(specifier), ..DataSource::default() });
    let specifier = match code {
        WasmCode::Inline(bytes) => local(Specifier::InlineBytes(bytes.to_vec())),
        WasmCode::File(path) => local(Specifier::Filename(path.to_string())),
        WasmCode::Remote { uri, sha256, timeout } => Anywhere::Remote(RemoteDataSource {
            http_uri: Some(HttpUri {
                uri: uri.to_string(),
                http_upstream_type: Some(HttpUpstreamType::Cluster(FETCHED_FROM.to_owned())),
                timeout: Some(duration(*timeout)),
            }),
            sha256: sha256.as_deref().unwrap_or_default().to_owned(),
            retry_policy: None,
        }),
    };
    AsyncDataSource { specifier: Some(specifier) }
}

/// Texts as texts, which people can read where a configuration is shown.
fn bytes(bytes: &[u8]) -> Option<Any> {
    if bytes.is_empty() {
        return None;
    }
    Some(match std::str::from_utf8(bytes) {
        Ok(text) => pack(&StringValue { value: text.to_owned() }),
        Err(_) => pack(&BytesValue { value: bytes.to_vec() }),
    })
}
