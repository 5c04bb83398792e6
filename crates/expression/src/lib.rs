//! Expressions about exchanges, in the Common Expression Language (CEL) over Envoy's attributes: what filters of access logs
//! ask, and what tags of metrics are made of.
//!
//! What an expression reads is known when it is parsed. A name that is no attribute is a mistake then, not a value that is
//! never there; and evaluating asks for nothing else.
//!
//! ```
//! use expression::{Attribute, Expression, Facts, Value};
//!
//! struct Failed;
//! impl Facts for Failed {
//!     fn attribute(&self, attribute: Attribute) -> Option<Value> {
//!         (attribute == Attribute::ResponseCode).then(|| Value::Int(503))
//!     }
//!     fn entry(&self, _: Attribute, _: &str) -> Option<Value> {
//!         None
//!     }
//! }
//!
//! let expression = Expression::parse("response.code >= 500 && response.code != 501").unwrap();
//! assert!(expression.holds(&Failed));
//! assert!(Expression::parse("response.cod >= 500").is_err());
//! ```

mod attribute;
mod read;
pub mod value;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::objects::{Key, Map};
use cel::{Context, Env, Program, extensions};

pub use attribute::Attribute;
pub use cel::Value;
use read::Read;

/// Longer expressions are refused.
pub const MOST_BYTES: usize = 4096;

/// CEL's own functions, and those of its library of strings.
static FUNCTIONS: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_extension(extensions::strings).expect("a library that adds to the standard one and takes nothing away");
    Arc::new(env)
});

/// An expression, parsed. Two are equal if their texts are.
#[derive(Clone)]
pub struct Expression(Arc<Parsed>);

struct Parsed {
    text: Box<str>,
    program: Program,
    reads: Vec<Read>,
    elsewhere: Vec<String>,
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It is too long.
    #[error("it has {0} bytes; expected {MOST_BYTES} at most")]
    Long(usize),
    /// It is no CEL.
    #[error("at {line}:{column}: {reason}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// It reads what there is not.
    #[error("there is no attribute `{name}`{}", .nearest.as_ref().map(|it| format!("; did you mean `{it}`?")).unwrap_or_default())]
    Unknown {
        /// What it reads.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// It takes a group of attributes for a value.
    #[error("`{0}` is a group of attributes; expected one of them by its name, such as `{0}.{1}`")]
    Group(String, &'static str),
    /// It would take more steps than a request may cost.
    #[error("there is a macro within a macro (`all`, `exists`, `filter`, `map`); expected one within none")]
    Nested,
}

/// What is known of an exchange or a connection. [`value`] makes what it gives.
pub trait Facts {
    /// The value of an attribute; none: it has none here.
    fn attribute(&self, attribute: Attribute) -> Option<Value>;
    /// One entry of an attribute that is a map, such as a header by its name.
    fn entry(&self, attribute: Attribute, key: &str) -> Option<Value>;
}

impl Expression {
    /// Parses an expression.
    ///
    /// # Errors
    /// [`ParseError`]: it is no CEL, or reads what is no attribute.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > MOST_BYTES {
            return Err(ParseError::Long(text.len()));
        }
        let program = FUNCTIONS.compile(text).map_err(|errors| syntax(&errors))?;
        let read::All { reads, elsewhere } = read::all(&program.expression().expr)?;
        Ok(Self(Arc::new(Parsed { text: text.into(), program, reads, elsewhere })))
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Attributes that Envoy knows, and our proxies do not: they are never there.
    pub fn elsewhere(&self) -> &[String] {
        &self.0.elsewhere
    }

    /// Does it read this?
    pub fn reads(&self, attribute: Attribute) -> bool {
        self.0.reads.iter().any(|read| read.attribute == attribute)
    }

    /// What it comes to; none if something that it needs is not there.
    pub fn evaluate(&self, facts: &dyn Facts) -> Option<Value> {
        let mut groups: HashMap<&'static str, HashMap<Key, Value>> = HashMap::new();
        for read in &self.0.reads {
            let (group, name) = read.attribute.name();
            let group = groups.entry(group).or_default();
            if let Some(value) = read.value(facts) {
                group.insert(name.into(), value);
            }
        }
        let mut context = Context::with_env(FUNCTIONS.clone());
        for (group, members) in groups {
            context.add_variable_from_value(group, Value::Map(Map { map: Arc::new(members) }));
        }
        self.0.program.execute(&context).ok()
    }

    /// Does it come to `true`?
    pub fn holds(&self, facts: &dyn Facts) -> bool {
        matches!(self.evaluate(facts), Some(Value::Bool(true)))
    }

    /// What it comes to as a text, as Istio writes it into tags; none if it is no text, number or truth value.
    pub fn text_of(&self, facts: &dyn Facts) -> Option<String> {
        match self.evaluate(facts)? {
            Value::String(text) => Some(text.to_string()),
            Value::Int(number) => Some(number.to_string()),
            Value::UInt(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::Duration(duration) => Some(format!("{}s", duration.as_seconds_f64())),
            Value::Timestamp(time) => Some(time.to_rfc3339()),
            _ => None,
        }
    }
}

/// What the first error says, without the picture of the place that comes with it.
fn syntax(errors: &cel::ParseErrors) -> ParseError {
    let first = errors.errors.first();
    let number = |of: isize| usize::try_from(of).unwrap_or_default().max(1);
    ParseError::Syntax {
        line: first.map_or(1, |error| number(error.pos.0)),
        column: first.map_or(1, |error| number(error.pos.1)),
        reason: first.map_or_else(|| "it cannot be read".to_owned(), |error| error.msg.clone()),
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.text())
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests;
