//! Listeners, clusters, endpoints, secrets, and how they go together.

use super::settings::BAD_RANGE;
use super::{Wrong, good, refused, replaced, with_cluster, wrong};
use crate::bootstrap::{HTTP2, assignment, cluster, endpoint, file};

const LISTENER: &str = "- name: more\n  address: {socket_address: {address: 127.0.0.1, port_value: $SECOND}}\n";
const TCP: &str = "{name: tcp, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: one}}";
const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

const NO_WORD: &str = "A number for which the schema has no word is refused";
const POLICY: &str = "The bounds of the schema hold for policies of load balancing too, which Envoy does not check";
const VERSIONS: &str = "A lowest version of TLS above the highest is refused";
const STREAM: &str = "What is to come by the aggregated stream needs `ads_config`";
const FILES: &str = "Configuration in files (`path_config_source`) is not read";

/// One more listener of this YAML.
fn with_listener(more: &str) -> String {
    good().listeners(more).text()
}

/// One more listener with these filter chains, on one line, and more of its fields.
fn with_chains(chains: &str, more: &str) -> String {
    with_listener(&format!("{LISTENER}{more}  filter_chains: [{chains}]\n"))
}

fn tcp() -> String {
    format!("{{filters: [{TCP}]}}")
}

pub fn listeners() -> Vec<Wrong> {
    let own = |rest: &str| with_listener(&format!("- name: more\n{rest}  filter_chains: [{}]\n", tcp()));
    let address = |address: &str| own(&format!("  address: {address}\n"));
    let at = |host: &str| address(&format!("{{socket_address: {{address: {host}, port_value: $SECOND}}}}"));
    let one = format!("{LISTENER}  filter_chains: [{}]\n", tcp());
    vec![
        wrong("listeners: no address", own("")),
        wrong("listeners: an empty address", address("{}")),
        wrong("listeners: no port", address("{socket_address: {address: 127.0.0.1}}")),
        wrong("listeners: a port above all", address("{socket_address: {address: 127.0.0.1, port_value: 70000}}")),
        wrong("listeners: no IP address", at("''")),
        wrong("listeners: a host's name", at("localhost")),
        wrong("listeners: a bad IP address", at("127.0.0.256")),
        wrong("listeners: no chains", with_listener(LISTENER)),
        wrong(
            "listeners: a filter that nobody knows",
            with_chains(
                &tcp(),
                "  listener_filters: [{name: x, typed_config: {'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: a}}]\n",
            ),
        ),
        wrong("listeners: two at one address", with_listener(&format!("{one}{}", one.replace("more", "other")))),
        refused("listeners: an unknown direction", NO_WORD, with_chains(&tcp(), "  traffic_direction: 9\n")),
    ]
}

pub fn chains() -> Vec<Wrong> {
    let of = |list: &str| with_chains(list, "");
    let proxied = |from: &str, to: &str| of(&format!("{{filters: [{}]}}", TCP.replace(from, to)));
    let chain = |rule: &str| format!("{{filter_chain_match: {{{rule}}}, filters: [{TCP}]}}");
    let twice = chain("server_names: [a.example]");
    vec![
        wrong("chains: two filters that end a chain", of(&format!("{{filters: [{TCP}, {TCP}]}}"))),
        wrong("chains: a filter without settings", of("{filters: [{name: tcp}]}")),
        wrong(
            "chains: an unknown filter",
            of(
                "{filters: [{name: x, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1}}]}",
            ),
        ),
        wrong("chains: TCP without a prefix", proxied("stat_prefix: tcp, ", "")),
        wrong("chains: TCP to nobody", proxied(", cluster: one", "")),
        wrong("chains: TCP with no tries", proxied("cluster: one", "cluster: one, max_connect_attempts: 0")),
        wrong(
            "chains: TCP by weights of nothing",
            proxied("cluster: one", "weighted_clusters: {clusters: [{name: one, weight: 0}]}"),
        ),
        wrong("chains: two without a match", of(&format!("{}, {}", tcp(), tcp()))),
        wrong("chains: two of one match", of(&format!("{twice}, {twice}"))),
        wrong("chains: a name with a star in it", of(&chain("server_names: ['a.*.example']"))),
        wrong("chains: a port of 0", of(&chain("destination_port: 0"))),
        refused(
            "chains: a bad range",
            BAD_RANGE,
            of(&chain("prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 40}]")),
        ),
        wrong("chains: a range of no address", of(&chain("prefix_ranges: [{address_prefix: '', prefix_len: 8}]"))),
    ]
}

