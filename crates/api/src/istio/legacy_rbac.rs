//! Access as Istio had it up to 1.5 (`rbac.istio.io/v1alpha1`): a switch, roles, and who has them.

mod check;
mod keys;

use std::collections::BTreeMap;

use crate::decode::{Spanned, choice, object};

pub use keys::{ConstraintKey, is_property_key};

object! {
    /// The switch (`ClusterRbacConfig`, and the older `RbacConfig`). Without one nothing is enforced.
    Istio struct RbacConfig {
        /// Where roles are asked for.
        mode "mode": RbacMode,
        /// Where they are, with the mode ON_WITH_INCLUSION.
        inclusion "inclusion": Option<RbacTarget>,
        /// Where they are not, with the mode ON_WITH_EXCLUSION.
        exclusion "exclusion": Option<RbacTarget>,
        /// Are they enforced, or only tried?
        enforcement_mode "enforcementMode": EnforcementMode,
    }
}

choice! {
    /// Where roles are asked for.
    enum RbacMode {
        /// Nowhere.
        Off "OFF",
        /// At all services.
        On "ON",
        /// At those that are named.
        OnWithInclusion "ON_WITH_INCLUSION",
        /// At all but those that are named.
        OnWithExclusion "ON_WITH_EXCLUSION",
    }
}

choice! {
    /// Does a decision count?
    enum EnforcementMode {
        /// It does.
        Enforced "ENFORCED",
        /// It is made and told, and does not count.
        Permissive "PERMISSIVE",
    }
}

object! {
    /// Services and namespaces.
    Istio struct RbacTarget {
        /// Whole hosts of services.
        services "services": Vec<Spanned<String>>,
        /// Namespaces.
        namespaces "namespaces": Vec<Spanned<String>>,
    }
}

object! {
    /// What may be done at services of its namespace, by who has the role.
    Istio struct ServiceRole {
        /// One of these.
        rules "rules": Vec<Spanned<RoleRule>>,
    }
}

object! {
    /// What may be done: all fields must hold, of a list one value, of a `not` list none. `*` at the beginning or end of a
    /// text stands for any text, alone for any that is there.
    Istio struct RoleRule {
        /// Whole hosts of services; none: all of the namespace.
        services "services": Vec<Spanned<String>>,
        /// `Host`, as the client wrote it.
        hosts "hosts": Vec<Spanned<String>>,
        /// None of these.
        not_hosts "notHosts": Vec<Spanned<String>>,
        /// Paths, compared together with the query.
        paths "paths": Vec<Spanned<String>>,
        /// None of these.
        not_paths "notPaths": Vec<Spanned<String>>,
        /// Methods.
        methods "methods": Vec<Spanned<String>>,
        /// None of these.
        not_methods "notMethods": Vec<Spanned<String>>,
        /// Ports of the program.
        ports "ports": Vec<Spanned<u32>>,
        /// None of these.
        not_ports "notPorts": Vec<Spanned<u32>>,
        /// Further conditions: all of these.
        constraints "constraints": Vec<RoleConstraint>,
    }
}

object! {
    /// A further condition.
    Istio struct RoleConstraint {
        /// What is looked at.
        key "key": Spanned<String>,
        /// It is one of these.
        values "values": Vec<Spanned<String>>,
    }
}

object! {
    /// Who has a role.
    Istio struct ServiceRoleBinding {
        /// One of these.
        subjects "subjects": Vec<Spanned<RoleSubject>>,
        /// The role, of the same namespace.
        role_ref "roleRef": Option<RoleRef>,
        /// Does the binding count, or is it only tried?
        mode "mode": EnforcementMode,
        /// A role of its own, in place of a reference.
        actions "actions": Vec<Spanned<RoleRule>>,
        /// The name of the role, in place of a reference; with a `/` before it one of the root namespace.
        role "role": Spanned<String>,
    }
}

object! {
    /// A reference to a role.
    Istio struct RoleRef {
        /// `ServiceRole`.
        kind "kind": String,
        /// Its name.
        name "name": Spanned<String>,
        /// Its API group; there is but one.
        api_group "apiGroup": String,
    }
}

object! {
    /// Who: all fields must hold, of a list one value, of a `not` list none.
    Istio struct RoleSubject {
        /// A proven identity without `spiffe://`; `*` is anybody, without an identity too.
        user "user": Spanned<String>,
        /// Proven identities; `allUsers` is anybody, `allAuthenticatedUsers` whoever has an identity.
        names "names": Vec<Spanned<String>>,
        /// None of these.
        not_names "notNames": Vec<Spanned<String>>,
        /// A group that the token names.
        group "group": Spanned<String>,
        /// The same, several.
        groups "groups": Vec<Spanned<String>>,
        /// None of these.
        not_groups "notGroups": Vec<Spanned<String>>,
        /// Namespaces of proven identities.
        namespaces "namespaces": Vec<Spanned<String>>,
        /// None of these.
        not_namespaces "notNamespaces": Vec<Spanned<String>>,
        /// The other end of the connection: addresses or blocks.
        ips "ips": Vec<Spanned<String>>,
        /// None of these.
        not_ips "notIps": Vec<Spanned<String>>,
        /// Further conditions, by what is looked at: all of these.
        properties "properties": BTreeMap<String, Spanned<String>>,
    }
}

/// The only name that a switch may have.
pub const RBAC_CONFIG_NAME: &str = "default";

/// Anybody, with an identity or without.
pub const ALL_USERS: &str = "allUsers";

/// Whoever has an identity.
pub const ALL_AUTHENTICATED_USERS: &str = "allAuthenticatedUsers";

impl RbacTarget {
    /// Is a service one of those that are named?
    pub fn has(&self, host: &str, namespace: &str) -> bool {
        self.namespaces.iter().any(|name| name.value == namespace)
            || self.services.iter().any(|name| name.value == host)
    }
}

impl RbacConfig {
    /// Are roles asked for at a service?
    pub fn is_on(&self, host: &str, namespace: &str) -> bool {
        let has = |target: &Option<RbacTarget>| target.as_ref().is_some_and(|target| target.has(host, namespace));
        match self.mode {
            RbacMode::Off => false,
            RbacMode::On => true,
            RbacMode::OnWithInclusion => has(&self.inclusion),
            RbacMode::OnWithExclusion => !has(&self.exclusion),
        }
    }
}

/// Which role a binding is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundRole<'a> {
    /// One of its own namespace.
    Own(&'a str),
    /// One of the root namespace.
    OfRoot(&'a str),
    /// Its own actions.
    Inline,
}

impl ServiceRoleBinding {
    /// Which role it is to.
    pub fn bound(&self) -> BoundRole<'_> {
        match (&self.role_ref, self.role.strip_prefix('/')) {
            (Some(role), _) => BoundRole::Own(&role.name),
            (None, Some(of_root)) => BoundRole::OfRoot(of_root),
            (None, None) if self.role.is_empty() => BoundRole::Inline,
            (None, None) => BoundRole::Own(&self.role),
        }
    }
}
