//! The header mutation filter, and what routes say to it.

use model::HeaderMutation;
use model::mutation::{HeaderEdit, Mutations};
use proto::envoy::config::common::mutation_rules::v3 as rules;
use proto::envoy::config::common::mutation_rules::v3::header_mutation::{Action, RemoveOnMatch};
use proto::envoy::extensions::filters::http::header_mutation::v3 as wire;

use super::{At, Decoded, each, headers, matcher, required, take};

pub(super) const HEADER_MUTATION: &str = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
pub(super) const PER_ROUTE: &str = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute";

pub(super) fn header_mutation(value: wire::HeaderMutation, name: &str, at: &At<'_>) -> Decoded<HeaderMutation> {
    take!(value, at, wire::HeaderMutation {
        used { mutations, most_specific_header_mutations_wins }
        harmless {}
        refused {}
    });
    let own = both_ways(mutations.unwrap_or_default(), &at.field("mutations"))?;
    Ok(HeaderMutation { name: name.into(), own, route_last: most_specific_header_mutations_wins })
}

/// What a route or virtual host says.
pub(super) fn per_route(value: wire::HeaderMutationPerRoute, at: &At<'_>) -> Decoded<Mutations> {
    both_ways(value.mutations.unwrap_or_default(), &at.field("mutations"))
}

fn both_ways(value: wire::Mutations, at: &At<'_>) -> Decoded<Mutations> {
    take!(value, at, wire::Mutations {
        used { request_mutations, response_mutations }
        harmless {}
        refused { query_parameter_mutations, response_trailers_mutations, request_trailers_mutations }
    });
    let all = |list, at: &At<'_>| Ok(each(list, at, edit)?.into_iter().flatten().collect());
    Ok(Mutations {
        request: all(request_mutations, &at.field("request_mutations"))?,
        response: all(response_mutations, &at.field("response_mutations"))?,
    })
}

/// Nothing, when Envoy would write nothing.
fn edit(value: rules::HeaderMutation, at: &At<'_>) -> Decoded<Option<HeaderEdit>> {
    Ok(Some(match required(value.action, at)? {
        Action::Remove(name) => HeaderEdit::Remove(headers::name(&name, &at.field("remove"))?),
        Action::Append(write) => return Ok(headers::header_write(write, &at.field("append"))?.map(HeaderEdit::Write)),
        Action::RemoveOnMatch(value) => {
            let at = at.field("remove_on_match");
            take!(value, at, RemoveOnMatch {
                used { key_matcher }
                harmless {}
                refused {}
            });
            let at = at.field("key_matcher");
            HeaderEdit::RemoveMatching(matcher::string(required(key_matcher, &at)?, &at)?)
        }
    }))
}
