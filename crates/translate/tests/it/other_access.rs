//! Istio's old roles, Consul's intentions, SMI's targets: what they mean, and that what they are converted to means the same.

mod intentions;
mod legacy;
mod naive;
mod targets;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use model::access::{Call, Names};
use model::route::RequestView;
use translate::access::{Ports, Subject};
use translate::{Inputs, World};

/// A request or connection.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// Namespace and account that are proven.
    pub from: Option<(&'static str, &'static str)>,
    pub source: &'static str,
    pub port: u16,
    /// None: raw TCP.
    pub http: Option<Request>,
}

#[derive(Debug, Clone, Default)]
pub struct Request {
    pub method: &'static str,
    /// With its query.
    pub path: &'static str,
    pub host: &'static str,
    pub headers: Vec<(&'static str, &'static str)>,
}

/// The workload that is asked.
pub struct Asked<'a> {
    pub labels: &'a [(&'a str, &'a str)],
    pub account: &'a str,
    pub services: &'a [&'a str],
}

pub fn read(text: &str) -> World {
    let parsed = api::parse("o.yaml", text);
    let errors: Vec<_> = parsed.problems.iter().filter(|p| p.is_error()).map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{text}");
    World::new(Inputs { resources: parsed.resources, ..Inputs::default() })
}

pub fn allowed(world: &World, of: &Asked<'_>, ask: &Ask) -> bool {
    let labels: BTreeMap<String, String> = of.labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let services: Vec<Arc<str>> =
        of.services.iter().map(|name| format!("{name}.default.svc.cluster.local").into()).collect();
    let subject = Subject {
        namespace: "default",
        labels: &labels,
        is_gateway: false,
        account: Some(of.account),
        services: &services,
    };
    let layers = world.access_layers(subject, ask.http.is_none(), Ports::default());
    let uris: Vec<String> = ask.from.iter().map(|(ns, sa)| format!("spiffe://cluster.local/ns/{ns}/sa/{sa}")).collect();
    let mut headers = HeaderMap::new();
    let mut method = Method::GET;
    if let Some(http) = &ask.http {
        method = http.method.parse().unwrap();
        for (name, value) in &http.headers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }
    let request = ask.http.as_ref().map(|http| RequestView {
        method: &method,
        headers: &headers,
        ..RequestView::get(http.host, http.path)
    });
    let source = ask.source.parse().unwrap();
    let call = Call {
        request,
        peer: ask.from.map(|_| Names { uris: &uris, ..Names::default() }),
        direct_remote: source,
        source,
        remote: source,
        destination: ("10.0.0.1".parse::<std::net::IpAddr>().unwrap(), ask.port).into(),
        server_name: None,
    };
    layers.iter().filter_map(|layer| layer.rules.as_ref()).all(|rules| rules.decide(&call).allowed)
}

pub fn ask(from: Option<(&'static str, &'static str)>, method: &'static str, path: &'static str) -> Ask {
    let http = Request { method, path, host: "web", headers: Vec::new() };
    Ask { from, source: "10.1.2.3", port: 8080, http: Some(http) }
}
