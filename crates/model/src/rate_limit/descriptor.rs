//! What a request is counted by: of its head and its way, each rule makes a descriptor, or none.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::matcher::{HeaderKey, HeaderMatch, QueryMatch};
use crate::metadata::Value;
use crate::route::{FilterRules, RequestView, header_matches};

/// What a request is counted by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// Keys and values, in order.
    pub entries: Vec<(String, String)>,
    /// For how many requests it counts; none: one.
    pub hits: Option<u64>,
    /// Do responses tell what is left of this limit? None: as the filter says.
    pub tells_limits: Option<bool>,
}

/// How a descriptor is made (xDS `RateLimit` of routes).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DescriptorRule {
    /// Only filters of this number take it.
    pub stage: u32,
    /// The key by which Envoy's runtime may switch it off. Limits of this proxy leave a rule with such a key out.
    pub disable_key: String,
    /// Each adds an entry. One that cannot undoes the descriptor.
    pub actions: Vec<DescriptorAction>,
    /// For how many requests one counts; none: one. Only in rules of filters.
    pub hits: Option<u64>,
    /// Do responses tell what is left of this limit? None: as the filter says.
    pub tells_limits: Option<bool>,
}

/// An entry of a descriptor.
#[derive(Debug, Clone, PartialEq)]
pub enum DescriptorAction {
    /// `source_cluster`: the service that this proxy belongs to.
    SourceCluster,
    /// `destination_cluster`: the cluster of the route.
    DestinationCluster,
    /// The first value of a header.
    Header {
        /// The header.
        name: HeaderKey,
        /// The entry's key.
        key: String,
        /// Without the header there is no entry; otherwise there is no descriptor.
        skip_if_absent: bool,
    },
    /// The first value of a query parameter, decoded.
    Query {
        /// The parameter.
        name: String,
        /// The entry's key.
        key: String,
        /// Without the parameter there is no entry; otherwise there is no descriptor.
        skip_if_absent: bool,
    },
    /// `remote_address`: the client's address, as far as proxies in front of us are trusted.
    RemoteAddress,
    /// `masked_remote_address`: the net of that address.
    MaskedRemoteAddress {
        /// How many bits of an IPv4 address.
        v4: u8,
        /// How many bits of an IPv6 address.
        v6: u8,
    },
    /// The same for all requests.
    Fixed {
        /// The entry's key.
        key: String,
        /// The entry's value.
        value: String,
    },
    /// `metadata`: a text that a filter has said of the request.
    Metadata {
        /// The entry's key.
        key: String,
        /// The filter.
        filter: String,
        /// Where the text stands.
        path: Vec<String>,
        /// The value where there is no text; empty: none.
        default: String,
        /// Without a value there is no entry; otherwise there is no descriptor.
        skip_if_absent: bool,
    },
    /// What Envoy has an expression for (`envoy.rate_limit_descriptors.expr`).
    Fact {
        /// The entry's key.
        key: String,
        /// What it is.
        fact: RequestFact,
        /// Without it there is no entry; otherwise there is no descriptor.
        skip_if_absent: bool,
    },
    /// A value for requests whose headers meet conditions.
    HeaderMatch {
        /// The entry's key.
        key: String,
        /// The entry's value.
        value: String,
        /// All conditions must hold; otherwise not all may.
        expected: bool,
        /// The conditions.
        headers: Vec<HeaderMatch>,
    },
    /// A value for requests whose query parameters meet conditions.
    QueryMatch {
        /// The entry's key.
        key: String,
        /// The entry's value.
        value: String,
        /// All conditions must hold; otherwise not all may.
        expected: bool,
        /// The conditions.
        parameters: Vec<QueryMatch>,
    },
}

/// What is known of a request beside its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFact {
    /// Who calls, as mutual TLS proves it: the first URI of the certificate.
    Identity,
    /// The namespace of that identity.
    Namespace,
    /// The path, without query.
    Path,
    /// The name of the route.
    Route,
}

