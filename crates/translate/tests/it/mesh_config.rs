//! Settings of the mesh in Istio's documents: what each comes to, where rules override it, and which document counts.

use std::sync::Arc;
use std::time::Duration;

use model::access_log::LogTarget;
use model::cluster::{Localities, Transport, UpstreamProtocol, ZoneRouting};
use model::http_proxy::ForwardClientCert;
use model::limits::TcpKeepalive;
use model::listener::ExpectHeader;
use model::secret::SecretValue;
use model::target::EscapedSlashes;
use model::{Cluster, Config, HttpProxy, NetworkFilter, RetryPolicy, StringMatch};
use translate::{Edit, Inputs, Starting, World};

use crate::mesh::{BOOKINFO, config, gateway, settings, sidecar, world};

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";
const WORKLOADS: &[&str] = &["reviews/v1@2#us/z1", "reviews/v2@3#eu/z1", "productpage/v1@4#us/z1"];

fn rule(policy: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\nspec: {{host: reviews, trafficPolicy: {policy}}}\n"
    )
}

/// The mesh of Bookinfo with these settings and further documents.
fn mesh(text: &str, more: &str) -> World {
    world(&format!("{BOOKINFO}\n{}{more}", settings(text)), WORKLOADS)
}

fn productpage(world: &World) -> Config {
    config(world, &sidecar("productpage/v1@4#us/z1", 9080))
}

