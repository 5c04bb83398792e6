//! Roles and who has them.

use std::collections::BTreeMap;

use api::istio::{
    AccessAction, AccessOperation, AccessRule, AccessTo, ConstraintKey, EnforcementMode, RbacConfig, RbacMode,
    RoleConstraint, RoleSubject,
};
use api::{Problem, Spanned};

use super::{Converted, Written, at_ports, beside, compatible, ports, selector, texts};
use crate::access::other::legacy::{Grant, is_on, is_one, lower};
use crate::service::Service;
use crate::world::World;

type Labels = BTreeMap<String, String>;

/// Converts what is enforced.
pub fn convert(world: &World, into: &mut Converted) {
    let Some(config) = world.rbac_config() else { return };
    if config.spec().mode == RbacMode::Off {
        return;
    }
    let mut work = Work { world, config: config.spec(), into };
    work.defaults(&format!("{} ({})", config.resource.key(), config.resource.origin));
    let services: Vec<&Service> =
        world.services().map(|service| &**service).filter(|s| selector(s).is_some()).collect();
    for service in &services {
        if is_on(config.spec(), service) { work.on(service) } else { work.off(service, &services) }
    }
}

struct Work<'w> {
    world: &'w World,
    config: &'w RbacConfig,
    into: &'w mut Converted,
}

impl<'w> Work<'w> {
    fn is_tried(&self) -> bool {
        self.config.enforcement_mode == EnforcementMode::Permissive
    }

    fn policy(&self, name: &str, namespace: &str, comment: String) -> Written {
        Written {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            selector: Labels::new(),
            action: AccessAction::Allow,
            dry_run: self.is_tried(),
            comment,
            rules: Vec::new(),
        }
    }

    /// Nobody may do anything where the switch is on.
    fn defaults(&mut self, switch: &str) {
        const MORE: &str =
            "It also refuses what comes to gateways and workloads that no Service leads to: allow that by policies.";
        let of_mode = self.config.mode.as_str();
        let comment = format!("{of_mode} of {switch}: nobody may do anything who is not allowed to.\n{MORE}");
        let none = Vec::new();
        let included = self.config.inclusion.as_ref().map_or(&none, |target| &target.namespaces);
        let excluded = self.config.exclusion.as_ref().map_or(&none, |target| &target.namespaces);
        let mut made = Vec::new();
        match self.config.mode {
            RbacMode::Off => {}
            RbacMode::OnWithInclusion => {
                made.extend(included.iter().map(|name| self.policy("legacy-deny-all", name, comment.clone())));
            }
            RbacMode::On => made.push(self.policy("legacy-deny-all", &self.world.settings.root_namespace, comment)),
            RbacMode::OnWithExclusion => {
                made.push(self.policy("legacy-deny-all", &self.world.settings.root_namespace, comment));
                for name in excluded {
                    let comment = format!("{of_mode} of {switch} leaves this namespace out.");
                    let rules = vec![(String::new(), AccessRule::default())];
                    made.push(Written { rules, ..self.policy("legacy-excluded", name, comment) });
                }
            }
        }
        self.into.policies.extend(made);
    }

    /// Is nobody allowed anything in this namespace by what is written for it as a whole?
    fn is_covered(&self, service: &Service) -> bool {
        match self.config.mode {
            RbacMode::OnWithInclusion => self.config.inclusion.as_ref().is_some_and(|i| i.has("", &service.namespace)),
            _ => true,
        }
    }

    /// A service for which the switch is off, where others would be refused with it.
    fn off(&mut self, service: &Service, services: &[&Service]) {
        let labels = selector(service).cloned().unwrap_or_default();
        let shares = |other: &&Service| {
            other.namespace == service.namespace
                && is_on(self.config, other)
                && selector(other).is_some_and(|of_other| compatible(of_other, &labels))
        };
        let of_namespace = self.config.exclusion.as_ref().is_some_and(|target| target.has("", &service.namespace));
        let covered = self.config.mode == RbacMode::OnWithExclusion && !of_namespace;
        if !covered && !services.iter().any(shares) {
            return;
        }
        let (numbers, _) = ports(service, false);
        if numbers.is_empty() {
            return;
        }
        let comment = format!("The switch is off at {}: everything may pass there.", service.host);
        let policy = self.policy(&format!("legacy-{}", service.name), &service.namespace, comment);
        let rules = vec![(String::new(), at_ports(&numbers))];
        self.into.policies.push(Written { selector: labels, rules, ..policy });
    }

    /// A service at which roles are asked for.
    fn on(&mut self, service: &'w Service) {
        if beside(self.world, service).next().is_some() {
            let Some(config) = self.world.rbac_config() else { return };
            let message = format!(
                "AuthorizationPolicies take the place of roles at `{}`: nothing is written for it",
                service.host
            );
            let problem =
                Problem::warning(message).path("spec.mode").hint("where they refuse only, allow the rest by a policy");
            self.into.losses.push(config.resource.problem(problem, Default::default()));
            return;
        }
        let labels = selector(service).cloned().unwrap_or_default();
        let mut groups: Vec<(Labels, bool, Vec<(String, AccessRule)>)> = Vec::new();
        if !self.is_covered(service) {
            groups.push((labels.clone(), self.is_tried(), Vec::new()));
        }
        for grant in self.world.grants(&service.namespace) {
            let tried = self.is_tried() || grant.binding.spec().mode == EnforcementMode::Permissive;
            for (selected, rule) in self.rules(&grant, service, &labels) {
                match groups.iter_mut().find(|(of, is_tried, _)| *of == selected && *is_tried == tried) {
                    Some((_, _, rules)) => rules.push(rule),
                    None => groups.push((selected, tried, vec![rule])),
                }
            }
        }
        for (index, (selector, dry_run, rules)) in groups.into_iter().enumerate() {
            let end = if index == 0 { String::new() } else { format!("-{index}") };
            let comment = format!("What may be done at {}.", service.host);
            let policy = self.policy(&format!("legacy-{}{end}", service.name), &service.namespace, comment);
            self.into.policies.push(Written { selector, dry_run, rules, ..policy });
        }
    }

