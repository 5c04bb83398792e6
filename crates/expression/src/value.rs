//! Values of attributes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cel::Value;
use cel::objects::{Key, Map};

/// A text.
pub fn text(text: impl Into<String>) -> Value {
    Value::String(Arc::new(text.into()))
}

/// A duration; of more than 292 million years, that.
pub fn duration(duration: Duration) -> Value {
    Value::Duration(chrono::Duration::from_std(duration).unwrap_or(chrono::Duration::MAX))
}

/// A time; one that no calendar holds is the beginning of 1970.
pub fn time(time: SystemTime) -> Value {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or_default();
    Value::Timestamp(chrono::DateTime::from_timestamp(seconds, since.subsec_nanos()).unwrap_or_default().into())
}

/// A map of texts. What comes twice stands joined by commas.
pub fn map<'a>(entries: impl Iterator<Item = (&'a str, String)>) -> Value {
    let mut joined: HashMap<&str, String> = HashMap::new();
    for (key, value) in entries {
        match joined.get_mut(key) {
            Some(known) => {
                known.push(',');
                known.push_str(&value);
            }
            None => _ = joined.insert(key, value),
        }
    }
    let map = joined.into_iter().map(|(key, value)| (Key::from(key), text(value))).collect();
    Value::Map(Map { map: Arc::new(map) })
}
