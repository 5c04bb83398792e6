//! Bootstrap files out of their parts, so that a group writes only what it is about.

use crate::run::LOG_FIELDS;

/// A bootstrap with a listener for HTTP. Every one has the clusters `one` (`$B1`), `two` (`$B2`), `all` (the three
/// backends), `dead` (nobody listens), `shut` (closes at once) and `h2` (`$B1` by HTTP/2).
#[derive(Debug, Clone, Default)]
pub struct Bootstrap {
    hosts: String,
    filter: String,
    table: String,
    http_filters: String,
    clusters: String,
    listeners: String,
    zone: Option<&'static str>,
}

/// A bootstrap whose routes are these virtual hosts.
pub fn http(hosts: &str) -> Bootstrap {
    Bootstrap { hosts: hosts.to_owned(), ..Bootstrap::default() }
}

/// A bootstrap with one virtual host for all domains, of these routes.
pub fn routes(routes: &str) -> Bootstrap {
    http(&format!("- name: every\n  domains: ['*']\n  routes:\n{}", indent(routes, 2)))
}

/// A cluster with endpoints on these ports, and more of its fields.
pub fn cluster(name: &str, ports: &[&str], more: &str) -> String {
    let endpoint = |port: &&str| {
        format!("{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: ${port}}}}}}}}}")
    };
    let endpoints: Vec<String> = ports.iter().map(endpoint).collect();
    assignment(name, &format!("[{{lb_endpoints: [{}]}}]", endpoints.join(", ")), more)
}

/// A cluster with groups of endpoints, as a YAML list on one line.
pub fn assignment(name: &str, endpoints: &str, more: &str) -> String {
    let more = more.trim_matches('\n');
    format!(
        "- name: {name}\n  connect_timeout: 1s\n  load_assignment: {{cluster_name: {name}, endpoints: {endpoints}}}\n{}",
        indent(more, 2)
    )
}

/// One endpoint as an item of a list on one line, with more of its fields.
pub fn endpoint(port: &str, more: &str) -> String {
    format!("{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: ${port}}}}}}}{more}}}")
}

/// The options that make a cluster speak HTTP/2.
pub const HTTP2: &str = "
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http2_protocol_options: {}}
";

impl Bootstrap {
    /// More fields of the HTTP filter.
    pub fn filter(mut self, more: &str) -> Self {
        self.filter += more;
        self
    }

    /// More fields of the route configuration.
    pub fn table(mut self, more: &str) -> Self {
        self.table += more;
        self
    }

    /// HTTP filters before the router.
    pub fn http_filters(mut self, more: &str) -> Self {
        self.http_filters += more;
        self
    }

    /// More clusters.
    pub fn clusters(mut self, more: &str) -> Self {
        self.clusters += more.trim_start_matches('\n');
        self
    }

    /// The proxy runs in this zone, and is itself an endpoint of the cluster `local`, which has to be among the others.
    pub fn stands_in(mut self, zone: &'static str) -> Self {
        self.zone = Some(zone);
        self
    }

    /// More listeners, each of them as a whole.
    pub fn listeners(mut self, more: &str) -> Self {
        self.listeners += more.trim_start_matches('\n');
        self
    }

    /// A listener on `port` with the routes and clusters of this one, but other fields of the HTTP filter.
    pub fn second(self, port: &str, filter: &str) -> Self {
        let listener = self.listener(port, filter);
        self.listeners(&listener)
    }

    /// The listener of this one on another port, for the file of another.
    pub fn listener_on(&self, port: &str) -> String {
        self.listener(port, &self.filter)
    }

    fn listener(&self, port: &str, filter: &str) -> String {
        let manager = self.manager(filter);
        format!(
            "- name: {port}\n  address: {{socket_address: {{address: 127.0.0.1, port_value: ${port}}}}}\n  filter_chains:\n  - filters:\n{}\n",
            indent(&manager, 4)
        )
    }

    /// The HTTP filter alone, as an item of a filter chain's list.
    pub fn manager(&self, filter: &str) -> String {
        let hosts = indent(self.hosts.trim_matches('\n'), 6);
        format!(
            "- name: http
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
    stat_prefix: http
{access_log}
{filter}
    http_filters:
{http_filters}
    - name: router
      typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
    route_config:
      name: table
{table}
      virtual_hosts:
{hosts}",
            access_log = indent(&access_log(), 4),
            filter = indent(filter, 4),
            http_filters = indent(self.http_filters.trim_matches('\n'), 4),
            table = indent(&self.table, 6),
        )
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut clusters = String::new();
        for (name, ports, more) in [
            // A connection of its own for each request, so that no case depends on what the one before left.
            ("one", &["B1"][..], "max_requests_per_connection: 1"),
            ("two", &["B2"], "max_requests_per_connection: 1"),
            ("all", &["B1", "B2", "B3"], "max_requests_per_connection: 1"),
            ("dead", &["DEAD"], ""),
            ("shut", &["SHUT"], ""),
            ("h2", &["B1"], HTTP2),
        ] {
            clusters += &format!("{}\n", cluster(name, ports, more));
        }
        let listeners = format!("{}\n{}", self.listener("LISTEN", &self.filter), self.listeners);
        let text = file(&listeners, &(clusters + &self.clusters));
        match self.zone {
            None => text,
            Some(zone) => {
                let placed = format!("node: {{id: test, cluster: test, locality: {{zone: {zone}}}}}");
                text.replace(NODE, &placed) + "cluster_manager: {local_cluster_name: local}\n"
            }
        }
    }
}

/// Who the proxy is.
const NODE: &str = "node: {id: test, cluster: test}";

/// A file of listeners and clusters.
pub fn file(listeners: &str, clusters: &str) -> String {
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: $ADMIN}}}}}}\n{NODE}\nstatic_resources:\n  listeners:\n{}\n  clusters:\n{}\n",
        indent(listeners, 2),
        indent(clusters, 2)
    )
}

/// The field `access_log` of HTTP filters and TCP proxies.
pub fn access_log() -> String {
    let mut format = String::from("%REQ(X-ID)%");
    LOG_FIELDS.iter().for_each(|(_, operator)| format += &format!("\\t{operator}"));
    format!(
        "access_log:\n- name: file\n  typed_config:\n    '@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog\n    path: $LOG\n    log_format: {{text_format_source: {{inline_string: \"{format}\\n\"}}}}"
    )
}

/// Puts every line that is not empty further in.
pub fn indent(text: &str, by: usize) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| format!("{}{line}", " ".repeat(by))).collect::<Vec<_>>().join("\n")
}