fn reviews(text: &str, more: &str) -> Cluster {
    Cluster::clone(&productpage(&mesh(text, more)).clusters[REVIEWS])
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn baseline_of_policies() {
    let text = "defaultTrafficPolicy:\n  connectionPool: {tcp: {maxConnections: 7, connectTimeout: 3s}}\n  outlierDetection: {consecutive5xxErrors: 4}";
    let plain = reviews(text, "");
    assert_eq!(plain.circuit_breakers.as_ref().map(|limits| limits.max_connections), Some(7));
    assert_eq!(plain.outlier_detection.as_ref().map(|found| found.consecutive_5xx), Some(4));
    assert_eq!((plain.connect_timeout, plain.panic_percent), (secs(3), 0));
    let own_pool = reviews(text, &rule("{connectionPool: {tcp: {maxConnections: 9}}}"));
    assert_eq!(own_pool.circuit_breakers.as_ref().map(|limits| limits.max_connections), Some(9));
    assert_eq!(own_pool.connect_timeout, secs(10), "a block takes the place of a block");
    assert_eq!(own_pool.outlier_detection.as_ref().map(|found| found.consecutive_5xx), Some(4));
    let own_outliers = reviews(text, &rule("{outlierDetection: {consecutive5xxErrors: 2}}"));
    assert_eq!(own_outliers.outlier_detection.as_ref().map(|found| found.consecutive_5xx), Some(2));
    let of_port =
        "{loadBalancer: {simple: RANDOM}, portLevelSettings: [{port: {number: 9080}, loadBalancer: {simple: RANDOM}}]}";
    assert_eq!(reviews(text, &rule(of_port)).connect_timeout, secs(3), "also where settings of a port inherit nothing");
    let unknown = productpage(&mesh(text, "")).clusters["PassthroughCluster"].clone();
    assert_eq!(unknown.circuit_breakers.as_ref().map(|limits| limits.max_connections), Some(7));
    assert_eq!(unknown.outlier_detection, None);
}

#[test]
fn connections_to_upstreams() {
    let none = reviews("{}", "");
    assert_eq!((none.connect_timeout, none.dns_refresh, none.connections.is_none()), (secs(10), secs(60), true));
    let said = reviews("connectTimeout: 2s\ndnsRefreshRate: 5s\ntcpKeepalive: {probes: 3, time: 60s}", "");
    assert_eq!((said.connect_timeout, said.dns_refresh), (secs(2), secs(5)));
    let keepalive = |cluster: Cluster| cluster.connections.and_then(|options| options.tcp_keepalive);
    assert_eq!(keepalive(said), Some(TcpKeepalive { probes: Some(3), time: Some(60), interval: None }));
    let joined = reviews(
        "tcpKeepalive: {probes: 3, time: 60s}",
        &rule("{connectionPool: {tcp: {tcpKeepalive: {time: 9s, interval: 1s}}}}"),
    );
    assert_eq!(keepalive(joined), Some(TcpKeepalive { probes: Some(3), time: Some(9), interval: Some(1) }));
    assert!(matches!(none.transport, Transport::MeshTls(_)));
    assert_eq!(reviews("enableAutoMtls: false", "").transport, Transport::Plain);
    let mutual = reviews("enableAutoMtls: false", &rule("{tls: {mode: ISTIO_MUTUAL}}"));
    assert!(matches!(mutual.transport, Transport::Tls(_)), "what a rule asks for is done");
    for (text, policy, expected) in [
        ("{}", "{loadBalancer: {simple: RANDOM}}", UpstreamProtocol::Auto),
        ("h2UpgradePolicy: UPGRADE", "{loadBalancer: {simple: RANDOM}}", UpstreamProtocol::Http2),
        (
            "h2UpgradePolicy: UPGRADE",
            "{connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}}",
            UpstreamProtocol::Http1,
        ),
        (
            "h2UpgradePolicy: UPGRADE",
            "{connectionPool: {http: {useClientProtocol: true}}}",
            UpstreamProtocol::SameAsDownstream,
        ),
    ] {
        assert_eq!(reviews(text, &rule(policy)).protocol, expected, "{text} {policy}");
    }
}

/// The priorities of the endpoints of reviews, for a client in `us/z1`.
fn priorities(text: &str, more: &str) -> (Vec<u32>, Localities) {
    let config = productpage(&mesh(text, more));
    let mut found: Vec<u32> = config.endpoints[REVIEWS].localities.iter().map(|group| group.priority).collect();
    found.sort_unstable();
    (found, config.clusters[REVIEWS].localities)
}

#[test]
fn localities() {
    let shares = "localityLbSetting:\n  distribute: [{from: 'us/*', to: {'us/*': 80, 'eu/*': 20}}]";
    let outliers = "defaultTrafficPolicy: {outlierDetection: {}}";
    for (text, more, expected) in [
        ("{}", "", (vec![0, 0], Localities::Alike)),
        (outliers, "", (vec![0, 1], Localities::Alike)),
        (shares, "", (vec![0, 0], Localities::Weighted)),
        ("zoneAwareLbSetting: {enabled: true}", "", (vec![0, 1], Localities::Zones(ZoneRouting::default()))),
        ("zoneAwareLbSetting: {enabled: false}", "", (vec![0, 0], Localities::Alike)),
    ] {
        assert_eq!(priorities(text, more), expected, "{text} {more}");
    }
    let off = format!("{outliers}\nlocalityLbSetting: {{enabled: false}}");
    assert_eq!(priorities(&off, ""), (vec![0, 0], Localities::Alike));
    let by_rule = rule("{outlierDetection: {}, loadBalancer: {localityLbSetting: {enabled: true}}}");
    assert_eq!(priorities("localityLbSetting: {enabled: false}", &by_rule), (vec![0, 1], Localities::Alike));
}

/// The retries of the route to reviews.
fn retries(text: &str, more: &str) -> Option<RetryPolicy> {
    let config = productpage(&mesh(text, more));
    let table = &config.routes["9080"];
    let host = table.hosts.iter().find(|host| host.name.starts_with("reviews.")).unwrap();
    let model::route::Action::Forward(forward) = &host.routes[0].action else { panic!("{:?}", host.routes) };
    forward.retry.clone()
}

#[test]
fn retries_of_the_mesh() {
    let own = |retries: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec: {{hosts: [reviews], http: [{{route: [{{destination: {{host: reviews}}}}]{retries}}}]}}\n"
        )
    };
    let five = "defaultHttpRetryPolicy: {attempts: 5, retryOn: '503,reset', perTryTimeout: 1s}";
    assert_eq!(retries("{}", ""), Some(RetryPolicy::istio_default()));
    for more in [String::new(), own("")] {
        let found = retries(five, &more).unwrap();
        assert_eq!((found.attempts, found.per_try_timeout), (5, Some(secs(1))), "{more}");
        assert_eq!((found.on.reset, &found.on.status_codes[..]), (true, &[503][..]), "{more}");
        assert_eq!(retries("defaultHttpRetryPolicy: {attempts: 0}", &more), None);
        assert_eq!(retries("defaultHttpRetryPolicy: {}", &more), None);
    }
    assert_eq!(retries(five, &own(", retries: {attempts: 1}")).unwrap().attempts, 1);
}

