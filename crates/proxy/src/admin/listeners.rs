//! `/listeners`: the listeners and their addresses.

use ::http::{Response, StatusCode};
use mesh_http::Body;
use serde_json::json;

use super::{Admin, Query, json as answer_json, text};

pub(super) fn answer(admin: &Admin, query: Query<'_>) -> Response<Body> {
    let snapshot = admin.live.load();
    let listeners = snapshot.listeners.iter();
    if query.wants_json() {
        let statuses: Vec<_> = listeners
            .map(|(name, plan)| {
                let address = plan.config.address.to_string();
                json!({ "name": &**name, "local_address": address, "bound": plan.config.bind })
            })
            .collect();
        return answer_json(&json!({ "listener_statuses": statuses }));
    }
    text(StatusCode::OK, listeners.map(|(name, plan)| format!("{name}::{}\n", plan.config.address)).collect::<String>())
}
