//! The properties of an exchange that a guest asks for by path (Envoy's "attributes"): a text as it is, a number in eight
//! bytes, little endian, a truth in one, and a set of headers as pairs. What is unknown is not found.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use http::{Version, header};
use model::extension::Wasm;

use crate::abi::Side;
use crate::context::{About, Context, Kind, Stream};
use crate::heads::Map;
use crate::pairs;

/// The value of a property. Names of the path stand between zeros.
pub(crate) fn get(path: &[u8], context: &mut Context, plugin: &Wasm) -> Option<Vec<u8>> {
    if let Some(set) = context.property(path) {
        return Some(set.to_vec());
    }
    let path = std::str::from_utf8(path).ok()?;
    // A name may be empty only at the end.
    let names: Vec<&str> = path.strip_suffix('\0').unwrap_or(path).split('\0').collect();
    let of_plugin = match &names[..] {
        ["plugin_name"] => Some(&plugin.plugin),
        ["plugin_root_id"] => Some(&plugin.root_id),
        ["plugin_vm_id"] => Some(&plugin.vm_id),
        _ => None,
    };
    if let Some(text) = of_plugin {
        return Some(text.as_bytes().to_vec());
    }
    let Kind::Stream(stream) = &mut context.kind else { return None };
    match &names[..] {
        ["request", rest @ ..] => request(rest, stream),
        ["response", rest @ ..] => response(rest, stream),
        ["source", end] => address(end, stream.about.source),
        ["destination", end] => address(end, stream.about.destination),
        ["connection", name] => connection(name, &stream.about),
        ["route_name"] | ["xds", "route_name"] => arc(&stream.about.route),
        ["cluster_name"] | ["xds", "cluster_name"] => text(&stream.about.cluster),
        _ => None,
    }
}

fn request(names: &[&str], stream: &mut Stream) -> Option<Vec<u8>> {
    let bytes = stream.half_of(Side::Request).bytes;
    let started = stream.about.started;
    let head = stream.request.as_mut()?;
    let header = |name: &header::HeaderName| Some(head.headers.get(name)?.as_bytes().to_vec());
    match names {
        ["path"] => Some(head.path().into()),
        ["url_path"] => Some(head.uri.path().into()),
        ["query"] => Some(head.uri.query().unwrap_or_default().into()),
        ["host"] => Some(head.authority()?.to_vec()),
        ["scheme"] => Some(head.scheme.clone().into()),
        ["method"] => Some(head.method.as_str().into()),
        ["protocol"] => Some(protocol(head.version).into()),
        ["id"] => header(&header::HeaderName::from_static("x-request-id")),
        ["referer"] => header(&header::REFERER),
        ["useragent"] => header(&header::USER_AGENT),
        ["time"] => number(started.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i64),
        ["size"] => {
            let told = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
            number(told.unwrap_or(bytes as i64))
        }
        ["headers", rest @ ..] => headers(rest, &Map::Request(head)),
        _ => None,
    }
}

fn response(names: &[&str], stream: &mut Stream) -> Option<Vec<u8>> {
    let bytes = stream.half_of(Side::Response).bytes;
    match names {
        ["trailers", rest @ ..] => headers(rest, &Map::Fields(stream.half(Side::Response).trailers.as_mut()?)),
        ["headers", rest @ ..] => headers(rest, &Map::Response(stream.response.as_mut()?)),
        ["code"] => number(stream.response.as_ref()?.status.as_u16().into()),
        ["size"] => number(stream.response.as_ref().map(|_| bytes as i64)?),
        _ => None,
    }
}

fn connection(name: &str, about: &About) -> Option<Vec<u8>> {
    match name {
        "mtls" => Some(vec![about.mtls.into()]),
        "requested_server_name" => text(&about.server_name),
        "uri_san_peer_certificate" => text(&about.peer_uri),
        "dns_san_peer_certificate" => text(&about.peer_dns),
        "subject_peer_certificate" => text(&about.peer_subject),
        "uri_san_local_certificate" => text(&about.own_uri),
        _ => None,
    }
}

fn headers(names: &[&str], map: &Map<'_>) -> Option<Vec<u8>> {
    match names {
        [] => Some(pairs::encode(&map.pairs())),
        [name] => map.get(name.as_bytes()),
        _ => None,
    }
}

fn address(name: &str, end: SocketAddr) -> Option<Vec<u8>> {
    match name {
        "address" => Some(end.to_string().into()),
        "port" => number(end.port().into()),
        _ => None,
    }
}

fn number(value: i64) -> Option<Vec<u8>> {
    Some(value.to_le_bytes().into())
}

fn text(value: &Option<String>) -> Option<Vec<u8>> {
    value.as_ref().map(|text| text.as_bytes().into())
}

fn arc(value: &Option<Arc<str>>) -> Option<Vec<u8>> {
    value.as_ref().map(|text| text.as_bytes().into())
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
