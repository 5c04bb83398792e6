//! The names that a proxy's DNS answers itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Names and their addresses (on the wire Istio's `NameTable`, sent only to proxies that answer DNS).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameTable {
    /// By name in lower case without the last dot; `*.suffix` stands for every name that ends so.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Which other names may be asked for elsewhere; none: any.
    pub limit: Option<NameLimit>,
}

/// Names that may be asked for elsewhere, and no others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameLimit {
    /// In lower case without the last dot; `*.suffix` stands for every name that ends so.
    pub names: Vec<String>,
    /// Who says so, for people: the policies.
    pub policies: Arc<str>,
}

impl NameLimit {
    /// May this name (in any case, with or without its last dot) be asked for?
    pub fn allows(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.names.iter().any(|allowed| match allowed.strip_prefix('*') {
            Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
            None => name == *allowed,
        })
    }
}

impl NameTable {
    /// The resource under which the table travels that holds most names. Services whose addresses come and go have tables of
    /// their own, by their hosts, so that the others need not be told again.
    pub const RESOURCE: &str = "names";
}

/// All tables of a proxy, asked as one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameTables(pub Vec<Arc<NameTable>>);

impl NameTables {
    /// The addresses of a name (in any case, with or without its last dot): its own, else the longest wildcard's.
    pub fn find(&self, name: &str) -> Option<&[IpAddr]> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let get = |name: &str| self.0.iter().find_map(|table| table.names.get(name)).map(Vec::as_slice);
        let dots = name.match_indices('.').map(|(at, _)| at);
        get(&name).or_else(|| dots.filter_map(|at| get(&format!("*{}", &name[at..]))).next())
    }

    /// Who forbids that this name is asked for elsewhere; none: it may be.
    pub fn forbids(&self, name: &str) -> Option<&Arc<str>> {
        let limit = self.0.iter().filter_map(|table| table.limit.as_ref()).find(|limit| !limit.allows(name));
        limit.map(|limit| &limit.policies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_wildcards() {
        let ip = |last| IpAddr::from([240, 240, 0, last]);
        let table = |names: &[(&str, u8)]| {
            let names = names.iter().map(|(name, last)| ((*name).to_owned(), vec![ip(*last)]));
            Arc::new(NameTable { names: names.collect(), limit: None })
        };
        let most = table(&[("reviews", 1), ("*.example.org", 2), ("*.a.example.org", 3)]);
        let tables = NameTables(vec![most, table(&[("x.b.example.org", 4)])]);
        for (name, expected) in [
            ("reviews", Some(1)),
            ("REVIEWS.", Some(1)),
            ("x.example.org", Some(2)),
            ("x.a.example.org", Some(3)),
            ("x.b.example.org", Some(4)),
            ("example.org", None),
            ("", None),
        ] {
            assert_eq!(tables.find(name), expected.map(|last| vec![ip(last)]).as_deref(), "{name}");
        }
    }

    #[test]
    fn names_that_may_be_asked_for() {
        let names = ["api.example.com", "*.example.org"].map(str::to_owned).to_vec();
        let limit = NameLimit { names, policies: "default/a".into() };
        let table = NameTable { limit: Some(limit), ..NameTable::default() };
        let tables = NameTables(vec![Arc::new(NameTable::default()), Arc::new(table)]);
        for (name, allowed) in [
            ("api.example.com", true),
            ("API.example.com.", true),
            ("x.api.example.com", false),
            ("example.com", false),
            ("a.b.example.org", true),
            ("example.org", false),
            (".example.org", false),
            ("evilexample.org", false),
            ("", false),
        ] {
            assert_eq!(tables.forbids(name).is_none(), allowed, "{name}");
        }
        assert_eq!(tables.forbids("evil.test").map(|by| &**by), Some("default/a"));
        assert_eq!(NameTables::default().forbids("evil.test"), None);
    }
}
