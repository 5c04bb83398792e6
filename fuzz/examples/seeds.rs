//! Writes the seeds of all targets into `corpus/<target>/`: what tests and samples use, and a whole mesh's configuration.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use model::{Config, Locality};
use prost::Message;
use proto::halcyon::observe::v1 as report;
use proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};
use translate::workload::reference;
use translate::{Capture, GatewayEdge, InboundPort, Inputs, MeshTrust, Node, Role, Workload, World};
use transport::proxy_header::Version;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn main() -> io::Result<()> {
    let samples = samples()?;
    write("api_parse", samples.iter().map(|text| text.as_bytes().to_vec()))?;
    write("client_hello", client_hellos())?;
    write("proxy_header", proxy_headers())?;
    write("xds_decode", resources(&samples))?;
    write("http_server", http().into_iter().map(|text| text.to_vec()))?;
    write("http_client", answers())?;
    write("expression", EXPRESSIONS.iter().map(|text| text.as_bytes().to_vec()))?;
    write("observe_reports", [report()])?;
    write("spans", spans())?;
    write("base_text", TEXTS.iter().map(|text| text.as_bytes().to_vec()))
}

fn write(target: &str, seeds: impl IntoIterator<Item = Vec<u8>>) -> io::Result<()> {
    let folder = Path::new(ROOT).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    for (index, seed) in seeds.into_iter().enumerate() {
        fs::write(folder.join(format!("seed-{index:03}")), seed)?;
    }
    Ok(())
}

fn samples() -> io::Result<Vec<String>> {
    let folder = Path::new(ROOT).join("../samples/bookinfo/mesh");
    let paths = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let mut texts = paths.iter().map(|entry| fs::read_to_string(entry.path())).collect::<io::Result<Vec<_>>>()?;
    texts.push(KINDS.to_owned());
    texts.sort();
    Ok(texts)
}

/// The kinds and forms that the samples do not have.
const KINDS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: &m {name: a, labels: {app: a}}
spec:
  hosts: [a.example.org, '*.example.org']
  addresses: [10.0.0.0/8]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1, ports: {tls: 8443}, locality: a/b/c, weight: 2}]