impl RequestFact {
    fn of<'a>(self, seen: &Seen<'a>) -> Option<&'a str> {
        match self {
            Self::Identity => seen.identity,
            Self::Namespace => seen.identity.and_then(namespace),
            Self::Path => Some(seen.request.path),
            Self::Route => seen.route,
        }
        .filter(|text| !text.is_empty())
    }
}

/// The namespace in `spiffe://TRUST DOMAIN/ns/NAMESPACE/...`.
fn namespace(identity: &str) -> Option<&str> {
    let (_, path) = identity.strip_prefix("spiffe://")?.split_once('/')?;
    let (namespace, _) = path.strip_prefix("ns/")?.split_once('/')?;
    Some(namespace)
}

/// Do the rules of virtual hosts count? Where a route says `include_vh_rate_limits` they do in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostLimits {
    /// Only for routes that have none.
    Override,
    /// Beside the route's.
    Include,
    /// No.
    Ignore,
}

/// What of a request descriptors are made of.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its head.
    pub request: RequestView<'a>,
    /// The client's address, as far as proxies in front of us are trusted.
    pub remote: IpAddr,
    /// Who the client has proven to be.
    pub identity: Option<&'a str>,
    /// The name of its route.
    pub route: Option<&'a str>,
    /// The service that this proxy belongs to.
    pub source_cluster: &'a str,
    /// The cluster that it goes to, if its route forwards.
    pub cluster: Option<&'a str>,
}

/// The rules that count on a route, in order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules<'a>([&'a [DescriptorRule]; 2]);

impl<'a> Rules<'a> {
    /// These alone.
    pub fn of(rules: &'a [DescriptorRule]) -> Self {
        Self([rules, &[]])
    }

    /// Those of a route and its virtual host.
    pub fn of_route(route: Option<&'a FilterRules>, host: Option<&'a FilterRules>, limits: HostLimits) -> Self {
        let rules = |of: Option<&'a FilterRules>| of.map_or(&[][..], |rules| &rules.rate_limits);
        let (own, host) = (rules(route), rules(host));
        let included = route.is_some_and(|rules| rules.include_host_rate_limits);
        let counts = match limits {
            _ if included => true,
            HostLimits::Include => true,
            HostLimits::Override => own.is_empty(),
            HostLimits::Ignore => false,
        };
        Self([own, if counts { host } else { &[] }])
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|rules| rules.is_empty())
    }

    /// The descriptors that the rules which `applies` takes make of a request.
    pub fn descriptors(&self, seen: &Seen<'_>, applies: impl Fn(&DescriptorRule) -> bool) -> Vec<Descriptor> {
        let rules = self.0.iter().copied().flatten().filter(|rule| applies(rule));
        rules.filter_map(|rule| rule.descriptor(seen)).collect()
    }
}

impl DescriptorRule {
    /// The descriptor of a request, if it has one.
    pub fn descriptor(&self, seen: &Seen<'_>) -> Option<Descriptor> {
        let mut entries = Vec::with_capacity(self.actions.len());
        for action in &self.actions {
            match action.entry(seen) {
                Entry::Is(key, value) => entries.push((key.to_owned(), value.into_owned())),
                Entry::Skipped => {}
                Entry::Impossible => return None,
            }
        }
        Some(Descriptor { entries, hits: self.hits, tells_limits: self.tells_limits })
    }
}

/// What an action makes of a request.
enum Entry<'a> {
    Is(&'a str, Cow<'a, str>),
    Skipped,
    Impossible,
}

impl<'a> Entry<'a> {
    fn or_absent(key: &'a str, value: Option<Cow<'a, str>>, skip_if_absent: bool) -> Self {
        match value {
            Some(value) => Self::Is(key, value),
            None if skip_if_absent => Self::Skipped,
            None => Self::Impossible,
        }
    }

