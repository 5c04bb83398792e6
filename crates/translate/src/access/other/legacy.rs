//! `rbac.istio.io/v1alpha1` with the meaning of Istio 1.4: at services for which the switch is on nobody may do anything but
//! who has a role for it. A rule of a role and a subject of a binding are together a rule of an AuthorizationPolicy, so both
//! mean the same, and `convert` writes what is enforced.

mod lower;

use std::sync::Arc;

use api::istio::{
    AccessAction, AuthorizationPolicy, BoundRole, EnforcementMode, RbacConfig, RoleRule, RoleSubject,
    ServiceRoleBinding,
};
use api::{Resource, Spanned};

use super::{Made, OtherLayer, Whence, layer_of, once, rules};
use crate::access::rule::{self, Reading};
use crate::access::{Ports, Subject};
use crate::service::Service;
use crate::world::{Document, World};

pub use lower::{fits, is_one, lower, takes};

/// A rule of a role that somebody has.
pub struct Grant<'w> {
    /// The document of the role; of actions the binding.
    pub role: &'w Arc<Resource>,
    /// The name of the rule without that of a subject.
    pub name: String,
    /// The number of the rule.
    pub index: usize,
    /// The rule.
    pub rule: &'w Spanned<RoleRule>,
    /// Who has it.
    pub binding: &'w Document<ServiceRoleBinding>,
}

impl World {
    /// The switch: a `ClusterRbacConfig`, else the oldest `RbacConfig`.
    pub(crate) fn rbac_config(&self) -> Option<&Document<RbacConfig>> {
        let all = || self.other_access.configs.iter();
        all().find(|config| config.resource.kind == api::Kind::ClusterRbacConfig).or_else(|| all().next())
    }

    /// The rules that somebody has at services of a namespace.
    pub(crate) fn grants(&self, namespace: &str) -> Vec<Grant<'_>> {
        let bindings = self.other_access.bindings.iter().filter(|binding| binding.namespace() == namespace);
        bindings.flat_map(|binding| self.grants_of(binding)).collect()
    }

    fn grants_of<'w>(&'w self, binding: &'w Document<ServiceRoleBinding>) -> Vec<Grant<'w>> {
        let (namespace, name) = (binding.namespace(), binding.name());
        let grant = |role: &'w Arc<Resource>, of: &str, (index, rule): (usize, &'w Spanned<RoleRule>)| Grant {
            role,
            name: format!("ns[{namespace}]-{of}[{index}]-binding[{name}]"),
            index,
            rule,
            binding,
        };
        let of_role = |within: &str, role: &str, shown: &str| -> Vec<Grant<'w>> {
            let found = self.other_access.roles.iter().find(|d| d.namespace() == within && d.name() == role);
            let rules = found.into_iter().flat_map(|d| d.spec().rules.iter().enumerate().map(move |rule| (d, rule)));
            rules.map(|(d, rule)| grant(&d.resource, &format!("role[{shown}]-rule"), rule)).collect()
        };
        match binding.spec().bound() {
            BoundRole::Own(role) => of_role(namespace, role, role),
            BoundRole::OfRoot(role) => of_role(&self.settings.root_namespace, role, &format!("/{role}")),
            BoundRole::Inline => {
                let actions = binding.spec().actions.iter().enumerate();
                actions.map(|rule| grant(&binding.resource, "action", rule)).collect()
            }
        }
    }

    /// Does an AuthorizationPolicy that decides something take the place of the old kinds at a workload (Istio 1.4)?
    pub(crate) fn is_superseded(&self, subject: Subject<'_>) -> bool {
        self.access_policies(subject).into_iter().any(|policy| {
            let is_tried = AuthorizationPolicy::is_dry_run(&policy.resource.meta);
            policy.spec().action != AccessAction::Audit && !is_tried
        })
    }
}

/// Is the switch on at a service?
pub fn is_on(config: &RbacConfig, service: &Service) -> bool {
    config.is_on(&service.host, &service.namespace)
}

/// What is asked at a workload; none if nothing is.
pub fn layer(world: &World, subject: Subject<'_>, tcp: bool, ports: Ports) -> Option<OtherLayer> {
    let config = world.rbac_config()?;
    let leading = subject.services.iter().filter_map(|host| world.service(host));
    let services: Vec<&Service> = leading.map(|service| &**service).filter(|s| is_on(config.spec(), s)).collect();
    if services.is_empty() || world.is_superseded(subject) {
        return None;
    }
    let permissive = config.spec().enforcement_mode == EnforcementMode::Permissive;
    let mut namespaces: Vec<&str> = services.iter().map(|service| service.namespace.as_str()).collect();
    namespaces.dedup();
    let grants: Vec<Grant<'_>> = namespaces.iter().flat_map(|namespace| world.grants(namespace)).collect();
    let here = |grant: &&Grant<'_>| services.iter().any(|service| fits(grant.rule, service, subject));
    let (mut enforced, mut tried) = (Vec::new(), Vec::new());
    for grant in grants.iter().filter(here) {
        let is_tried = permissive || grant.binding.spec().mode == EnforcementMode::Permissive;
        let into = if is_tried { &mut tried } else { &mut enforced };
        into.extend(made(world, grant, tcp, ports));
    }
    let documents =
        once([&config.resource].into_iter().chain(grants.iter().flat_map(|g| [g.role, &g.binding.resource])));
    let places: Vec<_> = tried.iter().map(|made: &Made| (made.name.clone(), made.whence.clone())).collect();
    let shadow = (permissive || !tried.is_empty()).then(|| rules(AccessAction::Allow, tried));
    let mut layer = layer_of(AccessAction::Allow, enforced, documents);
    layer.places.extend(places);
    layer.layer.shadow = shadow;
    if permissive {
        layer.layer.rules = None;
    }
    Some(layer)
}

fn made(world: &World, grant: &Grant<'_>, tcp: bool, ports: Ports) -> Vec<Made> {
    let reading = Reading {
        namespace: grant.binding.namespace(),
        narrow: true,
        tcp,
        ports,
        trust_domains: world.trust_domains(),
    };
    let subjects = grant.binding.spec().subjects.iter().enumerate();
    let one = |(index, subject): (usize, &Spanned<RoleSubject>)| {
        let rule = takes(subject, tcp).then(|| lower(grant.rule, subject))?;
        Some(Made {
            name: format!("{}-subject[{index}]", grant.name).into(),
            policy: rule::policy(&rule, &reading)?,
            whence: whence(grant),
        })
    };
    subjects.filter_map(one).collect()
}

fn whence(grant: &Grant<'_>) -> Whence {
    let inline = Arc::ptr_eq(grant.role, &grant.binding.resource);
    Whence {
        document: grant.role.clone(),
        part: if inline { "action" } else { "rule" },
        index: grant.index,
        span: grant.rule.span,
        by: (!inline).then(|| grant.binding.resource.clone()),
    }
}
