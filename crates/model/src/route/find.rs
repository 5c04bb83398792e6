//! From a request to its virtual host and route.

use std::borrow::Cow;
use std::collections::HashMap;

use base::host::split_authority;

use super::{PathMatch, RequestView, Route, RouteConfiguration, RouteMatch, VirtualHost};
use crate::matcher::{HeaderKey, HeaderMatch, QueryMatch, header_text, starts_with};
use crate::{Fraction, MetadataMatch};

/// Finds virtual hosts by name without walking through them: exact names by hash, wildcards by length.
#[derive(Debug, Clone, Default)]
pub struct HostIndex {
    exact: HashMap<String, usize>,
    suffixes: Wildcards,
    prefixes: Wildcards,
    any: Option<usize>,
}

/// Wildcard domains, by their fixed part; lengths are tried from the longest.
#[derive(Debug, Clone, Default)]
struct Wildcards {
    lengths: Vec<usize>,
    hosts: HashMap<String, usize>,
}

impl Wildcards {
    fn insert(&mut self, fixed: &str, host: usize) {
        self.hosts.entry(fixed.to_owned()).or_insert(host);
        if let Err(at) = self.lengths.binary_search_by(|l| fixed.len().cmp(l)) {
            self.lengths.insert(at, fixed.len());
        }
    }

    fn find<'n>(&self, name: &'n str, cut: impl Fn(&'n str, usize) -> Option<&'n str>) -> Option<usize> {
        let shorter = self.lengths.iter().filter(|length| **length < name.len());
        shorter.filter_map(|length| self.hosts.get(cut(name, *length)?)).next().copied()
    }
}

impl HostIndex {
    /// Indexes the domains of a table. Of a domain that stands twice the first counts.
    pub fn new(table: &RouteConfiguration) -> Self {
        let mut index = Self::default();
        for (i, host) in table.hosts.iter().enumerate() {
            host.domains.iter().for_each(|domain| index.insert(domain, i));
        }
        index
    }

    /// Adds a domain, unless it is there already.
    pub fn insert(&mut self, domain: &str, host: usize) {
        if domain == "*" {
            self.any.get_or_insert(host);
        } else if let Some(fixed) = domain.strip_prefix('*') {
            self.suffixes.insert(fixed, host);
        } else if let Some(fixed) = domain.strip_suffix('*') {
            self.prefixes.insert(fixed, host);
        } else {
            self.exact.entry(domain.to_owned()).or_insert(host);
        }
    }

    /// The virtual host for a name: exact, then the longest suffix, then the longest prefix, then `*` (Envoy's order).
    pub fn get(&self, name: &str) -> Option<usize> {
        let name: Cow<'_, str> =
            if name.bytes().any(|c| c.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() };
        let name = name.as_ref();
        self.exact
            .get(name)
            .copied()
            .or_else(|| self.suffixes.find(name, |n, length| n.get(n.len() - length..)))
            .or_else(|| self.prefixes.find(name, |n, length| n.get(..length)))
            .or(self.any)
    }
}

/// Where a request belongs.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The virtual host.
    pub host: &'a VirtualHost,
    /// The route.
    pub route: &'a Route,
}

/// Why a request belongs nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// No virtual host has the authority.
    Host,
    /// No route of the virtual host matches.
    Route,
}

/// Finds the virtual host and the first route that matches. `draw` decides routes that take only a share.
pub fn find<'a>(
    table: &'a RouteConfiguration,
    index: &HostIndex,
    request: &RequestView<'_>,
    draw: u64,
) -> Result<Found<'a>, NotFound> {
    find_in(find_host(table, index, request.authority).ok_or(NotFound::Host)?, request, draw)
}

/// Finds the first route of a virtual host that matches.
pub fn find_in<'a>(host: &'a VirtualHost, request: &RequestView<'_>, draw: u64) -> Result<Found<'a>, NotFound> {
    let route = host.routes.iter().find(|route| route.matches.matches(request, draw)).ok_or(NotFound::Route)?;
    Ok(Found { host, route })
}

