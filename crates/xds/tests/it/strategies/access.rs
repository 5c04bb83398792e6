//! Rules of access. Boxed, since a listener has many of them, and what they are made of would fill the stack.

use model::access::{
    Access, Action, Compiled, Condition, ConnectionAccess, Operation, PathTemplate, Policy, Rules, Source,
};

use super::*;

fn condition<T: Clone + std::fmt::Debug + 'static>(
    fact: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Condition<T>> {
    let leaf = prop_oneof![1 => Just(Condition::Any), 6 => fact.prop_map(Condition::Is)];
    // The wire has no empty lists.
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..3).prop_map(Condition::All),
            vec(inner.clone(), 1..3).prop_map(Condition::Either),
            inner.prop_map(|one| Condition::Not(Box::new(one))),
        ]
    })
    .boxed()
}

fn operation() -> BoxedStrategy<Operation> {
    let templates = select(vec!["/a/*", "/a/{id}/**", "/**.png", "/"]);
    let ports = (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Operation::DestinationPort(a.min(b)..=a.max(b)));
    prop_oneof![
        header_match().prop_map(Operation::Header),
        string_match().prop_map(Operation::Path),
        templates.prop_map(|text| Operation::Template(PathTemplate::new(text).expect("a template"))),
        net().prop_map(Operation::DestinationIp),
        ports,
        any::<u16>().prop_map(|port| Operation::DestinationPort(port..=port)),
        string_match().prop_map(Operation::ServerName),
        metadata_match().prop_map(Operation::Metadata),
    ]
    .boxed()
}

fn source() -> BoxedStrategy<Source> {
    prop_oneof![
        of(string_match()).prop_map(Source::Authenticated),
        net().prop_map(Source::DirectRemoteIp),
        net().prop_map(Source::SourceIp),
        net().prop_map(Source::RemoteIp),
        header_match().prop_map(Source::Header),
        string_match().prop_map(Source::Path),
        metadata_match().prop_map(Source::Metadata),
    ]
    .boxed()
}

fn rules() -> BoxedStrategy<Arc<Compiled>> {
    let policy = (vec(condition(operation()), 1..3), vec(condition(source()), 1..3));
    let named = ("[a-z/]{1,6}", policy.prop_map(|(permissions, principals)| Policy { permissions, principals }));
    let action = select(vec![Action::Allow, Action::Deny, Action::Log]);
    (action, vec(named, 0..3))
        .prop_map(|(action, policies)| {
            // In the order of their names, and each name once.
            let policies: std::collections::BTreeMap<String, Policy> = policies.into_iter().collect();
            let policies = policies.into_iter().map(|(name, policy)| (name.into(), policy)).collect();
            Rules { action, policies }.into()
        })
        .boxed()
}

/// Rules for the filter of this name.
pub fn access(name: impl Strategy<Value = Arc<str>> + 'static) -> BoxedStrategy<Access> {
    (name, of(rules()), of(rules()), super::name(), super::name(), any::<bool>())
        .prop_map(|(name, rules, shadow, rules_prefix, shadow_prefix, per_policy)| Access {
            name,
            rules,
            shadow,
            rules_prefix,
            shadow_prefix,
            per_policy,
        })
        .boxed()
}

/// Rules for connections.
pub fn of_connections() -> BoxedStrategy<ConnectionAccess> {
    (name(), of(rules()), of(rules()), name(), any::<bool>(), of(some_time()))
        .prop_map(|(stat_prefix, rules, shadow, shadow_prefix, continuous, delay)| ConnectionAccess {
            stat_prefix,
            rules,
            shadow,
            shadow_prefix,
            continuous,
            delay,
        })
        .boxed()
}
