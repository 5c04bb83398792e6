//! Text to trees: builds [`Node`]s from parser events, within limits, and goes on after a bad document.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Marker, Options, Parser, ScalarStyle, ScanError, Tag};

use super::{Entry, Node, Span, Value, scalar};
use crate::problem::{Level, Problem, quoted};

/// What a text may cost. The defaults admit every real configuration and stop hostile ones early.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest text, in bytes.
    pub bytes: usize,
    /// Deepest nesting of lists and mappings.
    pub depth: usize,
    /// Bytes that anchors and aliases may add by being copied, over the whole text (what stops "alias bombs").
    pub expansion: usize,
    /// Problems after which reading stops.
    pub problems: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 32 << 20, depth: 100, expansion: 16 << 20, problems: 100 }
    }
}

/// The documents of a text, and what was wrong with the others.
#[derive(Debug, Default)]
pub struct Stream {
    /// Documents that hold something, in order.
    pub documents: Vec<Node>,
    /// Why the others could not be read. Nothing in a document that is named here is in `documents`.
    pub problems: Vec<Problem>,
}

/// Reads all documents of `text`. A document that is not valid YAML is reported and left out; reading goes on at
/// the next line that begins with `---`.
pub fn read(file: &str, text: &str, limits: &Limits) -> Stream {
    let mut stream = Stream::default();
    if text.len() > limits.bytes {
        let message = format!("the text has {} bytes", text.len());
        let problem = Problem::new(Level::Error, message).at(file, Span { line: 1, column: 1 });
        stream.problems.push(
            problem
                .expected(format!("at most {} bytes", limits.bytes))
                .hint("split the file, and do not put data into configuration"),
        );
        return stream;
    }
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut lines_before, mut expansion) = (0, 0);
    loop {
        let mut loader = Loader::new(file, lines_before, expansion, limits, &mut stream);
        let Err(failed) = loader.run(rest) else { return stream };
        expansion = loader.expansion;
        stream.problems.push(explain(failed.problem.at(file, failed.span), rest, failed.span.line - lines_before));
        if stream.problems.len() >= limits.problems {
            return stream;
        }
        let Some((lines, tail)) = next_document(rest, failed.span.line - lines_before) else { return stream };
        lines_before += lines;
        rest = tail;
    }
}

/// The text from the first line that begins a document, not before `line` (from 1) and not the first line of all, and
/// how many lines stand before it. `line` itself counts: text that breaks off is noticed where the next one begins.
fn next_document(text: &str, line: u32) -> Option<(u32, &str)> {
    let mut offset = 0;
    for (index, content) in text.split_inclusive('\n').enumerate() {
        let starts =
            content.strip_prefix("---").is_some_and(|r| r.is_empty() || r.starts_with([' ', '\t', '\r', '\n']));
        if index > 0 && index as u32 + 1 >= line && starts {
            return Some((index as u32, &text[offset..]));
        }
        offset += content.len();
    }
    None
}

/// Adds what the line itself suggests: tabs, and templates that were not rendered.
fn explain(problem: Problem, text: &str, line: u32) -> Problem {
    let content = text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default();
    let before = text.lines().nth(line.saturating_sub(2) as usize).unwrap_or_default();
    if content.contains("{{") || before.contains("{{") {
        return problem.hint("this looks like a template: render it first, for example with `helm template`");
    }
    if content.trim_start_matches(' ').starts_with('\t') {
        return problem.hint("indent with spaces: YAML does not allow tabs there");
    }
    problem
}

/// What `!!` stands for.
const CORE_SCHEMA: &str = "tag:yaml.org,2002:";

struct Failure {
    problem: Box<Problem>,
    span: Span,
}

/// A list or mapping that is still open.
struct Frame {
    span: Span,
    anchor: usize,
    open: Open,
}

enum Open {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Entry>, seen: HashMap<String, Span>, key: Option<(Key, Span)>, merges: Vec<Node> },
}

enum Key {
    Named(String),
    /// `<<`: take the entries of other mappings in.
    Merge,
}

