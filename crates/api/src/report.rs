//! The walk through one document: which field we stand at, and the problems found so far.
//!
//! Decoding and checking both write here. A problem's line and column are looked up in the tree by its field path, so
//! that neither has to carry positions around.

use std::fmt;

use crate::code::Code;
use crate::meta::ResourceKey;
use crate::problem::Problem;
use crate::yaml::{Node, Span, Value};

/// Problems kept per document; the rest is counted.
const MOST: usize = 100;

/// One step of a field path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A field of a schema, by its JSON name.
    Field(&'static str),
    /// A field that the schema does not have.
    Unknown(String),
    /// An item of a list.
    Index(usize),
    /// A key of a map that the user names.
    Key(String),
}

/// Collects the problems of one document.
pub(crate) struct Report<'a> {
    file: &'a str,
    root: &'a Node,
    path: Vec<Step>,
    problems: Vec<Problem>,
    dropped: Problem,
    dropped_count: usize,
    /// How many problems decoding had found when checking began.
    decoded: usize,
}

impl<'a> Report<'a> {
    /// A report on the document `root` of `file`.
    pub fn new(file: &'a str, root: &'a Node) -> Self {
        let dropped = Problem::error("");
        Self { file, root, path: Vec::new(), problems: Vec::new(), dropped, dropped_count: 0, decoded: usize::MAX }
    }

    /// Notes an error at the field where the walk stands; the caller adds what was expected and what to do.
    pub fn error(&mut self, message: impl Into<String>) -> Found<'_> {
        self.push(Problem::error(message))
    }

    /// Notes a warning at the field where the walk stands.
    pub fn warning(&mut self, message: impl Into<String>) -> Found<'_> {
        self.push(Problem::warning(message))
    }

    fn push(&mut self, problem: Problem) -> Found<'_> {
        if self.problems.len() >= MOST {
            self.dropped_count += 1;
            return Found(&mut self.dropped);
        }
        let problem = problem.at(self.file, self.place()).path(render(&self.path));
        self.problems.push(problem);
        match self.problems.last_mut() {
            Some(last) => Found(last),
            None => Found(&mut self.dropped),
        }
    }

    /// Walks one step down, does `work` there, and comes back.
    pub fn down<R>(&mut self, step: Step, work: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(step);
        let result = work(self);
        self.path.pop();
        result
    }

    /// Walks several steps down, does `work` there, and comes back.
    pub fn along<R>(&mut self, steps: Vec<Step>, work: impl FnOnce(&mut Self) -> R) -> R {
        let depth = self.path.len();
        self.path.extend(steps);
        let result = work(self);
        self.path.truncate(depth);
        result
    }

    /// Walks through a document that stands as text in the field where the walk stands: `root` has the places of the file.
    /// `work` gives what it found wrong to a report of its own, whose paths go on from here.
    pub fn inside<R>(&mut self, root: &Node, work: impl FnOnce(&mut Report) -> R) -> R {
        let mut inner = Report::new(self.file, root);
        let result = work(&mut inner);
        inner.finish(None).into_iter().for_each(|problem| self.add(problem));
        result
    }

    /// Notes a problem of a document inside of the field where the walk stands.
    pub fn add(&mut self, mut problem: Problem) {
        if self.problems.len() >= MOST {
            self.dropped_count += 1;
            return;
        }
        let separator = if problem.path.is_empty() || problem.path.starts_with('[') { "" } else { "." };
        problem.path = format!("{}{separator}{}", self.here(), problem.path);
        if problem.line == 0 {
            let place = self.place();
            (problem.line, problem.column) = (place.line, place.column);
        }
        self.problems.push(problem);
    }

    /// The file, as the user named it.
    pub fn file(&self) -> &'a str {
        self.file
    }

    /// Walks into the field `name`.
    pub fn field<R>(&mut self, name: &'static str, work: impl FnOnce(&mut Self) -> R) -> R {
        self.down(Step::Field(name), work)
    }

    /// Walks into each item of the list field `name`.
    pub fn each<'i, T>(&mut self, name: &'static str, items: &'i [T], mut work: impl FnMut(&'i T, &mut Self)) {
        self.field(name, |r| {
            for (index, item) in items.iter().enumerate() {
                r.down(Step::Index(index), |r| work(item, r));
            }
        });
    }

    /// Walks into each entry of the map field `name`.
    pub fn entries<'m, K: ToString + 'm, V: 'm>(
        &mut self,
        name: &'static str,
        map: impl IntoIterator<Item = (&'m K, &'m V)>,
        mut work: impl FnMut(&'m K, &'m V, &mut Self),
    ) {
        self.field(name, |r| {
            for (key, value) in map {
                r.down(Step::Key(key.to_string()), |r| work(key, value, r));
            }
        });
    }

    /// Walks into the field `name` if it has a value.
    pub fn opt<T>(&mut self, name: &'static str, value: &Option<T>, work: impl FnOnce(&T, &mut Self)) {
        if let Some(value) = value {
            self.field(name, |r| work(value, r));
        }
    }

    /// The path of the field where the walk stands.
    pub fn here(&self) -> String {
        render(&self.path)
    }

    /// The line and column where the walk stands. For a field that holds a list or a mapping this is the field's name; for a field that is
    /// not there, the nearest one around it.
    fn place(&self) -> Span {
        let mut node = self.root;
        let mut place = node.span;
        for step in &self.path {
            let next = match step {
                Step::Index(index) => match &node.value {
                    Value::Sequence(items) => items.get(*index).map(|item| (item, item.span)),
                    _ => None,
                },
                Step::Field(name) => find(node, name).map(|e| (&e.value, entry_place(e))),
                Step::Unknown(key) => node.entry(key).map(|e| (&e.value, e.key_span)),
                Step::Key(key) => node.entry(key).map(|e| (&e.value, entry_place(e))),
            };
            let Some((below, span)) = next else { break };
            (node, place) = (below, span);
        }
        place
    }

    /// From here on, problems come from checking. Those that only follow from a problem of decoding are left out of
    /// the result: the same field, one around it, or one inside it.
    pub fn begin_checks(&mut self) {
        self.decoded = self.problems.len();
    }

    /// All problems, each with the resource it belongs to.
    pub fn finish(mut self, key: Option<&ResourceKey>) -> Vec<Problem> {
        let checks = self.problems.split_off(self.decoded.min(self.problems.len()));
        let decoded = self.problems.len();
        for problem in checks {
            let follows = |first: &Problem| first.is_error() && is_related(&first.path, &problem.path);
            if !self.problems[..decoded].iter().any(follows) {
                self.problems.push(problem);
            }
        }
        if self.dropped_count > 0 {
            let message = format!("{} more problems of this document are not shown", self.dropped_count);
            self.problems.push(Problem::error(message).at(self.file, self.root.span));
        }
        for problem in &mut self.problems {
            problem.resource = key.cloned();
        }
        self.problems
    }
}

