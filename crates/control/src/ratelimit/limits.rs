//! The limits of a domain, found by what a request is counted by, as Envoy's own rate limit service finds them.
//!
//! Entries of a descriptor are looked up one below the other: by key and value, else by the values that end in `*`, else
//! by the key alone. A limit counts if it stands at the descriptor's last entry.

use api::halcyon::{LimitDescriptor, LimitFile, Window};
use translate::rate_limits::Shape;

/// The limits of one domain.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tree {
    below: Vec<Branch>,
}

#[derive(Debug, Clone, PartialEq)]
struct Branch {
    key: String,
    value: Wanted,
    limit: Option<Limit>,
    below: Tree,
}

/// Which values an entry takes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Any,
    Exactly(String),
    /// Those that begin so; `together`: they have one count.
    Beginning {
        text: String,
        together: bool,
    },
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// How many requests pass, and in which time; none: all.
    pub rate: Option<(u32, Window)>,
    /// Its name.
    pub name: String,
    /// The names of limits that do not count where this one does.
    pub replaces: Vec<String>,
    /// It refuses nobody.
    pub shadow: bool,
    /// Answers say nothing of it in headers.
    pub quiet: bool,
}

/// A limit that a request falls under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'t> {
    /// The limit.
    pub limit: &'t Limit,
    /// Under which it is counted: each text is escaped, so that different descriptors never look alike.
    pub key: String,
}

impl Tree {
    /// The limits of a file.
    pub fn of_file(file: &LimitFile) -> Self {
        Self::of_list(&file.descriptors)
    }

    fn of_list(list: &[LimitDescriptor]) -> Self {
        let branch = |one: &LimitDescriptor| Branch {
            key: one.key.value.clone(),
            value: wanted(one),
            limit: one.rate_limit.as_ref().map(|rate| Limit {
                rate: rate.unit.filter(|_| !rate.unlimited).map(|unit| (rate.requests_per_unit, unit.0)),
                name: rate.name.clone(),
                replaces: rate.replaces.iter().map(|replaced| replaced.name.clone()).collect(),
                shadow: one.shadow_mode,
                quiet: false,
            }),
            below: Self::of_list(&one.descriptors),
        };
        Self { below: list.iter().map(branch).collect() }
    }

    /// Adds a limit under entries.
    pub fn add(&mut self, shape: &Shape, limit: &Limit) {
        let Some(((key, value), rest)) = shape.split_first() else { return };
        let value = value.as_ref().map_or(Wanted::Any, |value| Wanted::Exactly(value.clone()));
        let at = self.below.iter().position(|one| one.key == *key && one.value == value).unwrap_or_else(|| {
            self.below.push(Branch { key: key.clone(), value, limit: None, below: Self::default() });
            self.below.len() - 1
        });
        let branch = &mut self.below[at];
        match rest {
            [] => branch.limit = Some(limit.clone()),
            rest => branch.below.add(&rest.to_vec(), limit),
        }
    }

    /// The limit for a descriptor, if there is one.
    pub fn find(&self, entries: &[(String, String)]) -> Option<Found<'_>> {
        let (mut tree, mut path) = (self, String::new());
        for (index, (key, value)) in entries.iter().enumerate() {
            let branch = tree.branch(key, value)?;
            let counted = match &branch.value {
                Wanted::Beginning { text, together: true } => format!("{text}*"),
                _ => value.clone(),
            };
            path += &format!("|{}={}", escaped(key), escaped(&counted));
            if index + 1 == entries.len() {
                return branch.limit.as_ref().map(|limit| Found { limit, key: path });
            }
            tree = &branch.below;
        }
        None
    }

    fn branch(&self, key: &str, value: &str) -> Option<&Branch> {
        let find = |fits: &dyn Fn(&Wanted) -> bool| self.below.iter().find(|one| one.key == key && fits(&one.value));
        find(&|wanted| matches!(wanted, Wanted::Exactly(text) if text == value))
            .or_else(|| find(&|wanted| matches!(wanted, Wanted::Beginning { text, .. } if value.starts_with(text))))
            .or_else(|| find(&|wanted| *wanted == Wanted::Any))
    }
}

