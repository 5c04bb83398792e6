//! Resources of a known kind, and lists of them in their order of age.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::SystemTime;

use api::consul::ServiceIntentions;
use api::halcyon::{EgressPolicy, LoginPolicy, RateLimitPolicy, ServicePolicy};
use api::istio::{
    AuthorizationPolicy, DestinationRule, EnvoyFilter, Gateway, PeerAuthentication, RbacConfig, RequestAuthentication,
    ServiceRole, ServiceRoleBinding, Sidecar, Telemetry, TrafficExtension, VirtualService,
};
use api::kubernetes::{ConfigMap, Deployment, Ingress, IngressClass, Namespace, Pod, Secret, ServiceAccount};
use api::smi::{HttpRouteGroup, PortRoute, TrafficTarget};
use api::{Resource, Spec};

use crate::secrets::holds_roots;

/// A resource of a known kind.
pub struct Document<T> {
    pub resource: Arc<Resource>,
    kind: PhantomData<fn() -> T>,
}

/// The fields of one kind among those of all.
pub trait OfKind: Sized {
    fn of(spec: &Spec) -> Option<&Self>;
}

macro_rules! of_kind {
    ($($kind:ident)*) => {$(impl OfKind for $kind {
        fn of(spec: &Spec) -> Option<&Self> {
            match spec { Spec::$kind(fields) => Some(fields), _ => None }
        }
    })*};
}
of_kind!(DestinationRule Gateway Sidecar EnvoyFilter ServicePolicy RateLimitPolicy EgressPolicy LoginPolicy);
of_kind!(AuthorizationPolicy PeerAuthentication RequestAuthentication Telemetry TrafficExtension);
of_kind!(ServiceRole ServiceRoleBinding ServiceIntentions TrafficTarget HttpRouteGroup);
of_kind!(Deployment Ingress IngressClass Namespace Pod Secret ServiceAccount);

/// Those that hold roots: nothing else is asked of them one by one.
impl OfKind for ConfigMap {
    fn of(spec: &Spec) -> Option<&Self> {
        match spec {
            Spec::ConfigMap(map) if holds_roots(&map.data) => Some(map),
            _ => None,
        }
    }
}

/// The switch has had two names.
impl OfKind for RbacConfig {
    fn of(spec: &Spec) -> Option<&Self> {
        match spec {
            Spec::ClusterRbacConfig(fields) | Spec::RbacConfig(fields) => Some(fields),
            _ => None,
        }
    }
}

/// Connections only: datagrams do not pass through proxies.
impl OfKind for PortRoute {
    fn of(spec: &Spec) -> Option<&Self> {
        match spec {
            Spec::SmiTcpRoute(fields) => Some(fields),
            _ => None,
        }
    }
}

/// A GeoRoute is one that asks for where the client is.
impl OfKind for VirtualService {
    fn of(spec: &Spec) -> Option<&Self> {
        match spec {
            Spec::VirtualService(fields) => Some(fields),
            Spec::GeoRoute(fields) => Some(fields.rule()),
            _ => None,
        }
    }
}

impl<T: OfKind> Document<T> {
    /// A resource, if it is of this kind.
    pub fn of(resource: &Arc<Resource>) -> Option<Self> {
        T::of(&resource.spec).is_some().then(|| Self { resource: resource.clone(), kind: PhantomData })
    }

    /// The resources of this kind, the oldest first.
    pub fn all(resources: &[Arc<Resource>]) -> Arc<Vec<Self>> {
        let mut all: Vec<Self> = resources.iter().filter_map(Self::of).collect();
        all.sort_by(|a, b| a.age().cmp(&b.age()));
        Arc::new(all)
    }

    /// Puts one in the place of another; either may be of another kind, or not be at all. Says whether that is a change.
    pub fn replace(all: &mut Arc<Vec<Self>>, old: Option<&Arc<Resource>>, new: Option<&Arc<Resource>>) -> bool {
        let (old, new) = (old.and_then(Self::of), new.and_then(Self::of));
        if old.is_none() && new.is_none() {
            return false;
        }
        let mut list: Vec<Self> = all.iter().cloned().collect();
        if let Some(old) = old {
            list.retain(|it| it.resource.key() != old.resource.key());
        }
        if let Some(new) = new {
            let at = list.partition_point(|it| it.age() <= new.age());
            list.insert(at, new);
        }
        *all = Arc::new(list);
        true
    }

    /// The fields.
    pub fn spec(&self) -> &T {
        T::of(&self.resource.spec).expect("made only of resources of this kind")
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.resource.namespace()
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.resource.meta.name
    }

    /// Namespace and name as Istio writes them: `istio-system/edge`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }

    /// Orders from old to young; what has no date counts as old, and the name decides between equals.
    pub fn age(&self) -> (SystemTime, &str, &str) {
        age(&self.resource)
    }
}

/// Orders resources from old to young; what has no date counts as old, and the name decides between equals.
pub fn age(resource: &Resource) -> (SystemTime, &str, &str) {
    (resource.meta.created.unwrap_or(SystemTime::UNIX_EPOCH), resource.namespace(), &resource.meta.name)
}

impl<T> Clone for Document<T> {
    fn clone(&self) -> Self {
        Self { resource: self.resource.clone(), kind: PhantomData }
    }
}

impl<T: OfKind> std::fmt::Debug for Document<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.resource.key())
    }
}
