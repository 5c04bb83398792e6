//! The few wire messages with maps that may hold several keys, over ordered maps.
//!
//! The generated types keep maps in hash order, which changes from one run to the next; the bytes, and so the
//! versions, must not. These mirrors have the same field numbers as the messages that they are named after.

use std::collections::BTreeMap;

use model::metadata::{self, Fields};
use prost::{Message, Oneof};
use proto::envoy::config::{core::v3 as core, endpoint::v3 as endpoint, rbac::v3 as rbac};
use proto::envoy::extensions::filters::http::{ext_authz::v3 as ext_authz, jwt_authn::v3 as jwt_authn};
use proto::google::protobuf::{Any, Duration, UInt32Value};

/// `google.protobuf.Struct`
#[derive(Clone, PartialEq, Message)]
pub struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
}

/// `google.protobuf.Value`
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<Kind>,
}

/// The kinds of [`Value`] that are written.
#[derive(Clone, PartialEq, Oneof)]
pub enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(List),
}

/// `google.protobuf.ListValue`
#[derive(Clone, PartialEq, Message)]
pub struct List {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// `envoy.service.runtime.v3.Runtime`
#[derive(Clone, PartialEq, Message)]
pub struct Runtime {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub layer: Option<Struct>,
}

/// `envoy.config.core.v3.Metadata`
#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    #[prost(btree_map = "string, message", tag = "1")]
    pub filter_metadata: BTreeMap<String, Struct>,
}

/// `envoy.config.endpoint.v3.ClusterLoadAssignment`
#[derive(Clone, PartialEq, Message)]
pub struct ClusterLoadAssignment {
    #[prost(string, tag = "1")]
    pub cluster_name: String,
    #[prost(message, repeated, tag = "2")]
    pub endpoints: Vec<LocalityLbEndpoints>,
    #[prost(message, optional, tag = "4")]
    pub policy: Option<endpoint::cluster_load_assignment::Policy>,
}

/// `envoy.config.endpoint.v3.LocalityLbEndpoints`
#[derive(Clone, PartialEq, Message)]
pub struct LocalityLbEndpoints {
    #[prost(message, optional, tag = "1")]
    pub locality: Option<core::Locality>,
    #[prost(message, repeated, tag = "2")]
    pub lb_endpoints: Vec<LbEndpoint>,
    #[prost(message, optional, tag = "3")]
    pub load_balancing_weight: Option<UInt32Value>,
    #[prost(uint32, tag = "5")]
    pub priority: u32,
}

/// `envoy.config.endpoint.v3.LbEndpoint`
#[derive(Clone, PartialEq, Message)]
pub struct LbEndpoint {
    #[prost(message, optional, tag = "1")]
    pub endpoint: Option<endpoint::Endpoint>,
    #[prost(enumeration = "core::HealthStatus", tag = "2")]
    pub health_status: i32,
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<Metadata>,
    #[prost(message, optional, tag = "4")]
    pub load_balancing_weight: Option<UInt32Value>,
}

/// The fields of `envoy.config.cluster.v3.Cluster` that hold maps; its bytes are appended to the others', which
/// protobuf reads as one message.
#[derive(Clone, PartialEq, Message)]
pub struct ClusterTail {
    #[prost(message, optional, tag = "25")]
    pub metadata: Option<Metadata>,
    #[prost(message, optional, tag = "33")]
    pub load_assignment: Option<ClusterLoadAssignment>,
}

/// The field of `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager` that holds routes,
/// as bytes already.
#[derive(Clone, PartialEq, Message)]
pub struct HttpTail {
    #[prost(bytes = "vec", optional, tag = "4")]
    pub route_config: Option<Vec<u8>>,
}

/// The field of `envoy.config.route.v3.RouteConfiguration` below which there are maps; the hosts are bytes already.
#[derive(Clone, PartialEq, Message)]
pub struct RouteConfigurationTail {
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub virtual_hosts: Vec<Vec<u8>>,
}

/// The fields of `envoy.config.route.v3.VirtualHost` that are maps or have some below; the routes are bytes already.
#[derive(Clone, PartialEq, Message)]
pub struct VirtualHostTail {
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub routes: Vec<Vec<u8>>,
    #[prost(btree_map = "string, message", tag = "15")]
    pub typed_per_filter_config: BTreeMap<String, Any>,
}