    /// The rules that a grant becomes at a service, each with its labels.
    fn rules(&mut self, grant: &Grant<'_>, service: &Service, labels: &Labels) -> Vec<(Labels, (String, AccessRule))> {
        let rule = &grant.rule.value;
        if !rule.services.is_empty() && !is_one(&service.host, &rule.services) {
            return Vec::new();
        }
        let selected = self.selected(grant, service, labels);
        let subjects = &grant.binding.spec().subjects;
        let mut made = Vec::new();
        for subject in subjects {
            let Some(numbers) = self.numbers(grant, subject, service) else { continue };
            let mut lowered = lower(rule, subject);
            let operation = lowered.to.take().and_then(|mut to| to.pop()).map(|to| to.operation).unwrap_or_default();
            let operation = AccessOperation { ports: texts(&numbers), not_ports: Vec::new(), ..operation };
            lowered.to = Some(vec![AccessTo { operation }]);
            let by = &grant.binding.resource;
            let comment = match std::sync::Arc::ptr_eq(grant.role, by) {
                true => format!("action {} of {} ({})", grant.index, by.key(), by.origin),
                false => {
                    let role = grant.role;
                    format!("rule {} of {} ({}), by {} ({})", grant.index, role.key(), role.origin, by.key(), by.origin)
                }
            };
            made.extend(selected.iter().map(|labels| (labels.clone(), (comment.clone(), lowered.clone()))));
        }
        made
    }

    /// The ports for which a rule is at a service; none: it is for none of them.
    fn numbers(&mut self, grant: &Grant<'_>, subject: &RoleSubject, service: &Service) -> Option<Vec<u16>> {
        let rule = &grant.rule.value;
        let of_requests = subject.properties.contains_key("source.user");
        let (numbers, names) = ports(service, of_requests);
        for name in names {
            let message = format!(
                "each workload numbers the port `{name}` of `{}` for itself: the rule is not written for it",
                service.host
            );
            self.lose(grant, "", message);
        }
        let is_one = |list: &[Spanned<u32>], number: u16| list.iter().any(|port| port.value == u32::from(number));
        let meant =
            |number: &u16| (rule.ports.is_empty() || is_one(&rule.ports, *number)) && !is_one(&rule.not_ports, *number);
        let numbers: Vec<u16> = numbers.into_iter().filter(meant).collect();
        (!numbers.is_empty()).then_some(numbers)
    }

    /// The labels of the workloads for which a rule is, one set for each way to have them.
    fn selected(&mut self, grant: &Grant<'_>, service: &Service, labels: &Labels) -> Vec<Labels> {
        let mut sets = vec![labels.clone()];
        for (index, constraint) in grant.rule.constraints.iter().enumerate() {
            let is_met = match ConstraintKey::read(&constraint.key) {
                Some(ConstraintKey::Name) => is_one(&service.name, &constraint.values),
                Some(ConstraintKey::Namespace) => is_one(&service.namespace, &constraint.values),
                Some(ConstraintKey::Label(name)) => match with_label(&sets, name, constraint) {
                    Some(with) => {
                        sets = with;
                        true
                    }
                    None => self.lose_constraint(grant, index, "a selector has no wildcards"),
                },
                Some(ConstraintKey::User) => {
                    self.lose_constraint(grant, index, "policies do not know accounts of workloads")
                }
                Some(ConstraintKey::Condition(_)) => true,
                None => false,
            };
            if !is_met {
                return Vec::new();
            }
        }
        sets
    }

    fn lose_constraint(&mut self, grant: &Grant<'_>, index: usize, why: &str) -> bool {
        let message =
            format!("`{}` cannot be kept: {why}; the rule is left out", grant.rule.constraints[index].key.value);
        self.lose(grant, &format!(".constraints[{index}].key"), message);
        false
    }

    fn lose(&mut self, grant: &Grant<'_>, field: &str, message: String) {
        let list = if std::sync::Arc::ptr_eq(grant.role, &grant.binding.resource) { "actions" } else { "rules" };
        let problem = Problem::warning(message).path(format!("spec.{list}[{}]{field}", grant.index));
        let problem = grant.role.problem(problem.hint("less may pass than before"), grant.rule.span);
        if !self.into.losses.contains(&problem) {
            self.into.losses.push(problem);
        }
    }
}

/// Each set with the label's values; none if one has a wildcard that the set does not answer.
fn with_label(sets: &[Labels], name: &str, constraint: &RoleConstraint) -> Option<Vec<Labels>> {
    let mut all = Vec::new();
    for set in sets {
        if let Some(value) = set.get(name) {
            all.extend(is_one(value, &constraint.values).then(|| set.clone()));
            continue;
        }
        for value in &constraint.values {
            if value.contains('*') {
                return None;
            }
            let mut with = set.clone();
            with.insert(name.to_owned(), value.value.clone());
            if !all.contains(&with) {
                all.push(with);
            }
        }
    }
    Some(all)
}