struct Loader<'a> {
    file: &'a str,
    lines_before: u32,
    limits: &'a Limits,
    stream: &'a mut Stream,
    frames: Vec<Frame>,
    anchors: HashMap<usize, (Node, usize)>,
    expansion: usize,
    /// Problems that spoil the document but do not stop its reading.
    spoiled: Vec<Problem>,
}

impl<'a> Loader<'a> {
    fn new(file: &'a str, lines_before: u32, expansion: usize, limits: &'a Limits, stream: &'a mut Stream) -> Self {
        let (frames, anchors, spoiled) = (Vec::new(), HashMap::new(), Vec::new());
        Self { file, lines_before, limits, stream, frames, anchors, expansion, spoiled }
    }

    fn run(&mut self, text: &str) -> Result<(), Failure> {
        let mut options = Options::default();
        options.set_emit_comments(false);
        let mut parser = Parser::new_from_str_with_options(text, options);
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(|e| self.not_yaml(&e))?;
            let block = match &event {
                Event::Scalar(content, ScalarStyle::Literal, ..) => {
                    let source = span.start.byte_offset().and_then(|at| text.get(at..));
                    source.and_then(|source| block(source, content, self.span(&span.start))).unwrap_or_default()
                }
                _ => Span::default(),
            };
            let span = self.span(&span.start);
            self.event(event, span, block)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: Span, block: Span) -> Result<(), Failure> {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) => Ok(()),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Alias(id) => {
                let node = self.alias(id, span)?;
                self.finish(node, 0, span)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar_value(&text, style, tag.as_deref()).map_err(|m| fail(m, span))?;
                if self.awaits_key() {
                    return self.key(text.into_owned(), style, span);
                }
                self.finish(Node { value, span, block }, anchor, span)
            }
            Event::SequenceStart(_, anchor, tag) => {
                collection_tag(tag.as_deref()).map_err(|m| fail(m, span))?;
                self.open(Frame { span, anchor, open: Open::Sequence(Vec::new()) })
            }
            Event::MappingStart(_, anchor, tag) => {
                collection_tag(tag.as_deref()).map_err(|m| fail(m, span))?;
                let open = Open::Mapping { entries: Vec::new(), seen: HashMap::new(), key: None, merges: Vec::new() };
                self.open(Frame { span, anchor, open })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            // The parser's options ask for none of its other events.
            _ => Ok(()),
        }
    }

    fn open(&mut self, frame: Frame) -> Result<(), Failure> {
        if self.awaits_key() {
            return Err(fail("a key is a list or a mapping".to_owned(), frame.span).expected("text as the key"));
        }
        if self.frames.len() >= self.limits.depth {
            let message = format!("lists and mappings are nested deeper than {} levels", self.limits.depth);
            return Err(fail(message, frame.span));
        }
        self.frames.push(frame);
        Ok(())
    }

    fn close(&mut self, span: Span) -> Result<(), Failure> {
        let Some(frame) = self.frames.pop() else { return Err(fail("an end without a start".to_owned(), span)) };
        let value = match frame.open {
            Open::Sequence(items) => Value::Sequence(items),
            Open::Mapping { mut entries, mut seen, merges, .. } => {
                for merge in merges {
                    merge_into(&mut entries, &mut seen, merge);
                }
                Value::Mapping(entries)
            }
        };
        self.finish(Node { value, span: frame.span, block: Span::default() }, frame.anchor, frame.span)
    }

    fn awaits_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame { open: Open::Mapping { key: None, .. }, .. }))
    }

    fn key(&mut self, text: String, style: ScalarStyle, span: Span) -> Result<(), Failure> {
        if text.is_empty() && style == ScalarStyle::Plain {
            return Err(fail("a value stands without its key".to_owned(), span).expected("`key: value`"));
        }
        if text == "<<" && style == ScalarStyle::Plain {
            self.set_key(Key::Merge, span);
            return Ok(());
        }
        if let Some(first) = self.set_key(Key::Named(text.clone()), span)
            && self.spoiled.len() < self.limits.problems
        {
            let message = format!("{} is written twice; the first is in line {}", quoted(&text), first.line);
            let problem = Problem::new(Level::Error, message).at(self.file, span).path(self.path());
            self.spoiled.push(problem.hint("keep one of the two"));
        }
        Ok(())
    }

    /// Notes the key whose value comes next; gives the place of the same key if the mapping has it already.
    fn set_key(&mut self, next: Key, span: Span) -> Option<Span> {
        let Some(Frame { open: Open::Mapping { seen, key, .. }, .. }) = self.frames.last_mut() else { return None };
        let first = match &next {
            Key::Named(text) => seen.insert(text.clone(), span),
            Key::Merge => None,
        };
        *key = Some((next, span));
        first
    }

    /// Puts a finished value where it belongs: under its key, into its list, or out as a document.
    fn finish(&mut self, node: Node, anchor: usize, span: Span) -> Result<(), Failure> {
        if anchor > 0 {
            let cost = cost(&node);
            self.spend(cost, span)?;
            self.anchors.insert(anchor, (node.clone(), cost));
        }
        match self.frames.last_mut().map(|f| &mut f.open) {
            None => self.document(node),
            Some(Open::Sequence(items)) => items.push(node),
            Some(Open::Mapping { entries, key, merges, .. }) => match key.take() {
                Some((Key::Named(key), key_span)) => entries.push(Entry { key, key_span, value: node }),
                Some((Key::Merge, key_span)) => {
                    merges.extend(merge_sources(node).map_err(|m| fail(m, key_span))?);
                }
                None => return Err(fail("a value stands without its key".to_owned(), span)),
            },
        }
        Ok(())
    }

    fn document(&mut self, node: Node) {
        if !self.spoiled.is_empty() {
            self.stream.problems.append(&mut self.spoiled);
        } else if !node.is_null() {
            self.stream.documents.push(node);
        }
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Node, Failure> {
        if self.awaits_key() {
            return Err(fail("a key is an alias".to_owned(), span).expected("text as the key"));
        }
        let Some((node, cost)) = self.anchors.get(&id) else {
            return Err(fail("the alias refers to itself or to another document".to_owned(), span)
                .expected("the name of an anchor (`&name`) that is complete before this line"));
        };
        let (node, cost) = (node.clone(), *cost);
        if self.frames.len() + depth(&node) > self.limits.depth {
            let message = format!("aliases nest lists and mappings deeper than {} levels", self.limits.depth);
            return Err(fail(message, span));
        }
        self.spend(cost, span)?;
        Ok(node)
    }

    fn spend(&mut self, cost: usize, span: Span) -> Result<(), Failure> {
        self.expansion = self.expansion.saturating_add(cost);
        if self.expansion > self.limits.expansion {
            return Err(fail("anchors and aliases expand to too much".to_owned(), span)
                .expected(format!("at most {} bytes when written out", self.limits.expansion)));
        }
        Ok(())
    }

    fn not_yaml(&self, error: &ScanError) -> Failure {
        let span = self.span(error.marker());
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
            return fail("lists and mappings are nested deeper than the reader can follow".to_owned(), span);
        }
        if matches!(error.kind(), ErrorKind::UnknownAnchor) {
            return fail("the alias has no anchor above it".to_owned(), span)
                .expected("the name of an anchor (`&name`) of the same document");
        }
        fail(format!("not valid YAML: {}", error.info()), span)
    }

    fn span(&self, marker: &Marker) -> Span {
        Span { line: marker.line() as u32 + self.lines_before, column: marker.col() as u32 + 1 }
    }

    /// The field path of the innermost open mapping.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.frames {
            match &frame.open {
                Open::Sequence(items) => path.push_str(&format!("[{}]", items.len())),
                Open::Mapping { key: Some((Key::Named(key), _)), .. } if path.is_empty() => path.push_str(key),
                Open::Mapping { key: Some((Key::Named(key), _)), .. } => path.push_str(&format!(".{key}")),
                Open::Mapping { .. } => {}
            }
        }
        path
    }
}

