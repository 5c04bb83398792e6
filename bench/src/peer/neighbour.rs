//! Envoy, HAProxy and nginx: the templates in `bench/peers/` with ports and paths filled in. What is set there, and why, is
//! said there.

use std::path::{Path as FilePath, PathBuf};

use anyhow::bail;
use model::http_proxy::RouteSource;
use model::route::{Action, Forward, PathMatch};
use model::{Cluster, HttpProxy, NetworkFilter, Route};

use super::halcyon::listener;
use super::services::{self, Services};
use super::{Deployment, Discovery, Setup, free_ports, loopback, write};
use crate::process::Launch;
use crate::scenario::Path;
use crate::wire::Wire;

const ENVOY_HTTP: &str = include_str!("../../peers/envoy-http.yaml");
const ENVOY_TCP: &str = include_str!("../../peers/envoy-tcp.yaml");
const ENVOY_TLS: &str = include_str!("../../peers/envoy-tls.yaml");
const ENVOY_ADS: &str = include_str!("../../peers/envoy-ads.yaml");
const ENVOY_PAIR_CLIENT: &str = include_str!("../../peers/envoy-pair-client.yaml");
const ENVOY_PAIR_SERVER: &str = include_str!("../../peers/envoy-pair-server.yaml");
const HAPROXY_HTTP: &str = include_str!("../../peers/haproxy-http.cfg");
const HAPROXY_TCP: &str = include_str!("../../peers/haproxy-tcp.cfg");
const HAPROXY_TLS: &str = include_str!("../../peers/haproxy-tls.cfg");
const HAPROXY_SERVICES: &str = include_str!("../../peers/haproxy-services.cfg");
const HAPROXY_PAIR_CLIENT: &str = include_str!("../../peers/haproxy-pair-client.cfg");
const HAPROXY_PAIR_SERVER: &str = include_str!("../../peers/haproxy-pair-server.cfg");
const NGINX_HTTP: &str = include_str!("../../peers/nginx-http.conf");
const NGINX_GRPC: &str = include_str!("../../peers/nginx-grpc.conf");
const NGINX_TCP: &str = include_str!("../../peers/nginx-tcp.conf");
const NGINX_TLS: &str = include_str!("../../peers/nginx-tls.conf");
const NGINX_SERVICES: &str = include_str!("../../peers/nginx-services.conf");
const NGINX_PAIR_CLIENT: &str = include_str!("../../peers/nginx-pair-client.conf");
const NGINX_PAIR_SERVER: &str = include_str!("../../peers/nginx-pair-server.conf");
/// Where Debian puts nginx's stream module.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

const ENVOY_ARGUMENTS: &[&str] = &["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"];

/// One process of a neighbour: the template, its own values, and its port.
struct Part<'a> {
    template: &'a str,
    values: Vec<(&'static str, &'a str)>,
    listen: u16,
}

/// Envoy.
///
/// # Errors
/// When a file cannot be written.
pub fn envoy(setup: &Setup<'_>) -> anyhow::Result<Deployment> {
    let [entry, peer, admin, admin_2] = free_ports()?;
    let (admin, admin_2) = (admin.to_string(), admin_2.to_string());
    let (control, xds);
    let parts = match setup.path {
        Path::Http { downstream, upstream } => {
            let codec = if downstream == Wire::Http2 { "HTTP2" } else { "HTTP1" };
            let options = if upstream == Wire::Http2 { "http2_protocol_options" } else { "http_protocol_options" };
            let values = vec![("admin", &*admin), ("downstream_codec", codec), ("upstream_options", options)];
            vec![Part { template: ENVOY_HTTP, values, listen: entry }]
        }
        Path::Tcp => vec![Part { template: ENVOY_TCP, values: vec![("admin", &*admin)], listen: entry }],
        Path::Tls => vec![Part { template: ENVOY_TLS, values: vec![("admin", &*admin)], listen: entry }],
        Path::Services { hosts, clusters } => {
            control = envoy_control(setup, entry, Services { hosts, clusters })?;
            xds = control.address.port().to_string();
            let values = vec![("admin", &*admin), ("xds", &*xds)];
            let parts = vec![Part { template: ENVOY_ADS, values, listen: entry }];
            let deployment = neighbour(setup, parts, "yaml", peer, ENVOY_ARGUMENTS)?;
            return Ok(Deployment { control: Some(control), ..deployment });
        }
        Path::Pair => vec![
            Part { template: ENVOY_PAIR_CLIENT, values: vec![("admin", &*admin)], listen: entry },
            Part { template: ENVOY_PAIR_SERVER, values: vec![("admin", &*admin_2)], listen: peer },
        ],
    };
    neighbour(setup, parts, "yaml", peer, ENVOY_ARGUMENTS)
}

