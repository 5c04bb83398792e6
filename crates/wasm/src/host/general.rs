//! Functions about the guest itself: its log, its time, its ticks, its contexts, properties, and answers of its own.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use filter::LocalResponse;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use mesh_http::grpc::GrpcStatus;
use telemetry::ResponseFlags;
use wasmtime::{Caller, Linker};

use super::Host;
use super::memory::{Done, Guest, code};
use crate::abi::{Side, Status};
use crate::{bounds, pairs, property};

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    type C<'c> = Caller<'c, Host>;
    let env = "env";
    linker
        .func_wrap(env, "proxy_log", |c: C<'_>, level: u32, at: u32, length: u32| {
            code(log(&mut Guest(c), level, at, length))
        })?
        .func_wrap(env, "proxy_get_log_level", |c: C<'_>, at: u32| code(log_level(&mut Guest(c), at)))?
        .func_wrap(env, "proxy_get_current_time_nanoseconds", |c: C<'_>, at: u32| code(time(&mut Guest(c), at)))?
        .func_wrap(env, "proxy_set_tick_period_milliseconds", |c: C<'_>, period: u32| {
            code(tick_period(&mut Guest(c), period))
        })?
        .func_wrap(env, "proxy_set_effective_context", |c: C<'_>, id: u32| code(effective(&mut Guest(c), id)))?
        .func_wrap(env, "proxy_done", |c: C<'_>| code(done(&mut Guest(c))))?
        .func_wrap(env, "proxy_get_property", |c: C<'_>, at: u32, length: u32, place: u32, size: u32| {
            code(get_property(&mut Guest(c), at, length, place, size))
        })?
        .func_wrap(env, "proxy_set_property", |c: C<'_>, at: u32, length: u32, value: u32, size: u32| {
            code(set_property(&mut Guest(c), at, length, value, size))
        })?
        .func_wrap(env, "proxy_continue_stream", |c: C<'_>, stream: u32| code(go_on(&mut Guest(c), stream)))?
        .func_wrap(env, "proxy_continue_request", |c: C<'_>| code(go_on(&mut Guest(c), 0)))?
        .func_wrap(env, "proxy_continue_response", |c: C<'_>| code(go_on(&mut Guest(c), 1)))?
        .func_wrap(env, "proxy_close_stream", |c: C<'_>, stream: u32| code(close(&mut Guest(c), stream)))?
        .func_wrap(env, "proxy_clear_route_cache", |c: C<'_>| code(clear_route(&mut Guest(c))))?
        .func_wrap(
            env,
            "proxy_call_foreign_function",
            |c: C<'_>, name: u32, length: u32, _: u32, _: u32, place: u32, size: u32| {
                code(foreign(&mut Guest(c), name, length, place, size))
            },
        )?
        .func_wrap(
            env,
            "proxy_send_local_response",
            |c: C<'_>, status: u32, d: u32, ds: u32, b: u32, bs: u32, h: u32, hs: u32, grpc: i32| {
                code(respond(&mut Guest(c), status, (d, ds), (b, bs), (h, hs), grpc))
            },
        )?
        // Emscripten's, of which a host need know nothing.
        .func_wrap(env, "emscripten_notify_memory_growth", |_: C<'_>, _: u32| {})?
        .func_wrap(env, "pthread_equal", |_: C<'_>, one: u32, other: u32| u32::from(one == other))?;
    Ok(())
}

fn log(guest: &mut Guest<'_>, level: u32, at: u32, length: u32) -> Done {
    if level > 5 {
        return Err(Status::BadArgument.into());
    }
    let line = guest.bytes(at, length)?;
    write_log(guest.host(), level, &line);
    Ok(())
}

/// Writes a line of the guest's to the log.
pub(super) fn write_log(host: &mut Host, level: u32, line: &[u8]) {
    let plugin = host.plugin();
    let line = escaped(line);
    let (name, root, vm) = (&*plugin.plugin, &*plugin.root_id, &*plugin.vm_id);
    match level {
        0 => tracing::trace!(target: "wasm", plugin = name, root, vm, "{line}"),
        1 => tracing::debug!(target: "wasm", plugin = name, root, vm, "{line}"),
        2 => tracing::info!(target: "wasm", plugin = name, root, vm, "{line}"),
        3 => tracing::warn!(target: "wasm", plugin = name, root, vm, "{line}"),
        _ => tracing::error!(target: "wasm", plugin = name, root, vm, "{line}"),
    }
}

/// One line, of bounded length, that does to a terminal nothing but stand there.
fn escaped(line: &[u8]) -> String {
    let cut = &line[..line.len().min(bounds::LOG_LINE)];
    let mut escaped = String::with_capacity(cut.len());
    for letter in String::from_utf8_lossy(cut).trim_end_matches('\n').chars() {
        match letter {
            '\t' => escaped.push(letter),
            control if control.is_control() => escaped.extend(control.escape_default()),
            letter => escaped.push(letter),
        }
    }
    if cut.len() < line.len() {
        escaped.push_str(" ...");
    }
    escaped
}

fn log_level(guest: &mut Guest<'_>, at: u32) -> Done {
    let level = match () {
        () if tracing::enabled!(target: "wasm", tracing::Level::TRACE) => 0,
        () if tracing::enabled!(target: "wasm", tracing::Level::DEBUG) => 1,
        () if tracing::enabled!(target: "wasm", tracing::Level::INFO) => 2,
        () if tracing::enabled!(target: "wasm", tracing::Level::WARN) => 3,
        () => 4,
    };
    Ok(guest.write_number(at, level)?)
}

/// Nanoseconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

fn time(guest: &mut Guest<'_>, at: u32) -> Done {
    Ok(guest.write(at, &now().to_le_bytes())?)
}

fn tick_period(guest: &mut Guest<'_>, period: u32) -> Done {
    let period = Duration::from_millis(period.into());
    let (_, root) = guest.host().root()?;
    root.wakes.period.set((!period.is_zero()).then(|| period.max(bounds::TICK_PERIOD)));
    root.wakes.changed.notify_one();
    Ok(())
}

fn effective(guest: &mut Guest<'_>, id: u32) -> Done {
    let host = guest.host();
    if !host.contexts.contains_key(&id) {
        return Err(Status::BadArgument.into());
    }
    host.effective = id;
    Ok(())
}

fn done(guest: &mut Guest<'_>) -> Done {
    let (_, root) = guest.host().root().map_err(|_| Status::NotFound)?;
    root.wakes.done.set(true);
    root.wakes.changed.notify_one();
    Ok(())
}

fn get_property(guest: &mut Guest<'_>, at: u32, length: u32, place: u32, size: u32) -> Done {
    let path = guest.bytes(at, length)?;
    let plugin = guest.host().plugin();
    let value = property::get(&path, guest.host().context()?, &plugin).ok_or(Status::NotFound)?;
    guest.give(&value, place, size)
}

fn set_property(guest: &mut Guest<'_>, at: u32, length: u32, value: u32, size: u32) -> Done {
    let (path, value) = (guest.bytes(at, length)?, guest.bytes(value, size)?);
    Ok(guest.host().context()?.set_property(&path, &value)?)
}

fn go_on(guest: &mut Guest<'_>, stream: u32) -> Done {
    let side = Side::of_stream(stream).ok_or(Status::BadArgument)?;
    let stream = guest.host().stream()?;
    stream.half(side).resumed = true;
    stream.wake();
    Ok(())
}

fn close(guest: &mut Guest<'_>, stream: u32) -> Done {
    Side::of_stream(stream).ok_or(Status::BadArgument)?;
    let stream = guest.host().stream()?;
    stream.closed = true;
    stream.wake();
    Ok(())
}

fn clear_route(guest: &mut Guest<'_>) -> Done {
    guest.host().stream()?.reroute = true;
    Ok(())
}

fn foreign(guest: &mut Guest<'_>, name: u32, length: u32, place: u32, size: u32) -> Done {
    match guest.read(name, length)? {
        b"clear_route_cache" => clear_route(guest)?,
        _ => return Err(Status::NotFound.into()),
    }
    // It has no results; who does not want to know names no place.
    for at in [place, size].into_iter().filter(|at| *at != 0) {
        guest.write_number(at, 0)?;
    }
    Ok(())
}

fn respond(
    guest: &mut Guest<'_>,
    status: u32,
    details: (u32, u32),
    body: (u32, u32),
    headers: (u32, u32),
    grpc_status: i32,
) -> Done {
    let bad = Status::BadArgument;
    let details = guest.bytes(details.0, details.1)?;
    let body = Bytes::from(guest.bytes(body.0, body.1)?);
    let pairs = guest.bytes(headers.0, headers.1)?;
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok()).ok_or(bad)?;
    let mut headers = HeaderMap::new();
    if pairs.len() > bounds::HEADERS {
        return Err(bad.into());
    }
    for (name, value) in pairs::decode(&pairs).ok_or(bad)? {
        let name = HeaderName::from_bytes(name).map_err(|_| bad)?;
        headers.try_append(name, HeaderValue::from_bytes(value).map_err(|_| bad)?).map_err(|_| bad)?;
    }
    let details = String::from_utf8_lossy(&details).split_whitespace().collect::<Vec<_>>().join("_");
    let stream = guest.host().stream()?;
    // The first is the answer.
    stream.local.get_or_insert_with(|| LocalResponse {
        status,
        grpc_status: u32::try_from(grpc_status).ok().map(GrpcStatus),
        body,
        headers,
        details: if details.is_empty() { Cow::Borrowed("wasm_local_response") } else { details.into() },
        why: None,
        flags: ResponseFlags::NONE,
    });
    stream.wake();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_log() {
        for (line, expected) in
            [("hello\n", "hello"), ("a\nb\x1b[2J\tc", "a\\nb\\u{1b}[2J\tc"), ("\u{9b}x", "\\u{9b}x")]
        {
            assert_eq!(escaped(line.as_bytes()), expected);
        }
        assert_eq!(escaped(&[b'x'; bounds::LOG_LINE + 1]).len(), bounds::LOG_LINE + 4);
    }
}
