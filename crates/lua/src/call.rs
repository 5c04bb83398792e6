//! Messages that scripts make: requests to services with their answers, and responses of the script's own.

use std::sync::Arc;
use std::time::Duration;

use ::bytes::Bytes;
use filter::LocalResponse;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use mlua::{Error, FromLua, FromLuaMulti, Lua, MultiValue, Table, Value};
use telemetry::ResponseFlags;

use crate::fields;

/// `httpCall()`
pub(crate) struct Call {
    pub cluster: Arc<str>,
    pub request: Request<Bytes>,
    /// None: as long as it likes.
    pub timeout: Option<Duration>,
    /// The script does not wait.
    pub beside: bool,
    /// Of headers that are there more than once all values are told.
    pub repeated: bool,
}

impl FromLuaMulti for Call {
    fn from_lua_multi(values: MultiValue, lua: &Lua) -> mlua::Result<Self> {
        type Arguments = (String, Table, Option<mlua::String>, Value, Option<bool>);
        let (cluster, headers, body, limit, beside) = Arguments::from_lua_multi(values, lua)?;
        let mut beside = beside.unwrap_or_default();
        let mut repeated = false;
        let timeout_ms = match limit {
            Value::Nil => None,
            Value::Table(options) => {
                beside = options.get::<Option<bool>>("asynchronous")?.unwrap_or_default();
                repeated = options.get::<Option<bool>>("return_duplicate_headers")?.unwrap_or_default();
                for pair in options.pairs::<String, Value>() {
                    let (key, _) = pair?;
                    let known = ["asynchronous", "timeout_ms", "trace_sampled", "return_duplicate_headers", "send_xff"];
                    if !known.contains(&&*key) {
                        return Err(Error::runtime(format!("`{key}` is no option of httpCall()")));
                    }
                }
                options.get::<Option<f64>>("timeout_ms")?
            }
            other => Some(f64::from_lua(other, lua)?),
        };
        let timeout = match timeout_ms {
            None => None,
            Some(ms) if ms >= 0.0 && ms.is_finite() => Some(Duration::from_secs_f64((ms / 1e3).min(86_400.0))),
            Some(ms) => return Err(Error::runtime(format!("{ms} as a timeout: expected milliseconds, zero or more"))),
        };
        let timeout = timeout.filter(|limit| !limit.is_zero());
        let body = body.map(|text| Bytes::copy_from_slice(&text.as_bytes())).unwrap_or_default();
        Ok(Self { cluster: cluster.into(), request: request(&headers, body)?, timeout, beside, repeated })
    }
}

fn request(headers: &Table, body: Bytes) -> mlua::Result<Request<Bytes>> {
    let mut wanted = Wanted::of(headers)?;
    let needed = |value: Option<String>, name: &str| {
        value.ok_or_else(|| Error::runtime(format!("the headers of httpCall() have no `{name}`")))
    };
    let method = needed(wanted.special.remove(":method"), ":method")?;
    let path = needed(wanted.special.remove(":path"), ":path")?;
    let authority = needed(wanted.special.remove(":authority"), ":authority")?;
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| Error::runtime(format!("`{method}` is no method")))?;
    let host =
        HeaderValue::try_from(&authority).map_err(|_| Error::runtime(format!("`{authority}` is no authority")))?;
    let mut request = Request::builder()
        .method(method)
        .uri(&path)
        .body(body)
        .map_err(|_| Error::runtime(format!("`{path}` is no path")))?;
    *request.headers_mut() = wanted.headers;
    request.headers_mut().insert(header::HOST, host);
    if !request.body().is_empty() {
        let length = HeaderValue::from(request.body().len());
        request.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
    Ok(request)
}

/// The headers that a script wants a message to have.
struct Wanted {
    /// Those with a colon.
    special: std::collections::BTreeMap<String, String>,
    headers: HeaderMap,
}

impl Wanted {
    fn of(table: &Table) -> mlua::Result<Self> {
        let mut wanted = Self { special: Default::default(), headers: HeaderMap::new() };
        for pair in table.pairs::<mlua::String, Value>() {
            let (key, value) = pair?;
            let key = key.to_string_lossy();
            match value {
                Value::Table(values) => {
                    for value in values.sequence_values::<mlua::String>() {
                        wanted.add(&key, &value?)?;
                    }
                }
                Value::String(value) => wanted.add(&key, &value)?,
                Value::Integer(_) | Value::Number(_) => {
                    let text = value.to_string()?;
                    let text = HeaderValue::try_from(&text).map_err(|_| Error::runtime(text))?;
                    wanted.put(&key, text)?;
                }
                other => {
                    let kind = other.type_name();
                    return Err(Error::runtime(format!("the header `{key}` is a {kind}: expected a text or texts")));
                }
            }
        }
        Ok(wanted)
    }

    fn add(&mut self, key: &str, value: &mlua::String) -> mlua::Result<()> {
        self.put(key, fields::value(value)?)
    }

    fn put(&mut self, key: &str, value: HeaderValue) -> mlua::Result<()> {
        if key.starts_with(':') {
            let text = value.to_str().map_err(|_| Error::runtime(format!("`{key}` is no text")))?;
            self.special.insert(key.to_owned(), text.to_owned());
            return Ok(());
        }
        let name = HeaderName::try_from(key).map_err(|_| Error::runtime(format!("`{key}` is no name of a header")))?;
        self.headers.append(name, value);
        Ok(())
    }
}

/// What a script is told of an answer: its headers and its body. Of a failure what Envoy tells of one.
pub(crate) fn answer(lua: &Lua, repeated: bool, answer: Result<Response<Bytes>, String>) -> mlua::Result<MultiValue> {
    let table = lua.create_table()?;
    let answer = answer.unwrap_or_else(|_| {
        let mut failure = Response::new(Bytes::from_static(b"upstream failure"));
        *failure.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        failure
    });
    table.set(":status", answer.status().as_str())?;
    for name in answer.headers().keys() {
        let values = answer.headers().get_all(name).iter().map(|value| lua.create_string(value.as_bytes()));
        let mut values = values.collect::<mlua::Result<Vec<_>>>()?;
        match values.pop() {
            Some(last) if values.is_empty() || !repeated => table.set(name.as_str(), last)?,
            Some(last) => {
                values.push(last);
                table.set(name.as_str(), values)?;
            }
            None => {}
        }
    }
    let body = answer.into_body();
    let body = if body.is_empty() { Value::Nil } else { Value::String(lua.create_string(&body)?) };
    Ok(MultiValue::from_iter([Value::Table(table), body]))
}

/// `respond()`
pub(crate) struct Own(pub LocalResponse);

impl FromLuaMulti for Own {
    fn from_lua_multi(values: MultiValue, lua: &Lua) -> mlua::Result<Self> {
        let (headers, body) = <(Table, Option<mlua::String>)>::from_lua_multi(values, lua)?;
        let mut wanted = Wanted::of(&headers)?;
        let status = wanted.special.remove(":status").unwrap_or_default();
        let status = StatusCode::from_bytes(status.as_bytes()).ok().filter(|it| (200..600).contains(&it.as_u16()));
        let status = status.ok_or_else(|| Error::runtime("respond() needs a `:status` of 200 to 599"))?;
        Ok(Self(LocalResponse {
            status,
            grpc_status: None,
            body: body.map(|text| Bytes::copy_from_slice(&text.as_bytes())).unwrap_or_default(),
            headers: wanted.headers,
            details: "lua_response".into(),
            why: None,
            flags: ResponseFlags::NONE,
        }))
    }
}