impl Failure {
    fn expected(mut self, text: impl Into<String>) -> Self {
        self.problem = Box::new(self.problem.expected(text));
        self
    }
}

fn fail(message: String, span: Span) -> Failure {
    Failure { problem: Box::new(Problem::error(message)), span }
}

fn scalar_value(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    match tag {
        None if style == ScalarStyle::Plain => Ok(scalar::resolve(text)),
        None => Ok(Value::String(text.to_owned())),
        Some(tag) if tag.handle() == CORE_SCHEMA => scalar::resolve_tagged(tag.suffix(), text)
            .ok_or_else(|| format!("{} does not fit its tag {}", quoted(text), quoted(&tag_name(tag)))),
        Some(tag) => Err(unknown_tag(tag)),
    }
}

fn collection_tag(tag: Option<&Tag>) -> Result<(), String> {
    match tag {
        Some(tag) if tag.handle() != CORE_SCHEMA || !matches!(tag.suffix(), "map" | "seq") => Err(unknown_tag(tag)),
        _ => Ok(()),
    }
}

fn unknown_tag(tag: &Tag) -> String {
    format!("the tag {} is not known", quoted(&tag_name(tag)))
}

/// A tag as people write it: `!!str`, `!thing`.
fn tag_name(tag: &Tag) -> String {
    let handle = if tag.handle() == CORE_SCHEMA { "!!" } else { tag.handle() };
    format!("{handle}{}", tag.suffix())
}

