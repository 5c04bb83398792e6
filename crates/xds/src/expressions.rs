//! The expressions (CEL) that are known on the wire: a closed list, each of which stands for a fact of the model.

use model::rate_limit::RequestFact;

/// The proxy answered, not the upstream: for access logs.
pub(crate) const OWN_ANSWER: &str = "response.code_details != 'via_upstream'";
/// A connection was ended for a reason that has a name: for access logs.
pub(crate) const TERMINATED: &str = "connection.termination_details != ''";

const ALL: [(RequestFact, &str); 4] = [
    (RequestFact::Identity, "connection.uri_san_peer_certificate"),
    (
        RequestFact::Namespace,
        r"re.extract(connection.uri_san_peer_certificate, '^spiffe://[^/]+/ns/([^/]+)/.*$', '\\1')",
    ),
    (RequestFact::Path, "request.url_path"),
    (RequestFact::Route, "xds.route_name"),
];

/// The expression of a fact.
pub(crate) fn text_of(fact: RequestFact) -> &'static str {
    ALL.iter().find(|(one, _)| *one == fact).map_or("", |(_, text)| text)
}

/// The fact that an expression stands for, if it is one of those.
pub(crate) fn fact_of(text: &str) -> Option<RequestFact> {
    ALL.iter().find(|(_, one)| *one == text).map(|(fact, _)| *fact)
}

/// All of them, for messages.
pub(crate) fn known() -> String {
    ALL.map(|(_, text)| format!("`{text}`")).join(", ")
}
