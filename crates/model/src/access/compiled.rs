//! Rules made for being asked often: policies are found by what they ask for, so that a decision costs what the policies
//! cost that may fit, not what all of them cost.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use super::keys::{Key, Keyed, Lookup};
use super::tree::Tree;
use super::why::{Nearest, Refusal};
use super::{Action, Call, Condition, Decision, Policy, Rules};

/// Rules with an index, which is made when it is asked for first. It answers as [`Rules::decide`] does, and equals another
/// if their rules are equal.
#[derive(Debug)]
pub struct Compiled {
    rules: Rules,
    index: OnceLock<Index>,
}

/// How many facts are looked at, at most, to find the policy that came nearest.
const NEARBY: usize = 512;

impl Compiled {
    /// Without its index yet.
    pub fn new(rules: Rules) -> Self {
        Self { rules, index: OnceLock::new() }
    }

    /// Makes the index now rather than when the first call waits for it.
    pub fn prepare(&self) {
        self.index();
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What becomes of a call.
    pub fn decide(&self, call: &Call<'_>) -> Decision<'_> {
        let mut candidates = self.candidates(call);
        let policy = candidates.find(|at| self.takes(*at, call)).map(|at| &self.rules.policies[at as usize].0);
        Decision { allowed: self.rules.action.allows(policy.is_some()), policy }
    }

    /// Why a call is refused; none if it is not. Where no policy allows it, those are looked at first that have
    /// something in common with the call, and not many more: somebody waits for the answer.
    pub fn why(&self, call: &Call<'_>) -> Option<Refusal<'_>> {
        let decision = self.decide(call);
        if decision.allowed {
            return None;
        }
        match self.rules.action {
            Action::Deny | Action::Log => decision.policy.map(Refusal::Denied),
            Action::Allow => {
                let common = self.candidates(call).map(|at| &self.rules.policies[at as usize]);
                let policies = common.chain(&self.rules.policies);
                Some(Refusal::NotAllowed(Nearest::among(policies, call, NEARBY)))
            }
        }
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::of(&self.rules))
    }

    fn takes(&self, at: u32, call: &Call<'_>) -> bool {
        match self.index().trees.get(&at) {
            Some(tree) => tree.takes(call),
            None => self.rules.policies[at as usize].1.takes(call),
        }
    }

    fn candidates(&self, call: &Call<'_>) -> Candidates<'_> {
        let index = self.index();
        let mut lists: SmallVec<[&[u32]; 8]> = SmallVec::new();
        if !index.always.is_empty() {
            lists.push(&index.always);
        }
        index.by_keys.any(call, &mut |list| {
            lists.push(list);
            false
        });
        Candidates { lists }
    }
}

impl PartialEq for Compiled {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl From<Rules> for Arc<Compiled> {
    fn from(rules: Rules) -> Self {
        Self::new(Compiled::new(rules))
    }
}

/// Where policies are found, by their places in the rules.
#[derive(Debug)]
struct Index {
    /// By what one of their sides asks for, in their order.
    by_keys: Lookup<SmallVec<[u32; 4]>>,
    /// Those that have to be asked whatever the call is like, in their order.
    always: Box<[u32]>,
    /// Those with long lists.
    trees: HashMap<u32, Box<Tree>>,
}

impl Index {
    fn of(rules: &Rules) -> Self {
        let shared = Shared::of(rules);
        let (mut by_keys, mut always, mut trees) = (Lookup::default(), Vec::new(), HashMap::new());
        for (at, (_, policy)) in (0..).zip(&rules.policies) {
            if let Some(tree) = Tree::of(policy) {
                trees.insert(at, Box::new(tree));
            }
            let Some(keys) = shared.keys(policy) else {
                always.push(at);
                continue;
            };
            for key in keys {
                let list: &mut SmallVec<[u32; 4]> = by_keys.entry(key);
                if list.last() != Some(&at) {
                    list.push(at);
                }
            }
        }
        Self { by_keys, always: always.into(), trees }
    }
}

/// Numbers of several ordered lists, in order and each once.
struct Candidates<'a> {
    lists: SmallVec<[&'a [u32]; 8]>,
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let next = self.lists.iter().filter_map(|list| list.first()).min().copied()?;
        for list in &mut self.lists {
            if let Some(rest) = list.strip_prefix(&[next]) {
                *list = rest;
            }
        }
        Some(next)
    }
}

/// How many policies ask for a thing. By what few ask for, a policy is found best.
struct Shared(HashMap<Key, u32>);

impl Shared {
    fn of(rules: &Rules) -> Self {
        let mut shared = Self(HashMap::new());
        for (_, policy) in &rules.policies {
            policy.permissions.iter().for_each(|one| shared.count(one));
            policy.principals.iter().for_each(|one| shared.count(one));
        }
        shared
    }

    fn count<T: Keyed>(&mut self, condition: &Condition<T>) {
        match condition {
            Condition::Any | Condition::Not(_) => {}
            Condition::All(many) | Condition::Either(many) => many.iter().for_each(|one| self.count(one)),
            Condition::Is(fact) => {
                for key in fact.keys().into_iter().flat_map(|keys| keys.any) {
                    *self.0.entry(key).or_default() += 1;
                }
            }
        }
    }

    /// Keys of which a call has to have one to be taken; none: there are no such.
    fn keys(&self, policy: &Policy) -> Option<Vec<Key>> {
        let sides = [self.of_either(&policy.permissions), self.of_either(&policy.principals)];
        sides.into_iter().flatten().min_by_key(|(cost, _)| *cost).map(|(_, keys)| keys)
    }

    fn of_either<T: Keyed>(&self, any: &[Condition<T>]) -> Option<(u64, Vec<Key>)> {
        let mut sum = (0, Vec::new());
        for condition in any {
            let (cost, keys) = self.of_condition(condition)?;
            sum.0 += cost;
            sum.1.extend(keys);
        }
        Some(sum)
    }

    fn of_condition<T: Keyed>(&self, condition: &Condition<T>) -> Option<(u64, Vec<Key>)> {
        match condition {
            Condition::Any | Condition::Not(_) => None,
            Condition::All(all) => all.iter().filter_map(|one| self.of_condition(one)).min_by_key(|(cost, _)| *cost),
            Condition::Either(any) => self.of_either(any),
            Condition::Is(fact) => {
                let keys = fact.keys()?.any;
                let cost = keys.iter().map(|key| u64::from(self.0.get(key).copied().unwrap_or(1))).sum();
                Some((cost, keys.into_vec()))
            }
        }
    }
}
