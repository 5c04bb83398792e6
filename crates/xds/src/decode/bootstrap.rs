//! An Envoy bootstrap: what a proxy is told at its start, in Envoy's words.

use std::collections::HashSet;
use std::net::SocketAddr;

use model::{ConnectionLimits, ResourceKind};
use prost::{Message, Name};
use proto::envoy::config::bootstrap::v3::bootstrap::{DynamicResources, StaticResources};
use proto::envoy::config::bootstrap::v3::runtime_layer::LayerSpecifier;
use proto::envoy::config::bootstrap::v3::{self as wire, Admin, LayeredRuntime};
use proto::envoy::config::core::v3::api_config_source::ApiType;
use proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use proto::envoy::config::core::v3::grpc_service::TargetSpecifier;
use proto::envoy::config::core::v3::{self as core, ApiConfigSource, ConfigSource, GrpcService};
use proto::envoy::config::overload::v3::{OverloadManager, ResourceMonitor, resource_monitor};
use proto::envoy::extensions::resource_monitors::downstream_connections::v3::DownstreamConnectionsConfig;
use proto::google::protobuf::Any;

use super::{At, DecodeError, Decoded, required, runtime, take, unpack};
use crate::Resource;

/// The name of the limits that stand in a bootstrap.
const BOOTSTRAP: &str = "bootstrap";

/// A bootstrap as far as this proxy can run it. What it cannot run is an error with its path.
#[derive(Debug)]
pub struct Bootstrap {
    /// Who this proxy is to its control plane.
    pub node: core::Node,
    /// Where the admin endpoints are served.
    pub admin: Option<SocketAddr>,
    /// Where further configuration comes from.
    pub control: Option<Control>,
    /// What is given here.
    pub resources: Vec<Resource>,
    /// The cluster among [`Bootstrap::resources`] that the proxy is itself an endpoint of.
    pub local_cluster: Option<String>,
    /// What is set and has no effect, by its path: for the log.
    pub without_effect: Vec<String>,
}

/// The aggregated stream of a control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// The cluster among [`Bootstrap::resources`] that leads there.
    pub cluster: String,
    /// Only what changed is sent; otherwise everything each time.
    pub delta: bool,
}

/// A bootstrap.
///
/// # Errors
/// [`DecodeError`]: what is not supported, by its path.
#[allow(deprecated)]
pub fn bootstrap(value: wire::Bootstrap) -> Result<Bootstrap, DecodeError> {
    let at = At::resource("bootstrap");
    // Harmless are when and how statistics are flushed and evicted, watchdogs, how names are resolved for clusters that do
    // not say, threads and memory, the form of the log, and knobs that belong to refused fields.
    take!(value, at, wire::Bootstrap {
        used {
            node, static_resources, dynamic_resources, cluster_manager, layered_runtime, admin, overload_manager,
        }
        harmless {
            node_context_params, deferred_stat_options, stats_config, stats_flush_interval, watchdog, watchdogs,
            enable_dispatcher_stats, stats_server_version_override, use_tcp_for_dns_lookups, dns_resolution_config,
            typed_dns_resolver_config, default_socket_interface, inline_headers, perf_tracing_file_path,
            listener_manager, application_log_config, grpc_async_client_manager_config, memory_allocator_manager,
            enable_worker_cpu_affinity, stats_flush, stats_eviction, default_regex_engine, flags_path,
        }
        refused {
            hds_config, stats_sinks, tracing, header_prefix, bootstrap_extensions, fatal_actions,
            config_sources, default_config_source, certificate_provider_instances, xds_delegate_extension,
            xds_config_tracker_extension,
        }
    });
    let at_manager = at.field("cluster_manager");
    let local_cluster = cluster_manager.map(|manager| self::local_cluster(manager, &at_manager)).transpose()?.flatten();
    let mut limits = ConnectionLimits { name: BOOTSTRAP.into(), ..ConnectionLimits::default() };
    let without_effect = layers(&mut limits, layered_runtime.unwrap_or_default(), &at.field("layered_runtime"))?;
    if let Some(manager) = overload_manager {
        // Of the two ways to say it Envoy heeds this one.
        limits.common = overload(manager, &at.field("overload_manager"))?.or(limits.common);
    }
    let mut resources = given(static_resources.unwrap_or_default(), &at.field("static_resources"))?;
    if limits.common.is_some() || !limits.by_listener.is_empty() {
        resources.push(Resource::Limits(limits.into()));
    }
    Ok(Bootstrap {
        node: node.unwrap_or_default(),
        admin: admin.map(|admin| self::admin(admin, &at.field("admin"))).transpose()?.flatten(),
        local_cluster,
        control: dynamic_resources.map(|value| dynamic(value, &at.field("dynamic_resources"))).transpose()?.flatten(),
        resources,
        without_effect,
    })
}