pub fn clusters() -> Vec<Wrong> {
    let raw = |text: &str| good().clusters(&format!("- {{{text}}}\n")).text();
    let outlier = |more: &str| with_cluster(&format!("outlier_detection: {{{more}}}"));
    let breaker = |more: &str| with_cluster(&format!("circuit_breakers: {{thresholds: [{{{more}}}]}}"));
    let options = |more: &str| with_cluster(&HTTP2.replace("explicit_http_config: {http2_protocol_options: {}}", more));
    let timed = |span: &str| replaced(&good(), "connect_timeout: 1s", &format!("connect_timeout: {span}"));
    let host =
        |name: &str| format!("{{endpoint: {{address: {{socket_address: {{address: {name}, port_value: 1}}}}}}}}");
    let two = format!(
        "load_assignment: {{cluster_name: more, endpoints: [{{lb_endpoints: [{}, {}]}}]}}",
        host("a.example"),
        host("b.example")
    );
    vec![
        wrong("clusters: no name", raw("connect_timeout: 1s, type: STATIC")),
        wrong("clusters: one name twice", good().clusters(&cluster("one", &["B2"], "")).text()),
        wrong("clusters: no time to connect", timed("0s")),
        wrong("clusters: a negative time to connect", timed("-1s")),
        wrong("clusters: discovery that is not said", raw("name: more, type: EDS")),
        wrong("clusters: nobody behind one name", raw("name: more, type: LOGICAL_DNS")),
        wrong("clusters: two at once behind one name", raw(&format!("name: more, type: LOGICAL_DNS, {two}"))),
        wrong("clusters: an unknown type", with_cluster("type: 42")),
        wrong("clusters: names looked up all the time", with_cluster("dns_refresh_rate: 0s")),
        wrong("clusters: more than all are ejected", outlier("max_ejection_percent: 101")),
        wrong("clusters: outliers all the time", outlier("interval: 0s")),
        wrong("clusters: ejected for nothing", outlier("base_ejection_time: 0s")),
        wrong("clusters: a panic above all", with_cluster("common_lb_config: {healthy_panic_threshold: {value: 101}}")),
        wrong("clusters: a breaker of an unknown priority", breaker("priority: 7")),
        wrong("clusters: a budget above all", breaker("retry_budget: {budget_percent: {value: 101}}")),
        wrong(
            "clusters: no protocol",
            with_cluster(
                "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions}}",
            ),
        ),
        wrong("clusters: an empty protocol", options("explicit_http_config: {}")),
        wrong(
            "clusters: a window of a byte",
            options("explicit_http_config: {http2_protocol_options: {initial_stream_window_size: 1}}"),
        ),
        wrong(
            "clusters: options of an unknown extension",
            with_cluster(
                "typed_extension_protocol_options: {no.such.extension: {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}}}",
            ),
        ),
    ]
}

pub fn checks() -> Vec<Wrong> {
    let times = "timeout: 1s, interval: 1s";
    let counts = "unhealthy_threshold: 1, healthy_threshold: 1";
    let check = |fields: &[&str]| with_cluster(&format!("health_checks: [{{{}}}]", fields.join(", ")));
    let http = "http_health_check: {path: /}";
    vec![
        wrong("checks: no times", check(&[http, counts])),
        wrong("checks: no counts", check(&[http, times])),
        wrong("checks: of nothing", check(&[times, counts])),
        wrong("checks: no path", check(&[times, counts, "http_health_check: {}"])),
        wrong(
            "checks: nothing is well",
            check(&[times, counts, "http_health_check: {path: /, expected_statuses: [{start: 300, end: 200}]}"]),
        ),
        wrong("checks: in no time", check(&["timeout: 0s, interval: 1s", counts, http])),
        wrong("checks: all the time", check(&["timeout: 1s, interval: 0s", counts, http])),
    ]
}

pub fn balancing() -> Vec<Wrong> {
    let policy = |name: &str, more: &str| {
        with_cluster(&format!(
            "load_balancing_policy: {{policies: [{{typed_extension_config: {{name: x, typed_config: {{'@type': type.googleapis.com/envoy.extensions.load_balancing_policies.{name}{more}}}}}}}]}}"
        ))
    };
    let ring = |sizes: &str| with_cluster(&format!("lb_policy: RING_HASH\nring_hash_lb_config: {{{sizes}}}"));
    let table = |size: u64| with_cluster(&format!("lb_policy: MAGLEV\nmaglev_lb_config: {{table_size: {size}}}"));
    vec![
        wrong("balancing: an unknown policy", with_cluster("lb_policy: BEST")),
        wrong("balancing: no policy", with_cluster("load_balancing_policy: {policies: []}")),
        wrong(
            "balancing: a policy that nobody knows",
            with_cluster(
                "load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb}}}]}",
            ),
        ),
        refused("balancing: a choice of one", POLICY, policy("least_request.v3.LeastRequest", ", choice_count: 1")),
        wrong(
            "balancing: a choice of one, in the cluster",
            with_cluster("lb_policy: LEAST_REQUEST\nleast_request_lb_config: {choice_count: 1}"),
        ),
        wrong(
            "balancing: a ring with its bounds the wrong way round",
            ring("minimum_ring_size: 100, maximum_ring_size: 10"),
        ),
        wrong("balancing: a ring of 9 million", ring("minimum_ring_size: 9000000")),
        refused("balancing: a ring of nothing", POLICY, policy("ring_hash.v3.RingHash", ", minimum_ring_size: 0")),
        wrong("balancing: a table whose size is no prime", table(100)),
        wrong("balancing: a table of millions", table(5_000_167)),
        wrong("balancing: provided by a cluster that does not", with_cluster("lb_policy: CLUSTER_PROVIDED")),
        refused(
            "balancing: a slow start above all",
            POLICY,
            policy("round_robin.v3.RoundRobin", ", slow_start_config: {min_weight_percent: {value: 101}}"),
        ),
    ]
}

