//! What an expression reads.

use std::collections::HashMap;
use std::sync::Arc;

use cel::Value;
use cel::common::ast::{EntryExpr, Expr, LiteralValue, operators};
use cel::objects::{Key, Map};

use crate::attribute::{Attribute, ELSEWHERE, GROUPS_ELSEWHERE};
use crate::{Facts, ParseError};

/// An attribute that is read.
pub struct Read {
    /// Which.
    pub attribute: Attribute,
    /// Of a map these entries alone; none: all of it.
    entries: Option<Vec<Box<str>>>,
}

impl Read {
    /// Its value, as far as it is read.
    pub fn value(&self, facts: &dyn Facts) -> Option<Value> {
        let Some(keys) = &self.entries else { return facts.attribute(self.attribute) };
        let entry = |key: &str| Some((Key::from(key), facts.entry(self.attribute, key)?));
        let map: HashMap<Key, Value> = keys.iter().filter_map(|key| entry(key)).collect();
        Some(Value::Map(Map { map: Arc::new(map) }))
    }
}

/// All that an expression reads.
#[derive(Default)]
pub struct All {
    /// What our proxies know.
    pub reads: Vec<Read>,
    /// What they do not.
    pub elsewhere: Vec<String>,
}

/// What an expression reads.
pub fn all(expr: &Expr) -> Result<All, ParseError> {
    let mut all = All::default();
    all.walk(expr, &mut Vec::new())?;
    Ok(all)
}

impl All {
    /// `bound` are the names that comprehensions around it have bound.
    fn walk<'e>(&mut self, expr: &'e Expr, bound: &mut Vec<&'e str>) -> Result<(), ParseError> {
        if let Some((group, name, key)) = path(expr).filter(|(group, ..)| !bound.contains(group)) {
            return self.read(group, name, key);
        }
        match expr {
            Expr::Ident(name) if bound.contains(&name.as_str()) => Ok(()),
            Expr::Ident(name) => self.bare(name),
            Expr::Select(select) => self.walk(&select.operand.expr, bound),
            Expr::Call(call) => {
                call.target.iter().try_for_each(|target| self.walk(&target.expr, bound))?;
                call.args.iter().try_for_each(|arg| self.walk(&arg.expr, bound))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.walk(&element.expr, bound)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(&entry.expr, bound)),
            Expr::Struct(made) => made.entries.iter().try_for_each(|entry| self.entry(&entry.expr, bound)),
            // Each of them goes over a list, which a client may have made long.
            Expr::Comprehension(_) if !bound.is_empty() => Err(ParseError::Nested),
            Expr::Comprehension(each) => {
                self.walk(&each.iter_range.expr, bound)?;
                self.walk(&each.accu_init.expr, bound)?;
                let before = bound.len();
                bound.extend([each.iter_var.as_str(), each.accu_var.as_str()]);
                bound.extend(each.iter_var2.as_deref());
                let inside = [&each.loop_cond, &each.loop_step, &each.result];
                let walked = inside.into_iter().try_for_each(|inside| self.walk(&inside.expr, bound));
                bound.truncate(before);
                walked
            }
            Expr::Literal(_) | Expr::Unspecified => Ok(()),
        }
    }

    fn entry<'e>(&mut self, entry: &'e EntryExpr, bound: &mut Vec<&'e str>) -> Result<(), ParseError> {
        match entry {
            EntryExpr::StructField(field) => self.walk(&field.value.expr, bound),
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key.expr, bound)?;
                self.walk(&entry.value.expr, bound)
            }
        }
    }

    /// `group.name`, perhaps with an entry of it.
    fn read(&mut self, group: &str, name: &str, key: Option<&str>) -> Result<(), ParseError> {
        if GROUPS_ELSEWHERE.contains(&group) || ELSEWHERE.contains(&(group, name)) {
            return self.elsewhere(format!("{group}.{name}"));
        }
        let Some(attribute) = Attribute::named(group, name) else {
            return Err(unknown(format!("{group}.{name}")));
        };
        let key = key.filter(|_| attribute.is_map());
        let entries = key.map(|key| vec![key.into()]);
        match self.reads.iter_mut().find(|read| read.attribute == attribute) {
            None => self.reads.push(Read { attribute, entries }),
            Some(known) => match (&mut known.entries, key) {
                (Some(keys), Some(key)) if !keys.iter().any(|it| **it == *key) => keys.push(key.into()),
                (Some(_), Some(_)) => {}
                (entries, _) => *entries = None,
            },
        }
        Ok(())
    }

    /// A name that stands alone.
    fn bare(&mut self, name: &str) -> Result<(), ParseError> {
        if GROUPS_ELSEWHERE.contains(&name) {
            return self.elsewhere(name.to_owned());
        }
        // Names of types are values too.
        const TYPES: [&str; 12] =
            ["int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type", "math", "strings"];
        if TYPES.contains(&name) {
            return Ok(());
        }
        match Attribute::ALL.iter().find(|attribute| attribute.name().0 == name) {
            Some(one) => Err(ParseError::Group(name.to_owned(), one.name().1)),
            None => Err(unknown(name.to_owned())),
        }
    }

    fn elsewhere(&mut self, name: String) -> Result<(), ParseError> {
        if !self.elsewhere.contains(&name) {
            self.elsewhere.push(name);
        }
        Ok(())
    }
}

/// `group.name` or `group["name"]`, perhaps with `.entry` or `["entry"]` behind it.
fn path(expr: &Expr) -> Option<(&str, &str, Option<&str>)> {
    let (inner, last) = step(expr)?;
    if let Expr::Ident(group) = inner {
        return Some((group, last, None));
    }
    let (outer, name) = step(inner)?;
    match outer {
        Expr::Ident(group) => Some((group, name, Some(last))),
        _ => None,
    }
}

/// `expr.name` or `expr["name"]`.
fn step(expr: &Expr) -> Option<(&Expr, &str)> {
    match expr {
        Expr::Select(select) => Some((&select.operand.expr, &select.field)),
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [of, key] => match &key.expr {
                Expr::Literal(LiteralValue::String(key)) => Some((&of.expr, key.inner())),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn unknown(name: String) -> ParseError {
    let names = Attribute::ALL.iter().map(|attribute| {
        let (group, name) = attribute.name();
        format!("{group}.{name}")
    });
    let near = names.map(|known| (strsim::damerau_levenshtein(&known, &name), known)).min();
    let nearest = near.filter(|(distance, _)| *distance <= 3).map(|(_, known)| known);
    ParseError::Unknown { name, nearest }
}