/// The mappings that a `<<` names: one, or a list of them.
fn merge_sources(node: Node) -> Result<Vec<Node>, String> {
    match node.value {
        Value::Mapping(_) => Ok(vec![node]),
        Value::Sequence(items) if items.iter().all(|i| matches!(i.value, Value::Mapping(_))) => Ok(items),
        _ => Err("`<<` merges something that is not a mapping".to_owned()),
    }
}

/// Adds the entries of `source` whose keys are not there yet.
fn merge_into(entries: &mut Vec<Entry>, seen: &mut HashMap<String, Span>, source: Node) {
    let Value::Mapping(added) = source.value else { return };
    for entry in added {
        if !seen.contains_key(&entry.key) {
            seen.insert(entry.key.clone(), entry.key_span);
            entries.push(entry);
        }
    }
}

/// Where the first character of a literal block stands. `source` is the text from the place on that the parser gives to
/// the block: its `|`, or where its content begins. `content` is what the block says, without the indentation.
fn block(source: &str, content: &str, at: Span) -> Option<Span> {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let is_blank = |line: &&str| line.trim().is_empty();
    let blank = content.lines().take_while(is_blank).count() as u32;
    let first = content.lines().find(|line| !is_blank(line))?;
    let here = source.lines().next().unwrap_or_default();
    if here.starts_with('|') || is_blank(&here) {
        let from = if here.starts_with('|') { 1 } else { 0 };
        let written = source.lines().skip(1).find(|line| !is_blank(line))?;
        let taken = indent(written).checked_sub(indent(first))?;
        return Some(Span { line: at.line + from, column: taken as u32 + 1 });
    }
    let column = (at.column as usize + indent(here)).checked_sub(indent(first))?;
    Some(Span { line: at.line.checked_sub(blank)?, column: column as u32 })
}

/// Roughly what a copy of this tree takes in memory, in bytes.
fn cost(node: &Node) -> usize {
    const NODE: usize = std::mem::size_of::<Node>();
    match &node.value {
        Value::Null | Value::Bool(_) => NODE,
        Value::Number(n) => NODE + n.text().len(),
        Value::String(s) => NODE + s.len(),
        Value::Sequence(items) => NODE + items.iter().map(cost).sum::<usize>(),
        Value::Mapping(entries) => NODE + entries.iter().map(|e| NODE + e.key.len() + cost(&e.value)).sum::<usize>(),
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Sequence(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Mapping(entries) => 1 + entries.iter().map(|e| depth(&e.value)).max().unwrap_or(0),
        _ => 0,
    }
}