/// Envoy's control plane. The routes and clusters are those that ours gets; the listener is plain, as in the templates.
fn envoy_control(setup: &Setup<'_>, listen: u16, services: Services) -> anyhow::Result<Discovery> {
    let http = HttpProxy::new("in", RouteSource::Rds(services::ROUTES.into()));
    let listener = listener(listen, NetworkFilter::Http(Box::new(http)));
    let route =
        |cluster: &str| Route::new(PathMatch::Prefix("/".into()), Action::Forward(Box::new(Forward::to(cluster))));
    Discovery::start(&services.config(setup, listener, |name, found| Cluster::new(name, found), route))
}

/// HAProxy.
///
/// # Errors
/// When a file cannot be written.
pub fn haproxy(setup: &Setup<'_>) -> anyhow::Result<Deployment> {
    let [entry, peer] = free_ports()?;
    let backends;
    let parts = match setup.path {
        Path::Http { downstream, upstream } => {
            let name = |wire| if wire == Wire::Http2 { "h2" } else { "h1" };
            let values = vec![("downstream_proto", name(downstream)), ("upstream_proto", name(upstream))];
            vec![Part { template: HAPROXY_HTTP, values, listen: entry }]
        }
        Path::Tcp => vec![Part { template: HAPROXY_TCP, values: Vec::new(), listen: entry }],
        Path::Tls => vec![Part { template: HAPROXY_TLS, values: Vec::new(), listen: entry }],
        Path::Services { hosts, clusters } => {
            let services = Services { hosts, clusters };
            write(setup.dir, "hosts.map", services.haproxy_map())?;
            backends = services.haproxy_backends(setup);
            vec![Part { template: HAPROXY_SERVICES, values: vec![("backends", &*backends)], listen: entry }]
        }
        Path::Pair => vec![
            Part { template: HAPROXY_PAIR_CLIENT, values: Vec::new(), listen: entry },
            Part { template: HAPROXY_PAIR_SERVER, values: Vec::new(), listen: peer },
        ],
    };
    neighbour(setup, parts, "cfg", peer, &["-db", "-f"])
}

/// nginx. Says so when its stream module is missing.
///
/// # Errors
/// When a file cannot be written.
pub fn nginx(setup: &Setup<'_>) -> anyhow::Result<Result<Deployment, String>> {
    let [entry, peer] = free_ports()?;
    let (upstreams, map);
    let parts = match setup.path {
        Path::Http { downstream, upstream } => {
            let template = if upstream == Wire::Http2 { NGINX_GRPC } else { NGINX_HTTP };
            let values = vec![("downstream_http2", if downstream == Wire::Http2 { "http2" } else { "" })];
            vec![Part { template, values, listen: entry }]
        }
        Path::Tcp if !FilePath::new(STREAM_MODULE).exists() => {
            return Ok(Err("nginx has no stream module: `apt-get install libnginx-mod-stream`".into()));
        }
        Path::Tcp => {
            let values = vec![("stream_module", STREAM_MODULE)];
            vec![Part { template: NGINX_TCP, values, listen: entry }]
        }
        Path::Tls => vec![Part { template: NGINX_TLS, values: Vec::new(), listen: entry }],
        Path::Services { hosts, clusters } => {
            let services = Services { hosts, clusters };
            (upstreams, map) = (services.nginx_upstreams(setup), services.nginx_map());
            let values = vec![("upstreams", &*upstreams), ("map", &*map)];
            vec![Part { template: NGINX_SERVICES, values, listen: entry }]
        }
        Path::Pair => vec![
            Part { template: NGINX_PAIR_CLIENT, values: Vec::new(), listen: entry },
            Part { template: NGINX_PAIR_SERVER, values: Vec::new(), listen: peer },
        ],
    };
    let prefix = setup.dir.to_string_lossy();
    neighbour(setup, parts, "conf", peer, &["-e", "stderr", "-p", &prefix, "-c"]).map(Ok)
}

