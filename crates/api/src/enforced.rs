//! Fields that are valid and checked, but do not have their effect yet. Using one gives a warning that says what
//! happens instead: no line of configuration is ignored silently.

use crate::kind::Kind;
use crate::report::{Report, Step, find};
use crate::yaml::{Node, Value};

/// Kind, field, and what happens instead (after "this is not enforced yet: ").
///
/// The field is a path as in problems, where `[]` stands for any item of a list and `*` for any key of a map:
/// `spec.http[].match[].sourceLabels`. With `=word` at its end it concerns only that value:
/// `spec.trafficPolicy.loadBalancer.simple=PASSTHROUGH`. A field that is absent, empty or `false` gives no warning.
pub type NotEnforced = (Kind, &'static str, &'static str);

/// The fields that are not enforced yet.
pub const NOT_ENFORCED: &[NotEnforced] = &[];

/// Warns of each field of the document `node` that stands in `table`. The walk must stand at the document.
pub(crate) fn warn(kind: Kind, table: &[NotEnforced], node: &Node, report: &mut Report) {
    for (_, pattern, instead) in table.iter().filter(|(k, _, _)| *k == kind) {
        let (path, word) = match pattern.split_once('=') {
            Some((path, word)) => (path, Some(word)),
            None => (*pattern, None),
        };
        let parts: Vec<&'static str> = path.split('.').flat_map(parts_of).collect();
        walk(&parts, word, instead, node, report);
    }
}

/// `http[]` is the field `http`, and then each item.
fn parts_of(part: &'static str) -> impl Iterator<Item = &'static str> {
    let (name, list) = match part.strip_suffix("[]") {
        Some(name) => (name, Some("[]")),
        None => (part, None),
    };
    std::iter::once(name).chain(list)
}

fn walk(parts: &[&'static str], word: Option<&str>, instead: &str, node: &Node, report: &mut Report) {
    let Some((part, rest)) = parts.split_first() else {
        if is_set(node, word) {
            report.warning(format!("this is not enforced yet: {instead}"));
        }
        return;
    };
    match (*part, &node.value) {
        ("[]", Value::Sequence(items)) => {
            for (index, item) in items.iter().enumerate() {
                report.down(Step::Index(index), |r| walk(rest, word, instead, item, r));
            }
        }
        ("*", Value::Mapping(entries)) => {
            for entry in entries {
                report.down(Step::Key(entry.key.clone()), |r| walk(rest, word, instead, &entry.value, r));
            }
        }
        (name, _) => {
            if let Some(entry) = find(node, name) {
                report.field(name, |r| walk(rest, word, instead, &entry.value, r));
            }
        }
    }
}

fn is_set(node: &Node, word: Option<&str>) -> bool {
    match (&node.value, word) {
        (Value::String(text), Some(word)) => text == word,
        (_, Some(_)) => false,
        (Value::Null | Value::Bool(false), None) => false,
        (Value::Sequence(items), None) => !items.is_empty(),
        (Value::Mapping(entries), None) => !entries.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Limits, read};

    const TABLE: &[NotEnforced] = &[
        (Kind::VirtualService, "spec.http[].match[].sourceLabels", "the rule matches every caller"),
        (Kind::VirtualService, "spec.http[].match[].headers.*.regex", "it matches nothing"),
        (Kind::VirtualService, "spec.mode=FAST", "it is slow"),
        (Kind::DestinationRule, "spec", "never shown"),
    ];

    fn check(text: &str, expected: &[&str]) {
        let stream = read("f", text, &Limits::default());
        let mut report = Report::new("f", &stream.documents[0]);
        warn(Kind::VirtualService, TABLE, &stream.documents[0], &mut report);
        let found: Vec<String> = report.finish(None).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn table() {
        check(
            "spec:\n  http:\n  - match:\n    - uri: {}\n    - sourceLabels: {app: a}\n    - source_labels: {app: b}\n",
            &[
                "f:5:7: warning: spec.http[0].match[1].sourceLabels: this is not enforced yet: the rule matches every caller",
                "f:6:7: warning: spec.http[0].match[2].sourceLabels: this is not enforced yet: the rule matches every caller",
            ],
        );
        check(
            "spec: {http: [{match: [{headers: {x-user: {regex: a}}, sourceLabels: {}}]}]}",
            &[
                "f:1:51: warning: spec.http[0].match[0].headers.x-user.regex: this is not enforced yet: it matches nothing",
            ],
        );
        check("spec: {mode: FAST}", &["f:1:14: warning: spec.mode: this is not enforced yet: it is slow"]);
        check("spec: {mode: SLOW}", &[]);
    }
}