fn local_cluster(manager: wire::ClusterManager, at: &At<'_>) -> Decoded<Option<String>> {
    take!(manager, at, wire::ClusterManager {
        used { local_cluster_name }
        harmless { outlier_detection, enable_deferred_cluster_creation, load_stats_config }
        refused { upstream_bind_config }
    });
    Ok((!local_cluster_name.is_empty()).then_some(local_cluster_name))
}

#[allow(deprecated)]
fn admin(value: Admin, at: &At<'_>) -> Decoded<Option<SocketAddr>> {
    take!(value, at, Admin {
        used { address }
        harmless { access_log, access_log_path, profile_path, ignore_global_conn_limit }
        refused { socket_options, allow_paths }
    });
    let Some(address) = address else { return Ok(None) };
    let at = at.field("address");
    match super::address(Some(address), &at)?.socket_addr() {
        Some(address) => Ok(Some(address)),
        None => Err(at.error("is no IP address", "an IP address and a port")),
    }
}

/// What is given here, each as discovery would bring it. Secrets come first: others refer to them.
fn given(value: StaticResources, at: &At<'_>) -> Decoded<Vec<Resource>> {
    let mut resources = Vec::new();
    add(&mut resources, value.secrets, ResourceKind::Secret, &at.field("secrets"))?;
    add(&mut resources, value.clusters, ResourceKind::Cluster, &at.field("clusters"))?;
    add(&mut resources, value.listeners, ResourceKind::Listener, &at.field("listeners"))?;
    Ok(resources)
}

fn add<M: Message + Name>(all: &mut Vec<Resource>, list: Vec<M>, kind: ResourceKind, at: &At<'_>) -> Decoded<()> {
    for (index, message) in list.into_iter().enumerate() {
        let any = Any { type_url: crate::type_url(kind).to_owned(), value: message.encode_to_vec() };
        // The place within the resource follows its place in the file.
        let under = |error: DecodeError| {
            let dot = if error.path.is_empty() { "" } else { "." };
            DecodeError { path: format!("{}{dot}{}", at.index(index), error.path), ..error }
        };
        all.push(super::resource(kind, &any).map_err(under)?);
    }
    Ok(())
}

#[allow(deprecated)]
fn dynamic(value: DynamicResources, at: &At<'_>) -> Decoded<Option<Control>> {
    take!(value, at, DynamicResources {
        used { lds_config, cds_config, ads_config }
        harmless {}
        refused { lds_resources_locator, cds_resources_locator }
    });
    let ads = ads_config.map(|value| api(value, &at.field("ads_config"))).transpose()?;
    let mut found = ads.clone();
    for (name, source) in [("lds_config", lds_config), ("cds_config", cds_config)] {
        let at = at.field(name);
        let Some(source) = source else { continue };
        let own = self::source(source, ads.as_ref(), &at)?;
        match &found {
            Some(known) if *known != own => {
                return Err(at.error("names another control plane", "one for all, over the aggregated stream"));
            }
            _ => found = Some(own),
        }
    }
    Ok(found)
}

/// Everything comes over one aggregated stream. A stream for a single type of resource is asked to be one.
fn source(value: ConfigSource, ads: Option<&Control>, at: &At<'_>) -> Decoded<Control> {
    take!(value, at, ConfigSource {
        used { config_source_specifier }
        harmless { initial_fetch_timeout, resource_api_version }
        refused { authorities }
    });
    match config_source_specifier {
        Some(ConfigSourceSpecifier::Ads(_)) => ads
            .cloned()
            .ok_or_else(|| at.error("asks for the aggregated stream, and there is none", "`ads_config` beside it")),
        Some(ConfigSourceSpecifier::PathConfigSource(_)) => {
            Err(at.field("path_config_source").unsupported("`ads: {}`, or the resources under `static_resources`"))
        }
        _ => Err(at.error("is not the aggregated stream", "`ads: {}`")),
    }
}

