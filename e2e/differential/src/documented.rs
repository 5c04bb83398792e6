//! The known differences stand twice: as data at the cases, and for people in `docs/envoy-compatibility.md`. Both must
//! say the same.

use std::collections::BTreeMap;

use crate::case::Group;

const DOCUMENT: &str = include_str!("../../../docs/envoy-compatibility.md");
const TITLE: &str = "## Where the answer differs";

/// What the two lists do not agree on.
pub fn disagreements(groups: &[Group]) -> Vec<String> {
    let mut cases = BTreeMap::new();
    for group in groups {
        for case in &group.cases {
            if let Some(differs) = &case.differs {
                cases.insert(format!("{}: {}", group.name, case.name), differs.reason.to_owned());
            }
        }
    }
    compare(&cases, &rows(DOCUMENT))
}

fn compare(cases: &BTreeMap<String, String>, rows: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, reason) in cases {
        match rows.get(name) {
            Some(written) if written == reason => {}
            Some(written) => wrong.push(format!("`{name}` differs because `{reason}`, but the table says `{written}`")),
            None => wrong.push(format!("`{name}` differs, and the table has no line for it: `{reason}`")),
        }
    }
    let more = rows.keys().filter(|name| !cases.contains_key(*name));
    wrong.extend(more.map(|name| format!("`{name}` stands in the table, but is no case that differs")));
    wrong
}

/// The rows of the table: `| reason | names of cases in backticks |`.
fn rows(document: &str) -> BTreeMap<String, String> {
    let table = document.split_once(TITLE).map_or("", |(_, rest)| rest);
    let table = table.split("\n## ").next().unwrap_or_default();
    let mut rows = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with("| ")) {
        let Some((reason, names)) = line.trim_matches(['|', ' ']).rsplit_once(" | ") else { continue };
        for name in names.split('`').skip(1).step_by(2) {
            rows.insert(name.to_owned(), reason.trim().to_owned());
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        let document = "x\n## Where the answer differs\n\n| why | cases |\n|---|---|\n| because `x` | `a: b`, `a: c` |\n## Next\n| no | `d: e` |";
        let found = rows(document);
        assert_eq!(found.len(), 2);
        assert_eq!(found["a: c"], "because `x`");
        assert!(compare(&found, &found).is_empty());
        assert_eq!(compare(&found, &BTreeMap::new()).len(), 2);
        assert_eq!(compare(&BTreeMap::new(), &found).len(), 2);
    }
}