/// The map of `envoy.config.route.v3.Route`.
#[derive(Clone, PartialEq, Message)]
pub struct RouteTail {
    #[prost(btree_map = "string, message", tag = "13")]
    pub typed_per_filter_config: BTreeMap<String, Any>,
}

/// The maps of `envoy.extensions.filters.http.lua.v3.Lua`.
#[derive(Clone, PartialEq, Message)]
pub struct LuaTail {
    #[prost(btree_map = "string, message", tag = "2")]
    pub source_codes: BTreeMap<String, core::DataSource>,
    #[prost(message, optional, tag = "6")]
    pub filter_context: Option<Struct>,
}

/// The map of `envoy.extensions.filters.http.lua.v3.LuaPerRoute`.
#[derive(Clone, PartialEq, Message)]
pub struct LuaRouteTail {
    #[prost(message, optional, tag = "4")]
    pub filter_context: Option<Struct>,
}

/// Where `envoy.extensions.filters.http.wasm.v3.Wasm` has its one map.
#[derive(Clone, PartialEq, Message)]
pub struct WasmTail {
    #[prost(message, optional, tag = "1")]
    config: Option<WasmPluginTail>,
}

#[derive(Clone, PartialEq, Message)]
struct WasmPluginTail {
    #[prost(message, optional, tag = "3")]
    vm_config: Option<WasmVmTail>,
}

#[derive(Clone, PartialEq, Message)]
struct WasmVmTail {
    #[prost(message, optional, tag = "7")]
    environment_variables: Option<WasmEnvironmentTail>,
}

#[derive(Clone, PartialEq, Message)]
struct WasmEnvironmentTail {
    #[prost(btree_map = "string, string", tag = "2")]
    key_values: BTreeMap<String, String>,
}

impl WasmTail {
    pub fn of_environment(key_values: BTreeMap<String, String>) -> Self {
        if key_values.is_empty() {
            return Self::default();
        }
        let environment_variables = Some(WasmEnvironmentTail { key_values });
        Self { config: Some(WasmPluginTail { vm_config: Some(WasmVmTail { environment_variables }) }) }
    }
}

/// The maps of `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`.
#[derive(Clone, PartialEq, Message)]
pub struct JwtTail {
    #[prost(btree_map = "string, message", tag = "1")]
    pub providers: BTreeMap<String, jwt_authn::JwtProvider>,
    #[prost(btree_map = "string, message", tag = "5")]
    pub requirement_map: BTreeMap<String, jwt_authn::JwtRequirement>,
}

/// `envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute`
#[derive(Clone, PartialEq, Message)]
pub struct ExtAuthzPerRoute {
    #[prost(oneof = "Override", tags = "1, 2")]
    pub said: Option<Override>,
}

/// What it says.
#[derive(Clone, PartialEq, Oneof)]
pub enum Override {
    #[prost(bool, tag = "1")]
    Disabled(bool),
    #[prost(message, tag = "2")]
    CheckSettings(CheckSettings),
}

/// `envoy.extensions.filters.http.ext_authz.v3.CheckSettings`
#[derive(Clone, PartialEq, Message)]
pub struct CheckSettings {
    #[prost(btree_map = "string, string", tag = "1")]
    pub context_extensions: BTreeMap<String, String>,
    #[prost(bool, tag = "2")]
    pub disable_request_body_buffering: bool,
    #[prost(message, optional, tag = "3")]
    pub with_request_body: Option<ext_authz::BufferSettings>,
}

/// The bytes of a message whose other fields stand in `tail`: protobuf reads both as one.
pub fn joined(head: &impl Message, tail: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(head.encoded_len() + tail.encoded_len());
    head.encode(&mut bytes).expect("a vector takes everything");
    tail.encode(&mut bytes).expect("a vector takes everything");
    bytes
}

/// `envoy.extensions.access_loggers.file.v3.FileAccessLog`, with a JSON format.
#[derive(Clone, PartialEq, Message)]
pub struct FileJsonLog {
    #[prost(string, tag = "1")]
    pub path: String,
    #[prost(message, optional, tag = "5")]
    pub log_format: Option<JsonFormat>,
}

