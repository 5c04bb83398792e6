//! `Sidecar`: the ports that workloads serve, listeners for what they reach, the egress proxy.

use model::cluster::Discovery;
use translate::{Capture, Node, Role};

use super::mesh::{BOOKINFO, config, sidecar, sidecar_with_upstream, world};
use super::outline;

fn document(spec: &str) -> String {
    format!(
        "{BOOKINFO}\n---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: own}}\nspec: {spec}\n"
    )
}

/// The same workload without capture: the program may have opened its port everywhere, so the sidecar has another.
fn free(node: Node) -> Node {
    let Role::Sidecar { mut ports, .. } = node.role else { panic!("{:?}", node.role) };
    ports[0].bind.set_port(40_000);
    Node { role: Role::Sidecar { ports, capture: Capture::Upstreams(Vec::new()) }, ..node }
}

/// The address of the only endpoint.
fn program(config: &model::Config, port: u16) -> String {
    let cluster = &config.clusters[&*format!("inbound|{port}||")];
    let Discovery::Static(set) = &cluster.discovery else { panic!("{cluster:?}") };
    set.iter().map(|endpoint| endpoint.address.to_string()).collect()
}

#[test]
fn ports_that_are_served() {
    let mutual = "
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: p}
spec: {selector: {matchLabels: {app: reviews}}, portLevelMtls: {8443: {mode: DISABLE}, 8444: {mode: DISABLE}}}
";
    let spec = "
  ingress:
  - {port: {number: 8080, protocol: HTTP, name: http}, defaultEndpoint: '127.0.0.1:9080'}
  - {port: {number: 8081, protocol: GRPC, name: grpc}, defaultEndpoint: 'unix:///run/reviews'}
  - {port: {number: 8082, protocol: TCP, name: tcp}, bind: 127.0.0.1, captureMode: NONE}
  - {port: {number: 8083, protocol: TCP, name: any}, bind: 0.0.0.0, captureMode: NONE}
  - {port: {number: 8084, name: found}, bind: 10.0.0.1}
  - {port: {number: 8443, protocol: HTTPS, name: https}, tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}
  - {port: {number: 8444, protocol: TLS, name: tls}, tls: {mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca}}
  - {port: {number: 53, protocol: UDP, name: dns}}
";
    let world = world(&format!("{}{mutual}", document(spec)), &["reviews/v1@3"]);
    let text = |node: &Node| {
        let config = config(&world, node);
        let inbound = |config: &model::Config| {
            let mut config = config.clone();
            config.listeners.retain(|_, listener| listener.direction == model::Direction::Inbound);
            outline::listeners(&config)
        };
        let clusters = config.clusters.iter().filter(|(name, _)| name.starts_with("inbound|"));
        let clusters = clusters.map(|(name, cluster)| {
            let port = name.split('|').nth(1).unwrap().parse().unwrap();
            format!("{name} {:?} to {}\n", cluster.protocol, program(&config, port))
        });
        format!("{}{}", inbound(&config), clusters.collect::<String>())
    };
    insta::assert_snapshot!("served", text(&sidecar("reviews/v1@3", 9080)));
    // Nothing leads a connection to a port that is not listed to the program.
    insta::assert_snapshot!("served-without-capture", text(&free(sidecar("reviews/v1@3", 9080))));
}

#[test]
fn where_the_program_listens() {
    for (written, in_namespace, without) in [
        ("", "127.0.0.1:9080@workload", "127.0.0.1:9080"),
        ("defaultEndpoint: ':7000'", "127.0.0.1:7000@workload", "127.0.0.1:7000"),
        ("defaultEndpoint: '127.0.0.1:7000'", "127.0.0.1:7000@workload", "127.0.0.1:7000"),
        ("defaultEndpoint: '[::1]:7000'", "[::1]:7000@workload", "[::1]:7000"),
        ("defaultEndpoint: '0.0.0.0:7000'", "192.0.0.8:7000@workload", "127.64.0.3:7000"),
        ("defaultEndpoint: '[::]:7000'", "[::1]:7000@workload", "127.64.0.3:7000"),
        ("defaultEndpoint: 'unix:///run/a'", "unix:/run/a", "unix:/run/a"),
        // An abstract name is one of the program's namespace.
        ("defaultEndpoint: 'unix://@a'", "unix:@a@workload", "unix:@a"),
    ] {
        let spec = format!("{{ingress: [{{port: {{number: 9080, protocol: HTTP, name: http}}, {written}}}]}}");
        let world = world(&document(&spec), &["reviews/v1@3"]);
        let node = sidecar("reviews/v1@3", 9080);
        assert_eq!(program(&config(&world, &node), 9080), in_namespace, "{written}");
        let node = free(node);
        let made = config(&world, &node);
        assert_eq!(program(&made, 9080), without, "{written}");
        assert_eq!(made.listeners["inbound_127.64.0.3_9080"].address.to_string(), "127.64.0.3:40000", "the same door");
    }
}

