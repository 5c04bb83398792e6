//! What is wrong with a document, for people: where, what is wrong, what was expected, what to do.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::code::Code;
use crate::kind::Kind;
use crate::meta::ResourceKey;
use crate::yaml::Span;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing. Only analysis tells it.
    Info,
    /// The document is taken, but does not do all that it says, or most likely not what was meant.
    Warning,
    /// The document is refused.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One problem of one document. `Display` writes it on one line; [`Problem::render`] shows the source line too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Refused, or only warned about.
    pub level: Level,
    /// What kind of problem it is.
    pub code: Code,
    /// The file as the user named it; empty if the document does not come from a file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// Line from 1; 0 if not known.
    #[serde(default)]
    pub line: u32,
    /// Column in characters from 1; 0 if not known.
    #[serde(default)]
    pub column: u32,
    /// The field, such as `spec.http[0].route[1].weight`; empty for the document as a whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would have been right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The resource, as far as the document could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceKey>,
}

impl Problem {
    /// A problem whose place is not known yet. Its code is that of a document that is not right by itself.
    pub fn new(level: Level, message: impl Into<String>) -> Self {
        let (file, path) = (String::new(), String::new());
        let code = if level == Level::Error { Code::SchemaValidationError } else { Code::SchemaWarning };
        Self {
            level,
            code,
            file,
            line: 0,
            column: 0,
            path,
            message: message.into(),
            expected: None,
            hint: None,
            resource: None,
        }
    }

    /// An error whose place is not known yet.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Level::Error, message)
    }

    /// A warning whose place is not known yet.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Level::Warning, message)
    }

    /// Sets what kind of problem it is.
    pub fn code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// Sets file, line and column.
    pub fn at(mut self, file: &str, span: Span) -> Self {
        self.file = file.to_owned();
        (self.line, self.column) = (span.line, span.column);
        self
    }

    /// Sets the field path.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets what would have been right.
    pub fn expected(mut self, text: impl Into<String>) -> Self {
        self.expected = Some(text.into());
        self
    }

    /// Sets what to do.
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// Sets the resource.
    pub fn of(mut self, key: ResourceKey) -> Self {
        self.resource = Some(key);
        self
    }

    /// Is the document refused because of this?
    pub fn is_error(&self) -> bool {
        self.level == Level::Error
    }

    /// The problem as JSON: the fields of this struct, those without a value left out.
    pub fn to_json(&self) -> Json {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Several lines: the message, the source line with a mark under the place, what was expected and what to do.
    /// `source` is the whole text of the file. The source line of a Secret's data is not shown.
    pub fn render(&self, source: &str) -> String {
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        let mut out = format!("{}: {path}{}\n", self.level, self.message);
        let line =
            source.lines().nth((self.line as usize).saturating_sub(1)).filter(|_| self.line > 0 && !self.is_secret());
        let gutter = self.line.to_string().len();
        if self.line > 0 || self.resource.is_some() {
            out.push_str(&format!("{:gutter$}--> {}\n", "", self.place()));
        }
        if let Some(line) = line {
            let (text, marks) = excerpt(line, self.column as usize);
            out.push_str(&format!("{:gutter$} |\n{} | {text}\n{:gutter$} | {marks}\n", "", self.line, ""));
        }
        for (label, text) in [("expected", &self.expected), ("help", &self.hint)] {
            if let Some(text) = text {
                out.push_str(&format!("{:gutter$} = {label}: {text}\n", ""));
            }
        }
        out
    }

    /// `file:line:column`, or the resource if the line is not known.
    fn place(&self) -> String {
        match (&self.resource, self.line) {
            (Some(key), 0) => key.to_string(),
            (None, 0) => self.file.clone(),
            _ => format!("{}:{}:{}", self.file, self.line, self.column),
        }
    }

    /// Is it of a Secret? Without a resource the path has to tell.
    fn is_secret(&self) -> bool {
        match &self.resource {
            Some(key) => key.kind == Kind::Secret,
            None => self.path.contains("data[") || self.path.contains("stringData") || self.path.contains("data."),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: ", self.level)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match (&self.expected, &self.hint) {
            (Some(expected), Some(hint)) => write!(f, " (expected {expected}; {hint})"),
            (Some(expected), None) => write!(f, " (expected {expected})"),
            (None, Some(hint)) => write!(f, " ({hint})"),
            (None, None) => Ok(()),
        }
    }
}

/// User's text inside a message: in backticks, on one line, cut when long, without control characters.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).map(visible).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    format!("`{shown}`")
}

fn visible(c: char) -> char {
    if c.is_control() { '\u{fffd}' } else { c }
}

/// The part of a line around `column`, and the marks that stand under the word there.
fn excerpt(line: &str, column: usize) -> (String, String) {
    const WIDTH: usize = 120;
    let at = column.saturating_sub(1);
    let from = if at > WIDTH - 20 { at - 20 } else { 0 };
    let text: String = line.chars().skip(from).take(WIDTH).map(|c| if c == '\t' { ' ' } else { visible(c) }).collect();
    let word = line.chars().skip(at).take(WIDTH - (at - from)).take_while(|c| !c.is_whitespace()).collect::<String>();
    let length = word.trim_end_matches([',', ']', '}', ':']).chars().count().max(1);
    (text, format!("{}{}", " ".repeat(at - from), "^".repeat(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem::error("the field `weigth` is not known")
            .at("demo.yaml", Span { line: 2, column: 5 })
            .path("spec.http[0].route[1].weigth")
            .expected("one of `destination`, `weight`, `headers`")
            .hint("did you mean `weight`?")
    }

    #[test]
    fn one_line() {
        assert_eq!(
            problem().to_string(),
            "demo.yaml:2:5: error: spec.http[0].route[1].weigth: the field `weigth` is not known \
             (expected one of `destination`, `weight`, `headers`; did you mean `weight`?)"
        );
        let bare = Problem::warning("odd");
        assert_eq!(bare.to_string(), "warning: odd");
    }

    #[test]
    fn many_lines() {
        assert_eq!(
            problem().render("a: 1\n  - weigth: 5\n"),
            "error: spec.http[0].route[1].weigth: the field `weigth` is not known
 --> demo.yaml:2:5
  |
2 |   - weigth: 5
  |     ^^^^^^
  = expected: one of `destination`, `weight`, `headers`
  = help: did you mean `weight`?
"
        );
    }

    #[test]
    fn long_and_odd_lines() {
        let far = Problem::error("x").at("f", Span { line: 1, column: 500 });
        let text = far.render(&format!("{}key\u{1b}[31m", " ".repeat(499)));
        assert!(text.contains("key\u{fffd}[31m") && text.lines().all(|l| l.chars().count() < 140), "{text}");
        assert!(Problem::error("x").at("f", Span { line: 9, column: 9 }).render("").starts_with("error: x\n"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = Problem::error("x").at("f", Span { line: 1, column: 1 }).path("data[\"tls.key\"]");
        assert!(!secret.render("tls.key: c2VjcmV0").contains("c2VjcmV0"));
    }

    #[test]
    fn json_round_trip() {
        let back: Problem = serde_json::from_value(problem().to_json()).unwrap();
        assert_eq!(back, problem());
    }
}
