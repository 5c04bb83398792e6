//! Filters that users write: Lua scripts, with what routes say to them, and WebAssembly modules.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::extension::{Lua, LuaChoice, LuaRule, Script, Wasm, WasmCode, WasmFailure};
use model::metadata::{Fields, Value};
use proto::envoy::config::core::v3::async_data_source::Specifier as Anywhere;
use proto::envoy::config::core::v3::data_source::Specifier;
use proto::envoy::config::core::v3::{AsyncDataSource, DataSource, HttpUri, RemoteDataSource};
use proto::envoy::extensions::filters::http::lua::v3 as lua;
use proto::envoy::extensions::filters::http::lua::v3::lua_per_route::Override;
use proto::envoy::extensions::filters::http::wasm::v3 as wasm;
use proto::envoy::extensions::wasm::v3::plugin_config::Vm;
use proto::envoy::extensions::wasm::v3::{EnvironmentVariables, FailurePolicy, PluginConfig, VmConfig};
use proto::google::protobuf::value::Kind;
use proto::google::protobuf::{Any, BytesValue, StringValue, Struct};

use super::{At, Decoded, duration, required, take, type_name, unpack};

pub(super) const LUA: &str = "envoy.extensions.filters.http.lua.v3.Lua";
pub(super) const LUA_ROUTE: &str = "envoy.extensions.filters.http.lua.v3.LuaPerRoute";
pub(super) const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";

/// What Envoy allows a fetch, if nothing is said.
const FETCH: Duration = Duration::from_secs(5);

#[allow(deprecated)]
pub(super) fn lua(value: lua::Lua, name: &str, at: &At<'_>) -> Decoded<Lua> {
    take!(value, at, lua::Lua {
        used { inline_code, source_codes, default_source_code, stat_prefix, clear_route_cache, filter_context }
        harmless {}
        refused { package_paths, package_cpaths }
    });
    let default = match (inline_code, default_source_code) {
        (text, None) if text.is_empty() => None,
        (text, None) => Some(read(text, &at.field("inline_code"))?),
        (text, Some(source)) if text.is_empty() => Some(script_of(source, &at.field("default_source_code"))?),
        _ => return Err(at.field("inline_code").error("stands beside `default_source_code`", "one of them")),
    };
    let at_codes = at.field("source_codes");
    let named = source_codes.into_iter().map(|(key, source)| {
        let text = script_of(source, &at_codes.key(&key))?;
        Ok((key.into(), text))
    });
    Ok(Lua {
        name: name.into(),
        stat_prefix: stat_prefix.into(),
        script: default,
        named: named.collect::<Decoded<_>>()?,
        reroutes: clear_route_cache.is_none_or(|said| said.value),
        context: filter_context.map(fields),
    })
}

/// What a route or virtual host says.
pub(super) fn lua_route(value: lua::LuaPerRoute, at: &At<'_>) -> Decoded<LuaRule> {
    take!(value, at, lua::LuaPerRoute {
        used { filter_context, r#override }
        harmless {}
        refused { package_paths, package_cpaths }
    });
    let script = match r#override {
        None => None,
        Some(Override::Disabled(true)) => Some(LuaChoice::Off),
        Some(Override::Disabled(false)) => return Err(at.field("disabled").error("is false", "true, or nothing")),
        Some(Override::Name(name)) if name.is_empty() => return Err(at.field("name").error("is empty", "a name")),
        Some(Override::Name(name)) => Some(LuaChoice::Named(name.into())),
        Some(Override::SourceCode(source)) => Some(LuaChoice::Script(script_of(source, &at.field("source_code"))?)),
    };
    Ok(LuaRule { script, context: filter_context.map(fields) })
}

fn script_of(source: DataSource, at: &At<'_>) -> Decoded<Script> {
    match source.specifier {
        Some(Specifier::Filename(path)) => Ok(Script::File(path.into())),
        Some(Specifier::InlineString(text)) => read(text, &at.field("inline_string")),
        Some(Specifier::InlineBytes(bytes)) => {
            let at = at.field("inline_bytes");
            read(String::from_utf8(bytes).map_err(|_| at.error("is no UTF-8", "a script"))?, &at)
        }
        Some(Specifier::EnvironmentVariable(_)) => {
            Err(at.field("environment_variable").unsupported("a script, or the name of its file"))
        }
        None => Err(at.error("is empty", "a script, or the name of its file")),
    }
}

/// The script itself: what is no Lua is refused by whoever reads the configuration, such as the control plane.
fn read(text: String, at: &At<'_>) -> Decoded<Script> {
    match script::check(&text) {
        Ok(()) => Ok(Script::Text(text.into())),
        Err(fault) => {
            let line = fault.line.map(|line| format!(", line {line}")).unwrap_or_default();
            Err(at.error(format!("is no Lua{line}: {}", fault.reason), "a script"))
        }
    }
}

