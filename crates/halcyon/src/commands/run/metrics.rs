//! Where the program tells its own metrics: as was typed, else as its annotations say (Prometheus' and Istio's).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::cli::{MetricsAt, RunArgs};

const SCRAPE: &str = "prometheus.io/scrape";
const PORT: &str = "prometheus.io/port";
const PATH: &str = "prometheus.io/path";
const SCHEME: &str = "prometheus.io/scheme";
/// `false`: the program is scraped by itself.
const MERGE: &str = "prometheus.istio.io/merge-metrics";

pub fn of(args: &RunArgs, annotations: &BTreeMap<String, String>) -> Result<Option<MetricsAt>> {
    if let Some(typed) = &args.metrics.metrics {
        return Ok(Some(typed.clone()));
    }
    let said = |key: &str| annotations.get(key).map(|value| value.trim());
    let merges = said(MERGE).is_none_or(|value| value != "false");
    if !merges || said(SCRAPE) != Some("true") {
        return Ok(None);
    }
    if let Some(scheme) = said(SCHEME).filter(|scheme| !scheme.eq_ignore_ascii_case("http")) {
        bail!(
            "the annotation `{SCHEME}`: `{scheme}` cannot be asked for by the sidecar; expected `http`, or `{MERGE}: \"false\"`"
        );
    }
    let port = match said(PORT) {
        Some(port) => Some(port.parse().with_context(|| format!("the annotation `{PORT}`: `{port}` is no port"))?),
        None => args.ports.first().map(|port| port.number),
    };
    let port = port.with_context(|| format!("the annotation `{SCRAPE}`: no port is known; expected `{PORT}`"))?;
    let path = said(PATH).filter(|path| !path.is_empty()).unwrap_or(MetricsAt::PATH);
    // As Istio completes it.
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Some(MetricsAt { port, path }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::run::args_of;

    fn run(words: &str) -> RunArgs {
        args_of(&format!("--service a {words}"))
    }

    #[test]
    fn as_typed_and_as_annotated() {
        let at = |port: u16, path: &str| Ok(Some(MetricsAt { port, path: path.to_owned() }));
        for (words, annotations, expected) in [
            ("", vec![], Ok(None)),
            ("--metrics 9102", vec![], at(9102, "/metrics")),
            ("--metrics 9102/m?a=b", vec![(SCRAPE, "true"), (PORT, "1")], at(9102, "/m?a=b")),
            ("--port 80", vec![(SCRAPE, "true")], at(80, "/metrics")),
            ("--port 80", vec![(SCRAPE, "true"), (PORT, "81"), (PATH, "stats")], at(81, "/stats")),
            ("--port 80", vec![(PORT, "81")], Ok(None)),
            ("--port 80", vec![(SCRAPE, "true"), (MERGE, "false")], Ok(None)),
            ("", vec![(SCRAPE, "true")], Err("no port is known")),
            ("", vec![(SCRAPE, "true"), (PORT, "x")], Err("`x` is no port")),
            ("--port 80", vec![(SCRAPE, "true"), (SCHEME, "https")], Err("cannot be asked for")),
        ] {
            let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            match (of(&run(words), &annotations), expected) {
                (Ok(found), expected) => assert_eq!(Ok(found), expected, "{words} {annotations:?}"),
                (Err(error), Err(part)) => assert!(format!("{error:#}").contains(part), "{error:#}"),
                (Err(error), Ok(_)) => panic!("{words} {annotations:?}: {error:#}"),
            }
        }
    }
}
