//! The words after the `?`, read with care: what is not understood is refused, and says which word, what it was and what
//! was expected.

use std::str::FromStr;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::documents::Failure;
use crate::moment;

/// Why a call is not answered.
#[derive(Debug)]
pub(crate) struct Refused(pub StatusCode, pub Failure);

impl Refused {
    pub fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self(status, Failure { error: error.into(), hint: hint.into() })
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

/// The words of one call.
pub(crate) struct Words(Vec<(String, String)>);

impl Words {
    /// Reads them; only these may be there.
    pub fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Refused> {
        let uri = format!("/?{}", query.unwrap_or_default());
        let uri = http::Uri::from_str(&uri)
            .map_err(|e| bad(format!("the query cannot be read: {e}"), "escape it as URLs ask"))?;
        let words = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri)
            .map_err(|e| bad(e.body_text(), "look at the words after the `?`"))?;
        if let Some((word, _)) = words.0.iter().find(|(word, _)| !known.contains(&&**word)) {
            return Err(bad(format!("`{word}` is not known here"), format!("expected of: {}", known.join(", "))));
        }
        Ok(Self(words.0))
    }

    /// The last of this name; empty is as if it were not there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(word, _)| word == name).map(|(_, value)| &**value).filter(|value| !value.is_empty())
    }

    pub fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    /// All of this name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(word, value)| word == name && !value.is_empty()).map(|(_, value)| &**value)
    }

    /// Values with commas between.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.all(name)
            .flat_map(|it| it.split(','))
            .map(str::trim)
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// A whole number between two.
    pub fn number(&self, name: &str, least: u64, most: u64, otherwise: u64) -> Result<u64, Refused> {
        let Some(text) = self.get(name) else { return Ok(otherwise) };
        let found = text.parse().ok().filter(|it| (least..=most).contains(it));
        found.ok_or_else(|| wrong(name, text, &format!("a whole number from {least} to {most}")))
    }

    /// Milliseconds, if there.
    pub fn millis(&self, name: &str) -> Result<Option<f64>, Refused> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let found = text.parse::<f64>().ok().filter(|it| it.is_finite() && *it >= 0.0);
        found.map(Some).ok_or_else(|| wrong(name, text, "milliseconds, such as 12.5"))
    }

    pub fn flag(&self, name: &str) -> Result<bool, Refused> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => Err(wrong(name, text, "true or false")),
        }
    }

    /// A moment, if there.
    pub fn moment(&self, name: &str) -> Result<Option<u64>, Refused> {
        let Some(text) = self.get(name) else { return Ok(None) };
        moment::read(text)
            .map(Some)
            .ok_or_else(|| wrong(name, text, "a time as RFC 3339 has it, such as 2026-02-03T04:05:06Z"))
    }

    /// One of some words.
    pub fn word<T: Copy>(&self, name: &str, words: &[(&str, T)], otherwise: T) -> Result<T, Refused> {
        let Some(text) = self.get(name) else { return Ok(otherwise) };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        found.ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            wrong(name, text, &words.join(", "))
        })
    }

    /// `NAMESPACE/NAME`, if there.
    pub fn pair(&self, name: &str) -> Result<Option<(String, String)>, Refused> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.split_once('/') {
            Some((namespace, it)) if !namespace.is_empty() && !it.is_empty() && !it.contains('/') => {
                Ok(Some((namespace.to_owned(), it.to_owned())))
            }
            _ => Err(wrong(name, text, "NAMESPACE/NAME")),
        }
    }
}

/// A word that is not what it should be.
pub(crate) fn wrong(name: &str, found: &str, expected: &str) -> Refused {
    let found: String = found.chars().take(100).collect();
    bad(format!("`{name}` is `{found}`"), format!("expected {expected}"))
}

fn bad(error: String, hint: impl Into<String>) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, error, hint)
}
