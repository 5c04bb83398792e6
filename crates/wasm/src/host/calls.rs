//! Functions that call services: by HTTP, and by gRPC, which is not implemented.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Uri};
use wasmtime::{Caller, Linker};

use super::memory::{Done, Guest, code};
use super::{Answer, Host};
use crate::abi::Status;
use crate::heads::ResponseHead;
use crate::{bounds, pairs};

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    type C<'c> = Caller<'c, Host>;
    let env = "env";
    let unimplemented = Status::Unimplemented as u32;
    linker
        .func_wrap(
            env,
            "proxy_http_call",
            |c: C<'_>, u: u32, us: u32, h: u32, hs: u32, b: u32, bs: u32, t: u32, ts: u32, timeout: u32, token: u32| {
                code(http_call(&mut Guest(c), (u, us), (h, hs), (b, bs), (t, ts), timeout, token))
            },
        )?
        .func_wrap(env, "proxy_get_status", |c: C<'_>, at: u32, place: u32, size: u32| {
            code(status(&mut Guest(c), at, place, size))
        })?
        .func_wrap(
            env,
            "proxy_grpc_call",
            move |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32| {
                unimplemented
            },
        )?
        .func_wrap(
            env,
            "proxy_grpc_stream",
            move |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32| unimplemented,
        )?
        .func_wrap(env, "proxy_grpc_send", move |_: u32, _: u32, _: u32, _: u32| unimplemented)?
        .func_wrap(env, "proxy_grpc_cancel", move |_: u32| unimplemented)?
        .func_wrap(env, "proxy_grpc_close", move |_: u32| unimplemented)?;
    Ok(())
}

fn http_call(
    guest: &mut Guest<'_>,
    cluster: (u32, u32),
    headers: (u32, u32),
    body: (u32, u32),
    trailers: (u32, u32),
    timeout: u32,
    token_at: u32,
) -> Done {
    let cluster = String::from_utf8(guest.bytes(cluster.0, cluster.1)?).map_err(|_| Status::BadArgument)?;
    let headers = guest.bytes(headers.0, headers.1)?;
    let body = Bytes::from(guest.bytes(body.0, body.1)?);
    // Trailers are looked at and left out: no service of ours is sent any.
    pairs::decode(guest.read(trailers.0, trailers.1)?).ok_or(Status::BadArgument)?;
    guest.write_number(token_at, 0)?;
    let request = request(&headers, body)?;
    let timeout = (timeout > 0).then(|| Duration::from_millis(timeout.into()));
    let host = guest.host();
    let calls = host.root()?.1.calls.clone();
    if host.calls.len() >= bounds::CALLS {
        return Err(Status::InternalFailure.into());
    }
    let token = loop {
        host.last_call = host.last_call.wrapping_add(1);
        if host.last_call != 0 && !host.calls.contains(&host.last_call) {
            break host.last_call;
        }
    };
    let answer = host.sender.send(cluster.into(), request, timeout);
    let calling = async move { (token, answer.await.map(Answer::from)) };
    calls.send(Box::pin(calling)).map_err(|_| Status::InternalFailure)?;
    host.calls.insert(token);
    Ok(guest.write_number(token_at, token)?)
}

/// The request of these pairs: a method, a path and an authority must be among them.
fn request(headers: &[u8], body: Bytes) -> Result<Request<Bytes>, Status> {
    let bad = Status::BadArgument;
    let (mut method, mut path, mut authority) = (None, None, None);
    let mut fields = HeaderMap::new();
    for (name, value) in pairs::decode(headers).ok_or(bad)? {
        match name {
            b":method" => method = Some(Method::from_bytes(value).map_err(|_| bad)?),
            b":path" => path = Some(PathAndQuery::try_from(value).map_err(|_| bad)?),
            b":authority" => authority = Some(HeaderValue::from_bytes(value).map_err(|_| bad)?),
            // The cluster knows how it is spoken to.
            b":scheme" => {}
            _ => {
                let name = HeaderName::from_bytes(name).map_err(|_| bad)?;
                fields.try_append(name, HeaderValue::from_bytes(value).map_err(|_| bad)?).map_err(|_| bad)?;
            }
        }
    }
    let host = authority.or_else(|| fields.remove(HOST)).ok_or(bad)?;
    fields.insert(HOST, host);
    let mut request = Request::new(body);
    *request.method_mut() = method.ok_or(bad)?;
    *request.uri_mut() = Uri::from(path.ok_or(bad)?);
    *request.headers_mut() = fields;
    Ok(request)
}

/// How the last call came out: all is well, or its connection broke.
fn status(guest: &mut Guest<'_>, at: u32, place: u32, size: u32) -> Done {
    const BROKEN_CONNECTION: u32 = 11;
    let (code, why) = match &guest.host().answer {
        Some(Err(why)) => (BROKEN_CONNECTION, why.clone()),
        _ => (0, String::new()),
    };
    guest.write_number(at, code)?;
    guest.give(why.as_bytes(), place, size)
}

impl From<http::Response<Bytes>> for Answer {
    fn from(response: http::Response<Bytes>) -> Self {
        let (head, body) = response.into_parts();
        Self { head: ResponseHead { status: head.status, headers: head.headers }, body, trailers: HeaderMap::new() }
    }
}
