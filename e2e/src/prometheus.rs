//! A Prometheus beside a mesh: how it is started with our own configuration, and what it answers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use serde_json::Value;

use crate::place::Place;
use crate::process;
use crate::web::Connection;

/// Where our configuration says that the control plane is.
const CONTROL: &str = "127.0.0.1:15014";
/// How often it scrapes here, so that nobody has to wait.
const OFTEN: &str = "2s";

/// A Prometheus of this machine.
#[derive(Debug, Clone, Copy)]
pub struct Prometheus {
    at: SocketAddr,
}

/// One value of an answer.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its labels, with the name of the metric if it has one.
    pub labels: BTreeMap<String, String>,
    /// What it stands at.
    pub value: f64,
}

impl Series {
    /// A label; empty if it is not there, as Prometheus takes it.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// The program.
///
/// # Errors
/// It is not there.
pub fn installed(place: &Place) -> Result<PathBuf> {
    place.installed("prometheus", "prometheus")
}

impl Prometheus {
    /// One that will be at a port that nobody has now.
    pub fn anywhere() -> Result<Self> {
        Ok(Self { at: SocketAddr::from((Ipv4Addr::LOCALHOST, process::free_port()?)) })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// How it is started: with our configuration, but for this control plane and more often; its data in this folder.
    pub fn arguments(&self, place: &Place, control: SocketAddr, folder: &Path) -> Result<Vec<OsString>> {
        let read = |name: &str| {
            let path = place.integration("prometheus").join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let ours = read("prometheus.yml")?;
        ensure!(ours.contains(CONTROL), "prometheus.yml does not name the control plane's {CONTROL}");
        let text = ours.replace(CONTROL, &control.to_string()).replace("15s", OFTEN).replace("10s", OFTEN);
        place.write("alerts.yml", &read("alerts.yml")?)?;
        let file = place.write("prometheus.yml", &text)?;
        let option = |name: &str, value: &Path| format!("--{name}={}", value.display()).into();
        Ok(vec![
            option("config.file", &file),
            option("storage.tsdb.path", &folder.join("prometheus")),
            format!("--web.listen-address={}", self.at).into(),
            "--log.level=warn".into(),
        ])
    }

    /// What an expression is now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Series>> {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let body = format!("query={}", escaped(expression));
        let answer = Connection::open(self.at).await?.send(Method::POST, "/api/v1/query", &form, &body).await?;
        let answer: Value = serde_json::from_slice(&answer.body).context("Prometheus' answer")?;
        if answer["status"] != "success" {
            bail!("{expression}: {}", answer["error"]);
        }
        let data = &answer["data"];
        ensure!(data["resultType"] == "vector", "{expression} is a {}", data["resultType"]);
        let series = data["result"].as_array().context("no result")?.iter().map(|series| {
            let labels = serde_json::from_value(series["metric"].clone())?;
            let value = series["value"][1].as_str().context("no value")?.parse()?;
            Ok(Series { labels, value })
        });
        series.collect::<Result<_>>().with_context(|| expression.to_owned())
    }

    /// The single value of an expression; 0 if there is none.
    pub async fn value(&self, expression: &str) -> Result<f64> {
        match &self.query(expression).await?[..] {
            [] => Ok(0.0),
            [one] => Ok(one.value),
            more => bail!("{expression} has {} values", more.len()),
        }
    }

    /// Another call of its API.
    pub async fn get(&self, path: &str) -> Result<Value> {
        Ok(Connection::open(self.at).await?.get(path, &[]).await?.json()?["data"].take())
    }
}

/// What a proxy tells scrapers, of one metric.
pub fn told(text: &str, metric: &str) -> Result<Vec<Series>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{'));
    let read = lines.map(|line| {
        let (labels, value) = line.rsplit_once("} ").context("no value")?;
        // No value of ours has a quotation mark in it.
        let labels = labels.strip_suffix('"').unwrap_or(labels).split("\",").map(|pair| pair.split_once("=\""));
        let labels = labels.map(|pair| pair.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let labels = labels.collect::<Option<_>>().with_context(|| format!("the labels of {line}"))?;
        Ok(Series { labels, value: value.trim().parse()? })
    });
    read.collect()
}

/// As forms escape it.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_scrape() {
        let text = "# TYPE a counter\na{x=\"1, 2\",y=\"\"} 7\nab{x=\"3\"} 8\na_sum{x=\"4\"} 9\n";
        let found = told(text, "a").unwrap();
        assert_eq!((found.len(), found[0].label("x"), found[0].label("y"), found[0].value), (1, "1, 2", "", 7.0));
        assert_eq!(told(text, "a_sum").unwrap()[0].value, 9.0);
        assert!(told(text, "b").unwrap().is_empty());
        assert_eq!(escaped("a{b=\"c\"} > 0"), "a%7Bb%3D%22c%22%7D%20%3E%200");
    }
}
