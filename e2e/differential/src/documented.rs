//! The known differences stand twice: as data at the cases, and for people in `docs/envoy-compatibility.md`. Both must
//! say the same.

use std::collections::BTreeSet;

use crate::case::Group;
use crate::refusals::{self, Wrong};

const DOCUMENT: &str = include_str!("../../../docs/envoy-compatibility.md");
const TITLE: &str = "## Where the answer differs";

/// What the two lists do not agree on.
pub fn disagreements(groups: &[Group], files: &[Wrong]) -> Vec<String> {
    let known = |file: &Wrong| Some((format!("{}: {}", refusals::NAME, file.name), file.differs?.to_owned()));
    let mut cases: Rows = files.iter().filter_map(known).collect();
    for group in groups {
        for case in &group.cases {
            let name = format!("{}: {}", group.name, case.name);
            cases.extend(case.differs.iter().map(|differs| (name.clone(), differs.reason.to_owned())));
        }
    }
    compare(&cases, &rows(DOCUMENT))
}

type Rows = BTreeSet<(String, String)>;

fn compare(cases: &Rows, rows: &Rows) -> Vec<String> {
    let missing = cases.difference(rows).map(|(name, why)| format!("the table has no line `{why}` for `{name}`"));
    let more =
        rows.difference(cases).map(|(name, why)| format!("`{name}` stands there with `{why}`, but no case says so"));
    missing.chain(more).collect()
}

/// The rows of the table: `| reason | names of cases in backticks |`.
fn rows(document: &str) -> Rows {
    let table = document.split_once(TITLE).map_or("", |(_, rest)| rest);
    let table = table.split("\n## ").next().unwrap_or_default();
    let mut rows = Rows::new();
    for line in table.lines().filter(|line| line.starts_with("| ")) {
        let Some((reason, names)) = line.trim_matches(['|', ' ']).rsplit_once(" | ") else { continue };
        for name in names.split('`').skip(1).step_by(2) {
            rows.insert((name.to_owned(), reason.trim().to_owned()));
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
        assert!(found.contains(&("a: c".to_owned(), "because `x`".to_owned())));
        assert!(compare(&found, &found).is_empty());
        assert_eq!(compare(&found, &Rows::new()).len(), 2);
        assert_eq!(compare(&Rows::new(), &found).len(), 2);
    }
}
