//! Fields that are valid and checked, but do not have their effect yet. Using one gives a warning that says what
//! happens instead: no line of configuration is ignored silently.

mod mesh;
mod table;

use crate::code::Code;
use crate::kind::Kind;
use crate::report::{Report, Step, find};
use crate::yaml::{Node, Value};

/// A field, and what happens instead (after "this is not enforced yet: ").
///
/// The field is a path from the document's root, as in problems. In it
/// * `[]` stands for any item of a list, and `*` for any key of a map: `spec.http[].match[].sourceLabels`;
/// * `[key]` names a key of a map that holds dots, and `[key*]` every key that begins so:
///   `metadata.annotations[example.org/*]`.
///
/// What stands behind the path narrows it to some values:
/// * `=word` to that word, alone or in a list with commas: `spec.trafficPolicy.loadBalancer.simple=PASSTHROUGH`;
/// * `=~text` to values that contain the text;
/// * `{}` takes in a block that is there but empty, since its presence alone has a meaning.
///
/// A field that is absent, empty, 0 or `false` gives no warning, unless its row names that word.
pub type NotEnforced = (&'static str, &'static str);

/// The fields of a kind that are not enforced yet.
pub fn not_enforced(kind: Kind) -> impl Iterator<Item = &'static NotEnforced> {
    let of_kind = table::TABLE.iter().filter(move |(k, _)| *k == kind);
    of_kind.flat_map(|(_, rows)| *rows)
}

/// The fields of MeshConfig that are not enforced. Their paths begin at the settings.
pub fn of_mesh_config() -> impl Iterator<Item = &'static NotEnforced> {
    mesh::MESH_CONFIG.iter()
}

/// The fields of a proxy's settings that are not enforced. Their paths begin at the settings.
pub fn of_proxy_config() -> impl Iterator<Item = &'static NotEnforced> {
    mesh::PROXY_CONFIG.iter()
}

/// Warns of each field of the document `node` that stands in `rows`. The walk must stand at the document.
pub(crate) fn warn<'t>(rows: impl Iterator<Item = &'t NotEnforced>, node: &Node, report: &mut Report) {
    for (pattern, instead) in rows {
        let (path, value) = read(pattern);
        walk(&path, value, instead, node, report);
    }
}

/// One step of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A field of the schema.
    Field(&'static str),
    /// Every item of a list.
    Items,
    /// This key of a map.
    Key(&'static str),
    /// Every key of a map that begins so.
    Keys(&'static str),
}

/// Which values of a field are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Set,
    Present,
    Word(&'static str),
    Containing(&'static str),
}

fn read(pattern: &'static str) -> (Vec<Part>, Is) {
    let (path, value) = if let Some((path, text)) = pattern.split_once("=~") {
        (path, Is::Containing(text))
    } else if let Some((path, word)) = pattern.split_once('=') {
        (path, Is::Word(word))
    } else if let Some(path) = pattern.strip_suffix("{}") {
        (path, Is::Present)
    } else {
        (pattern, Is::Set)
    };
    (parts(path), value)
}

fn parts(path: &'static str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some((key, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            parts.push(match (key, key.strip_suffix('*')) {
                ("", _) => Part::Items,
                (_, Some(prefix)) => Part::Keys(prefix),
                (key, None) => Part::Key(key),
            });
            rest = after;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let (name, after) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
            parts.push(if name == "*" { Part::Keys("") } else { Part::Field(name) });
            rest = after;
        }
    }
    parts
}

fn walk(parts: &[Part], value: Is, instead: &str, node: &Node, report: &mut Report) {
    let Some((part, rest)) = parts.split_first() else {
        if is_meant(node, value) {
            report.warning(format!("this is not enforced yet: {instead}")).code(Code::NotEnforced);
        }
        return;
    };
    match (*part, &node.value) {
        (Part::Items, Value::Sequence(items)) => {
            for (index, item) in items.iter().enumerate() {
                report.down(Step::Index(index), |r| walk(rest, value, instead, item, r));
            }
        }
        (Part::Key(_) | Part::Keys(_), Value::Mapping(entries)) => {
            for entry in entries.iter().filter(|entry| takes(*part, &entry.key)) {
                report.down(Step::Key(entry.key.clone()), |r| walk(rest, value, instead, &entry.value, r));
            }
        }
        (Part::Field(name), _) => {
            if let Some(entry) = find(node, name) {
                report.field(name, |r| walk(rest, value, instead, &entry.value, r));
            }
        }
        _ => {}
    }
}

