//! Policies with long lists in them, made so that the lists are looked up in place of being read.

use super::decide::Fact;
use super::keys::{Keyed, Lookup};
use super::{Call, Condition, Operation, Policy, Source};

/// Lists of fewer facts are read.
const LONG: usize = 8;

/// A policy whose lists are looked up.
#[derive(Debug)]
pub(super) struct Tree {
    permissions: Node<Operation>,
    principals: Node<Source>,
}

impl Tree {
    /// Of a policy; none if no list in it is long.
    pub fn of(policy: &Policy) -> Option<Self> {
        let long = is_long(&policy.permissions) || is_long(&policy.principals);
        long.then(|| Self { permissions: either(&policy.permissions), principals: either(&policy.principals) })
    }

    /// As [`Policy::takes`].
    pub fn takes(&self, call: &Call<'_>) -> bool {
        self.permissions.holds(call) && self.principals.holds(call)
    }
}

#[derive(Debug)]
enum Node<T> {
    All(Box<[Node<T>]>),
    Either(Box<[Node<T>]>),
    OneOf(Box<Lookup<()>>, Box<[Node<T>]>),
    Not(Box<Node<T>>),
    Plain(Condition<T>),
}

impl<T: Fact> Node<T> {
    fn holds(&self, call: &Call<'_>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|one| one.holds(call)),
            Self::Either(any) => any.iter().any(|one| one.holds(call)),
            Self::OneOf(table, rest) => table.any(call, &mut |()| true) || rest.iter().any(|one| one.holds(call)),
            Self::Not(one) => !one.holds(call),
            Self::Plain(condition) => condition.holds(call),
        }
    }
}

fn is_long<T>(list: &[Condition<T>]) -> bool {
    list.len() >= LONG || list.iter().any(has_long)
}

fn has_long<T>(condition: &Condition<T>) -> bool {
    match condition {
        Condition::Any | Condition::Is(_) => false,
        Condition::All(all) => all.iter().any(has_long),
        Condition::Either(any) => is_long(any),
        Condition::Not(one) => has_long(one),
    }
}

fn node<T: Keyed + Clone>(condition: &Condition<T>) -> Node<T> {
    match condition {
        plain if !has_long(plain) => Node::Plain(plain.clone()),
        Condition::All(all) => Node::All(all.iter().map(node).collect()),
        Condition::Either(any) => either(any),
        Condition::Not(one) => Node::Not(Box::new(node(one))),
        plain @ (Condition::Any | Condition::Is(_)) => Node::Plain(plain.clone()),
    }
}

fn either<T: Keyed + Clone>(list: &[Condition<T>]) -> Node<T> {
    if list.len() < LONG {
        return Node::Either(list.iter().map(node).collect());
    }
    let mut table = Lookup::default();
    let mut rest = Vec::new();
    for condition in list {
        let keys = match condition {
            Condition::Is(fact) => fact.keys().filter(|keys| keys.exact),
            _ => None,
        };
        match keys {
            Some(keys) => keys.any.into_iter().for_each(|key| *table.entry(key) = ()),
            None => rest.push(node(condition)),
        }
    }
    Node::OneOf(Box::new(table), rest.into())
}
