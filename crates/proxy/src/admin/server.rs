//! Readiness, who this is, and what can be told to it.

use ::http::{Response, StatusCode};
use mesh_http::Body;
use serde_json::json;

use super::{Admin, Query, json as answer_json, text};
use crate::run::Command;
use crate::status::State;

pub(super) fn ready(admin: &Admin) -> Response<Body> {
    let state = admin.status.borrow().state();
    let status = if state == State::Live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(status, format!("{}\n", state.as_str()))
}

pub(super) fn info(admin: &Admin) -> Response<Body> {
    let status = admin.status.borrow();
    answer_json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": status.state().as_str(),
        "uptime_seconds": status.uptime().as_secs(),
        "node": { "id": status.node_id, "workload": &*admin.shared.workload.name },
        "control_plane": status.control_plane,
        "snapshot_version": admin.live.load().version,
    }))
}

/// Who speaks plain text to the program.
pub(super) fn plain_text(admin: &Admin) -> Response<Body> {
    let since = |at: std::time::SystemTime| at.elapsed().unwrap_or_default().as_secs_f64();
    let callers = admin.shared.plain.all().into_iter().map(|((address, port), seen)| {
        json!({
            "address": address,
            "port": port,
            "connections": seen.connections,
            "open": seen.open,
            "seconds_ago": if seen.open > 0 { 0.0 } else { since(seen.last) },
        })
    });
    answer_json(&json!({ "callers": callers.collect::<Vec<_>>() }))
}

pub(super) fn logging(admin: &Admin, query: Query<'_>) -> Response<Body> {
    let Some(control) = &admin.options.log_level else {
        return text(StatusCode::NOT_IMPLEMENTED, "this program was started without a log that can be changed\n");
    };
    let Some(level) = query.get("level") else { return text(StatusCode::OK, format!("level: {}\n", control.get())) };
    match control.set(level) {
        Ok(()) => text(StatusCode::OK, format!("level: {level}\n")),
        Err(problem) => text(StatusCode::BAD_REQUEST, format!("`{level}`: {problem}\n")),
    }
}

pub(super) fn drain(admin: &Admin) -> Response<Body> {
    told(admin, Command::Drain { then_end: false })
}

pub(super) fn quit(admin: &Admin) -> Response<Body> {
    told(admin, Command::Drain { then_end: true })
}

pub(super) fn leave_out(admin: &Admin, is_out: bool) -> Response<Body> {
    told(admin, Command::LeaveOut(is_out))
}

pub(super) fn reopen_logs(admin: &Admin) -> Response<Body> {
    admin.shared.sinks.reopen();
    text(StatusCode::OK, "OK\n")
}

fn told(admin: &Admin, command: Command) -> Response<Body> {
    match admin.commands.send(command) {
        Ok(()) => text(StatusCode::OK, "OK\n"),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the proxy is ending already\n"),
    }
}