fn takes(part: Part, key: &str) -> bool {
    match part {
        Part::Key(name) => key == name,
        Part::Keys(prefix) => key.starts_with(prefix),
        Part::Field(_) | Part::Items => false,
    }
}

fn is_meant(node: &Node, value: Is) -> bool {
    match (value, &node.value) {
        (Is::Word(word), Value::String(text)) => text.split(',').any(|w| w.trim() == word),
        (Is::Containing(part), Value::String(text)) => text.contains(part),
        (Is::Word(word), Value::Bool(set)) => word == if *set { "true" } else { "false" },
        (Is::Word(_) | Is::Containing(_), _) => false,
        (Is::Present, value) => matches!(value, Value::Mapping(_)),
        (Is::Set, Value::Null | Value::Bool(false)) => false,
        (Is::Set, Value::Number(number)) => number.as_float() != Some(0.0),
        (Is::Set, Value::Sequence(items)) => !items.is_empty(),
        (Is::Set, Value::Mapping(entries)) => !entries.is_empty(),
        (Is::Set, Value::String(text)) => !text.is_empty(),
        (Is::Set, Value::Bool(true)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Limits, read};

    const ROWS: &[NotEnforced] = &[
        ("spec.http[].match[].sourceLabels", "the rule matches every caller"),
        ("spec.http[].match[].headers.*.regex", "it matches nothing"),
        ("spec.http[].match[].headers[@*]", "no claim is read"),
        ("spec.mode=FAST", "it is slow"),
        ("spec.hosts[]=~/", "it is no block"),
        ("spec.limit", "there is none"),
        ("spec.block{}", "it is off"),
        ("metadata.annotations[example.org/a.b]", "nobody reads it"),
    ];

    fn check(text: &str, expected: &[&str]) {
        let stream = read("f", text, &Limits::default());
        let mut report = Report::new("f", &stream.documents[0]);
        warn(ROWS.iter(), &stream.documents[0], &mut report);
        let found: Vec<String> = report.finish(None).iter().map(ToString::to_string).collect();
        let expected: Vec<String> = expected
            .iter()
            .map(|e| e.replacen(" is ", ": this is not enforced yet: ", 1).replacen(' ', ": warning: ", 1))
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn fields_of_lists_and_maps() {
        check(
            "spec:\n  http:\n  - match:\n    - uri: {}\n    - sourceLabels: {app: a}\n    - source_labels: {app: b}\n",
            &[
                "f:5:7 spec.http[0].match[1].sourceLabels is the rule matches every caller",
                "f:6:7 spec.http[0].match[2].sourceLabels is the rule matches every caller",
            ],
        );
        check(
            "spec: {http: [{match: [{headers: {x-user: {regex: a}}, sourceLabels: {}}]}]}",
            &["f:1:51 spec.http[0].match[0].headers.x-user.regex is it matches nothing"],
        );
        check(
            "spec: {http: [{match: [{headers: {\"@request.auth.claims.a\": {exact: a}, at: {exact: a}}}]}]}",
            &["f:1:35 spec.http[0].match[0].headers[\"@request.auth.claims.a\"] is no claim is read"],
        );
        check(
            "metadata: {annotations: {example.org/a.b: x, example.org/c: x}}",
            &["f:1:43 metadata.annotations[\"example.org/a.b\"] is nobody reads it"],
        );
    }

    #[test]
    fn values() {
        check("spec: {mode: FAST}", &["f:1:14 spec.mode is it is slow"]);
        check("spec: {mode: 'A, FAST'}", &["f:1:14 spec.mode is it is slow"]);
        check("spec: {mode: FASTER}", &[]);
        check("spec: {hosts: [10.0.0.0/8, 10.0.0.1]}", &["f:1:16 spec.hosts[0] is it is no block"]);
        check("spec: {limit: 0, block: null}", &[]);
        check("spec: {limit: 1, block: {}}", &["f:1:15 spec.limit is there is none", "f:1:18 spec.block is it is off"]);
    }

    #[test]
    fn patterns_are_fields() {
        for kind in Kind::all() {
            for (pattern, instead) in not_enforced(kind) {
                let (path, _) = super::read(pattern);
                assert!(matches!(path[0], Part::Field("spec" | "metadata" | "data" | "stringData")), "{pattern}");
                assert!(!instead.ends_with('.') && !instead.is_empty(), "{instead}");
            }
        }
    }
}