#[test]
fn limits_of_single_ports() {
    let limits = |spec: &str| {
        let made = config(&world(&document(spec), &["reviews/v1@3"]), &sidecar("reviews/v1@3", 9080));
        let of = |port: u16| {
            let cluster = made.clusters.get(&*format!("inbound|{port}||"))?;
            Some(cluster.circuit_breakers.as_ref().map_or(u32::MAX, |limits| limits.max_connections))
        };
        (of(8080), of(8081), of(9080))
    };
    let ports = "ingress: [{port: {number: 8080, protocol: TCP, name: a}, connectionPool: {tcp: {maxConnections: 7}}}, \
                 {port: {number: 8081, protocol: TCP, name: b}}]";
    assert_eq!(limits(&format!("{{{ports}}}")), (Some(7), Some(u32::MAX), Some(u32::MAX)));
    let both = format!("{{{ports}, inboundConnectionPool: {{tcp: {{maxConnections: 5}}}}}}");
    assert_eq!(limits(&both), (Some(7), Some(5), Some(5)));
}

#[test]
fn listeners_for_what_is_reached() {
    let raw = "
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, clusterIP: 10.9.0.1, ports: [{name: tcp, port: 3306}, {name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {selector: {app: other}, clusterIP: 10.9.0.2, ports: [{name: tcp, port: 3306}, {name: tcp-b, port: 7000}]}
";
    let documents = |egress: &str| format!("{}{raw}", document(&format!("{{egress: [{egress}]}}")));
    let mut text = String::new();
    for egress in [
        // The port is for one service, and what is spoken there the Sidecar says.
        "{port: {number: 9080, protocol: HTTP, name: a}, hosts: ['./reviews.default.svc.cluster.local']}",
        "{port: {number: 9080, protocol: TCP, name: a}, hosts: ['./db.default.svc.cluster.local']}, {hosts: ['./*']}",
        // Sockets of the program's own, and an address that only captured connections have.
        "{port: {number: 3306, protocol: MYSQL, name: a}, captureMode: NONE, hosts: ['./db.default.svc.cluster.local']}, \
         {port: {number: 9080, protocol: HTTP, name: b}, bind: 127.0.0.9, captureMode: NONE, hosts: ['./*']}",
        "{port: {number: 9080, protocol: HTTP, name: b}, bind: 10.1.1.1, hosts: ['./reviews.default.svc.cluster.local']}",
        // All ports; on one of them some speak HTTP and some do not.
        "{captureMode: NONE, hosts: ['./reviews.default.svc.cluster.local', './db.default.svc.cluster.local']}",
        // An entry without a port is for all but the ports that others name.
        "{port: {number: 7000, protocol: TCP, name: b}, hosts: ['./other.default.svc.cluster.local']}, \
         {hosts: ['./db.default.svc.cluster.local']}",
    ] {
        let world = world(&documents(egress), &[]);
        let made = config(&world, &sidecar("productpage/v1@2", 1));
        let clusters = made.clusters.keys().filter(|name| name.starts_with("outbound|"));
        let clusters = clusters.map(|name| format!("{name}\n")).collect::<String>();
        let tables = made.routes.iter().map(|(name, table)| {
            let hosts: Vec<&str> = table.hosts.iter().map(|host| &*host.name).collect();
            format!("routes {name}: {}\n", hosts.join(" "))
        });
        let mut listeners = made.clone();
        listeners.listeners.retain(|name, l| l.direction == model::Direction::Outbound && !name.starts_with("virtual"));
        let tables = tables.collect::<String>();
        text.push_str(&format!("# {egress}\n{}{tables}{clusters}\n", outline::listeners(&listeners)));
        for host in ["reviews", "db", "other"] {
            let sets = translate::endpoints(
                &world,
                &world.scope(&sidecar("productpage/v1@2", 1)),
                &format!("{host}.default.svc.cluster.local"),
            );
            for set in sets {
                assert!(made.endpoints.contains_key(&set.name), "{} belongs to no cluster: {egress}", set.name);
            }
        }
    }
    insta::assert_snapshot!("reached", text);
}

#[test]
fn sockets_without_capture() {
    let egress = "{egress: [{port: {number: 9080, protocol: HTTP, name: a}, captureMode: NONE, hosts: ['./reviews.default.svc.cluster.local']}, \
                   {port: {number: 9081, protocol: HTTP, name: b}, bind: 127.0.0.9, hosts: ['./*']}, {hosts: ['./*']}]}";
    let world = world(&document(egress), &[]);
    let node = sidecar_with_upstream("productpage/v1@2", "reviews", 9080);
    let made = config(&world, &node);
    let names: Vec<&str> = made.listeners.keys().map(|name| &**name).collect();
    assert_eq!(names, ["127.0.0.1_9080", "127.64.0.2_19080"]);
    assert_eq!(made.listeners["127.0.0.1_9080"].address.to_string(), "127.0.0.1:9080");
    let hosts: Vec<&str> = made.routes["9080"].hosts.iter().map(|host| &*host.name).collect();
    assert_eq!(hosts, ["reviews.default.svc.cluster.local:9080", "allow_any"]);
}

/// What the sidecar has for a program, apart from what all have.
fn gathered(documents: &str, node: &Node) -> String {
    let made = config(&world(documents, &[]), node);
    let clusters = made.clusters.keys().filter(|name| name.starts_with("outbound|"));
    let clusters = clusters.map(|name| format!("{name}\n")).collect::<String>();
    let tables = made.routes.iter().map(|(name, table)| {
        let hosts = table.hosts.iter().map(|host| format!("  {} [{}]\n", host.name, host.domains.join(" ")));
        format!("routes {name}{}\n{}", if table.ignore_port { "" } else { ", by port" }, hosts.collect::<String>())
    });
    let mut listeners = made.clone();
    listeners.listeners.retain(|name, l| l.direction == model::Direction::Outbound && !name.starts_with("virtual"));
    format!("{}{}{clusters}", outline::listeners(&listeners), tables.collect::<String>())
}

#[test]
fn http_proxies_and_unix_sockets() {
    let others = "
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, clusterIP: 10.9.0.1, ports: [{name: tcp, port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, clusterIP: 10.9.0.2, ports: [{name: http, port: 80}, {name: http-b, port: 8080}, {name: tcp, port: 7000}]}
";
    let hosts = "hosts: ['./reviews.default.svc.cluster.local', './web.default.svc.cluster.local']";
    let (captured, uncaptured) = (sidecar("productpage/v1@2", 1), free(sidecar("productpage/v1@2", 1)));
    let mut text = String::new();
    for egress in [
        format!("{{port: {{number: 3128, protocol: HTTP_PROXY, name: a}}, captureMode: NONE, {hosts}}}"),
        format!("{{port: {{number: 3128, protocol: HTTP_PROXY, name: a}}, {hosts}}}"),
        // The port of a service that only the proxy leads to, and an entry for the rest.
        "{port: {number: 9080, protocol: HTTP_PROXY, name: a}, bind: 127.0.0.9, captureMode: NONE, \
          hosts: ['./web.default.svc.cluster.local']}, \
         {hosts: ['./reviews.default.svc.cluster.local', './db.default.svc.cluster.local']}"
            .to_owned(),
        format!("{{port: {{number: 0, protocol: HTTP, name: a}}, bind: 'unix:///run/p', {hosts}}}"),
        "{port: {number: 0, protocol: MYSQL, name: a}, bind: 'unix://@db', hosts: ['./db.default.svc.cluster.local']}"
            .to_owned(),
        "{port: {number: 0, name: a}, bind: 'unix:///run/p', hosts: ['./db.default.svc.cluster.local']}".to_owned(),
    ] {
        let documents = format!("{}{others}", document(&format!("{{egress: [{egress}]}}")));
        let (inside, outside) = (gathered(&documents, &captured), gathered(&documents, &uncaptured));
        text.push_str(&format!("# {egress}\n## captured\n{inside}## not captured\n{outside}\n"));
    }
    insta::assert_snapshot!("gathered", text);
}

#[test]
fn the_egress_proxy() {
    let policy = "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: ratings, port: {number: 9080}}}}";
    let made = config(&world(&document(policy), &[]), &sidecar("productpage/v1@2", 1));
    let to = "outbound|9080||ratings.default.svc.cluster.local";
    let listeners = outline::listeners(&made);
    assert!(listeners.contains(&format!("else unknown: -> tcp to {to} x1")), "{listeners}");
    let routes = outline::routes(&made.routes["9080"]);
    let unknown = routes.lines().skip_while(|l| !l.starts_with("allow_any [*]")).nth(1).unwrap();
    assert!(unknown.contains(&format!("-> {to} x1")), "{routes}");
}

#[test]
fn what_cannot_work() {
    let raw = "
---
apiVersion: v1
kind: Service
metadata: {name: db-b}
spec: {selector: {app: db}, ports: [{name: tcp, port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: db-a}
spec: {selector: {app: db}, ports: [{name: tcp, port: 3306}]}
";
    let mut text = String::new();
    for spec in [
        "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: absent, port: {number: 9080}}}}",
        "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: ratings, port: {number: 1}, subset: v9}}}",
        "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: ratings, port: {number: 9080}}}, \
         egress: [{hosts: ['./reviews.default.svc.cluster.local']}]}",
        "{egress: [{port: {number: 3306, protocol: MYSQL, name: a}, captureMode: NONE, hosts: ['./*']}]}",
        "{egress: [{bind: 127.0.0.1, hosts: ['./*']}]}",
        "{egress: [{port: {number: 0, protocol: MYSQL, name: a}, bind: 'unix:///run/db', \
          hosts: ['./db-a.default.svc.cluster.local', './db-b.default.svc.cluster.local']}]}",
        "{ingress: [{port: {number: 8443, protocol: HTTPS, name: a}, tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}]}",
    ] {
        let world = world(&format!("{}{raw}", document(spec)), &[]);
        let found: String = translate::check(&world).iter().map(|p| format!("{p}\n")).collect();
        text.push_str(&format!("# {spec}\n{found}\n"));
    }
    insta::assert_snapshot!("sidecar-warnings", text);
}