/// The HTTP side of the port of productpage, and of what it calls at port 9080.
fn http(config: &Config) -> (HttpProxy, HttpProxy) {
    let of = |name: &str| {
        let listener = config.listeners.values().find(|listener| listener.name.starts_with(name)).unwrap();
        let mut chains = listener.chains.iter().map(|chain| &chain.filter);
        let http = chains.find_map(|filter| if let NetworkFilter::Http(http) = filter { Some(http) } else { None });
        HttpProxy::clone(http.unwrap_or_else(|| panic!("{name}")))
    };
    (of("inbound_"), of("0.0.0.0_9080"))
}

fn inbound_retries(text: &str) -> Option<RetryPolicy> {
    let (inbound, _) = http(&productpage(&mesh(text, "")));
    let model::http_proxy::RouteSource::Inline(table) = &inbound.routes else { panic!("{:?}", inbound.routes) };
    let model::route::Action::Forward(forward) = &table.hosts[0].routes[0].action else { panic!("{table:?}") };
    forward.retry.clone()
}

#[test]
fn the_side_towards_downstream() {
    for (form, expected) in [
        ("BASE", (true, false, EscapedSlashes::Keep)),
        ("NONE", (false, false, EscapedSlashes::Keep)),
        ("DECODE_AND_MERGE_SLASHES", (true, true, EscapedSlashes::Forward)),
    ] {
        let (inbound, outbound) =
            http(&productpage(&mesh(&format!("pathNormalization: {{normalization: {form}}}"), "")));
        for target in [inbound.target, outbound.target] {
            assert_eq!((target.normalize, target.merge_slashes, target.escaped_slashes), expected, "{form}");
        }
    }
    let text = "accessLogFile: /var/log/mesh\nprotocolDetectionTimeout: 4s\ndefaultConfig:\n  connectionSettings: {profile: EDGE, httpStreamIdleTimeout: 9s}";
    let config = productpage(&mesh(text, ""));
    let (inbound, outbound) = http(&config);
    for http in [inbound, outbound] {
        assert_eq!(http.stream_idle_timeout, Some(secs(9)));
        assert_eq!(http.limits.max_streams, None, "the profile is for gateways");
        assert!(matches!(&http.access_logs[0].to, LogTarget::File(log) if log.path == "/var/log/mesh"));
    }
    assert_eq!(config.listeners["0.0.0.0_9080"].inspect.timeout, Some(secs(4)));
    let for_ever = productpage(&mesh("protocolDetectionTimeout: 0s", ""));
    assert_eq!(for_ever.listeners["0.0.0.0_9080"].inspect.timeout, None);
    assert_eq!(inbound_retries("{}"), Some(RetryPolicy::istio_inbound()));
    assert_eq!(inbound_retries("defaultInboundHttpRetryPolicy: {}"), None);
    let found = inbound_retries("defaultInboundHttpRetryPolicy: {attempts: 4, backoff: 1s}").unwrap();
    assert_eq!((found.attempts, found.base_interval, found.on.reset_before_request), (4, secs(1), true));
}

