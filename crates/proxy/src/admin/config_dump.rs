//! `/config_dump`: everything that runs, in the words of the model.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use ::http::{Response, StatusCode};
use mesh_http::Body;
use model::Config;
use serde_json::{Value, json};

use super::{Admin, Query, json as answer_json, text};
use crate::dump::json_of;

pub(super) fn answer(admin: &Admin, query: Query<'_>) -> Response<Body> {
    let snapshot = admin.live.load();
    let all = sections(&snapshot.config);
    let mut dump = serde_json::Map::from_iter([("version".to_owned(), json!(snapshot.version))]);
    match query.get("resource") {
        None => {
            dump.extend(all.map(|(name, section)| (name.to_owned(), section())));
            dump.insert("waiting_for".into(), admin.status.borrow().waiting.clone().into());
        }
        Some(wanted) => match all.iter().find(|(name, _)| *name == wanted) {
            Some((name, section)) => drop(dump.insert((*name).to_owned(), section())),
            None => {
                let names = all.map(|(name, _)| name).join(", ");
                return text(StatusCode::BAD_REQUEST, format!("no resource `{wanted}`: expected one of {names}\n"));
            }
        },
    }
    answer_json(&dump.into())
}

type Section<'a> = (&'static str, Box<dyn Fn() -> Value + 'a>);

fn sections(config: &Config) -> [Section<'_>; 8] {
    [
        ("listeners", Box::new(|| section(&config.listeners))),
        ("routes", Box::new(|| section(&config.routes))),
        ("virtual_hosts", Box::new(|| section(&config.virtual_hosts))),
        ("clusters", Box::new(|| section(&config.clusters))),
        ("endpoints", Box::new(|| section(&config.endpoints))),
        ("secrets", Box::new(|| section(&config.secrets))),
        ("names", Box::new(|| section(&config.names))),
        ("limits", Box::new(|| section(&config.limits))),
    ]
}

fn section<T: Debug>(resources: &BTreeMap<Arc<str>, Arc<T>>) -> Value {
    resources.values().map(|resource| json_of(&**resource)).collect()
}
