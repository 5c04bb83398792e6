//! What the policies on access at the server, and at a gateway that is asked, say of a request.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::route::RequestView;

use super::{Step, Walk};
use crate::access::question::{self, Answer, Because, Question};
use crate::access::{Standing, Subject};
use crate::names;
use crate::node::Role;

impl Walk<'_> {
    /// The policies that a request meets at a gateway, which asks them before it looks at routes. Says why it is refused.
    pub(super) fn access_here(&mut self, tcp: bool) -> Option<String> {
        let Role::Gateway { ports, .. } = &self.node.role else { return None };
        let port = ports.get(&self.question.port).copied().unwrap_or(self.question.port);
        let standing = Standing::of(self.world, self.node, None);
        let answer = self.judge(Subject::of(self.node).at(&standing), None, port, tcp);
        self.tell("at the gateway", &[(String::new(), answer)])
    }

    /// The policies that it meets at the workloads to which clusters lead. Says why it is refused, if all of them do.
    pub(super) fn access_there(&mut self, targets: &[(&Arc<str>, u32)]) -> Option<String> {
        let mut answers = Vec::new();
        let mut seen = BTreeSet::new();
        for (port, _, host) in targets.iter().filter_map(|(name, _)| names::parts(name)) {
            if !seen.insert((port, host)) {
                continue;
            }
            for called in question::called(self.world, &self.node.namespace, host, Some(port)).unwrap_or_default() {
                let identity = self.caller_identity().filter(|_| called.takes_identities);
                let answer = self.judge(called.subject(), identity.as_deref(), called.port, called.tcp);
                answers.push((format!("{}: ", called.title()), answer));
            }
        }
        self.tell("at the server", &answers)
    }

    /// Who the caller is, as far as that is known.
    fn caller_identity(&self) -> Option<String> {
        let proven = self.node.identity.as_ref().map(ToString::to_string);
        proven.or_else(|| self.world.identity_of_caller(&self.node.namespace, self.node.title()))
    }

    fn judge(&self, subject: Subject<'_>, identity: Option<&str>, port: u16, tcp: bool) -> Answer {
        let host = self.question.authority.as_deref().unwrap_or(&self.question.host);
        let view = RequestView {
            method: &self.question.method,
            headers: &self.question.headers,
            ..RequestView::get(host, &self.question.path)
        };
        let asked = Question {
            subject,
            identity,
            source: self.node.address,
            remote: self.node.address,
            destination: (self.node.address, port).into(),
            request: (!tcp).then_some(view),
            server_name: self.question.server_name.as_deref(),
        };
        question::answer(self.world, &asked)
    }

    /// Adds the policies that were asked, and what each workload says.
    fn tell(&mut self, place: &str, answers: &[(String, Answer)]) -> Option<String> {
        let mut told = BTreeSet::new();
        for policy in answers.iter().flat_map(|(_, answer)| &answer.policies) {
            let name = format!("{} ({})", policy.key(), policy.origin);
            if told.insert(name.clone()) {
                self.steps.push(Step::new("policy", name));
            }
        }
        if told.is_empty() {
            return None;
        }
        let word = |answer: &Answer| if answer.allowed { "allowed" } else { "refused" };
        let facts = answers
            .iter()
            .map(|(of, answer)| format!("{of}{}{}: {}{}", word(answer), asked(answer), answer.because, lacks(answer)));
        self.steps.push(facts.fold(Step::new("access", place), Step::fact));
        let refused = answers.iter().all(|(_, answer)| !answer.allowed);
        answers.first().filter(|_| refused).map(|(_, answer)| answer.because.to_string())
    }
}

/// Who else has a say.
fn asked(answer: &Answer) -> String {
    let Some((provider, by)) = &answer.asked else { return String::new() };
    format!(" if the provider `{provider}` lets it pass, which {by} asks first")
}

/// What the rule that came nearest asked for in vain.
fn lacks(answer: &Answer) -> String {
    let Because::NotAllowed(Some(missed)) = &answer.because else { return String::new() };
    let words: Vec<&str> = missed.lacks.iter().map(|lack| lack.words.as_str()).collect();
    format!(": {}", words.join(", and "))
}
