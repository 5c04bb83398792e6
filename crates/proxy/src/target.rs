//! What a request asks for, brought into the form that is looked at from there on: its path and its authority; and header
//! names that are not taken.

use ::http::{HeaderMap, HeaderName, Method, Request, Version, header};
use mesh_http::{Body, head};
use model::HttpProxy;
use model::edge::Underscores;
use model::target::PathVerdict;

use crate::forward::{set_host, set_path};
use crate::respond::{self, Fault};

/// Brings a request into form; `dialled` is the port that its connection was made to.
pub(crate) fn bring_into_form(request: &mut Request<Body>, proxy: &HttpProxy, dialled: u16) -> Result<(), Fault> {
    if proxy.limits.underscores != Underscores::Allow {
        underscores(request.headers_mut(), proxy.limits.underscores)?;
    }
    if let (Some(host), Version::HTTP_10, None) =
        (&proxy.limits.http10_host, request.version(), head::authority(request))
    {
        request.headers_mut().insert(header::HOST, host.clone());
    }
    if *request.method() == Method::CONNECT {
        return Ok(());
    }
    if proxy.target.concern_path() {
        path(request, proxy)?;
    }
    if proxy.target.concern_authority()
        && let Some(authority) = head::authority(request)
        && let Some(changed) = proxy.target.authority(authority, dialled)
    {
        let changed = changed.into_owned();
        set_host(request, &changed)?;
    }
    Ok(())
}

fn path(request: &mut Request<Body>, proxy: &HttpProxy) -> Result<(), Fault> {
    let Some(path) = request.uri().path_and_query() else { return Ok(()) };
    match proxy.target.path(path.as_str()) {
        PathVerdict::Same => Ok(()),
        PathVerdict::Changed(path) => set_path(request, &path).map_err(|_| Fault::BadPath),
        PathVerdict::Redirect(path) if !respond::is_grpc(request.headers()) => Err(Fault::NormalPath(path)),
        PathVerdict::Redirect(_) | PathVerdict::Refused => Err(Fault::BadPath),
    }
}

fn underscores(headers: &mut HeaderMap, rule: Underscores) -> Result<(), Fault> {
    let names: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    if rule == Underscores::Reject && !names.is_empty() {
        return Err(Fault::Underscore);
    }
    names.iter().for_each(|name| drop(headers.remove(name)));
    Ok(())
}
