//! Text that is meant to hurt: it may be refused, but it may not crash us or take for ever.

use api::yaml::{Limits, read};
use proptest::prelude::*;

fn refused(text: &str, why: &str) {
    let parsed = api::parse("f", text);
    let found: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
    assert!(found.iter().any(|p| p.contains(why)), "{found:?}");
    assert!(parsed.resources.is_empty());
}

#[test]
fn deep_nesting() {
    refused(&"[".repeat(100_000), "nested deeper");
    refused(&format!("{}1{}", "{a: ".repeat(200), "}".repeat(200)), "nested deeper");
    refused(&"- ".repeat(100_000), "nested deeper");
    let lines: String = (0..2_000).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    refused(&lines, "nested deeper");
    refused(&"? ".repeat(50_000), "error");
}

#[test]
fn alias_bombs() {
    let mut wide = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 10].join(", ");
        wide.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    refused(&wide, "expand to too much");

    let mut deep = "a0: &a0 [x]\n".to_owned();
    for i in 1..200 {
        deep.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    refused(&deep, "nest lists and mappings deeper");

    let long = "x".repeat(1 << 20);
    let many = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 1000].join(", "));
    refused(&many, "expand to too much");
}

#[test]
fn large_text() {
    let limits = Limits { bytes: 10, ..Limits::default() };
    assert!(read("f", "a: 12345678901234567890", &limits).problems[0].to_string().contains("at most 10 bytes"));
}

#[test]
fn many_problems_are_counted_not_listed() {
    let fields: String = (0..20_000).map(|i| format!("  f{i}: 1\n")).collect();
    let text = format!("apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: x}}\nspec:\n{fields}");
    let parsed = api::parse("f", &text);
    assert!(parsed.problems.len() < 150);
    assert!(parsed.problems.iter().any(|p| p.message.contains("more problems")));
    let documents = "---\n[\n".repeat(5_000);
    assert!(api::parse("f", &documents).problems.len() <= 200);
}

/// Pieces of documents in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("apiVersion: networking.istio.io/v1\n"),
        Just("kind: VirtualService\n"),
        Just("kind: List\nitems:\n"),
        Just("metadata: {name: x}\n"),
        Just("spec:\n"),
        Just("  hosts: [a]\n"),
        Just("  http:\n"),
        Just("  - match:\n"),
        Just("    - uri: {regex: '('}\n"),
        Just("    route: [{destination: {host: b}, weight: -1}]\n"),
        Just("---\n"),
        Just("- "),
        Just("&a "),
        Just("*a "),
        Just("? "),
        Just(": "),
        Just("!!int "),
        Just("<<: *a\n"),
        Just("\t"),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just("|\n"),
        Just(">-\n"),
        Just("\""),
        Just("'"),
        Just("#"),
        Just("%TAG ! x\n"),
        Just("...\n"),
        Just("\n"),
        Just("  "),
        Just("é\u{0}\u{feff}"),
        Just(","),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|p| p.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn never_panics_on_any_text(text in any::<String>()) {
        let parsed = api::parse("f", &text);
        for problem in parsed.problems {
            problem.render(&text);
        }
    }

    #[test]
    fn never_panics_on_pieces(text in pieces()) {
        let parsed = api::parse("f", &text);
        for problem in parsed.problems {
            problem.render(&text);
        }
    }
}
