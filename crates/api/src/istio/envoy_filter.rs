//! EnvoyFilter: changes to what proxies are sent, in Envoy's own words.

use std::collections::BTreeMap;

use super::WorkloadSelector;
use crate::code::Code;
use crate::decode::{Spanned, Tree, choice, object};
use crate::meta::check_selector;
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::regex_error;

object! {
    /// Changes to what proxies are sent (`networking.istio.io`).
    Istio struct EnvoyFilter {
        /// The workloads; none means all of the namespace, or of the mesh in its root namespace.
        workload_selector "workloadSelector": Option<WorkloadSelector>,
        /// Gateways of the Gateway API, in place of a selector.
        target_refs "targetRefs": Vec<TargetRef>,
        /// The changes.
        config_patches "configPatches": Vec<ConfigPatch>,
        /// Those of a lower number come first.
        priority "priority": i32,
    }
}

object! {
    /// A resource that a policy is for.
    Istio struct TargetRef {
        /// Its API group.
        group "group": String,
        /// Its kind.
        kind "kind": String,
        /// Its name.
        name "name": String,
        /// Its namespace.
        namespace "namespace": String,
    }
}

object! {
    /// A change.
    Istio struct ConfigPatch {
        /// What is changed.
        apply_to "applyTo" (required): Spanned<ApplyTo>,
        /// Where.
        matches "match": Option<ObjectMatch>,
        /// How.
        patch "patch" (required): PatchBody,
    }
}

choice! {
    /// What a patch changes.
    enum ApplyTo {
        /// Nothing.
        Invalid "INVALID",
        /// A listener.
        Listener "LISTENER",
        /// A filter chain of a listener.
        FilterChain "FILTER_CHAIN",
        /// A network filter of a chain.
        NetworkFilter "NETWORK_FILTER",
        /// A filter within the HTTP connection manager.
        HttpFilter "HTTP_FILTER",
        /// A route configuration.
        RouteConfiguration "ROUTE_CONFIGURATION",
        /// A virtual host of a route configuration.
        VirtualHost "VIRTUAL_HOST",
        /// A route of a virtual host.
        HttpRoute "HTTP_ROUTE",
        /// A cluster.
        Cluster "CLUSTER",
        /// A configuration that a filter fetches by itself.
        ExtensionConfig "EXTENSION_CONFIG",
        /// What a proxy starts with.
        Bootstrap "BOOTSTRAP",
        /// A listener filter.
        ListenerFilter "LISTENER_FILTER",
    }
}

choice! {
    /// On which side of a proxy a patch is meant.
    enum PatchContext {
        /// Every side.
        Any "ANY",
        /// What comes in at a sidecar.
        SidecarInbound "SIDECAR_INBOUND",
        /// What goes out of a sidecar.
        SidecarOutbound "SIDECAR_OUTBOUND",
        /// Gateways.
        Gateway "GATEWAY",
        /// Waypoints.
        Waypoint "WAYPOINT",
    }
}

object! {
    /// Where a patch is meant.
    Istio struct ObjectMatch {
        /// The side of the proxy.
        context "context": PatchContext,
        /// The proxy.
        proxy "proxy": Option<ProxyMatch>,
        /// The listener, and what is in it.
        listener "listener": Option<ListenerMatch>,
        /// The route configuration, and what is in it.
        route_configuration "routeConfiguration": Option<RouteConfigurationMatch>,
        /// The cluster.
        cluster "cluster": Option<ClusterMatch>,
        /// The filter of a waypoint.
        waypoint "waypoint": Option<Tree>,
    }
}

object! {
    /// A proxy by what it says of itself.
    Istio struct ProxyMatch {
        /// An expression over the version of Istio.
        proxy_version "proxyVersion": String,
        /// Metadata of the node.
        metadata "metadata": BTreeMap<String, String>,
    }
}

object! {
    /// A listener, a chain in it, a filter in that.
    Istio struct ListenerMatch {
        /// The port.
        port_number "portNumber": u32,
        /// Without effect in Istio.
        port_name "portName": String,
        /// The chain.
        filter_chain "filterChain": Option<FilterChainMatch>,
        /// The listener filter.
        listener_filter "listenerFilter": String,
        /// The listener's name.
        name "name": String,
    }
}

object! {
    /// A filter chain.
    Istio struct FilterChainMatch {
        /// Its name.
        name "name": String,
        /// A server name that it stands for.
        sni "sni": String,
        /// `raw_buffer` or `tls`.
        transport_protocol "transportProtocol": String,
        /// Protocols that it stands for, with commas between.
        application_protocols "applicationProtocols": String,
        /// The network filter in it.
        filter "filter": Option<FilterMatch>,
        /// The port that it stands for.
        destination_port "destinationPort": u32,
    }
}

object! {
    /// A network filter.
    Istio struct FilterMatch {
        /// Its name.
        name "name": String,
        /// The filter within it.
        sub_filter "subFilter": Option<SubFilterMatch>,
    }
}

object! {
    /// A filter within a network filter.
    Istio struct SubFilterMatch {
        /// Its name.
        name "name": String,
    }
}

