//! Our Grafana boards: every expression of every panel, asked as Grafana would ask it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{open, traffic};
use crate::poll;
use crate::prometheus::Prometheus;
use crate::runner::Outcome;
use crate::world::World;

const LONG: Duration = Duration::from_secs(240);

/// Metrics that are there only after a failure that is not brought about here, and the failure.
const FAILURES: [(&str, &str); 5] = [
    ("halcyon_certificates_refused_total", "somebody who may not have a certificate asks for one"),
    ("halcyon_listener_connections_refused_total", "a connection speaks no protocol of the listener"),
    ("envoy_cluster_upstream_rq_pending_overflow", "a circuit breaker is open"),
    ("envoy_cluster_outlier_detection_ejections_active", "a DestinationRule ejects endpoints that fail"),
    ("connection_security_policy=\"none\"", "a program is called in plain text"),
];

/// An expression of a panel, with the board's variables filled in.
struct Panel {
    shown: String,
    expression: String,
}

struct Board {
    name: String,
    panels: Vec<Panel>,
    /// What its variables are chosen from: metric and label.
    choices: Vec<(String, String)>,
}

fn read(path: &PathBuf) -> Result<Board> {
    let text = std::fs::read_to_string(path)?;
    let board: Value = serde_json::from_str(&text)?;
    let name = board["title"].as_str().context("no title")?.to_owned();
    ensure!(board["uid"].is_string() && board["schemaVersion"].as_u64() >= Some(39), "no uid, or an old schema");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut filled = BTreeMap::from([("$__rate_interval".to_owned(), "20s".to_owned())]);
    filled.insert("$__range".to_owned(), "5m".to_owned());
    let mut choices = Vec::new();
    for variable in list(&board["templating"]["list"]) {
        let text = |key: &str| variable[key].as_str().unwrap_or_default().to_owned();
        let value = match &*text("type") {
            "datasource" => continue,
            "custom" => variable["current"]["value"].as_str().context("no value")?.to_owned(),
            "query" => {
                let asked = text("definition");
                ensure!(variable["query"]["query"] == *asked, "{asked} is not what is asked");
                let asked = asked.strip_prefix("label_values(").and_then(|it| it.strip_suffix(')'));
                let (metric, label) =
                    asked.and_then(|it| it.rsplit_once(", ")).context("expected label_values(...)")?;
                choices.push((metric.to_owned(), label.to_owned()));
                text("allValue")
            }
            other => bail!("a variable of the type {other}"),
        };
        ensure!(!value.is_empty(), "the variable {} has no value", text("name"));
        filled.insert(format!("${}", text("name")), value);
    }
    let fill = |text: &str| filled.iter().rev().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
    let mut panels = Vec::new();
    let nested = |panel: Value| [vec![panel.clone()], list(&panel["panels"])].concat();
    for panel in list(&board["panels"]).into_iter().flat_map(nested) {
        for target in list(&panel["targets"]) {
            ensure!(target["datasource"]["uid"] == "${datasource}", "{} is bound to a data source", panel["title"]);
            let expression = fill(target["expr"].as_str().context("a target without an expression")?);
            ensure!(!expression.contains('$'), "{expression} has a variable that the board has not");
            panels.push(Panel { shown: format!("{name}, {} {}", panel["title"], target["refId"]), expression });
        }
    }
    ensure!(!panels.is_empty(), "no panels");
    let choices = choices.into_iter().map(|(metric, label)| (fill(&metric), label)).collect();
    Ok(Board { name, panels, choices })
}

fn needs_a_failure(expression: &str) -> bool {
    FAILURES.iter().any(|(metric, _)| expression.contains(metric))
}

/// Asks until each panel has something to show.
pub fn panels(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        let (mesh, prometheus) = open(world).await?;
        let folder = place.integration("grafana");
        let files = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        let mut files: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
        files.retain(|path| path.extension().is_some_and(|it| it == "json"));
        files.sort();
        let boards = files.iter().map(|path| read(path).with_context(|| path.display().to_string()));
        let boards: Vec<Board> = boards.collect::<Result<_>>()?;
        ensure!(boards.len() >= 5, "only {} boards", boards.len());
        traffic::prepare(mesh, "echo").await?;
        let mut waiting: Vec<&Panel> = boards.iter().flat_map(|board| &board.panels).collect();
        let all = waiting.len();
        poll::until("something in every panel", LONG, async || {
            traffic::round(&place, mesh).await?;
            let mut empty = Vec::new();
            for panel in &waiting {
                let shown = prometheus.query(&panel.expression).await.with_context(|| panel.shown.clone())?;
                if shown.is_empty() && !needs_a_failure(&panel.expression) {
                    empty.push(*panel);
                }
            }
            waiting = empty;
            let names: Vec<String> = waiting.iter().map(|it| format!("{}: {}", it.shown, it.expression)).collect();
            ensure!(names.is_empty(), "nothing yet in\n{}", names.join("\n"));
            Ok(())
        })
        .await?;
        for board in &boards {
            choices(&prometheus, board).await.with_context(|| board.name.clone())?;
        }
        Ok(format!("{} boards, {all} expressions", boards.len()))
    })
}

async fn choices(prometheus: &Prometheus, board: &Board) -> Result<()> {
    for (metric, label) in &board.choices {
        let values = prometheus.query(&format!("group by ({label}) ({metric})")).await?;
        ensure!(values.iter().any(|value| !value.label(label).is_empty()), "there is no {label} of {metric}");
    }
    Ok(())
}
