//! Rules and conditions of a VirtualService that are never reached: the first match wins, so what an earlier condition
//! takes whole never comes to a later one.

use std::collections::BTreeMap;

use super::{HttpMatchRequest, L4MatchAttributes, TlsMatchAttributes, VirtualService};
use crate::code::Code;
use crate::decode::{Spanned, StringMatch};
use crate::report::{Report, Step};

impl VirtualService {
    pub(super) fn check_reach(&self, report: &mut Report) {
        check_list("http", &self.http.iter().map(|rule| &rule.match_[..]).collect::<Vec<_>>(), report);
        check_list("tls", &self.tls.iter().map(|rule| &rule.match_[..]).collect::<Vec<_>>(), report);
        check_list("tcp", &self.tcp.iter().map(|rule| &rule.match_[..]).collect::<Vec<_>>(), report);
    }
}

/// A condition that may take all that another one would.
trait Condition: PartialEq {
    /// Does it take everything that `narrower` takes? No when in doubt.
    fn covers(&self, narrower: &Self) -> bool;
    /// Without what has no part in matching.
    fn bare(&self) -> Self;
}

/// Tells of each condition that an earlier one takes whole, and of rules that nothing is left for.
fn check_list<C: Condition>(list: &'static str, rules: &[&[C]], report: &mut Report) {
    if let Some(first) = rules.iter().position(|rule| rule.is_empty()).filter(|i| i + 1 < rules.len() && list != "tls")
    {
        report.along(vec![Step::Field(list), Step::Index(first + 1)], |r| {
            let message = format!(
                "this rule and those below are never reached: {list}[{first}] has no `match` and takes everything"
            );
            let hint = format!("give {list}[{first}] a `match`, or put it last");
            r.warning(message).code(Code::VirtualServiceUnreachableRule).hint(hint);
        });
    }
    let mut earlier: Vec<(String, &C)> = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        let mut left = rule.len();
        for (j, condition) in rule.iter().enumerate() {
            let place = vec![Step::Field(list), Step::Index(i), Step::Field("match"), Step::Index(j)];
            let Some((first, other)) = earlier.iter().find(|(_, first)| first.covers(condition)) else {
                earlier.push((report.along(place, |r| r.here()), condition));
                continue;
            };
            left -= 1;
            let how = if other.bare() == condition.bare() { "it is the same as" } else { "all of it goes to" };
            let message = format!("this is never reached: {how} {first}");
            report.along(place, |r| {
                let found = r.warning(message).code(Code::VirtualServiceIneffectiveMatch);
                found.hint("remove it, or make it different");
            });
        }
        if left == 0 && !rule.is_empty() {
            report.along(vec![Step::Field(list), Step::Index(i)], |r| {
                let found = r.warning("this rule is never reached: earlier rules take all of its matches");
                found.code(Code::VirtualServiceUnreachableRule).hint("remove it, or put it before them");
            });
        }
    }
}

impl Condition for HttpMatchRequest {
    fn covers(&self, narrower: &Self) -> bool {
        let texts = [
            (&self.scheme, &narrower.scheme),
            (&self.method, &narrower.method),
            (&self.authority, &narrower.authority),
        ];
        let maps = [(&self.headers, &narrower.headers), (&self.query_params, &narrower.query_params)];
        covers_path(self, narrower)
            && texts.into_iter().all(|(wide, narrow)| covers_some(wide.as_ref(), narrow.as_ref()))
            && maps.into_iter().all(|(wide, narrow)| {
                wide.iter().all(|(name, text)| narrow.get(name).is_some_and(|narrow| covers_text(text, narrow)))
            })
            && self.without_headers.iter().all(|(name, text)| narrower.without_headers.get(name) == Some(text))
            && Caller::of_http(self).covers(&Caller::of_http(narrower))
    }

    fn bare(&self) -> Self {
        Self { name: String::new(), stat_prefix: String::new(), ..self.clone() }
    }
}