pub fn endpoints() -> Vec<Wrong> {
    let groups = |list: &str| good().clusters(&assignment("more", &format!("[{list}]"), "")).text();
    let with = |more: &str| groups(&format!("{{lb_endpoints: [{}]}}", endpoint("B1", more)));
    let one = |more: &str| format!("{{lb_endpoints: [{}]{more}}}", endpoint("B1", ""));
    let address = |address: &str| groups(&format!("{{lb_endpoints: [{{endpoint: {{address: {address}}}}}]}}"));
    vec![
        wrong("endpoints: without a cluster's name", replaced(&good(), "cluster_name: one", "cluster_name: ''")),
        wrong("endpoints: a weight of 0", with(", load_balancing_weight: 0")),
        wrong("endpoints: a group's weight of 0", groups(&one(", locality: {zone: a}, load_balancing_weight: 0"))),
        wrong("endpoints: a priority of 129", groups(&one(", priority: 129"))),
        wrong("endpoints: nobody", groups("{lb_endpoints: [{}]}")),
        wrong("endpoints: nowhere", groups("{lb_endpoints: [{endpoint: {}}]}")),
        wrong("endpoints: a port above all", address("{socket_address: {address: 127.0.0.1, port_value: 65536}}")),
        wrong("endpoints: no port", address("{socket_address: {address: 127.0.0.1}}")),
        wrong("endpoints: a name that is not looked up", address("{socket_address: {address: a.example, port_value: 80}}")),
        wrong("endpoints: a bad address", address("{socket_address: {address: 1.2.3, port_value: 80}}")),
        wrong("endpoints: an empty path", address("{pipe: {path: ''}}")),
        refused("endpoints: an unknown health", NO_WORD, with(", health_status: 77")),
        wrong(
            "endpoints: a factor of nothing",
            good().clusters("- {name: more, connect_timeout: 1s, load_assignment: {cluster_name: more, policy: {overprovisioning_factor: 0}}}\n").text(),
        ),
    ]
}

fn pair(chain: &str, key: &str) -> String {
    format!(
        "tls_certificates: [{{certificate_chain: {{filename: $DIR/{chain}}}, private_key: {{filename: $DIR/{key}}}}}]"
    )
}

pub fn downstream_tls() -> Vec<Wrong> {
    let down = |common: &str| {
        with_chains(
            &format!(
                "{{transport_socket: {{name: tls, typed_config: {{'@type': {TLS}.DownstreamTlsContext, common_tls_context: {{{common}}}}}}}, filters: [{TCP}]}}"
            ),
            "",
        )
    };
    let limited = |limits: &str| down(&format!("{}, tls_params: {{{limits}}}", pair("server.pem", "server.key")));
    vec![
        wrong("TLS: no certificate", down("")),
        wrong("TLS: no key", down("tls_certificates: [{certificate_chain: {filename: $DIR/server.pem}}]")),
        wrong("TLS: no chain", down("tls_certificates: [{private_key: {filename: $DIR/server.key}}]")),
        wrong("TLS: a chain that is not there", down(&pair("none.pem", "server.key"))),
        wrong("TLS: a key that is not there", down(&pair("server.pem", "none.key"))),
        wrong("TLS: a chain that is none", down(&pair("bad.pem", "server.key"))),
        wrong("TLS: a chain that is text", down(&pair("text.pem", "server.key"))),
        wrong("TLS: a key that is text", down(&pair("server.pem", "text.pem"))),
        wrong("TLS: another's key", down(&pair("server.pem", "other.key"))),
        refused(
            "TLS: versions the wrong way round",
            VERSIONS,
            limited("tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_2"),
        ),
        wrong("TLS: an unknown version", limited("tls_minimum_protocol_version: 9")),
        wrong("TLS: an unknown cipher", limited("cipher_suites: [NO-SUCH-CIPHER]")),
    ]
}