#[test]
fn who_sees_what() {
    let elsewhere = |text: &str, more: &str| {
        let mut node = sidecar("productpage/v1@4", 9080);
        node.namespace = "other".into();
        config(&mesh(text, more), &node)
    };
    assert!(elsewhere("{}", "").clusters.contains_key(REVIEWS));
    assert!(!elsewhere("defaultServiceExportTo: ['.']", "").clusters.contains_key(REVIEWS));
    assert!(elsewhere("defaultServiceExportTo: [other]", "").clusters.contains_key(REVIEWS));
    let with_subset = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}\n";
    let subset = "outbound|9080|v1|reviews.default.svc.cluster.local";
    assert!(elsewhere("{}", with_subset).clusters.contains_key(subset));
    assert!(!elsewhere("defaultDestinationRuleExportTo: ['.']", with_subset).clusters.contains_key(subset));
    let to_ratings = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: [reviews], http: [{name: ruled, route: [{destination: {host: ratings}}]}]}\n";
    for (text, expected) in [("{}", "ruled"), ("defaultVirtualServiceExportTo: ['.']", "default")] {
        let config = elsewhere(text, to_ratings);
        let host = config.routes["9080"].hosts.iter().find(|host| host.name.starts_with("reviews.")).unwrap();
        assert_eq!(&*host.routes[0].name, expected, "{text}");
    }
}

const GATEWAY: &str = "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
";

#[test]
fn gateways_have_settings_of_the_mesh_and_of_their_pods() {
    let pod = |annotation: &str| {
        format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: edge}}\nspec:\n  selector: {{matchLabels: {{istio: ingressgateway}}}}\n  template:\n    metadata: {{labels: {{istio: ingressgateway}}, annotations: {{proxy.istio.io/config: '{annotation}'}}}}\n    spec: {{containers: [{{name: c, image: i}}]}}\n"
        )
    };
    let http = |text: &str, more: &str| {
        let config = config(&mesh(text, &format!("{GATEWAY}{more}")), &gateway());
        let listener = config.listeners.values().next().unwrap().clone();
        let NetworkFilter::Http(http) = &listener.chains[0].filter else { panic!("{listener:?}") };
        (HttpProxy::clone(http), listener.inspect.proxy_header == ExpectHeader::Required)
    };
    let topology = "defaultConfig: {gatewayTopology: {numTrustedProxies: 2, forwardClientCertDetails: APPEND_FORWARD}}";
    let (found, header) = http(topology, "");
    assert_eq!(
        (found.edge.trusted_hops, found.forward_client_cert, header),
        (2, ForwardClientCert::AppendForward, false)
    );
    let (found, header) = http(topology, &pod("gatewayTopology: {numTrustedProxies: 1, proxyProtocol: {}}"));
    assert_eq!((found.edge.trusted_hops, found.forward_client_cert, header), (1, ForwardClientCert::SanitizeSet, true));
    let (found, _) = http(topology, &pod("connectionSettings: {profile: EDGE, httpMaxConcurrentStreams: 9}"));
    assert_eq!((found.limits.max_streams, found.edge.trusted_hops), (Some(9), 2));
    assert!(found.target.merge_slashes);
}