object! {
    /// A route configuration, a virtual host in it, a route in that.
    Istio struct RouteConfigurationMatch {
        /// The port.
        port_number "portNumber": u32,
        /// The name of the gateway's port.
        port_name "portName": String,
        /// The gateway, as `namespace/name`.
        gateway "gateway": String,
        /// The virtual host.
        vhost "vhost": Option<VirtualHostMatch>,
        /// The name.
        name "name": String,
    }
}

object! {
    /// A virtual host.
    Istio struct VirtualHostMatch {
        /// Its name, such as `reviews.default.svc.cluster.local:9080` or `inbound|http|9080`.
        name "name": String,
        /// A route in it.
        route "route": Option<RouteMatch>,
        /// A domain of it.
        domain_name "domainName": String,
    }
}

object! {
    /// A route.
    Istio struct RouteMatch {
        /// Its name.
        name "name": String,
        /// What it does.
        action "action": RouteAction,
    }
}

choice! {
    /// What a route does.
    enum RouteAction {
        /// Anything.
        Any "ANY",
        /// It forwards.
        Route "ROUTE",
        /// It redirects.
        Redirect "REDIRECT",
        /// It answers.
        DirectResponse "DIRECT_RESPONSE",
    }
}

object! {
    /// A cluster.
    Istio struct ClusterMatch {
        /// The service's port.
        port_number "portNumber": u32,
        /// The service's whole host.
        service "service": String,
        /// The subset.
        subset "subset": String,
        /// The name; nothing else is looked at then.
        name "name": String,
    }
}

object! {
    /// How something is changed.
    Istio struct PatchBody {
        /// The operation.
        operation "operation": Spanned<PatchOperation>,
        /// What is put in, in Envoy's own form.
        value "value": Option<Spanned<Tree>>,
        /// Where a filter is put that says no place.
        filter_class "filterClass": FilterClass,
    }
}

choice! {
    /// Operations on what is there.
    enum PatchOperation {
        /// Nothing.
        Invalid "INVALID",
        /// The value is merged into it; lists grow.
        Merge "MERGE",
        /// The value is added.
        Add "ADD",
        /// It is taken away.
        Remove "REMOVE",
        /// The value is put before it.
        InsertBefore "INSERT_BEFORE",
        /// The value is put behind it.
        InsertAfter "INSERT_AFTER",
        /// The value is put at the head of the list.
        InsertFirst "INSERT_FIRST",
        /// The value takes its place.
        Replace "REPLACE",
        /// The value is merged into it; its lists take the place of those there.
        MergeAndReplaceList "MERGE_AND_REPLACE_LIST",
    }
}

choice! {
    /// Where a filter is put that says no place.
    enum FilterClass {
        /// As the operation says.
        Unspecified "UNSPECIFIED",
        /// After authentication.
        Authn "AUTHN",
        /// After authorization.
        Authz "AUTHZ",
        /// Before statistics.
        Stats "STATS",
    }
}

impl EnvoyFilter {
    pub(crate) fn check(&self, report: &mut Report) {
        report.opt("workloadSelector", &self.workload_selector, |selector, r| {
            check_selector("labels", &selector.labels, r);
        });
        if self.workload_selector.is_some() && !self.target_refs.is_empty() {
            report.field("targetRefs", |r| {
                r.error("`targetRefs` and `workloadSelector` exclude each other").expected("one of them");
            });
        }
        if self.config_patches.is_empty() {
            report.warning("the EnvoyFilter has no patch and changes nothing").expected("`configPatches`");
        }
        report.each("configPatches", &self.config_patches, ConfigPatch::check);
    }
}

impl ConfigPatch {
    fn check(&self, report: &mut Report) {
        let (place, operation) = (self.apply_to.value, self.patch.operation.value);
        if place == ApplyTo::Invalid {
            report.field("applyTo", |r| _ = r.error("INVALID is nothing to change").expected("what is changed"));
        }
        report.field("patch", |r| {
            if operation == PatchOperation::Invalid {
                r.field("operation", |r| _ = r.error("no operation is given").expected("MERGE, ADD, REMOVE ..."));
            } else if operation != PatchOperation::Remove && self.patch.value.is_none() {
                r.error(format!("{} has no value", operation.as_str())).expected("`value`, in Envoy's own form");
            }
            if self.patch.filter_class != FilterClass::Unspecified {
                let class = self.patch.filter_class.as_str();
                r.field("filterClass", |r| {
                    r.warning(format!("{} has no effect: the operation says where a filter stands", quoted(class)))
                        .code(Code::NotEnforced);
                });
            }
        });
        report.opt("match", &self.matches, |matches, r| {
            let objects = [
                ("listener", matches.listener.is_some()),
                ("routeConfiguration", matches.route_configuration.is_some()),
                ("cluster", matches.cluster.is_some()),
            ];
            let named: Vec<&str> = objects.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
            if named.len() > 1 {
                r.error(format!("{} exclude each other", named.join(" and "))).expected("one of them");
            }
            r.opt("proxy", &matches.proxy, |proxy, r| {
                let version = Some(proxy.proxy_version.as_str()).filter(|version| !version.is_empty());
                if let Some(error) = version.and_then(regex_error) {
                    r.field("proxyVersion", |r| {
                        r.error(error).expected("an expression over the version of Istio, such as `^1\\.30.*`");
                    });
                }
            });
        });
    }
}
