//! Expressions that people write: read or refused, and what is read has a value or none, whatever the exchange was.

#![no_main]

use std::time::{Duration, SystemTime};

use expression::{Attribute, Expression, Facts, Value, value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(read) = Expression::parse(text) else { return };
    assert_eq!(Expression::parse(read.text()).as_ref(), Ok(&read), "what was read reads back");
    for facts in [Exchange::Nothing, Exchange::Texts, Exchange::Numbers] {
        let holds = read.holds(&facts);
        assert!(!holds || read.evaluate(&facts).is_some(), "what holds has a value");
        let _ = read.text_of(&facts);
    }
});

/// What is known of an exchange.
enum Exchange {
    Nothing,
    Texts,
    Numbers,
}

impl Facts for Exchange {
    fn attribute(&self, attribute: Attribute) -> Option<Value> {
        match self {
            Self::Nothing => None,
            _ if attribute.is_map() => {
                Some(value::map([("x-team", "a"), ("x-team", "b"), ("", "")].map(own).into_iter()))
            }
            Self::Texts => Some(value::text("GET")),
            Self::Numbers if attribute.name().1 == "time" => Some(value::time(SystemTime::UNIX_EPOCH)),
            Self::Numbers if attribute.name().1 == "duration" => Some(value::duration(Duration::MAX)),
            Self::Numbers => Some(Value::Int(i64::MIN)),
        }
    }

    fn entry(&self, _: Attribute, key: &str) -> Option<Value> {
        (key == "x-team").then(|| value::text("a,b"))
    }
}

fn own((key, text): (&'static str, &str)) -> (&'static str, String) {
    (key, text.to_owned())
}
