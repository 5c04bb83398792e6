//! AuthorizationPolicies as people write them.

use std::fmt::Write;

use api::Spanned;
use api::istio::{AccessAction, AccessRule};

use super::Written;

/// A document with the comments that say where it comes from.
pub fn document(policy: &Written) -> String {
    let mut out = String::new();
    for line in policy.comment.lines() {
        line_of(&mut out, 0, &format!("# {line}"));
    }
    line_of(&mut out, 0, "apiVersion: security.istio.io/v1");
    line_of(&mut out, 0, "kind: AuthorizationPolicy");
    line_of(&mut out, 0, "metadata:");
    line_of(&mut out, 2, &format!("name: {}", policy.name));
    line_of(&mut out, 2, &format!("namespace: {}", policy.namespace));
    if policy.dry_run {
        line_of(&mut out, 2, "annotations:");
        line_of(&mut out, 4, "istio.io/dry-run: \"true\"");
    }
    let is_empty = policy.selector.is_empty() && policy.rules.is_empty() && policy.action == AccessAction::Allow;
    line_of(&mut out, 0, if is_empty { "spec: {}" } else { "spec:" });
    if !policy.selector.is_empty() {
        line_of(&mut out, 2, "selector:");
        line_of(&mut out, 4, "matchLabels:");
        for (key, value) in &policy.selector {
            line_of(&mut out, 6, &format!("{}: {}", quoted(key), quoted(value)));
        }
    }
    if !is_empty {
        line_of(&mut out, 2, &format!("action: {}", policy.action.as_str()));
    }
    if !policy.rules.is_empty() {
        line_of(&mut out, 2, "rules:");
    }
    policy.rules.iter().for_each(|(comment, one)| rule(&mut out, comment, one));
    out
}

fn rule(out: &mut String, comment: &str, rule: &AccessRule) {
    if !comment.is_empty() {
        line_of(out, 4, &format!("# {comment}"));
    }
    let mut lines = Vec::new();
    for (index, from) in rule.from.iter().flatten().enumerate() {
        lines.extend((index == 0).then(|| (0, "from:".to_owned())));
        lines.push((2, "- source:".to_owned()));
        for (name, not, (values, not_values)) in from.source.fields() {
            lists(&mut lines, 6, [(name, values), (not, not_values)]);
        }
    }
    for (index, to) in rule.to.iter().flatten().enumerate() {
        lines.extend((index == 0).then(|| (0, "to:".to_owned())));
        lines.push((2, "- operation:".to_owned()));
        for (name, not, (values, not_values)) in to.operation.fields() {
            lists(&mut lines, 6, [(name, values), (not, not_values)]);
        }
    }
    for (index, when) in rule.when.iter().flatten().enumerate() {
        lines.extend((index == 0).then(|| (0, "when:".to_owned())));
        lines.push((2, format!("- key: {}", quoted(&when.key))));
        lists(&mut lines, 4, [("values", &when.values), ("notValues", &when.not_values)]);
    }
    if lines.is_empty() {
        return line_of(out, 4, "- {}");
    }
    for (index, (indent, line)) in lines.iter().enumerate() {
        let mark = if index == 0 { "- " } else { "  " };
        line_of(out, 4, &format!("{mark}{}{line}", " ".repeat(*indent)));
    }
}

fn lists(lines: &mut Vec<(usize, String)>, indent: usize, lists: [(&str, &[Spanned<String>]); 2]) {
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        let values: Vec<String> = list.iter().map(|value| quoted(value)).collect();
        lines.push((indent, format!("{name}: [{}]", values.join(", "))));
    }
}

fn line_of(out: &mut String, indent: usize, line: &str) {
    _ = writeln!(out, "{}{line}", " ".repeat(indent));
}

/// A text in double quotes (YAML 1.2, 7.3.1).
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
