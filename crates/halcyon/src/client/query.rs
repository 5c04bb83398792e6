//! A call's path and query.

use std::fmt::Display;

/// A path, and what is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query(String);

impl Query {
    /// A path alone.
    pub fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// With this asked too.
    #[must_use]
    pub fn and(mut self, name: &str, value: impl Display) -> Self {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&escape(&value.to_string()));
        self
    }

    /// With this asked too, if there is something to ask.
    #[must_use]
    pub fn and_some(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.and(name, value),
            None => self,
        }
    }

    /// With this asked too, if it is not empty.
    #[must_use]
    pub fn and_text(self, name: &str, value: &str) -> Self {
        self.and_some(name, Some(value).filter(|value| !value.is_empty()))
    }

    /// As it goes out.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written() {
        let query =
            Query::new("/v1/stat").and("by", "a b").and_some("n", None::<u8>).and_text("e", "").and_text("x", "ä");
        assert_eq!(query.as_str(), "/v1/stat?by=a%20b&x=%C3%A4");
    }
}