fn wanted(one: &LimitDescriptor) -> Wanted {
    match one.value.as_ref().map(|value| value.0.as_str()) {
        None | Some("") => Wanted::Any,
        Some(text) => match text.strip_suffix('*') {
            Some(text) => Wanted::Beginning { text: text.to_owned(), together: one.share_threshold },
            None => Wanted::Exactly(text.to_owned()),
        },
    }
}

/// What separates parts of a key does not stand in them.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' | '|' | '=' | '@' => out += &format!("%{:02X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
domain: d
descriptors:
- key: user
  rate_limit: {unit: minute, requests_per_unit: 1}
  descriptors:
  - key: path
    value: /slow
    rate_limit: {unit: hour, requests_per_unit: 2, name: slow, replaces: [{name: other}]}
- key: user
  value: root
  rate_limit: {unlimited: true}
- key: user
  value: bot-*
  rate_limit: {unit: DAY, requests_per_unit: 3}
- key: user
  value: crawler-*
  share_threshold: true
  shadow_mode: true
  rate_limit: {unit: week, requests_per_unit: 4}
- key: code
  value: 404
  descriptors:
  - {key: ip, rate_limit: {unit: month, requests_per_unit: 5}}
- {key: y, rate_limit: {unit: year, requests_per_unit: 6}}
";

    /// The rate and the key of what is found.
    fn found(tree: &Tree, entries: &str) -> String {
        let pairs = entries.split(' ').map(|pair| pair.split_once('=').unwrap());
        let entries: Vec<_> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        match tree.find(&entries) {
            None => "none".to_owned(),
            Some(Found { limit, key }) => {
                let rate = limit.rate.map_or("unlimited".to_owned(), |(n, unit)| format!("{n}/{}", unit.as_str()));
                format!("{rate}{} {key}", if limit.shadow { " shadow" } else { "" })
            }
        }
    }

    #[test]
    fn which_limit_is_for_a_descriptor() {
        let tree = Tree::of_file(&LimitFile::read("f", FILE).unwrap());
        for (entries, expected) in [
            ("user=anna", "1/minute |user=anna"),
            ("user=", "1/minute |user="),
            ("user=root", "unlimited |user=root"),
            ("user=bot-7", "3/day |user=bot-7"),
            ("user=crawler-7", "4/week shadow |user=crawler-*"),
            ("user=anna path=/slow", "2/hour |user=anna|path=/slow"),
            ("user=anna path=/fast", "none"),
            // What has a value of its own does not look further (as Envoy's service).
            ("user=root path=/slow", "none"),
            ("code=404", "none"),
            ("code=404 ip=::1", "5/month |code=404|ip=::1"),
            ("code=405 ip=::1", "none"),
            ("y=1", "6/year |y=1"),
            ("x=1", "none"),
            ("user=a|b%c", "1/minute |user=a%7Cb%25c"),
        ] {
            assert_eq!(found(&tree, entries), expected, "{entries}");
        }
    }

    #[test]
    fn limits_of_policies() {
        let mut tree = Tree::default();
        let limit = |n| Limit {
            rate: Some((n, Window::Day)),
            name: String::new(),
            replaces: Vec::new(),
            shadow: false,
            quiet: false,
        };
        let shape = |text: &str| {
            let pairs = text.split(' ').map(|pair| pair.split_once('=').unwrap());
            pairs.map(|(key, value)| (key.to_owned(), (value != "?").then(|| value.to_owned()))).collect::<Shape>()
        };
        tree.add(&shape("limit=a tenant=?"), &limit(1));
        tree.add(&shape("limit=a"), &limit(1));
        tree.add(&shape("limit=b"), &limit(2));
        for (entries, expected) in [
            ("limit=a tenant=acme", "1/day |limit=a|tenant=acme"),
            ("limit=a", "1/day |limit=a"),
            ("limit=b", "2/day |limit=b"),
            ("limit=b tenant=acme", "none"),
        ] {
            assert_eq!(found(&tree, entries), expected, "{entries}");
        }
    }
}