fn covers_path(wide: &HttpMatchRequest, narrow: &HttpMatchRequest) -> bool {
    match (&wide.uri, &narrow.uri) {
        (None | Some(StringMatch::Present), _) => true,
        (Some(StringMatch::Prefix(prefix)), _) if prefix == "/" => true,
        (Some(_), None) => false,
        (Some(a), Some(b)) if wide.ignore_uri_case => covers_text(&lower(a), &lower(b)),
        (Some(a), Some(b)) => !narrow.ignore_uri_case && covers_text(a, b),
    }
}

/// A regular expression stays as it is: letters may have other meanings there.
fn lower(text: &StringMatch) -> StringMatch {
    match text {
        StringMatch::Exact(text) => StringMatch::Exact(text.to_ascii_lowercase()),
        StringMatch::Prefix(text) => StringMatch::Prefix(text.to_ascii_lowercase()),
        other => other.clone(),
    }
}

fn covers_some(wide: Option<&StringMatch>, narrow: Option<&StringMatch>) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => covers_text(wide, narrow),
        (Some(_), None) => false,
    }
}

fn covers_text(wide: &StringMatch, narrow: &StringMatch) -> bool {
    match (wide, narrow) {
        (StringMatch::Present, _) => true,
        (StringMatch::Prefix(prefix), StringMatch::Prefix(text) | StringMatch::Exact(text)) => text.starts_with(prefix),
        (wide, narrow) => wide == narrow,
    }
}

impl Condition for TlsMatchAttributes {
    fn covers(&self, narrower: &Self) -> bool {
        let has = |sni: &Spanned<String>| self.sni_hosts.iter().any(|host| covers_host(&host.value, &sni.value));
        !narrower.sni_hosts.is_empty()
            && narrower.sni_hosts.iter().all(has)
            && (self.destination_subnets.is_empty() || self.destination_subnets == narrower.destination_subnets)
            && Caller::of_tls(self).covers(&Caller::of_tls(narrower))
    }

    fn bare(&self) -> Self {
        self.clone()
    }
}

fn covers_host(wide: &str, narrow: &str) -> bool {
    let (wide, narrow) = (wide.parse::<base::HostPattern>(), narrow.parse::<base::HostPattern>());
    matches!((wide, narrow), (Ok(wide), Ok(narrow)) if wide.covers(&narrow))
}

impl Condition for L4MatchAttributes {
    fn covers(&self, narrower: &Self) -> bool {
        (self.destination_subnets.is_empty() || self.destination_subnets == narrower.destination_subnets)
            && Caller::of_tcp(self).covers(&Caller::of_tcp(narrower))
    }

    fn bare(&self) -> Self {
        self.clone()
    }
}

/// What all three kinds of conditions ask of the client and its way.
struct Caller<'a> {
    port: Option<u32>,
    labels: &'a BTreeMap<String, String>,
    namespace: &'a str,
    gateways: &'a [Spanned<String>],
}

impl<'a> Caller<'a> {
    fn of_http(m: &'a HttpMatchRequest) -> Self {
        let port = m.port.as_ref().map(|port| port.value);
        Self { port, labels: &m.source_labels, namespace: &m.source_namespace, gateways: &m.gateways }
    }

    fn of_tls(m: &'a TlsMatchAttributes) -> Self {
        let port = m.port.as_ref().map(|port| port.value);
        Self { port, labels: &m.source_labels, namespace: &m.source_namespace, gateways: &m.gateways }
    }

    fn of_tcp(m: &'a L4MatchAttributes) -> Self {
        let port = m.port.as_ref().map(|port| port.value);
        Self { port, labels: &m.source_labels, namespace: &m.source_namespace, gateways: &m.gateways }
    }

    fn covers(&self, narrow: &Self) -> bool {
        let has = |gateway: &Spanned<String>| self.gateways.iter().any(|own| own.value == gateway.value);
        (self.port.is_none() || self.port == narrow.port)
            && self.labels.iter().all(|(key, value)| narrow.labels.get(key) == Some(value))
            && (self.namespace.is_empty() || self.namespace == narrow.namespace)
            && (self.gateways.is_empty() || !narrow.gateways.is_empty() && narrow.gateways.iter().all(has))
    }
}