/// `envoy.extensions.access_loggers.stream.v3.StdoutAccessLog`, with a JSON format.
#[derive(Clone, PartialEq, Message)]
pub struct StdoutJsonLog {
    #[prost(message, optional, tag = "1")]
    pub log_format: Option<JsonFormat>,
}

/// `envoy.config.core.v3.SubstitutionFormatString`, with a JSON format.
#[derive(Clone, PartialEq, Message)]
pub struct JsonFormat {
    #[prost(message, optional, tag = "2")]
    pub json_format: Option<Struct>,
}

/// `istio.networking.nds.v1.NameTable`
#[derive(Clone, PartialEq, Message)]
pub struct NameTable {
    #[prost(btree_map = "string, message", tag = "1")]
    pub table: BTreeMap<String, NameInfo>,
    #[prost(message, optional, tag = "1000")]
    pub limit: Option<NameLimit>,
}

/// Our own addition to it.
#[derive(Clone, PartialEq, Message)]
pub struct NameLimit {
    #[prost(string, repeated, tag = "1")]
    pub names: Vec<String>,
    #[prost(string, tag = "2")]
    pub policies: String,
}

/// `istio.networking.nds.v1.NameTable.NameInfo`
#[derive(Clone, PartialEq, Message)]
pub struct NameInfo {
    #[prost(string, repeated, tag = "1")]
    pub ips: Vec<String>,
}

impl Value {
    fn of(value: &metadata::Value) -> Self {
        let kind = match value {
            metadata::Value::Null => Kind::Null(0),
            metadata::Value::Bool(value) => Kind::Bool(*value),
            metadata::Value::Number(number) => Kind::Number(*number),
            metadata::Value::Text(text) => Kind::Text(text.clone()),
            metadata::Value::List(values) => Kind::List(List { values: values.iter().map(Self::of).collect() }),
            metadata::Value::Fields(fields) => Kind::Struct(Struct::of_fields(fields)),
        };
        Self { kind: Some(kind) }
    }

    /// A number.
    pub fn number(number: f64) -> Self {
        Self { kind: Some(Kind::Number(number)) }
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: Some(Kind::Text(text.into())) }
    }
}

impl Struct {
    /// An object of texts.
    pub fn of_texts<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self { fields: fields.into_iter().map(|(key, text)| (key.to_owned(), Value::text(text))).collect() }
    }

    /// An object of any values.
    pub fn of_fields(fields: &Fields) -> Self {
        Self { fields: fields.iter().map(|(key, value)| (key.clone(), Value::of(value))).collect() }
    }
}

/// `envoy.config.rbac.v3.RBAC`
#[derive(Clone, PartialEq, Message)]
pub struct AccessRules {
    #[prost(int32, tag = "1")]
    pub action: i32,
    #[prost(btree_map = "string, message", tag = "2")]
    pub policies: BTreeMap<String, rbac::Policy>,
}

/// `envoy.extensions.filters.http.rbac.v3.RBAC`
#[derive(Clone, PartialEq, Message)]
pub struct HttpAccess {
    #[prost(message, optional, tag = "1")]
    pub rules: Option<AccessRules>,
    #[prost(message, optional, tag = "2")]
    pub shadow_rules: Option<AccessRules>,
    #[prost(string, tag = "3")]
    pub shadow_rules_stat_prefix: String,
    #[prost(string, tag = "6")]
    pub rules_stat_prefix: String,
    #[prost(bool, tag = "7")]
    pub track_per_rule_stats: bool,
}

/// `envoy.extensions.filters.http.rbac.v3.RBACPerRoute`
#[derive(Clone, PartialEq, Message)]
pub struct AccessPerRoute {
    #[prost(message, optional, tag = "2")]
    pub rbac: Option<HttpAccess>,
}

/// `envoy.extensions.filters.network.rbac.v3.RBAC`
#[derive(Clone, PartialEq, Message)]
pub struct NetworkAccess {
    #[prost(message, optional, tag = "1")]
    pub rules: Option<AccessRules>,
    #[prost(message, optional, tag = "2")]
    pub shadow_rules: Option<AccessRules>,
    #[prost(string, tag = "3")]
    pub stat_prefix: String,
    #[prost(int32, tag = "4")]
    pub enforcement_type: i32,
    #[prost(string, tag = "5")]
    pub shadow_rules_stat_prefix: String,
    #[prost(message, optional, tag = "8")]
    pub delay_deny: Option<Duration>,
}
