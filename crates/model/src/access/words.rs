//! Rules of access in words, for people: `path begins with `/api``, `principal is `spiffe://...``.

use std::fmt;

use super::why::Told;
use super::{Action, Condition, Operation, Source};

fn told(fact: &impl Told, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}{} {}", if fact.is_contrary() { "not " } else { "" }, fact.field(), fact.predicate())
}

/// `path begins with `/api``
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        told(self, f)
    }
}

/// `principal is `spiffe://cluster.local/ns/a/sa/b``
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        told(self, f)
    }
}

/// `(method is `GET` and not (path is `/a` or path is `/b`))`
impl<T: fmt::Display> fmt::Display for Condition<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::All(all) => joined(all, " and ", "anything", f),
            Self::Either(any) => joined(any, " or ", "nothing at all", f),
            Self::Not(one) => write!(f, "not {one}"),
            Self::Is(fact) => fact.fmt(f),
        }
    }
}

fn joined<T: fmt::Display>(many: &[T], word: &str, none: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some((first, rest)) = many.split_first() else { return f.write_str(none) };
    if rest.is_empty() {
        return first.fmt(f);
    }
    write!(f, "({first}")?;
    rest.iter().try_for_each(|one| write!(f, "{word}{one}"))?;
    f.write_str(")")
}

/// `ALLOW`, `DENY` or `LOG`, as xDS has them.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Log => "LOG",
        })
    }
}
