//! Where the answers are known to differ, and why. `docs/envoy-compatibility.md` has the same table for people.

use crate::case::{Differs, Group};

/// Cases that differ for one reason.
struct Difference {
    /// Why, in a sentence.
    reason: &'static str,
    /// Which lines of the outcome, by the beginnings of their names. Each must differ.
    lines: &'static [&'static str],
    /// `group: case`.
    cases: &'static [&'static str],
}

/// Puts the differences to their cases. A case that is not there is told with the documentation.
pub fn mark(groups: &mut [Group]) {
    for Difference { reason, lines, cases } in DIFFERENCES {
        for group in groups.iter_mut() {
            for case in &mut group.cases {
                if cases.iter().any(|name| name.split_once(": ") == Some((group.name, case.name))) {
                    case.differs.push(Differs { lines, reason });
                }
            }
        }
    }
}

const DIFFERENCES: &[Difference] = &[
];