    fn when(holds: bool, key: &'a str, value: &'a str) -> Self {
        if holds { Self::Is(key, value.into()) } else { Self::Impossible }
    }
}

impl DescriptorAction {
    fn entry<'a>(&'a self, seen: &Seen<'a>) -> Entry<'a> {
        let request = &seen.request;
        match self {
            Self::SourceCluster => Entry::Is("source_cluster", seen.source_cluster.into()),
            Self::DestinationCluster => Entry::or_absent("destination_cluster", seen.cluster.map(Cow::from), false),
            Self::Header { name, key, skip_if_absent } => Entry::or_absent(key, header(name, request), *skip_if_absent),
            Self::Query { name, key, skip_if_absent } => {
                Entry::or_absent(key, parameter(name, request.query), *skip_if_absent)
            }
            Self::RemoteAddress => Entry::Is("remote_address", seen.remote.to_string().into()),
            Self::MaskedRemoteAddress { v4, v6 } => {
                let bits = if seen.remote.is_ipv4() { *v4 } else { *v6 };
                let net = IpNet::new(seen.remote, bits).ok().map(|net| net.trunc().to_string().into());
                Entry::or_absent("masked_remote_address", net, false)
            }
            Self::Fixed { key, value } => Entry::Is(key, value.into()),
            Self::Metadata { key, filter, path, default, skip_if_absent } => {
                let said = request.metadata.and_then(|metadata| metadata.get(filter, path));
                let text = match said {
                    Some(Value::Text(text)) if !text.is_empty() => Some(text.as_str()),
                    _ => None,
                };
                let default = (!default.is_empty()).then_some(default.as_str());
                Entry::or_absent(key, text.or(default).map(Cow::from), *skip_if_absent)
            }
            Self::Fact { key, fact, skip_if_absent } => {
                Entry::or_absent(key, fact.of(seen).map(Cow::from), *skip_if_absent)
            }
            Self::HeaderMatch { key, value, expected, headers } => {
                Entry::when(headers.iter().all(|one| header_matches(one, request)) == *expected, key, value)
            }
            Self::QueryMatch { key, value, expected, parameters } => {
                Entry::when(parameters.iter().all(|one| one.matches(request.query)) == *expected, key, value)
            }
        }
    }
}

fn header<'a>(name: &HeaderKey, request: &RequestView<'a>) -> Option<Cow<'a, str>> {
    Some(match name {
        HeaderKey::Method => request.method.as_str().into(),
        HeaderKey::Authority => request.authority.into(),
        HeaderKey::Scheme => request.scheme.into(),
        HeaderKey::Path => match request.query {
            Some(query) => format!("{}?{query}", request.path).into(),
            None => request.path.into(),
        },
        HeaderKey::Name(name) => String::from_utf8_lossy(request.headers.get(name)?.as_bytes()),
    })
}

/// The first value of a query parameter, its escapes resolved.
fn parameter<'a>(name: &str, query: Option<&'a str>) -> Option<Cow<'a, str>> {
    let pairs = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let value = pairs.filter(|(key, _)| unescaped(key) == name).map(|(_, value)| value).next()?;
    Some(unescaped(value))
}

