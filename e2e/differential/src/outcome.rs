//! What was seen, as named lines, and how two such lists are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::case::Differs;
use crate::login;

/// Headers that differ from run to run: only that they are there is compared.
const PRESENCE: [&str; 4] = ["date", "x-request-id", "x-envoy-upstream-service-time", "sec-websocket-key"];

/// What came of a case on one side: lines of a name and a value, in the order in which they were seen.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome(Vec<(String, String)>);

impl Outcome {
    /// One line more.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// One line for each header, `kind` before their names.
    pub fn headers(&mut self, kind: &str, headers: &[(String, String)]) {
        for (name, value) in &login::all_masked(headers) {
            let varies = PRESENCE.contains(&name.to_ascii_lowercase().as_str());
            let value = if varies { "(is there)".to_owned() } else { without_made_cookie(name, value) };
            self.push(format!("{kind} {name}"), value);
        }
    }

    /// Takes over another's lines, with something before their names.
    pub fn append(&mut self, before: &str, other: Self) {
        self.0.extend(other.0.into_iter().map(|(name, value)| (format!("{before}{name}"), value)));
    }

    /// Changes every value.
    pub fn map(&mut self, change: impl Fn(&str) -> String) {
        self.0.iter_mut().for_each(|(_, value)| *value = change(value));
    }

    fn by_name(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        self.0.iter().for_each(|(name, value)| found.entry(name).or_default().push(value));
        found
    }

    /// The names of the lines that are not the same.
    pub fn differing<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let (ours, theirs) = (self.by_name(), other.by_name());
        let names: BTreeSet<&str> = ours.keys().chain(theirs.keys()).copied().collect();
        names.into_iter().filter(|name| ours.get(name) != theirs.get(name)).collect()
    }
}

/// A cookie that a proxy makes for a hash has the client's port in it.
fn without_made_cookie(name: &str, value: &str) -> String {
    let made = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    match value.split('"').nth(1).filter(|text| name == "set-cookie" && made(text)) {
        Some(text) => value.replace(text, "(made)"),
        None => value.to_owned(),
    }
}

/// What is wrong with a case; nothing if all is as said.
pub fn verdict(envoy: &Outcome, ours: &Outcome, differs: &[Differs]) -> Option<String> {
    let names = envoy.differing(ours);
    let known = |name: &&str| differs.iter().any(|d| d.lines.iter().any(|line| bare(name).starts_with(line)));
    let unknown: Vec<&str> = names.iter().filter(|name| !known(name)).copied().collect();
    for differs in differs {
        let over = |line: &&&str| !names.iter().any(|name| bare(name).starts_with(**line));
        if let Some(line) = differs.lines.iter().find(over) {
            return Some(format!("`{line}` no longer differs; remove it from the case and from the documentation\n"));
        }
    }
    (!unknown.is_empty()).then(|| side_by_side(envoy, ours, &unknown))
}

/// A line's name without the number of its step.
fn bare(name: &str) -> &str {
    match name.split_once(": ") {
        Some((number, rest)) if number.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => name,
    }
}

fn side_by_side(envoy: &Outcome, ours: &Outcome, differing: &[&str]) -> String {
    let mut text = String::new();
    let (left, right) = (envoy.by_name(), ours.by_name());
    let names: BTreeSet<&str> = left.keys().chain(right.keys()).copied().collect();
    for name in names {
        let show = |side: &BTreeMap<&str, Vec<&str>>| {
            side.get(name).map_or("(not there)".to_owned(), |values| {
                values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(" and ")
            })
        };
        // Writing to memory does not fail.
        let _ = match differing.contains(&name) {
            true => writeln!(text, "! {name}\n      envoy:   {}\n      halcyon: {}", show(&left), show(&right)),
            false => writeln!(text, "  {name}: {}", show(&left)),
        };
    }
    text
}

/// Can two counts of the same kind of event come of the same share? Five standard deviations apart is no chance.
pub fn alike(one: usize, other: usize) -> bool {
    let (one, other) = (one as f64, other as f64);
    (one - other).abs() <= 5.0 * (one + other).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(lines: &[(&str, &str)]) -> Outcome {
        let mut outcome = Outcome::default();
        lines.iter().for_each(|(name, value)| outcome.push(*name, *value));
        outcome
    }

    #[test]
    fn verdicts() {
        let one = outcome(&[("status", "200"), ("header a", "b")]);
        let other = outcome(&[("status", "200"), ("header a", "c")]);
        assert_eq!(verdict(&one, &one, &[]), None);
        assert!(verdict(&one, &other, &[]).is_some_and(|text| text.contains("! header a")));
        let known = [Differs { lines: &["header a"], reason: "" }];
        assert_eq!(verdict(&one, &other, &known), None);
        assert!(verdict(&one, &one, &known).is_some_and(|text| text.contains("no longer differs")));
        let elsewhere = [Differs { lines: &["status"], reason: "" }];
        assert!(verdict(&one, &other, &elsewhere).is_some());
    }

    #[test]
    fn order_of_names_does_not_count_but_of_values() {
        let one = outcome(&[("a", "1"), ("b", "2"), ("a", "3")]);
        assert!(one.differing(&outcome(&[("b", "2"), ("a", "1"), ("a", "3")])).is_empty());
        assert_eq!(one.differing(&outcome(&[("a", "3"), ("a", "1"), ("b", "2")])), ["a"]);
    }

    #[test]
    fn chance() {
        assert!(alike(100, 140));
        assert!(!alike(100, 200));
        assert!(alike(0, 10));
        assert!(!alike(0, 30));
    }
}
