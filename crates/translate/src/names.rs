//! The names of clusters, listeners and routes: Istio's, since people and tools read them.

use std::sync::Arc;

/// Unknown destinations are dialled as they are.
pub const PASSTHROUGH: &str = "PassthroughCluster";
/// Unknown destinations are refused.
pub const BLACK_HOLE: &str = "BlackHoleCluster";

/// `outbound|9080|v1|reviews.default.svc.cluster.local`
pub fn outbound(port: u16, subset: &str, host: &str) -> Arc<str> {
    format!("outbound|{port}|{subset}|{host}").into()
}

/// The port, subset and host of such a name.
pub fn parts(cluster: &str) -> Option<(u16, &str, &str)> {
    let mut parts = cluster.strip_prefix("outbound|")?.splitn(3, '|');
    Some((parts.next()?.parse().ok()?, parts.next()?, parts.next()?))
}

/// `inbound|9080||`
pub fn inbound(port: u16) -> Arc<str> {
    format!("inbound|{port}||").into()
}

/// A host without the dot that DNS may have at its end.
pub fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// A gateway as a rule in `namespace` means it: `namespace/name`. A name alone and `./name` stand for one of the rule's
/// namespace; `name.namespace.svc.cluster.local` is the old way to name another one's (Istio still reads it).
pub fn complete_gateway(name: &str, namespace: &str) -> String {
    match (name.split_once('/'), name.split_once('.')) {
        (Some((".", name)), _) => format!("{namespace}/{name}"),
        (Some(_), _) => name.to_owned(),
        (None, Some((name, rest))) => format!("{}/{name}", rest.split('.').next().unwrap_or_default()),
        (None, None) => format!("{namespace}/{name}"),
    }
}

/// A host as a rule in `namespace` means it: a name without a dot is a service of that namespace.
pub fn complete_host(host: &str, namespace: &str, dns_domain: &str) -> String {
    let host = without_dot(host);
    if host == "*" || host.contains('.') || host.parse::<std::net::IpAddr>().is_ok() {
        host.to_ascii_lowercase()
    } else {
        format!("{}.{namespace}.svc.{dns_domain}", host.to_ascii_lowercase())
    }
}

/// The shorter forms under which a program in `namespace` can name a service's host, the whole one first.
pub fn short_forms(host: &str, namespace: &str, dns_domain: &str) -> Vec<String> {
    let mut forms = vec![host.to_owned()];
    let Some(rest) = host.strip_suffix(dns_domain).and_then(|h| h.strip_suffix(".svc.")) else { return forms };
    let Some((name, of)) = rest.rsplit_once('.') else { return forms };
    if name.contains('.') {
        return forms;
    }
    if of == namespace {
        forms.push(name.to_owned());
    }
    forms.push(format!("{name}.{of}"));
    forms.push(format!("{name}.{of}.svc"));
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completed() {
        for (host, expected) in [
            ("reviews", "reviews.default.svc.cluster.local"),
            ("reviews.prod", "reviews.prod"),
            ("Example.org", "example.org"),
            ("example.org.", "example.org"),
            ("*", "*"),
            ("*.example.org", "*.example.org"),
            ("::1", "::1"),
        ] {
            assert_eq!(complete_host(host, "default", "cluster.local"), expected);
        }
    }

    #[test]
    fn taken_apart() {
        assert_eq!(parts(&outbound(80, "v1", "a.b")), Some((80, "v1", "a.b")));
        assert_eq!(parts(&outbound(80, "", "*.b")), Some((80, "", "*.b")));
        assert_eq!((parts(&inbound(80)), parts(PASSTHROUGH)), (None, None));
    }

    #[test]
    fn gateways() {
        for (name, expected) in [
            ("g", "default/g"),
            ("./g", "default/g"),
            ("edge/g", "edge/g"),
            ("g.edge.svc.cluster.local", "edge/g"),
            ("g.edge", "edge/g"),
        ] {
            assert_eq!(complete_gateway(name, "default"), expected);
        }
    }

    #[test]
    fn shortened() {
        let forms = |host, ns| short_forms(host, ns, "cluster.local");
        let whole = "reviews.default.svc.cluster.local";
        assert_eq!(forms(whole, "default"), [whole, "reviews", "reviews.default", "reviews.default.svc"]);
        assert_eq!(forms(whole, "prod"), [whole, "reviews.default", "reviews.default.svc"]);
        assert_eq!(forms("example.org", "default"), ["example.org"]);
    }
}
