//! Documents that stand as text inside of another one, such as Istio's settings in a ConfigMap: read with the places that
//! they have in the file, as far as those can be known.

use super::{Limits, Node, Span, Stream, Value, read};

/// Reads the documents that the text of `node` holds. In a literal block each line of it is a line of the file; of any
/// other text only the place where it begins is known, and everything in it is said to stand there.
pub(crate) fn read_inside(file: &str, node: &Node) -> Stream {
    let mut stream = read(file, node.as_str().unwrap_or_default(), &Limits::default());
    let place = |inner: Span| match node.block.line {
        0 => node.span,
        first => Span { line: first + inner.line - 1, column: node.block.column + inner.column - 1 },
    };
    stream.documents.iter_mut().for_each(|document| move_to(document, &place));
    for problem in &mut stream.problems {
        if problem.line > 0 {
            let now = place(Span { line: problem.line, column: problem.column });
            (problem.line, problem.column) = (now.line, now.column);
        }
    }
    stream
}

fn move_to(node: &mut Node, place: &impl Fn(Span) -> Span) {
    node.span = place(node.span);
    node.block = Span::default();
    match &mut node.value {
        Value::Sequence(items) => items.iter_mut().for_each(|item| move_to(item, place)),
        Value::Mapping(entries) => {
            for entry in entries {
                entry.key_span = place(entry.key_span);
                move_to(&mut entry.value, place);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (text, expected) in [
            ("a:\n  b: |\n    c: 1\n    d:\n      e: 2\n", (5, 10)),
            ("a:\n  b: |-\n\n    # why\n    d:\n      e: 2", (6, 10)),
            ("a:\n  b: |4\n        d:\n          e: 2\n", (4, 14)),
            ("a:\n  b: \"d: {e: 2}\"\n", (2, 6)),
            ("a: {b: 'd: {e: 2}'}", (1, 8)),
        ] {
            let outer = read("f", text, &Limits::default());
            let inner = read_inside("f", outer.documents[0].get("a").unwrap().get("b").unwrap());
            let found = inner.documents[0].get("d").unwrap().get("e").unwrap();
            assert_eq!((found.span.line, found.span.column), expected, "{text}");
        }
        let outer = read("f", "a: |\n  b: [\n", &Limits::default());
        let inner = read_inside("f", outer.documents[0].get("a").unwrap());
        assert!(inner.problems[0].line >= 2, "{:?}", inner.problems);
    }
}