---
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: *m, spec: {mtls: {mode: STRICT}}}
---
apiVersion: networking.istio.io/v1alpha3
kind: Sidecar
metadata: {<<: {name: b}, namespace: c}
spec: {egress: [{hosts: ['./*', ~/*]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Secret, metadata: {name: s}, data: {tls.crt: aGVsbG8=, tls.key: aGVsbG8=}, type: kubernetes.io/tls}
- {apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: w}, spec: {address: 10.0.0.1}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: [a]
  http:
  - match: [{uri: {regex: '/a.*'}, queryParams: {q: {}}, withoutHeaders: {x: {exact: y}}}]
    rewrite: {uriRegexRewrite: {match: '^/(.)', rewrite: '/\\1'}}
    retries: {attempts: 2, perTryTimeout: 1.5s, retryOn: '5xx,503'}
    fault: {delay: {fixedDelay: 1h30m, percentage: {value: 0.1}}, abort: {grpcStatus: UNAVAILABLE, percentage: {value: 1e1}}}
    route: [{destination: {host: a, port: {number: 0x50}}, weight: 0o12}, {destination: {host: b, subset: c}, weight: 1}]
  - directResponse: {status: 418, body: {string: |
      teapot
    }}
";

/// Expressions of Telemetry, of every group of attributes.
const EXPRESSIONS: [&str; 7] = [
    "response.code >= 400 || has(request.headers['x-team'])",
    "request.url_path.startsWith('/details') ? 'details' : string(response.code)",
    "connection.mtls && source.principal == 'spiffe://cluster.local/ns/default/sa/a'",
    "xds.cluster_name == 'outbound|80||a' && request.time > timestamp('2026-01-01T00:00:00Z')",
    "request.duration > duration('1s') && [1, 2].exists(x, x == response.code)",
    "{'a': request.host}['a'].matches('^a.*') ? 1.5 : -2",
    "request.headers.map(k, k).size() > 0",
];

/// A report of a proxy, as it stands in a stream of them.
fn report() -> Vec<u8> {
    let workload =
        |name: &str| Some(report::Workload { namespace: "default".into(), name: name.into(), ..Default::default() });
    let edge = report::Edge {
        id: 1,
        reporter: report::Reporter::Source.into(),
        source: workload("a"),
        destination: workload("b"),
        service_host: "b.default.svc.cluster.local".into(),
        protocol: report::Protocol::Http.into(),
        ..Default::default()
    };
    let outcome = report::Outcome { id: 1, edge: 1, code: 200, ..Default::default() };
    let exchanges = report::Exchanges {
        outcome: 1,
        requests: 3,
        micros: 900,
        buckets: vec![7],
        counts: vec![3],
        ..Default::default()
    };
    let said = report::ReportRequest {
        node: "a-1".into(),
        edges: vec![edge],
        outcomes: vec![outcome],
        exchanges: vec![exchanges],
        ..Default::default()
    };
    said.encode_length_delimited_to_vec()
}

/// A trace in each form, behind the byte that names it.
fn spans() -> Vec<Vec<u8>> {
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "GET a".into(),
        start_time_unix_nano: 1_767_225_600_000_000_000,
        end_time_unix_nano: 1_767_225_600_100_000_000,
        ..Default::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..Default::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..Default::default() }];
    let otlp = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    let (ids, times) = (
        r#""traceId":"01010101010101010101010101010101","spanId":"0202020202020202""#,
        r#""startTimeUnixNano":"1767225600000000000","endTimeUnixNano":"1767225600100000000""#,
    );
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{ids},"name":"GET a",{times}}}]}}]}}]}}"#);
    let zipkin = r#"[{"traceId":"0101010101010101","id":"0202020202020202","name":"get","timestamp":1767225600000000,"duration":100,"localEndpoint":{"serviceName":"a"},"tags":{"error":""}}]"#;
    let seed = |form: u8, bytes: &[u8]| [&[form][..], bytes].concat();
    vec![seed(0, &otlp), seed(1, json.as_bytes()), seed(2, zipkin.as_bytes())]
}

fn client_hellos() -> Vec<Vec<u8>> {
    let vector = |bytes: usize, content: &[u8]| [&content.len().to_be_bytes()[8 - bytes..], content].concat();
    let extension = |kind: u16, content: &[u8]| [&kind.to_be_bytes()[..], &vector(2, content)].concat();
    let extensions = [
        extension(0, &vector(2, &[&[0][..], &vector(2, b"Reviews.Default.svc")].concat())),
        extension(16, &vector(2, &[vector(1, b"h2"), vector(1, b"istio-http/1.1")].concat())),
        extension(43, &vector(1, &[0x1a, 0x1a, 3, 4, 3, 3])),
        extension(51, &[9; 40]),
    ]
    .concat();
    let body = [&[3, 3][..], &[7; 32], &vector(1, &[1; 32]), &vector(2, &[0x13, 1]), &[1, 0], &vector(2, &extensions)];
    let message = [&[1][..], &vector(3, &body.concat())].concat();
    let records = |size: usize| message.chunks(size).flat_map(|c| [&[22, 3, 1][..], &vector(2, c)].concat()).collect();
    vec![records(16_000), records(50), b"GET / HTTP/1.1\r\n".to_vec()]
}

fn proxy_headers() -> Vec<Vec<u8>> {
    let at = |text: &str| text.parse::<SocketAddr>().expect("written here");
    let encode = |version, from: &str, to: &str| transport::proxy_header::encode(version, Some((at(from), at(to))));
    vec![
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1025 443\r\nGET".to_vec(),
        b"PROXY TCP6 ::1 ::2 1 65535\r\n".to_vec(),
        b"PROXY UNKNOWN ff ff 1 2\r\n".to_vec(),
        encode(Version::V1, "192.0.2.1:1025", "198.51.100.2:443"),
        encode(Version::V2, "192.0.2.1:1025", "198.51.100.2:443"),
        encode(Version::V2, "[2001:db8::1]:1", "[2001:db8::2]:2"),
        transport::proxy_header::encode(Version::V2, None),
    ]
}

fn http() -> Vec<&'static [u8]> {
    vec![
        b"GET /a?b=c HTTP/1.1\r\nhost: reviews:9080\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n5;ext=\"1\"\r\nhello\r\n0\r\nx: y\r\n\r\n",
        b"PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nconnection: close, x\r\nx: y\r\ncontent-length: 2\r\n\r\nhi",
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"CONNECT a.example.org:443 HTTP/1.1\r\nhost: a.example.org:443\r\n\r\nbytes",
        b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\nHEAD http://a.example.org/x HTTP/1.1\r\nhost: b\r\n\r\n",
        // The preface, SETTINGS, HEADERS (GET / with Huffman-free literals), PING, WINDOW_UPDATE.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x05\x01\x05\0\0\0\x01\x82\x86\x84\x41\x00\0\0\x08\x06\0\0\0\0\x0012345678\0\0\x04\x08\0\0\0\0\0\0\0\0\x09",
        // The same with a body and trailers.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\0\x07\x01\x04\0\0\0\x01\x83\x86\x84\x41\x02ab\0\0\x05\0\0\0\0\0\x01hello\0\0\x05\x01\x05\0\0\0\x01\x40\x01a\x01b",
    ]
}

/// What servers answer, each to every kind of request.
fn answers() -> Vec<Vec<u8>> {
    let http1: [&[u8]; 6] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nbytes",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    // SETTINGS and its acknowledgement, HEADERS (:status 200) with a body and trailers; the same, ended by GOAWAY.
    let http2: [&[u8]; 2] = [
        b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x05\0\0\0\0\0\x01hello\0\0\x05\x01\x05\0\0\0\x01\x40\x01a\x01b",
        b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\0\x01\x01\x05\0\0\0\x01\x88\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0",
    ];
    let kinds = |answers: &[&[u8]], first: u8| -> Vec<Vec<u8>> {
        let methods = (0..4).map(|method| first | method << 1);
        methods
            .flat_map(|how| answers.iter().map(move |answer| [&[how], *answer].concat()).collect::<Vec<_>>())
            .collect()
    };
    [kinds(&http1, 0), kinds(&http2, 1)].concat()
}

const TEXTS: &[&str] = &[
    "*.example.org",
    "[::1]:8080",
    "reviews.default.svc.cluster.local:9080",
    "spiffe://cluster.local/ns/default/sa/bookinfo-reviews",
    "1h30m",
    "0.5s",
    "250ms",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90",
];

/// Every resource that a sidecar and a gateway of the sample get, behind the byte that chooses its kind.
fn resources(samples: &[String]) -> Vec<Vec<u8>> {
    let resources = api::parse("samples", &samples.join("\n---\n")).resources;
    let workloads =
        ["productpage", "reviews", "ratings", "details"].iter().enumerate().map(|(i, app)| workload(app, i));
    let workloads: Vec<Arc<Workload>> = workloads.map(Arc::new).collect();
    let first = workloads[0].clone();
    let inputs = Inputs { resources, workloads, trust: MeshTrust::roots("roots"), ..Inputs::default() };
    let world = World::new(inputs);
    let bind = SocketAddr::new(first.address, 9080);
    let captured =
        Capture::Redirect { netns: "workload".into(), outbound: vec![SocketAddr::from(([127, 0, 0, 1], 15001))] };
    let sidecar = node(&first, Role::Sidecar { ports: vec![InboundPort { target: 9080, bind }], capture: captured });
    let edge = GatewayEdge::default();
    let mut gateway = node(&first, Role::Gateway { bind: first.address, ports: [(80, 8080)].into(), edge });
    gateway.labels.insert("istio".to_owned(), "ingressgateway".to_owned());
    let configs = [translate::translate(&world, &sidecar), translate::translate(&world, &gateway)];
    configs.iter().flat_map(encoded).collect()
}

fn workload(app: &str, index: usize) -> Workload {
    let labels = [("app", app), ("version", "v1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    Workload {
        name: app.into(),
        namespace: "default".into(),
        service_account: app.into(),
        reference: reference(app, "default", &labels, "local"),
        labels,
        address: IpAddr::from([127, 77, 0, 1 + index as u8]),
        ports: Default::default(),
        port_names: Default::default(),
        mesh_tls: true,
        beside: Default::default(),
        weight: 1,
        locality: Locality::default(),
        implied_service: None,
    }
}

fn node(workload: &Workload, role: Role) -> Node {
    Node {
        on_demand: false,
        id: workload.name.clone(),
        role,
        namespace: workload.namespace.clone(),
        labels: workload.labels.clone(),
        identity: None,
        address: workload.address,
        locality: Locality::default(),
        workload: workload.reference.clone(),
        ours: true,
    }
}

fn encoded(config: &Config) -> Vec<Vec<u8>> {
    let seed = |kind: u8, value: Vec<u8>| [vec![kind], value].concat();
    let clusters = config.clusters.values().map(|it| seed(0, xds::encode::cluster(it).value));
    let endpoints = config.endpoints.values().map(|it| seed(1, xds::encode::endpoints(it).value));
    let listeners = config.listeners.values().map(|it| seed(2, xds::encode::listener(it).value));
    let routes = config.routes.values().map(|it| seed(3, xds::encode::route(it).value));
    let secrets = config.secrets.values().map(|it| seed(4, xds::encode::secret(it).value));
    let names = config.names.values().map(|it| seed(5, xds::encode::names(it).value));
    clusters.chain(endpoints).chain(listeners).chain(routes).chain(secrets).chain(names).collect()
}