/// A problem that was just noted, to be completed.
pub(crate) struct Found<'r>(&'r mut Problem);

impl Found<'_> {
    /// What kind of problem it is, if not one of the document's form.
    pub fn code(self, code: Code) -> Self {
        self.0.code = code;
        self
    }

    /// What would have been right.
    pub fn expected(self, text: impl Into<String>) -> Self {
        self.0.expected = Some(text.into());
        self
    }

    /// What to do.
    pub fn hint(self, text: impl Into<String>) -> Self {
        self.0.hint = Some(text.into());
        self
    }
}

/// The entry of a schema's field, whichever of its two names the user wrote.
pub(crate) fn find<'n>(node: &'n Node, name: &str) -> Option<&'n crate::yaml::Entry> {
    match &node.value {
        Value::Mapping(entries) => entries.iter().find(|e| e.key == name || camel_case(&e.key) == name),
        _ => None,
    }
}

/// protobuf's JSON name of a field: `export_to` is `exportTo`, `consecutive_5xx_errors` is `consecutive5xxErrors`.
pub(crate) fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut after_bar = false;
    for c in name.chars() {
        match c {
            '_' => after_bar = true,
            _ if after_bar => {
                out.push(c.to_ascii_uppercase());
                after_bar = false;
            }
            _ => out.push(c),
        }
    }
    out
}

fn entry_place(entry: &crate::yaml::Entry) -> Span {
    match entry.value.value {
        Value::Sequence(_) | Value::Mapping(_) | Value::Null => entry.key_span,
        _ => entry.value.span,
    }
}

fn is_related(a: &str, b: &str) -> bool {
    let inside = |inner: &str, outer: &str| {
        outer.is_empty()
            || inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    inside(a, b) || inside(b, a)
}

fn render(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        step.append_to(&mut out);
    }
    out
}

impl Step {
    fn append_to(&self, out: &mut String) {
        let name = match self {
            Self::Index(index) => return out.push_str(&format!("[{index}]")),
            Self::Field(name) => name,
            Self::Unknown(name) | Self::Key(name) => name.as_str(),
        };
        let simple = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(simple) {
            let shown: String = name.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
            return out.push_str(&format!("[\"{shown}\"]"));
        }
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(&name[..name.len().min(80)]);
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.append_to(&mut text);
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expected) in [
            ("export_to", "exportTo"),
            ("consecutive_5xx_errors", "consecutive5xxErrors"),
            ("http2_keep_alive", "http2KeepAlive"),
            ("hosts", "hosts"),
        ] {
            assert_eq!(camel_case(name), expected);
        }
    }

    #[test]
    fn paths() {
        let key = |k: &str| Step::Key(k.to_owned());
        for (path, expected) in [
            (
                vec![Step::Field("spec"), Step::Field("http"), Step::Index(0), Step::Field("timeout")],
                "spec.http[0].timeout",
            ),
            (vec![Step::Field("labels"), key("app")], "labels.app"),
            (vec![Step::Field("labels"), key("a.b/c")], "labels[\"a.b/c\"]"),
        ] {
            assert_eq!(render(&path), expected);
        }
    }

    #[test]
    fn relation() {
        for (a, b, expected) in [
            ("spec.http[0]", "spec.http[0].route", true),
            ("spec.http[0].route", "spec.http[0]", true),
            ("spec.http[0]", "spec.http[1]", false),
            ("spec.host", "spec.hosts", false),
            ("", "spec", true),
        ] {
            assert_eq!(is_related(a, b), expected, "{a} {b}");
        }
    }
}
