//! The header mutation filter, and what routes say to it.

use model::HeaderMutation;
use model::mutation::{HeaderEdit, Mutations};
use proto::envoy::config::common::mutation_rules::v3 as rules;
use proto::envoy::config::common::mutation_rules::v3::header_mutation::{Action, RemoveOnMatch};
use proto::envoy::extensions::filters::http::header_mutation::v3 as wire;

use super::{headers, matcher};

pub(super) fn header_mutation(mutation: &HeaderMutation) -> wire::HeaderMutation {
    wire::HeaderMutation {
        mutations: both_ways(&mutation.own),
        most_specific_header_mutations_wins: mutation.route_last,
    }
}

pub(super) fn per_route(mutations: &Mutations) -> wire::HeaderMutationPerRoute {
    wire::HeaderMutationPerRoute { mutations: both_ways(mutations) }
}

fn both_ways(mutations: &Mutations) -> Option<wire::Mutations> {
    let all = |edits: &[HeaderEdit]| edits.iter().map(edit).collect();
    Some(wire::Mutations {
        request_mutations: all(&mutations.request),
        response_mutations: all(&mutations.response),
        ..wire::Mutations::default()
    })
}

fn edit(edit: &HeaderEdit) -> rules::HeaderMutation {
    let action = match edit {
        HeaderEdit::Remove(name) => Action::Remove(name.to_string()),
        HeaderEdit::RemoveMatching(names) => {
            Action::RemoveOnMatch(RemoveOnMatch { key_matcher: Some(matcher::string(names)) })
        }
        HeaderEdit::Write(write) => Action::Append(headers::write(write)),
    };
    rules::HeaderMutation { action: Some(action) }
}
