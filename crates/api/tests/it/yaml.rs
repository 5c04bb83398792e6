//! Text to trees and back.

use api::yaml::{Limits, Node, Value, read, write};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn one(text: &str) -> Json {
    let stream = read("f", text, &Limits::default());
    assert!(stream.problems.is_empty(), "{text}: {:?}", stream.problems);
    let documents: Vec<Json> = stream.documents.iter().map(Node::to_json).collect();
    assert_eq!(documents.len(), 1, "{text}");
    documents[0].clone()
}

#[test]
fn values() {
    for (text, expected) in [
        ("a: 1\nb: [x, 1.5, true, null, '1']", json!({"a": 1, "b": ["x", 1.5, true, null, "1"]})),
        ("{\"a\": {\"b\": [1, \"two\"]}}", json!({"a": {"b": [1, "two"]}})),
        ("\u{feff}a: 1", json!({"a": 1})),
        ("a: 1\r\nb: 2\r\n", json!({"a": 1, "b": 2})),
        ("8080: web", json!({"8080": "web"})),
        ("a: |\n  one\n  two\nb: >-\n  one\n  two", json!({"a": "one\ntwo\n", "b": "one two"})),
        ("a: &x {k: 1}\nb: *x", json!({"a": {"k": 1}, "b": {"k": 1}})),
        ("a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  k: 3", json!({"a": {"k": 1, "l": 2}, "b": {"k": 3, "l": 2}})),
        ("a: !!str 1\nb: !!int \"2\"", json!({"a": "1", "b": 2})),
        ("a:\nb: ~", json!({"a": null, "b": null})),
        ("a: 18446744073709551615", json!({"a": 18446744073709551615u64})),
        ("mode: 0644", json!({"mode": 420})),
        ("args: [\n  a,\n]\nb: {\n}", json!({"args": ["a"], "b": {}})),
        ("a: yes\nb: 12:30", json!({"a": "yes", "b": "12:30"})),
    ] {
        assert_eq!(one(text), expected, "{text}");
    }
}

#[test]
fn places() {
    let stream = read("f", "a: 1\nb:\n  c: x\n  d:\n  - 1\n  -  é: z\n", &Limits::default());
    let root = &stream.documents[0];
    let place = |node: &Node| (node.span.line, node.span.column);
    let b = root.entry("b").unwrap();
    assert_eq!((b.key_span.line, b.key_span.column), (2, 1));
    assert_eq!(place(b.value.get("c").unwrap()), (3, 6));
    let Value::Sequence(items) = &b.value.get("d").unwrap().value else { panic!("a list") };
    assert_eq!(place(&items[0]), (5, 5));
    assert_eq!(place(items[1].get("é").unwrap()), (6, 9));
}

#[test]
fn bad_text() {
    for (text, expected) in [
        ("a: 1\na: 2", "f:2:1: error: a: `a` is written twice; the first is in line 1 (keep one of the two)"),
        (
            "x:\n- y:\n    a: 1\n    a: 2",
            "f:4:5: error: x[0].y.a: `a` is written twice; the first is in line 3 (keep one of the two)",
        ),
        ("? [a]\n: b", "f:1:3: error: a key is a list or a mapping (expected text as the key)"),
        (
            "a: &x [*x]",
            "f:1:8: error: the alias refers to itself or to another document (expected the name of an anchor (`&name`) that is complete before this line)",
        ),
        ("a: !thing 1", "f:1:11: error: the tag `!thing` is not known"),
        ("a: !!int x", "f:1:10: error: `x` does not fit its tag `!!int`"),
        ("<<: 1\n", "f:1:1: error: `<<` merges something that is not a mapping"),
    ] {
        let stream = read("f", text, &Limits::default());
        let found: Vec<String> = stream.problems.iter().map(ToString::to_string).collect();
        assert_eq!(found, [expected], "{text}");
        assert!(stream.documents.is_empty());
    }
}

#[test]
fn hints_for_bad_text() {
    for (text, hint) in
        [("a:\n\tb: 1", "spaces"), ("a: 1\nb: {{ .Values.x }}", "template"), ("a: {{- if x }}\nb", "template")]
    {
        let stream = read("f", text, &Limits::default());
        assert!(stream.problems[0].to_string().contains(hint), "{text}: {}", stream.problems[0]);
    }
}

#[test]
fn a_bad_document_does_not_spoil_the_next() {
    let stream = read("f", "a: 1\n---\nb: [\n---\nc: 3\nc: 4\n--- # more\nd: 4\n---\n---\n", &Limits::default());
    let good: Vec<Json> = stream.documents.iter().map(Node::to_json).collect();
    assert_eq!(good, [json!({"a": 1}), json!({"d": 4})]);
    assert_eq!(stream.documents[1].span.line, 8);
    let lines: Vec<u32> = stream.problems.iter().map(|p| p.line).collect();
    assert_eq!(lines.len(), 2, "{:?}", stream.problems);
    assert_eq!(lines[1], 6);
}

#[test]
fn written() {
    let json = json!({
        "plain": "a b", "number": "1", "word": "yes", "empty": "", "dash": "- a", "colon": "a: b", "url": "http://a:80/b",
        "block": "one\n  two\n", "noend": "one\ntwo", "quote": "say \"hi\"", "list": [1, {"a": [], "b": {}}, [2, [3]], "x\ny"],
        "time": "1:30", "null": null, "star": "*", "hash": "a #b",
    });
    let text = write(&json);
    assert_eq!(one(&text), json, "{text}");
    insta::assert_snapshot!(text);
}

fn any_json() -> impl Strategy<Value = Json> {
    let text = prop_oneof![any::<String>(), "[ -~\n\t]{0,20}", "[a-z:# \\-\\.0-9]{0,8}"];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        text.clone().prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 30, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::btree_map(text.clone(), inner, 0..5).prop_map(|m| Json::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(json in any_json()) {
        let text = write(&json);
        let stream = read("f", &text, &Limits::default());
        prop_assert!(stream.problems.is_empty(), "{}\n{:?}", text, stream.problems);
        let back: Vec<Json> = stream.documents.iter().map(Node::to_json).collect();
        // A document of nothing is none.
        let expected = if json.is_null() { vec![] } else { vec![json] };
        prop_assert_eq!(back, expected, "{}", text);
    }
}