/// A document of the kind ProxyConfig.
fn proxy_config(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

#[test]
fn what_a_proxy_is_told_at_its_start() {
    let labels = [("app".to_owned(), "reviews".to_owned())].into();
    let start = |documents: &str, annotation: Option<&str>| {
        let parsed = api::parse("test.yaml", documents);
        assert_eq!(parsed.problems.iter().filter(|p| p.is_error()).count(), 0, "{:?}", parsed.problems);
        let resources: Vec<_> = parsed.resources;
        let world = World::new(Inputs { resources: resources.clone(), ..Inputs::default() });
        let proxy = Starting { namespace: "default", workload: "reviews-v1", labels: &labels, annotation };
        let said = world.start(resources.iter(), proxy);
        let variables: Vec<String> = said.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (said.concurrency, variables.join(" "), said.termination_drain)
    };
    let mesh =
        settings("defaultConfig: {concurrency: 1, proxyMetadata: {A: mesh, B: mesh}, terminationDrainDuration: 9s}");
    let root = proxy_config("r", "istio-system", "{concurrency: 2, environmentVariables: {B: root}}");
    let namespace = proxy_config("n", "default", "{concurrency: 3}");
    let other = proxy_config("o", "default", "{selector: {matchLabels: {app: ratings}}, concurrency: 9}");
    let elsewhere = proxy_config("e", "other", "{concurrency: 9}");
    let own = proxy_config("w", "default", "{selector: {matchLabels: {app: reviews}}, environmentVariables: {C: own}}");
    let pod = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: reviews-v1, namespace: default}\nspec:\n  selector: {matchLabels: {app: reviews}}\n  template:\n    metadata: {labels: {app: reviews}, annotations: {proxy.istio.io/config: '{concurrency: 4, terminationDrainDuration: 1s}'}}\n    spec: {containers: [{name: c, image: i}]}\n";
    assert_eq!(start("", None), (None, String::new(), None));
    assert_eq!(start(&mesh, None), (Some(1), "A=mesh B=mesh".to_owned(), Some(secs(9))));
    let wide = format!("{mesh}{root}{other}{elsewhere}");
    assert_eq!(start(&wide, None), (Some(2), "A=mesh B=root".to_owned(), Some(secs(9))));
    assert_eq!(start(&format!("{wide}{namespace}"), None).0, Some(3));
    let annotated = format!("{wide}{namespace}{pod}");
    assert_eq!(start(&annotated, None), (Some(4), "A=mesh B=root".to_owned(), Some(secs(1))));
    // What its launcher knows counts, such as that of a WorkloadGroup.
    assert_eq!(start(&annotated, Some("concurrency: 5")).0, Some(5));
    let all = format!("{annotated}{own}");
    assert_eq!(start(&all, None), (Some(4), "A=mesh B=root C=own".to_owned(), Some(secs(1))));
    let selected =
        format!("{all}{}", proxy_config("a", "default", "{selector: {matchLabels: {app: reviews}}, concurrency: 6}"));
    assert_eq!(start(&selected, None).0, Some(6), "of two the older one, here by name");
}

const OPERATOR: &str = "---
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {name: o, namespace: istio-system}
spec: {meshConfig: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, connectTimeout: 1s}}
";