pub(super) fn wasm(value: wasm::Wasm, filter: &str, at: &At<'_>) -> Decoded<Wasm> {
    let at = at.field("config");
    // How long a new instance is waited for is ours to say.
    take!(required(value.config, &at)?, &at, PluginConfig {
        used { name, root_id, vm, configuration, fail_open, failure_policy, allow_on_headers_stop_iteration }
        harmless { reload_config }
        refused { capability_restriction_config }
    });
    let own = bytes_of(configuration, &at.field("configuration"))?;
    let at_vm = at.field("vm_config");
    let Vm::VmConfig(vm) = required(vm, &at_vm)?;
    take!(vm, &at_vm, VmConfig {
        used { vm_id, runtime, code, configuration, environment_variables }
        harmless { allow_precompiled, nack_on_code_cache_miss }
        refused { capability_restriction_config }
    });
    if runtime == "envoy.wasm.runtime.null" {
        return Err(at_vm.field("runtime").error("is Envoy's own code", "a runtime of WebAssembly"));
    }
    let EnvironmentVariables { host_env_keys, key_values } = environment_variables.unwrap_or_default();
    let at_code = at_vm.field("code");
    Ok(Wasm {
        name: filter.into(),
        plugin: name.into(),
        root_id: root_id.into(),
        vm_id: vm_id.into(),
        code: code_of(required(code, &at_code)?, &at_code)?,
        configuration: own,
        vm_configuration: bytes_of(configuration, &at_vm.field("configuration"))?,
        environment: key_values.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
        host_environment: host_env_keys.into_iter().map(Arc::from).collect(),
        reads_while_paused: allow_on_headers_stop_iteration.is_some_and(|said| said.value),
        failure: failure(failure_policy, fail_open, &at)?,
    })
}

fn failure(policy: i32, open: bool, at: &At<'_>) -> Decoded<WasmFailure> {
    Ok(match FailurePolicy::try_from(policy) {
        Ok(FailurePolicy::Unspecified) if open => WasmFailure::Open,
        Ok(FailurePolicy::Unspecified | FailurePolicy::FailClosed) => WasmFailure::Closed,
        Ok(FailurePolicy::FailOpen) => WasmFailure::Open,
        Ok(FailurePolicy::FailReload) => WasmFailure::Reload,
        Err(_) => return Err(at.field("failure_policy").error(format!("is {policy}"), "a policy that there is")),
    })
}

fn code_of(source: AsyncDataSource, at: &At<'_>) -> Decoded<WasmCode> {
    match source.specifier {
        Some(Anywhere::Local(local)) => match local.specifier {
            Some(Specifier::Filename(path)) => Ok(WasmCode::File(path.into())),
            Some(Specifier::InlineBytes(bytes)) => Ok(WasmCode::Inline(bytes.into())),
            _ => Err(at.field("local").error("has no module", "`filename` or `inline_bytes`")),
        },
        Some(Anywhere::Remote(remote)) => fetched(remote, &at.field("remote")),
        None => Err(at.error("is empty", "`local` or `remote`")),
    }
}

fn fetched(value: RemoteDataSource, at: &At<'_>) -> Decoded<WasmCode> {
    take!(value, at, RemoteDataSource {
        used { http_uri, sha256 }
        harmless { retry_policy }
        refused {}
    });
    let at_uri = at.field("http_uri");
    // Modules are fetched past the clusters, as Istio's agent does.
    take!(required(http_uri, &at_uri)?, &at_uri, HttpUri {
        used { uri, timeout }
        harmless { http_upstream_type }
        refused {}
    });
    if !["http://", "https://", "oci://"].iter().any(|scheme| uri.starts_with(scheme)) {
        return Err(at_uri.field("uri").error(format!("is `{uri}`"), "http://, https:// or oci://"));
    }
    let sha256 = Some(sha256).filter(|digest| !digest.is_empty()).map(|digest| digest.to_ascii_lowercase());
    if let Some(digest) = &sha256
        && (digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(at.field("sha256").error(format!("is `{digest}`"), "64 hexadecimal digits"));
    }
    let timeout = timeout.map_or(Ok(FETCH), |said| duration(said, &at_uri.field("timeout")))?;
    Ok(WasmCode::Remote { uri: uri.into(), sha256: sha256.map(Arc::from), timeout })
}

/// Texts and bytes as they are, structures as JSON, other messages as their bytes.
fn bytes_of(any: Option<Any>, at: &At<'_>) -> Decoded<Bytes> {
    let Some(any) = any else { return Ok(Bytes::new()) };
    Ok(match type_name(&any.type_url) {
        "google.protobuf.StringValue" => unpack::<StringValue>(&any, at)?.value.into(),
        "google.protobuf.BytesValue" => unpack::<BytesValue>(&any, at)?.value.into(),
        "google.protobuf.Struct" => Value::Fields(fields(unpack(&any, at)?)).to_string().into(),
        _ => any.value.into(),
    })
}

/// A structure of the wire.
pub(super) fn fields(value: Struct) -> Fields {
    fields_of(value.fields)
}

fn fields_of(values: HashMap<String, proto::google::protobuf::Value>) -> Fields {
    values.into_iter().map(|(key, value)| (key, value_of(value))).collect()
}

fn value_of(value: proto::google::protobuf::Value) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => Value::Number(number),
        Some(Kind::StringValue(text)) => Value::Text(text),
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::StructValue(value)) => Value::Fields(fields(value)),
        Some(Kind::ListValue(list)) => Value::List(list.values.into_iter().map(value_of).collect()),
    }
}
