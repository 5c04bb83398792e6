//! The names that a proxy's DNS answers itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Names and their addresses (on the wire Istio's `NameTable`, sent only to proxies that answer DNS).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameTable {
    /// By name in lower case without the last dot; `*.suffix` stands for every name that ends so.
    pub names: BTreeMap<String, Vec<IpAddr>>,
}

impl NameTable {
    /// The one resource name under which the table travels.
    pub const RESOURCE: &str = "names";

    /// The addresses of a name (in any case, with or without its last dot): its own, else the longest wildcard's.
    pub fn find(&self, name: &str) -> Option<&[IpAddr]> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(found) = self.names.get(&name) {
            return Some(found);
        }
        let dots = name.match_indices('.').map(|(at, _)| at);
        dots.filter_map(|at| self.names.get(&format!("*{}", &name[at..]))).next().map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_wildcards() {
        let ip = |last| IpAddr::from([240, 240, 0, last]);
        let table = NameTable {
            names: [("reviews", 1), ("*.example.org", 2), ("*.a.example.org", 3)]
                .map(|(name, last)| (name.to_owned(), vec![ip(last)]))
                .into(),
        };
        for (name, expected) in [
            ("reviews", Some(1)),
            ("REVIEWS.", Some(1)),
            ("x.example.org", Some(2)),
            ("x.a.example.org", Some(3)),
            ("example.org", None),
            ("", None),
        ] {
            assert_eq!(table.find(name), expected.map(|last| vec![ip(last)]).as_deref(), "{name}");
        }
    }
}
