//! What is different between two forms of a resource, in lines, without secrets.

use api::{Kind, Resource};
use serde_json::Value;
use similar::TextDiff;

use crate::redact;

/// A diff has no more lines than this.
const MOST_LINES: usize = 400;
/// And no more bytes.
const MOST_BYTES: usize = 32 << 10;

/// The lines of a unified diff; one side may be missing.
pub(crate) fn diff(before: Option<&Resource>, after: Option<&Resource>) -> Vec<String> {
    let Some(kind) = before.or(after).map(|resource| resource.kind) else { return Vec::new() };
    of_documents(kind, before.map(Resource::document), after.map(Resource::document))
}

fn of_documents(kind: Kind, before: Option<&Value>, after: Option<&Value>) -> Vec<String> {
    let (before, after) = redact::pair(kind, before, after);
    let text = |value: Option<Value>| value.as_ref().map(api::yaml::write).unwrap_or_default();
    let (before, after) = (text(before), text(after));
    let diff = TextDiff::from_lines(before.as_str(), after.as_str());
    let (mut lines, mut bytes, mut left) = (Vec::new(), 0, 0usize);
    for line in diff.unified_diff().context_radius(1).to_string().lines() {
        bytes += line.len();
        if lines.len() < MOST_LINES && bytes <= MOST_BYTES {
            lines.push(line.to_owned());
        } else {
            left += 1;
        }
    }
    if left > 0 {
        lines.push(format!("(and {left} lines more)"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_without_secrets_and_with_an_end() {
        let (old, new) = (json!({"a": 1, "b": 2}), json!({"a": 1, "b": 3}));
        assert_eq!(of_documents(Kind::Service, Some(&old), Some(&new)), ["@@ -1,2 +1,2 @@", " a: 1", "-b: 2", "+b: 3"]);
        let secret = json!({"data": {"password": "aHVzaA=="}});
        let lines = of_documents(Kind::Secret, None, Some(&secret)).join("\n");
        assert!(lines.contains("password") && !lines.contains("aHVzaA"), "{lines}");
        let long: Value = (0..1000).map(|n| (format!("k{n:04}"), json!(n))).collect::<serde_json::Map<_, _>>().into();
        let lines = of_documents(Kind::Service, None, Some(&long));
        assert_eq!((lines.len(), lines[400].as_str()), (401, "(and 601 lines more)"));
    }
}