/// Fills the templates in and starts the program with each, its file as the last argument.
fn neighbour(
    setup: &Setup<'_>,
    parts: Vec<Part<'_>>,
    ending: &str,
    peer: u16,
    arguments: &[&str],
) -> anyhow::Result<Deployment> {
    let (dir, origin, peer) = (setup.dir.to_string_lossy(), setup.origin.port().to_string(), peer.to_string());
    let server_id = setup.identities.server.id.to_string();
    let (clients, connections) = (setup.clients.to_string(), setup.connections.to_string());
    let entry = loopback(parts.first().map_or(0, |part| part.listen));
    let mut launches = Vec::new();
    for (number, part) in parts.into_iter().enumerate() {
        let listen = part.listen.to_string();
        let mut values = part.values;
        values.extend([("listen", &*listen), ("origin", &*origin), ("peer", &*peer)]);
        values.extend([("dir", &*dir), ("server_id", &*server_id)]);
        values.extend([("clients", &*clients), ("connections", &*connections)]);
        let file: PathBuf = write(setup.dir, &format!("{number}.{ending}"), fill(part.template, &values)?)?;
        let mut arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        arguments.push(file.to_string_lossy().into_owned());
        launches.push(Launch { program: setup.program.path.clone(), arguments });
    }
    Ok(Deployment { entry, launches, control: None })
}

/// Puts values in the place of `@name@`.
fn fill(template: &str, values: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    // `"@type"` is Envoy's own.
    let left = text.replace("\"@type\"", "");
    match left.split_once('@') {
        None => Ok(text),
        Some((_, rest)) => bail!("a template has no value for `@{}`", rest.split('@').next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled() {
        let common = [
            ("listen", "1"),
            ("origin", "2"),
            ("peer", "3"),
            ("dir", "/d"),
            ("server_id", "spiffe://a"),
            ("admin", "4"),
        ];
        let own = [
            ("downstream_codec", "HTTP1"),
            ("upstream_options", "http_protocol_options"),
            ("downstream_proto", "h1"),
            ("upstream_proto", "h1"),
            ("downstream_http2", ""),
            ("stream_module", "m"),
            ("xds", "5"),
            ("backends", "b"),
            ("upstreams", "u"),
            ("map", "m"),
            ("connections", "2048"),
            ("clients", "1024"),
        ];
        let values = [&common[..], &own[..]].concat();
        for template in [
            ENVOY_HTTP,
            ENVOY_TCP,
            ENVOY_TLS,
            ENVOY_ADS,
            ENVOY_PAIR_CLIENT,
            ENVOY_PAIR_SERVER,
            HAPROXY_HTTP,
            HAPROXY_TCP,
            HAPROXY_TLS,
            HAPROXY_SERVICES,
            HAPROXY_PAIR_CLIENT,
            HAPROXY_PAIR_SERVER,
            NGINX_HTTP,
            NGINX_GRPC,
            NGINX_TCP,
            NGINX_TLS,
            NGINX_SERVICES,
            NGINX_PAIR_CLIENT,
            NGINX_PAIR_SERVER,
        ] {
            fill(template, &values).unwrap();
            assert!(fill(template, &common[1..]).unwrap_err().to_string().contains('@'), "{template}");
        }
    }
}