fn api(value: ApiConfigSource, at: &At<'_>) -> Decoded<Control> {
    // How fast requests may follow each other is for the session to say.
    take!(value, at, ApiConfigSource {
        used { api_type, grpc_services }
        harmless {
            transport_api_version, refresh_delay, request_timeout, rate_limit_settings, set_node_on_first_message_only,
        }
        refused { cluster_names, config_validators }
    });
    let delta = match ApiType::try_from(api_type) {
        Ok(ApiType::Grpc | ApiType::AggregatedGrpc) => false,
        Ok(ApiType::DeltaGrpc | ApiType::AggregatedDeltaGrpc) => true,
        _ => return Err(at.field("api_type").error("is no stream of gRPC", "GRPC or DELTA_GRPC")),
    };
    let at_services = at.field("grpc_services");
    let [service] = <[GrpcService; 1]>::try_from(grpc_services)
        .map_err(|list| at_services.error(format!("has {} services", list.len()), "one"))?;
    let at_service = at_services.index(0);
    take!(service, at_service, GrpcService {
        used { target_specifier }
        harmless { timeout }
        refused { initial_metadata, retry_policy }
    });
    match required(target_specifier, &at_service)? {
        TargetSpecifier::EnvoyGrpc(target) => Ok(Control { cluster: target.cluster_name, delta }),
        TargetSpecifier::GoogleGrpc(_) => {
            Err(at_service.field("google_grpc").unsupported("`envoy_grpc` with a cluster"))
        }
    }
}

/// There is no runtime here: of what layers say only limits to the number of connections count.
fn layers(limits: &mut ConnectionLimits, value: LayeredRuntime, at: &At<'_>) -> Decoded<Vec<String>> {
    let mut without_effect = Vec::new();
    let mut names = HashSet::new();
    for (index, layer) in value.layers.into_iter().enumerate() {
        let at = at.field("layers");
        let at = at.index(index);
        if !names.insert(layer.name.clone()) {
            return Err(at.field("name").error(format!("is `{}` a second time", layer.name), "each name once"));
        }
        match layer.layer_specifier {
            Some(LayerSpecifier::StaticLayer(keys)) => {
                let at = at.field("static_layer");
                without_effect.extend(runtime::read(limits, keys, &at)?.iter().map(|key| at.key(key).to_string()));
            }
            Some(LayerSpecifier::AdminLayer(_)) | None => {}
            Some(LayerSpecifier::DiskLayer(_)) => without_effect.push(at.field("disk_layer").to_string()),
            Some(LayerSpecifier::RtdsLayer(_)) => return Err(at.field("rtds_layer").unsupported("no such layer")),
        }
    }
    without_effect.sort();
    Ok(without_effect)
}

/// The most connections that the overload manager allows.
fn overload(value: OverloadManager, at: &At<'_>) -> Decoded<Option<u32>> {
    // How often pressure is measured means nothing where it is counted.
    take!(value, at, OverloadManager {
        used { resource_monitors }
        harmless { refresh_interval }
        refused { actions, loadshed_points, buffer_factory_config }
    });
    let mut most = None;
    for (index, monitor) in resource_monitors.into_iter().enumerate() {
        let at = at.field("resource_monitors");
        most = Some(downstream_connections(monitor, &at.index(index))?);
    }
    Ok(most)
}

fn downstream_connections(value: ResourceMonitor, at: &At<'_>) -> Decoded<u32> {
    let at = at.field("typed_config");
    let Some(resource_monitor::ConfigType::TypedConfig(any)) = value.config_type else {
        return Err(at.error("is missing", "the monitor's settings"));
    };
    let value: DownstreamConnectionsConfig = unpack(&any, &at)?;
    let most = value.max_active_downstream_connections;
    let at = at.field("max_active_downstream_connections");
    if most <= 0 {
        return Err(at.error(format!("is {most}"), "more than 0"));
    }
    Ok(u32::try_from(most).unwrap_or(u32::MAX))
}