/// Resolves `%XX` (RFC 3986, section 2.1); what is no escape stays as it is.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|c| (*c as char).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned().into()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;
    use crate::StringMatch;
    use crate::matcher::QueryValue;

    fn fixed(value: &str) -> DescriptorAction {
        DescriptorAction::Fixed { key: "generic_key".into(), value: value.into() }
    }

    fn by_header(name: &str, skip_if_absent: bool) -> DescriptorAction {
        let name = HeaderKey::parse(name).expect("a name");
        DescriptorAction::Header { name, key: "h".into(), skip_if_absent }
    }

    fn by_query(name: &str, skip_if_absent: bool) -> DescriptorAction {
        DescriptorAction::Query { name: name.into(), key: "q".into(), skip_if_absent }
    }

    fn header_match(name: &str, text: &str, expected: bool) -> DescriptorAction {
        let condition = HeaderMatch::text(HeaderKey::parse(name).expect("a name"), StringMatch::exact(text));
        DescriptorAction::HeaderMatch { key: "m".into(), value: "yes".into(), expected, headers: vec![condition] }
    }

    fn query_match(name: &str, text: &str, expected: bool) -> DescriptorAction {
        let condition = QueryMatch { name: name.into(), value: QueryValue::Text(StringMatch::exact(text)) };
        DescriptorAction::QueryMatch { key: "m".into(), value: "yes".into(), expected, parameters: vec![condition] }
    }

    fn rule(actions: Vec<DescriptorAction>) -> DescriptorRule {
        DescriptorRule { actions, ..DescriptorRule::default() }
    }

    fn headers() -> HeaderMap {
        let one = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        [one("x-user", "anna"), one("x-user", "bert"), one("x-empty", "")].into_iter().collect()
    }

    #[test]
    fn descriptors_of_a_request() {
        use DescriptorAction::{DestinationCluster, MaskedRemoteAddress, RemoteAddress, SourceCluster};
        let headers = headers();
        let request = RequestView { headers: &headers, ..RequestView::get("a.example:80", "/p?id=7&n=a%20b%2&e&id=8") };
        for (actions, remote, expected) in [
            (vec![], "10.1.2.3", Some("")),
            (vec![SourceCluster, DestinationCluster], "10.1.2.3", Some("source_cluster=me destination_cluster=c")),
            (vec![RemoteAddress], "10.1.2.3", Some("remote_address=10.1.2.3")),
            (vec![RemoteAddress], "2001:db8::1", Some("remote_address=2001:db8::1")),
            (vec![MaskedRemoteAddress { v4: 16, v6: 32 }], "10.1.2.3", Some("masked_remote_address=10.1.0.0/16")),
            (vec![MaskedRemoteAddress { v4: 16, v6: 32 }], "2001:db8::1", Some("masked_remote_address=2001:db8::/32")),
            (vec![MaskedRemoteAddress { v4: 32, v6: 128 }], "10.1.2.3", Some("masked_remote_address=10.1.2.3/32")),
            (vec![fixed("a"), fixed("b")], "::1", Some("generic_key=a generic_key=b")),
            (vec![by_header("x-user", false)], "::1", Some("h=anna")),
            (vec![by_header("x-empty", false)], "::1", Some("h=")),
            (vec![by_header(":path", false)], "::1", Some("h=/p?id=7&n=a%20b%2&e&id=8")),
            (vec![by_header(":authority", false)], "::1", Some("h=a.example:80")),
            (vec![by_header(":method", false)], "::1", Some("h=GET")),
            (vec![fixed("a"), by_header("x-other", false)], "::1", None),
            (vec![fixed("a"), by_header("x-other", true)], "::1", Some("generic_key=a")),
            (vec![by_query("id", false)], "::1", Some("q=7")),
            (vec![by_query("n", false)], "::1", Some("q=a b%2")),
            (vec![by_query("e", false)], "::1", Some("q=")),
            (vec![by_query("x", false)], "::1", None),
            (vec![by_query("x", true), fixed("a")], "::1", Some("generic_key=a")),
            (vec![header_match("x-empty", "", true)], "::1", Some("m=yes")),
            (vec![header_match("x-empty", "a", true)], "::1", None),
            (vec![header_match("x-empty", "a", false)], "::1", Some("m=yes")),
            (vec![query_match("id", "7", true)], "::1", Some("m=yes")),
            (vec![query_match("id", "8", true)], "::1", None),
            (vec![query_match("id", "8", false)], "::1", Some("m=yes")),
        ] {
            let remote = remote.parse().expect("an address");
            let seen = Seen { request, remote, identity: None, route: None, source_cluster: "me", cluster: Some("c") };
            let rule = rule(actions);
            let shown = rule.descriptor(&seen).map(|descriptor| {
                descriptor.entries.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(shown.as_deref(), expected, "{rule:?}");
        }
        let remote = IpAddr::from([0; 4]);
        let nowhere = Seen { request, remote, identity: None, route: None, source_cluster: "", cluster: None };
        assert_eq!(rule(vec![DestinationCluster]).descriptor(&nowhere), None, "it is not forwarded");
    }

    #[test]
    fn what_is_known_beside_headers() {
        let mut said = crate::Metadata::default();
        let fields = [("t", Value::Text("acme".into())), ("n", Value::Number(7.0)), ("e", Value::Text(String::new()))];
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        said.of("jwt").insert("p".into(), Value::Fields(fields));
        let request = RequestView { metadata: Some(&said), ..RequestView::get("a", "/p?q") };
        let by = |name: &str, default: &str, skip_if_absent| DescriptorAction::Metadata {
            key: "m".into(),
            filter: "jwt".into(),
            path: vec!["p".into(), name.into()],
            default: default.into(),
            skip_if_absent,
        };
        let is = |fact, skip_if_absent| DescriptorAction::Fact { key: "f".into(), fact, skip_if_absent };
        let one = Some("spiffe://cluster.local/ns/shop/sa/web");
        use RequestFact::{Identity, Namespace, Path, Route};
        for (action, identity, expected) in [
            (by("t", "", false), None, Some("m=acme")),
            (by("n", "", true), None, Some("")),
            (by("n", "", false), None, None),
            (by("e", "", false), None, None),
            (by("x", "y", false), None, Some("m=y")),
            (is(Identity, false), one, Some("f=spiffe://cluster.local/ns/shop/sa/web")),
            (is(Namespace, false), one, Some("f=shop")),
            (is(Namespace, true), Some("spiffe://cluster.local/shop"), Some("")),
            (is(Namespace, false), Some("https://cluster.local/ns/shop/sa/web"), None),
            (is(Identity, true), None, Some("")),
            (is(Identity, false), None, None),
            (is(Path, false), None, Some("f=/p")),
            (is(Route, false), None, Some("f=orders")),
        ] {
            let remote = IpAddr::from([0; 4]);
            let seen =
                Seen { request, remote, identity, route: Some("orders"), source_cluster: "me", cluster: Some("c") };
            let rule = rule(vec![action]);
            let shown = rule.descriptor(&seen).map(|descriptor| {
                descriptor.entries.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(shown.as_deref(), expected, "{rule:?}");
        }
    }

    #[test]
    fn whose_rules_count() {
        let rules = |values: &[&str], include: bool| FilterRules {
            rate_limits: values.iter().map(|value| rule(vec![fixed(value)])).collect(),
            include_host_rate_limits: include,
            ..FilterRules::default()
        };
        let (own, both, none, host) =
            (rules(&["r"], false), rules(&["r"], true), rules(&[], false), rules(&["h"], false));
        let seen = Seen {
            request: RequestView::get("a", "/"),
            remote: IpAddr::from([127, 0, 0, 1]),
            identity: None,
            route: None,
            source_cluster: "",
            cluster: None,
        };
        for (route, limits, expected) in [
            (Some(&own), HostLimits::Override, "r"),
            (Some(&own), HostLimits::Include, "rh"),
            (Some(&own), HostLimits::Ignore, "r"),
            (Some(&both), HostLimits::Override, "rh"),
            (Some(&both), HostLimits::Ignore, "rh"),
            (Some(&none), HostLimits::Override, "h"),
            (None, HostLimits::Override, "h"),
            (None, HostLimits::Ignore, ""),
        ] {
            let found = Rules::of_route(route, Some(&host), limits).descriptors(&seen, |_| true);
            let shown: String = found.iter().map(|descriptor| descriptor.entries[0].1.as_str()).collect();
            assert_eq!(shown, expected, "{route:?} {limits:?}");
        }
    }
}
