//! A request as people write it in JSON. Fields that there are not are refused with the one that is most like them.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use control::v1::AccessQuestion;
use serde_json::Value;

const FIELDS: [&str; 9] = ["source", "destination", "protocol", "method", "path", "host", "headers", "sni", "claims"];
const OF_SOURCE: [&str; 5] = ["principal", "namespace", "account", "ip", "remoteIp"];
const OF_DESTINATION: [&str; 5] = ["namespace", "labels", "port", "ip", "gateway"];

/// Reads a file, or standard input.
pub fn read(path: &Path) -> Result<AccessQuestion> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    }
    of_text(&text).with_context(|| path.display().to_string())
}

fn of_text(text: &str) -> Result<AccessQuestion> {
    let value: Value = serde_json::from_str(text)?;
    check(&value, "", &FIELDS)?;
    check(&value["source"], "source.", &OF_SOURCE)?;
    check(&value["destination"], "destination.", &OF_DESTINATION)?;
    Ok(serde_json::from_value(value)?)
}

fn check(value: &Value, prefix: &str, known: &[&str]) -> Result<()> {
    for name in value.as_object().into_iter().flat_map(|object| object.keys()) {
        if known.contains(&name.as_str()) {
            continue;
        }
        match api::nearest(name, known) {
            Some(near) => bail!("the field `{prefix}{name}` is not known; did you mean `{prefix}{near}`?"),
            None => bail!("the field `{prefix}{name}` is not known; expected {}", known.join(", ")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let whole = r#"{"source": {"principal": "td/ns/a/sa/b", "remoteIp": "10.0.0.1"}, "destination": {"port": 80,
            "labels": {"app": "a"}}, "method": "GET", "claims": {"iss": "a", "groups": ["b"]}}"#;
        let read = of_text(whole).unwrap();
        assert_eq!((read.destination.port, read.claims.len()), (Some(80), 2));
        for (text, expected) in [
            (r#"{"methd": "GET"}"#, "the field `methd` is not known; did you mean `method`?"),
            (
                r#"{"source": {"remote_ip": "::1"}}"#,
                "the field `source.remote_ip` is not known; did you mean `source.remoteIp`?",
            ),
            (
                r#"{"destination": {"weather": 1}}"#,
                "the field `destination.weather` is not known; expected namespace, labels, port, ip, gateway",
            ),
        ] {
            assert_eq!(of_text(text).unwrap_err().to_string(), expected);
        }
    }
}
