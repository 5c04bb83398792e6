//! AuthorizationPolicy: who may do what at a workload.

mod check;
mod condition;
mod template;

use super::{LabelSelector, TargetRef};
use crate::decode::{Spanned, choice, object};
use crate::meta::Meta;

pub use condition::{ConditionKey, KeyFault};
pub use template::is_path_template;

object! {
    /// Who may do what at some workloads (`security.istio.io`).
    Istio struct AuthorizationPolicy {
        /// The workloads; none means all of the namespace, or of the mesh in its root namespace.
        selector "selector": Option<LabelSelector>,
        /// A gateway of the Gateway API, in place of a selector.
        target_ref "targetRef": Option<TargetRef>,
        /// The same, several.
        target_refs "targetRefs": Vec<TargetRef>,
        /// Whom the policy takes: those whom one of the rules takes. Without rules it takes nobody.
        rules "rules": Vec<Spanned<AccessRule>>,
        /// What becomes of whom it takes.
        action "action": AccessAction,
        /// Who decides; with the action CUSTOM only.
        provider "provider": Option<AccessProvider>,
    }
}

choice! {
    /// What becomes of whom a policy takes.
    enum AccessAction {
        /// They may pass, and nobody whom no policy with this action takes.
        Allow "ALLOW",
        /// They may not pass.
        Deny "DENY",
        /// They are noted down.
        Audit "AUDIT",
        /// A service is asked.
        Custom "CUSTOM",
    }
}

object! {
    /// A service that decides.
    Istio struct AccessProvider {
        /// One of the mesh's `extensionProviders`.
        name "name": String,
    }
}

object! {
    /// Whom a policy takes: all three must hold. What is not there always holds.
    Istio struct AccessRule {
        /// Who it is: one of these.
        from "from": Option<Vec<AccessFrom>>,
        /// What is done: one of these.
        to "to": Option<Vec<AccessTo>>,
        /// Further conditions: all of these.
        when "when": Option<Vec<AccessCondition>>,
    }
}

object! {
    /// Who it is.
    Istio struct AccessFrom {
        /// All of its fields must hold.
        source "source" (required): AccessSource,
    }
}

object! {
    /// Who it is: all fields must hold, of a list one value, of a `not` list none. `*` at the beginning or end of a text
    /// stands for any text, alone for any that is not empty.
    Istio struct AccessSource {
        /// Proven identities, without `spiffe://`.
        principals "principals": Vec<Spanned<String>>,
        /// None of these.
        not_principals "notPrincipals": Vec<Spanned<String>>,
        /// Issuer and subject of a valid token, with a `/` between.
        request_principals "requestPrincipals": Vec<Spanned<String>>,
        /// None of these.
        not_request_principals "notRequestPrincipals": Vec<Spanned<String>>,
        /// Namespaces of proven identities.
        namespaces "namespaces": Vec<Spanned<String>>,
        /// None of these.
        not_namespaces "notNamespaces": Vec<Spanned<String>>,
        /// Accounts of proven identities: `name` in the policy's namespace, or `namespace/name`.
        service_accounts "serviceAccounts": Vec<Spanned<String>>,
        /// None of these.
        not_service_accounts "notServiceAccounts": Vec<Spanned<String>>,
        /// Trust domains of proven identities.
        trust_domains "trustDomains": Vec<Spanned<String>>,
        /// None of these.
        not_trust_domains "notTrustDomains": Vec<Spanned<String>>,
        /// The other end of the connection: addresses or blocks.
        ip_blocks "ipBlocks": Vec<Spanned<String>>,
        /// None of these.
        not_ip_blocks "notIpBlocks": Vec<Spanned<String>>,
        /// The client as trusted proxies in front tell it: addresses or blocks.
        remote_ip_blocks "remoteIpBlocks": Vec<Spanned<String>>,
        /// None of these.
        not_remote_ip_blocks "notRemoteIpBlocks": Vec<Spanned<String>>,
    }
}

object! {
    /// What is done.
    Istio struct AccessTo {
        /// All of its fields must hold.
        operation "operation" (required): AccessOperation,
    }
}

object! {
    /// What is done: all fields must hold, of a list one value, of a `not` list none. Wildcards as in a source.
    Istio struct AccessOperation {
        /// `Host`, with its port if the client names one; without regard to case.
        hosts "hosts": Vec<Spanned<String>>,
        /// None of these.
        not_hosts "notHosts": Vec<Spanned<String>>,
        /// Ports of the program (not of its service).
        ports "ports": Vec<Spanned<String>>,
        /// None of these.
        not_ports "notPorts": Vec<Spanned<String>>,
        /// Methods.
        methods "methods": Vec<Spanned<String>>,
        /// None of these.
        not_methods "notMethods": Vec<Spanned<String>>,
        /// Paths without query, in their normal form; templates too.
        paths "paths": Vec<Spanned<String>>,
        /// None of these.
        not_paths "notPaths": Vec<Spanned<String>>,
    }
}

object! {
    /// A further condition.
    Istio struct AccessCondition {
        /// What is looked at.
        key "key" (required): Spanned<String>,
        /// It is one of these.
        values "values": Vec<Spanned<String>>,
        /// It is none of these.
        not_values "notValues": Vec<Spanned<String>>,
    }
}

/// The annotation of a policy that is only tried.
pub(crate) const DRY_RUN: &str = "istio.io/dry-run";

impl AuthorizationPolicy {
    /// Is a policy with this metadata only tried: asked and told, not enforced?
    pub fn is_dry_run(meta: &Meta) -> bool {
        meta.annotations.get(DRY_RUN).and_then(|value| truth(value)) == Some(true)
    }

    /// What the policy is for in place of a selector.
    pub fn targets(&self) -> impl Iterator<Item = &TargetRef> {
        self.target_ref.iter().chain(&self.target_refs)
    }
}

/// A truth value as Go reads it.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Values and the values that must not be.
pub type Pair<'a> = (&'a [Spanned<String>], &'a [Spanned<String>]);

impl AccessSource {
    /// Every field: its name, that of its `not` list, and both lists.
    pub fn fields(&self) -> [(&'static str, &'static str, Pair<'_>); 7] {
        [
            ("principals", "notPrincipals", (&self.principals, &self.not_principals)),
            ("requestPrincipals", "notRequestPrincipals", (&self.request_principals, &self.not_request_principals)),
            ("namespaces", "notNamespaces", (&self.namespaces, &self.not_namespaces)),
            ("serviceAccounts", "notServiceAccounts", (&self.service_accounts, &self.not_service_accounts)),
            ("trustDomains", "notTrustDomains", (&self.trust_domains, &self.not_trust_domains)),
            ("ipBlocks", "notIpBlocks", (&self.ip_blocks, &self.not_ip_blocks)),
            ("remoteIpBlocks", "notRemoteIpBlocks", (&self.remote_ip_blocks, &self.not_remote_ip_blocks)),
        ]
    }
}

impl AccessOperation {
    /// Every field: its name, that of its `not` list, and both lists.
    pub fn fields(&self) -> [(&'static str, &'static str, Pair<'_>); 4] {
        [
            ("hosts", "notHosts", (&self.hosts, &self.not_hosts)),
            ("methods", "notMethods", (&self.methods, &self.not_methods)),
            ("paths", "notPaths", (&self.paths, &self.not_paths)),
            ("ports", "notPorts", (&self.ports, &self.not_ports)),
        ]
    }
}
