//! What a path or location becomes.

use base::host::split_authority;

use super::{PathMatch, PathRewrite, Redirect, RedirectPath, RequestView, RouteMatch};

/// The path (with query) that an upstream sees. With a prefix match only the matched prefix is replaced; with any
/// other match `PathRewrite::Prefix` replaces the whole path (Istio's rule, by Envoy's means).
pub fn rewritten_path(rewrite: &PathRewrite, matches: &RouteMatch, request: &RequestView<'_>) -> String {
    let path = match rewrite {
        PathRewrite::Prefix(new) => replace_prefix(new, matches, request.path),
        PathRewrite::Regex { pattern, substitution } => pattern.replace_all(request.path, substitution),
    };
    with_query(path, request.query)
}

/// The `Location` of a redirect. The request's port stays, unless another port or host is set, or it is the default
/// of the scheme that is left (Envoy's rule). The default port of the new scheme is not written (Istio's rule).
pub fn redirect_location(redirect: &Redirect, matches: &RouteMatch, request: &RequestView<'_>) -> String {
    let scheme = redirect.scheme.as_deref().unwrap_or(request.scheme);
    let (old_host, old_port) = split_authority(request.authority);
    let host = redirect.host.as_deref().unwrap_or(old_host);
    let kept = old_port.filter(|p| redirect.host.is_none() && *p != default_port(request.scheme));
    let port = redirect.port.or(kept).filter(|p| *p != default_port(scheme));
    let port = port.map(|p| format!(":{p}")).unwrap_or_default();
    let query = if redirect.strip_query { None } else { request.query };
    let target = match &redirect.path {
        Some(RedirectPath::Full(path)) if path.contains('?') => path.clone(),
        Some(RedirectPath::Full(path)) => with_query(path.clone(), query),
        Some(RedirectPath::Prefix(new)) => with_query(replace_prefix(new, matches, request.path), query),
        None => with_query(request.path.to_owned(), query),
    };
    format!("{scheme}://{host}{port}{target}")
}

fn default_port(scheme: &str) -> u16 {
    if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 }
}

fn replace_prefix(new: &str, matches: &RouteMatch, path: &str) -> String {
    let matched = match &matches.path {
        PathMatch::Prefix(prefix) | PathMatch::SegmentPrefix(prefix) => prefix.len(),
        _ => path.len(),
    };
    let rest = path.get(matched..).unwrap_or_default();
    match (new.ends_with('/'), rest.starts_with('/')) {
        (true, true) if matches!(matches.path, PathMatch::SegmentPrefix(_)) => format!("{new}{}", &rest[1..]),
        _ if new.is_empty() && rest.is_empty() => "/".to_owned(),
        _ => format!("{new}{rest}"),
    }
}

fn with_query(mut path: String, query: Option<&str>) -> String {
    if let Some(query) = query {
        path.push('?');
        path.push_str(query);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pattern;
    use crate::route::{Action, Forward, Route};

    fn on(path: PathMatch) -> RouteMatch {
        Route::new(path, Action::Forward(Box::new(Forward::to("c")))).matches
    }

    #[test]
    fn rewrites() {
        let prefix = |p: &str| on(PathMatch::Prefix(p.into()));
        let new = |p: &str| PathRewrite::Prefix(p.into());
        let regex = PathRewrite::Regex {
            pattern: Pattern::search("^/v([0-9])/(.*)$").unwrap(),
            substitution: r"/\2/$\1".into(),
        };
        for (rewrite, matches, path, expected) in [
            (new("/b"), prefix("/a"), "/a/c?x=1", "/b/c?x=1"),
            (new("/"), prefix("/a/"), "/a/c", "/c"),
            (new("/b"), on(PathMatch::Exact("/a".into())), "/a?q", "/b?q"),
            (new("/"), on(PathMatch::SegmentPrefix("/a".into())), "/a/c", "/c"),
            (new("/"), on(PathMatch::SegmentPrefix("/a".into())), "/a", "/"),
            (regex, prefix("/"), "/v1/books?x", "/books/$1?x"),
        ] {
            assert_eq!(rewritten_path(&rewrite, &matches, &RequestView::get("h", path)), expected, "{rewrite:?}");
        }
    }

    #[test]
    fn redirects() {
        let none = Redirect { status: 301, scheme: None, host: None, port: None, path: None, strip_query: false };
        let to = |scheme: &str| Redirect { scheme: Some(scheme.into()), ..none.clone() };
        let https = to("https");
        let path = |p: &str| Some(RedirectPath::Full(p.into()));
        let other = |host: &str| Redirect { host: Some(host.into()), ..none.clone() };
        for (authority, redirect, expected) in [
            ("h.example:8080", https.clone(), "https://h.example:8080/a/b?q=1"),
            ("h.example:80", https.clone(), "https://h.example/a/b?q=1"),
            ("h.example:443", https.clone(), "https://h.example/a/b?q=1"),
            ("h.example", https.clone(), "https://h.example/a/b?q=1"),
            ("[::1]:8080", https.clone(), "https://[::1]:8080/a/b?q=1"),
            ("[::1]:80", https.clone(), "https://[::1]/a/b?q=1"),
            ("h.example:443", to("http"), "http://h.example:443/a/b?q=1"),
            ("h.example:8080", Redirect { port: Some(8443), ..https.clone() }, "https://h.example:8443/a/b?q=1"),
            ("h.example:8080", Redirect { port: Some(443), ..https }, "https://h.example/a/b?q=1"),
            ("h.example:8080", Redirect { port: Some(9), ..none.clone() }, "http://h.example:9/a/b?q=1"),
            ("h.example:8080", other("o"), "http://o/a/b?q=1"),
            ("h.example:8080", other("o:81"), "http://o:81/a/b?q=1"),
            ("h.example:8080", Redirect { port: Some(9), ..other("o") }, "http://o:9/a/b?q=1"),
            ("h.example:8080", Redirect { path: path("/x"), ..none.clone() }, "http://h.example:8080/x?q=1"),
            ("h.example:8080", Redirect { path: path("/x?y"), ..none.clone() }, "http://h.example:8080/x?y"),
            ("h.example:8080", Redirect { strip_query: true, ..none.clone() }, "http://h.example:8080/a/b"),
            (
                "h.example:8080",
                Redirect { path: Some(RedirectPath::Prefix("/new".into())), ..none },
                "http://h.example:8080/new/b?q=1",
            ),
        ] {
            let request = RequestView::get(authority, "/a/b?q=1");
            let location = redirect_location(&redirect, &on(PathMatch::Prefix("/a".into())), &request);
            assert_eq!(location, expected, "{authority} {redirect:?}");
        }
    }
}