#[test]
fn which_document_counts() {
    let timeout = |documents: &str| {
        let world = world(&format!("{BOOKINFO}\n{documents}"), WORKLOADS);
        let problems: Vec<String> =
            translate::check(&world).iter().map(|p| format!("{} {}", p.path, p.message)).collect();
        (productpage(&world).clusters[REVIEWS].connect_timeout, problems)
    };
    assert_eq!(timeout(OPERATOR), (secs(1), vec![]));
    let map = settings("connectTimeout: 2s");
    let (found, problems) = timeout(&format!("{OPERATOR}{map}"));
    assert_eq!(found, secs(2));
    assert_eq!(problems, [" these settings of the mesh do not count: those of `ConfigMap/istio-system/istio` do"]);
    let (found, problems) = timeout(&map.replace("istio-system", "other"));
    assert_eq!(found, secs(10));
    assert_eq!(problems, ["metadata.namespace the settings of the mesh are read in the root namespace only"]);
    let (_, problems) =
        timeout(&settings("trustDomain: a\nrootNamespace: istio-system\naccessLogFormat: '%NO_SUCH%'\n"));
    assert_eq!(problems[0], "data.mesh.trustDomain `a` is not the one in use, which is `cluster.local`");
    assert!(
        problems[1].starts_with("data.mesh.accessLogFormat the form of access logs cannot be read: "),
        "{problems:?}"
    );
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn a_change_is_one_of_everything() {
    let before = world(BOOKINFO, WORKLOADS);
    let parsed = api::parse("f", &settings("outboundTrafficPolicy: {mode: REGISTRY_ONLY}"));
    let map: Arc<api::Resource> = parsed.resources[0].clone();
    let (with, change) = before.next(Edit { resources: vec![(None, Some(map.clone()))], ..Edit::default() });
    assert!(change.is_everything());
    assert_eq!(with.settings.outbound_policy, translate::OutboundPolicy::RegistryOnly);
    let (without, change) = with.next(Edit { resources: vec![(Some(map), None)], ..Edit::default() });
    assert!(change.is_everything());
    assert_eq!(without.settings, before.settings, "what the control plane was started with holds again");
}

#[test]
fn services_select_workload_entries() {
    let entry = "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: machine}
spec: {address: 10.9.9.9, ports: {http: 81}, labels: {app: reviews, version: v3}, serviceAccount: machine, weight: 3}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: named}
spec: {address: machine.example.org, labels: {app: reviews}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: elsewhere, namespace: other}
spec: {address: 10.9.9.8, labels: {app: reviews}}
";
    let subset = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: reviews, subsets: [{name: v3, labels: {version: v3}}]}\n";
    let config = productpage(&mesh("{}", &format!("{entry}{subset}")));
    let addresses = |name: &str| {
        let set = &config.endpoints[name];
        let mut found: Vec<(String, u32)> = set.iter().map(|e| (e.address.to_string(), e.weight)).collect();
        found.sort();
        found
    };
    let at = |address: &str, weight| (address.to_owned(), weight);
    assert_eq!(
        addresses(REVIEWS),
        [at("10.9.9.9:81", 3), at("127.64.0.2:9080", 1), at("127.64.0.3:9080", 1)],
        "beside workloads that run"
    );
    assert_eq!(addresses("outbound|9080|v3|reviews.default.svc.cluster.local"), [at("10.9.9.9:81", 3)]);
    let Transport::MeshTls(tls) = &config.clusters[REVIEWS].transport else { panic!() };
    let names = format!("{:?}", tls.validation);
    assert!(names.contains("ns/default/sa/machine"), "{names}");
}

#[test]
fn how_many_connections_there_may_be() {
    let text = "defaultConfig:\n  connectionSettings: {globalDownstreamConnectionLimit: 9, listenerConnectionLimit: 4, listenerPerConnectionBufferLimitBytes: 50000}";
    let gateway_document = "
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
";
    let world = mesh(text, gateway_document);
    let told = |node: &translate::Node| {
        let made = config(&world, node);
        let limits = made.limits[model::ConnectionLimits::RESOURCE].clone();
        let buffers: Vec<_> = made.listeners.values().filter(|l| l.bind).map(|l| l.buffer_limit).collect();
        let names: Vec<_> = limits.by_listener.iter().map(|(name, most)| format!("{name} {most}")).collect();
        (limits.common, names.join(", "), buffers)
    };
    assert_eq!(told(&gateway()), (Some(9), "127.0.0.1_8080 4".to_owned(), vec![Some(50000)]));
    let (common, names, buffers) = told(&sidecar("reviews/v1@3", 9080));
    assert_eq!((common, &*names), (Some(9), "inbound_127.64.0.3_9080 4, virtualOutbound 4"));
    assert!(buffers.iter().all(Option::is_none), "{buffers:?}");
    let edge = mesh("defaultConfig:\n  connectionSettings: {profile: EDGE}", gateway_document);
    assert_eq!(config(&edge, &gateway()).listeners["127.0.0.1_8080"].buffer_limit, Some(32 << 10));
    assert_eq!(config(&edge, &gateway()).limits["connections"].common, None);
}

