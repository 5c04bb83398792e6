//! Any value of the model as JSON, for people to read: its `Debug` form, which names every field, read back as a tree.
//!
//! So a new field shows without a line written for it, and what hides itself in `Debug` (secrets do) stays hidden here.

use std::fmt::Debug;

use serde_json::{Map, Value};

/// The value as JSON. Structs are objects; enum variants with fields are objects of one member; what has no structure
/// (addresses, durations, patterns) is a string.
pub(crate) fn json_of(value: &impl Debug) -> Value {
    let text = format!("{value:?}");
    let mut reader = Reader { rest: &text };
    reader.value().filter(|_| reader.rest.is_empty()).unwrap_or(Value::String(text.clone()))
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Option<Value> {
        self.space();
        match self.rest.chars().next()? {
            '"' => self.string().map(Value::String),
            '[' => self.bracketed(),
            '(' => self.list('(', ')'),
            '{' => self.map(),
            _ => self.word(),
        }
    }

    /// A list, or an IPv6 socket address such as `[::1]:80`.
    fn bracketed(&mut self) -> Option<Value> {
        let before = self.rest;
        if let Some(list) = self.list('[', ']')
            && (self.rest.is_empty() || self.rest.starts_with([',', ' ', '}', ')', ']']))
        {
            return Some(list);
        }
        self.rest = before;
        Some(Value::String(self.bare().to_owned()))
    }

    /// A name, alone or with what it holds; a number; or anything without structure.
    fn word(&mut self) -> Option<Value> {
        let before = self.rest;
        let name_len = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(name_len);
        if !name.is_empty() && rest.starts_with('(') {
            self.rest = rest;
            let Value::Array(mut items) = self.list('(', ')')? else { return None };
            let held = if items.len() == 1 { items.remove(0) } else { Value::Array(items) };
            return Some(if name == "Some" { held } else { Value::Object(Map::from_iter([(name.to_owned(), held)])) });
        }
        if !name.is_empty() && rest.starts_with(" {") {
            self.rest = &rest[1..];
            let fields = self.fields()?;
            // Structs stand where their type is known from the place; a variant's name is needed.
            return Some(Value::Object(fields));
        }
        self.rest = before;
        let bare = self.bare();
        Some(match bare {
            "None" | "()" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            number if number.parse::<i64>().is_ok() => Value::from(number.parse::<i64>().ok()?),
            other => Value::String(other.to_owned()),
        })
    }

    fn fields(&mut self) -> Option<Map<String, Value>> {
        let mut fields = Map::new();
        self.take('{')?;
        loop {
            self.space();
            if self.take('}').is_some() {
                return Some(fields);
            }
            // `..` stands for fields that hide themselves.
            if let Some(rest) = self.rest.strip_prefix("..") {
                self.rest = rest;
                continue;
            }
            let colon = self.rest.find(": ")?;
            let name = self.rest[..colon].to_owned();
            self.rest = &self.rest[colon + 2..];
            fields.insert(name, self.value()?);
            self.space();
            self.take(',');
        }
    }

    fn map(&mut self) -> Option<Value> {
        let mut members = Map::new();
        self.take('{')?;
        loop {
            self.space();
            if self.take('}').is_some() {
                return Some(Value::Object(members));
            }
            let key = match self.value()? {
                Value::String(key) => key,
                other => other.to_string(),
            };
            self.space();
            self.take(':')?;
            members.insert(key, self.value()?);
            self.space();
            self.take(',');
        }
    }

    fn list(&mut self, open: char, close: char) -> Option<Value> {
        let mut items = Vec::new();
        self.take(open)?;
        loop {
            self.space();
            if self.take(close).is_some() {
                return Some(Value::Array(items));
            }
            items.push(self.value()?);
            self.space();
            if self.take(',').is_none() && !self.rest.starts_with(close) {
                return None;
            }
        }
    }

    /// A string as `Debug` escapes it.
    fn string(&mut self) -> Option<String> {
        let mut out = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(out);
                }
                '\\' => match chars.next()?.1 {
                    'n' => out.push('\n'),
                    'r' => out.push('\r'),
                    't' => out.push('\t'),
                    '0' => out.push('\0'),
                    'u' => {
                        let digits: String = chars.by_ref().skip(1).map(|(_, c)| c).take_while(|c| *c != '}').collect();
                        out.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                    }
                    other => out.push(other),
                },
                c => out.push(c),
            }
        }
        None
    }

    /// Up to the end of the item, whatever it is.
    fn bare(&mut self) -> &'a str {
        let end = self.rest.find([',', ' ', '}', ')']).unwrap_or(self.rest.len());
        let (bare, rest) = self.rest.split_at(end);
        self.rest = rest;
        bare
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, c: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(c)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Cluster, Endpoint, EndpointSet, LocalityEndpoints, Secret};
    use serde_json::json;

    #[test]
    fn a_cluster() {
        let endpoint = Endpoint::plain("[::1]:80".parse::<std::net::SocketAddr>().unwrap());
        let group = LocalityEndpoints { endpoints: vec![endpoint], ..LocalityEndpoints::default() };
        let set = EndpointSet::new("a \"b\"\n", vec![group]);
        let dump = json_of(&Cluster::new("c", model::cluster::Discovery::Static(set)));
        assert_eq!(dump["name"], "c");
        assert_eq!(dump["connect_timeout"], "5s");
        assert_eq!(dump["max_requests_per_connection"], Value::Null);
        let set = &dump["discovery"]["Static"];
        assert_eq!(set["name"], "a \"b\"\n");
        assert_eq!(set["localities"][0]["endpoints"][0]["address"]["addr"], "[::1]:80");
        assert_eq!(set["localities"][0]["endpoints"][0]["weight"], 1);
    }

    #[test]
    fn secrets_stay_secret() {
        let value = model::secret::SecretValue::Certificate { chain: b"c".to_vec(), private_key: b"k".to_vec() };
        let dump = json_of(&Secret { name: "default".into(), value });
        assert_eq!(dump, json!({ "name": "default", "value": { "Certificate": ".." } }));
    }
}