/// Finds the virtual host of an authority.
pub fn find_host<'a>(table: &'a RouteConfiguration, index: &HostIndex, authority: &str) -> Option<&'a VirtualHost> {
    index.get(host_name(table, authority)).map(|i| &table.hosts[i])
}

/// What of an authority the domains of a table are compared with.
pub fn host_name<'n>(table: &RouteConfiguration, authority: &'n str) -> &'n str {
    if table.ignore_port { split_authority(authority).0 } else { authority }
}

/// The condition that a request does not meet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mismatch<'a> {
    /// That on its path.
    Path(&'a PathMatch),
    /// One on a header.
    Header(&'a HeaderMatch),
    /// One on a query parameter.
    Query(&'a QueryMatch),
    /// One on what filters say of the exchange.
    Metadata(&'a MetadataMatch),
    /// It is not of the share.
    Share(Fraction),
}

impl RouteMatch {
    /// Does the request meet all conditions?
    pub fn matches(&self, request: &RequestView<'_>, draw: u64) -> bool {
        self.mismatch(request, draw).is_none()
    }

    /// The first condition that the request does not meet.
    pub fn mismatch(&self, request: &RequestView<'_>, draw: u64) -> Option<Mismatch<'_>> {
        if !path_matches(&self.path, self.ignore_case, request) {
            return Some(Mismatch::Path(&self.path));
        }
        if let Some(header) = self.headers.iter().find(|h| !header_matches(h, request)) {
            return Some(Mismatch::Header(header));
        }
        if let Some(query) = self.query.iter().find(|q| !q.matches(request.query)) {
            return Some(Mismatch::Query(query));
        }
        if let Some(metadata) = self.metadata.iter().find(|m| !m.matches(request.metadata)) {
            return Some(Mismatch::Metadata(metadata));
        }
        self.share.filter(|share| !share.takes(draw)).map(Mismatch::Share)
    }
}

/// Does the request's path match?
pub fn path_matches(path: &PathMatch, ignore_case: bool, request: &RequestView<'_>) -> bool {
    let connect = request.method == http::Method::CONNECT;
    let is = request.path.as_bytes();
    match path {
        PathMatch::Connect => connect,
        PathMatch::Prefix(prefix) if prefix == "/" => !connect || !is.is_empty(),
        PathMatch::Prefix(prefix) => starts_with(is, prefix.as_bytes(), ignore_case),
        PathMatch::SegmentPrefix(prefix) => {
            starts_with(is, prefix.as_bytes(), ignore_case) && matches!(is.get(prefix.len()), None | Some(b'/'))
        }
        PathMatch::Exact(path) if ignore_case => request.path.eq_ignore_ascii_case(path),
        PathMatch::Exact(path) => request.path == path,
        PathMatch::Regex(pattern) => pattern.is_match(request.path),
    }
}

/// Does a request meet the condition?
pub fn header_matches(matcher: &HeaderMatch, request: &RequestView<'_>) -> bool {
    match &matcher.key {
        HeaderKey::Name(name) => matcher.matches_fields(request.headers, name),
        key => matcher.matches(header_value(key, request).as_deref()),
    }
}

/// What a request has there.
pub(crate) fn header_value<'a>(key: &HeaderKey, request: &RequestView<'a>) -> Option<Cow<'a, str>> {
    Some(match key {
        HeaderKey::Method => request.method.as_str().into(),
        HeaderKey::Authority => request.authority.into(),
        HeaderKey::Scheme => request.scheme.into(),
        HeaderKey::Path => match request.query {
            Some(query) => format!("{}?{query}", request.path).into(),
            None => request.path.into(),
        },
        HeaderKey::Name(name) => return header_text(request.headers, name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::{QueryMatch, QueryValue, StringMatch};
    use crate::route::{Action, Forward};
    use crate::{Fraction, Pattern};

    fn host(name: &str, domains: &[&str]) -> VirtualHost {
        VirtualHost {
            name: name.into(),
            domains: domains.iter().map(|d| d.to_string()).collect(),
            ..VirtualHost::default()
        }
    }

    #[test]
    fn hosts() {
        let table = RouteConfiguration::new(
            "t",
            vec![
                host("exact", &["reviews", "reviews.default"]),
                host("long", &["*.a.example.org"]),
                host("short", &["*.example.org"]),
                host("prefix", &["api.*"]),
                host("any", &["*"]),
            ],
        );
        let index = HostIndex::new(&table);
        for (authority, expected) in [
            ("reviews", "exact"),
            ("REVIEWS:9080", "exact"),
            ("x.a.example.org", "long"),
            ("x.b.example.org", "short"),
            ("a.example.org", "short"),
            ("example.org", "any"),
            ("api.test", "prefix"),
            ("[::1]:80", "any"),
            ("", "any"),
        ] {
            assert_eq!(&*find_host(&table, &index, authority).unwrap().name, expected, "{authority}");
        }
        let strict = RouteConfiguration { ignore_port: false, ..table };
        assert_eq!(&*find_host(&strict, &HostIndex::new(&strict), "reviews:9080").unwrap().name, "any");
    }

    fn check(matches: RouteMatch, request: RequestView<'_>, expected: bool) {
        assert_eq!(matches.matches(&request, 0), expected, "{matches:?} on {request:?}");
    }

    fn on(path: PathMatch) -> RouteMatch {
        Route::new(path, Action::Forward(Box::new(Forward::to("c")))).matches
    }

    #[test]
    fn paths() {
        let prefix = |p: &str| on(PathMatch::Prefix(p.into()));
        let segment = |p: &str| on(PathMatch::SegmentPrefix(p.into()));
        for (matches, path, expected) in [
            (prefix("/foo"), "/foobar", true),
            (prefix("/foo"), "/FOO", false),
            (RouteMatch { ignore_case: true, ..prefix("/foo") }, "/FOObar", true),
            (segment("/foo"), "/foo", true),
            (segment("/foo"), "/foo/bar", true),
            (segment("/foo"), "/foobar", false),
            (on(PathMatch::Exact("/a".into())), "/a", true),
            (on(PathMatch::Exact("/a".into())), "/a?x=1", true),
            (on(PathMatch::Exact("/a".into())), "/a/", false),
            (on(PathMatch::Regex(Pattern::new("/v[0-9]+").unwrap())), "/v12", true),
            (on(PathMatch::Regex(Pattern::new("/v[0-9]+").unwrap())), "/v12/x", false),
            (on(PathMatch::Connect), "/", false),
        ] {
            check(matches, RequestView::get("h", path), expected);
        }
    }

    #[test]
    fn all_conditions_together() {
        let matches = RouteMatch {
            headers: [HeaderMatch::text(HeaderKey::Method, StringMatch::exact("GET"))].into(),
            query: [QueryMatch { name: "q".into(), value: QueryValue::Present(true) }].into(),
            ..on(PathMatch::Prefix("/".into()))
        };
        check(matches.clone(), RequestView::get("h", "/a?q=1"), true);
        check(matches.clone(), RequestView::get("h", "/a"), false);
        check(RouteMatch { share: Some(Fraction::NONE), ..matches }, RequestView::get("h", "/a?q=1"), false);
    }

    #[test]
    fn first_route_wins() {
        let route = |path: &str, name: &str| Route {
            name: name.into(),
            ..Route::new(PathMatch::Prefix(path.into()), Action::Forward(Box::new(Forward::to(name))))
        };
        let mut all = host("h", &["*"]);
        all.routes = vec![route("/a", "one"), route("/ab", "two"), route("/b", "three")];
        let table = RouteConfiguration::new("t", vec![all]);
        let index = HostIndex::new(&table);
        let name = |path| find(&table, &index, &RequestView::get("x", path), 0).map(|f| f.route.name.to_string());
        assert_eq!(name("/abc"), Ok("one".to_owned()));
        assert_eq!(name("/b"), Ok("three".to_owned()));
        assert_eq!(name("/c"), Err(NotFound::Route));
    }

    #[test]
    fn weights() {
        let mut forward = Forward::to("a");
        forward.clusters[0].weight = 90;
        forward.clusters.push(crate::route::WeightedCluster::new("b", 10));
        let to_b = (0..100).filter(|d| &*forward.pick(*d).unwrap().name == "b").count();
        assert_eq!(to_b, 10);
    }
}