pub fn upstream_tls() -> Vec<Wrong> {
    let up = |more: &str| {
        with_cluster(&format!(
            "transport_socket: {{name: tls, typed_config: {{'@type': {TLS}.UpstreamTlsContext{more}}}}}"
        ))
    };
    let common = |fields: &str| up(&format!(", common_tls_context: {{{fields}}}"));
    let checked =
        |more: &str| common(&format!("validation_context: {{trusted_ca: {{filename: $DIR/ca.pem}}, {more}}}"));
    let roots = |file: &str| common(&format!("validation_context: {{trusted_ca: {{filename: $DIR/{file}}}}}"));
    let two = "tls_certificates: [{certificate_chain: {filename: $DIR/client.pem}, private_key: {filename: $DIR/client.key}}, {certificate_chain: {filename: $DIR/other.pem}, private_key: {filename: $DIR/other.key}}]";
    vec![
        wrong("TLS upstream: roots that are not there", roots("none.pem")),
        wrong("TLS upstream: roots that are none", roots("bad.pem")),
        wrong("TLS upstream: roots that are text", roots("text.pem")),
        wrong("TLS upstream: a certificate that is not there", common(&pair("none.pem", "none.key"))),
        wrong("TLS upstream: another's key", common(&pair("client.pem", "other.key"))),
        wrong("TLS upstream: two certificates", common(two)),
        wrong("TLS upstream: a hash that is none", checked("verify_certificate_hash: [abc]")),
        wrong(
            "TLS upstream: a name of an unknown kind",
            checked("match_typed_subject_alt_names: [{san_type: 77, matcher: {exact: a}}]"),
        ),
        wrong("TLS upstream: a name of nothing", checked("match_typed_subject_alt_names: [{san_type: DNS}]")),
        wrong(
            "TLS upstream: names without roots",
            common("validation_context: {match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]}"),
        ),
        wrong("TLS upstream: a name that is too long", up(&format!(", sni: {}", "a".repeat(256)))),
        wrong(
            "TLS upstream: settings of the other side",
            with_cluster(&format!(
                "transport_socket: {{name: tls, typed_config: {{'@type': {TLS}.DownstreamTlsContext, common_tls_context: {{}}}}}}"
            )),
        ),
        wrong(
            "TLS upstream: a secret that is not there",
            common("tls_certificate_sds_secret_configs: [{name: nobody}]"),
        ),
    ]
}

pub fn whole() -> Vec<Wrong> {
    let dynamic = |text: &str| format!("{}dynamic_resources: {{{text}}}\n", good().text());
    let ads = |service: &str| {
        dynamic(&format!("ads_config: {{api_type: GRPC, transport_api_version: V3, grpc_services: [{service}]}}"))
    };
    let admin =
        |address: &str| replaced(&good(), "{socket_address: {address: 127.0.0.1, port_value: $ADMIN}}", address);
    let empty = file("", "").replace("static_resources:\n  listeners:\n\n  clusters:\n\n", "");
    let secrets = |list: &str| format!("{empty}static_resources: {{secrets: [{list}]}}\n");
    let roots = "{name: a, validation_context: {trusted_ca: {filename: $DIR/ca.pem}}}";
    let layers = |list: &str| format!("{empty}layered_runtime: {{layers: [{list}]}}\n");
    vec![
        wrong("bootstrap: an admin without a port", admin("{socket_address: {address: 127.0.0.1}}")),
        wrong("bootstrap: an admin at a name", admin("{socket_address: {address: a.example, port_value: 1}}")),
        wrong("bootstrap: a control plane that is not there", ads("{envoy_grpc: {cluster_name: nobody}}")),
        wrong("bootstrap: a control plane without a name", ads("{envoy_grpc: {cluster_name: ''}}")),
        wrong("bootstrap: a control plane without a service", ads("")),
        wrong("bootstrap: a control plane of no kind", ads("{}")),
        refused("bootstrap: the stream that is not there", STREAM, dynamic("cds_config: {ads: {}}")),
        refused(
            "bootstrap: a file that is not there",
            FILES,
            dynamic("lds_config: {path_config_source: {path: /no/such/file.yaml}}"),
        ),
        wrong(
            "bootstrap: no id for the control plane",
            ads("{envoy_grpc: {cluster_name: one}}").replace("node: {id: test, cluster: test}\n", ""),
        ),
        wrong("bootstrap: two secrets of one name", secrets(&format!("{roots}, {roots}"))),
        wrong("bootstrap: a secret of nothing", secrets("{name: a}")),
        wrong("bootstrap: a layer without a name", layers("{static_layer: {a: 1}}")),
        wrong(
            "bootstrap: two layers of one name",
            layers("{name: a, static_layer: {a: 1}}, {name: a, static_layer: {b: 1}}"),
        ),
    ]
}
