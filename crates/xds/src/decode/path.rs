//! Where in a resource something stands, and what is wrong there.

use std::fmt;

/// Why a resource is refused. One error names one place; the resource as a whole is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{resource}: {path}: {problem}; expected {expected}")]
pub struct DecodeError {
    /// The name of the resource; empty when not even that could be read.
    pub resource: String,
    /// The field, such as `filter_chains[0].filters[1].typed_config.route_config.virtual_hosts[2].domains`.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What was expected in its place.
    pub expected: String,
}

/// The result of reading a part of a resource.
pub(super) type Decoded<T> = Result<T, DecodeError>;

/// A place in a resource, as a chain from the innermost field outwards. Building one costs nothing; only an error
/// writes it out.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Resource(&'a str),
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> At<'a> {
    /// The resource itself.
    pub fn resource(name: &'a str) -> Self {
        At { parent: None, step: Step::Resource(name) }
    }

    /// A field of this message.
    pub fn field(&'a self, name: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Field(name.strip_prefix("r#").unwrap_or(name)) }
    }

    /// An element of this list.
    pub fn index(&'a self, index: usize) -> At<'a> {
        At { parent: Some(self), step: Step::Index(index) }
    }

    /// An entry of this map.
    pub fn key(&'a self, key: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Key(key) }
    }

    /// An error at this place.
    pub fn error(&self, problem: impl Into<String>, expected: impl Into<String>) -> DecodeError {
        let mut place = self;
        while let Some(parent) = place.parent {
            place = parent;
        }
        let resource = match place.step {
            Step::Resource(name) => name.to_owned(),
            _ => String::new(),
        };
        DecodeError { resource, path: self.to_string(), problem: problem.into(), expected: expected.into() }
    }

    /// Something that changes behaviour is set, and the model has no word for it.
    pub fn unsupported(&self, expected: &str) -> DecodeError {
        self.error("is set, but this proxy does not support it", expected)
    }

    /// Refuses a field of this message that is not at its default.
    pub fn refuse<T: Default + PartialEq>(&self, name: &str, value: &T) -> Decoded<()> {
        if *value == T::default() { Ok(()) } else { Err(self.field(name).unsupported("the field to be absent")) }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Resource(_) => Ok(()),
            Step::Field(name) if self.parent.is_some_and(|p| p.parent.is_some()) => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key:?}]"),
        }
    }
}

/// Takes a message apart, every field named, so that a field that a newer protocol brings is a compile error and not
/// an oversight. `used` fields become variables, `harmless` ones are dropped (each list says why), `refused` ones must
/// be at their default.
macro_rules! take {
    ($message:expr, $at:expr, $($type:ident)::+ {
        used { $($used:ident),* $(,)? }
        harmless { $($harmless:ident),* $(,)? }
        refused { $($refused:ident),* $(,)? }
    }) => {
        #[allow(deprecated)]
        let $($type)::+ { $($used,)* $($harmless: _,)* $($refused,)* } = $message;
        $($at.refuse(stringify!($refused), &$refused)?;)*
    };
}
pub(super) use take;