/// The trust bundle, and the names that clients at `REVIEWS` and servers at productpage take.
fn believed(world: &World) -> (SecretValue, Vec<String>, Vec<String>) {
    let config = productpage(world);
    let Transport::MeshTls(tls) = &config.clusters[REVIEWS].transport else { panic!("no TLS") };
    let names = |names: &[StringMatch]| names.iter().map(text).collect();
    let servers = names(&tls.validation.as_ref().unwrap().names);
    let chains = config.listeners.values().flat_map(|listener| &listener.chains);
    let mut checks = chains.filter_map(|chain| chain.tls.as_ref()?.validation.as_ref());
    let clients = names(&checks.next().expect("mutual TLS").names);
    assert!(checks.all(|check| names(&check.names) == clients), "all chains alike");
    (config.secrets["ROOTCA"].value.clone(), servers, clients)
}

fn text(name: &StringMatch) -> String {
    match name {
        StringMatch::Exact { value, .. } => value.clone(),
        StringMatch::Prefix { value, .. } => format!("{value}*"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn trust_domains_that_stand_for_the_same() {
    let (_, servers, clients) = believed(&mesh("{}", ""));
    let reviews = |domain: &str| format!("spiffe://{domain}/ns/default/sa/bookinfo-reviews");
    assert_eq!((servers, clients), (vec![reviews("cluster.local")], vec!["spiffe://cluster.local/*".to_owned()]));
    let (_, servers, clients) = believed(&mesh("trustDomainAliases: [old, cluster.local, old]", ""));
    assert_eq!(servers, [reviews("cluster.local"), reviews("old")]);
    assert_eq!(clients, ["spiffe://cluster.local/*", "spiffe://old/*"]);
    let policy = "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {rules: [{from: [{source: {principals: [old/ns/a/sa/b]}}]}]}\n";
    let rules = |text: &str| format!("{:?}", productpage(&mesh(text, policy)).listeners);
    assert!(!rules("{}").contains("cluster.local/ns/a/sa/b") && rules("{}").contains("old/ns/a/sa/b"));
    let both = rules("trustDomainAliases: [old]");
    assert!(both.contains("cluster.local/ns/a/sa/b") && both.contains("old/ns/a/sa/b"), "{both}");
}

#[test]
fn roots_beside_those_of_the_mesh() {
    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIEA\n-----END CERTIFICATE-----";
    let pem = |after: &str| format!("- pem: |\n    {}\n{after}", PEM.replace('\n', "\n    "));
    let bundle = |text: &str| {
        let (value, _, clients) = believed(&mesh(text, ""));
        let SecretValue::Trust { roots, by_domain, leaf_only: true, .. } = value else { panic!("no trust") };
        let read = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(PEM, "PEM");
        let by_domain: Vec<_> = by_domain.into_iter().map(|(domain, roots)| (domain, read(roots))).collect();
        (read(roots), by_domain, clients.len())
    };
    let (own, both) = ("-- roots --", "-- roots --\nPEM\n".to_owned());
    assert_eq!(bundle("{}"), (own.to_owned(), vec![], 1));
    assert_eq!(bundle(&format!("caCertificates:\n{}", pem(""))), (both.clone(), vec![], 1), "of all");
    let alias = format!("trustDomainAliases: [old]\ncaCertificates:\n{}", pem("  trustDomains: [old]\n"));
    assert_eq!(bundle(&alias), (both, vec![], 2), "a trust domain of the mesh");
    let of_signers = format!("caCertificates:\n{}", pem("  certSigners: [a]\n"));
    assert_eq!(bundle(&of_signers), (own.to_owned(), vec![], 1), "signers of Kubernetes are not here");
    let foreign = format!("caCertificates:\n{}", pem("  trustDomains: [b.example]\n"));
    let domains = [("b.example", "PEM\n"), ("cluster.local", own)];
    let domains = domains.map(|(domain, roots)| (domain.to_owned(), roots.to_owned())).to_vec();
    assert_eq!(bundle(&foreign), (own.to_owned(), domains, 2), "each for its own alone");
}
