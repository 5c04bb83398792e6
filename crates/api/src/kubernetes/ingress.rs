//! Ingress and IngressClass: hosts and paths of services that are opened to the outside.

use super::service::{check_port, check_port_name};
use crate::decode::{Decode, Spanned, Tree, Unread, choice, object};
use crate::istio::{Port, Server, ServerTlsMode, ServerTlsSettings};
use crate::problem::quoted;
use crate::report::{Report, Step};
use crate::syntax::{is_dns_label, is_dns_subdomain};
use crate::yaml::Node;

/// Hosts and paths of services that are opened to the outside (`networking.k8s.io/v1`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ingress {
    /// What is written.
    pub written: IngressSpec,
    servers: Vec<Server>,
}

object! {
    /// What is written in an Ingress.
    Exact struct IngressSpec {
        /// The IngressClass, which says who reads it.
        ingress_class_name "ingressClassName": Spanned<String>,
        /// Takes requests that no rule takes.
        default_backend "defaultBackend": Option<IngressBackend>,
        /// Hosts that are reached by TLS too.
        tls "tls": Vec<IngressTls>,
        /// Rules by host.
        rules "rules": Vec<IngressRule>,
    }
}

object! {
    /// A certificate and the hosts that show it.
    Exact struct IngressTls {
        /// The hosts; none means all.
        hosts "hosts": Vec<Spanned<String>>,
        /// The Secret with the certificate and its key.
        secret_name "secretName": Spanned<String>,
    }
}

object! {
    /// What becomes of requests to a host.
    Exact struct IngressRule {
        /// The host, `*.suffix`, or nothing for any.
        host "host": Spanned<String>,
        /// Its paths; none means that the default backend takes all.
        http "http": Option<HttpIngress>,
    }
}

object! {
    /// Paths and where they lead.
    Exact struct HttpIngress {
        /// The paths.
        paths "paths" (required): Vec<HttpIngressPath>,
    }
}

object! {
    /// A path and where it leads.
    Exact struct HttpIngressPath {
        /// The path.
        path "path": Spanned<String>,
        /// How it is compared.
        path_type "pathType" (required): PathType,
        /// Where requests go.
        backend "backend" (required): IngressBackend,
    }
}

choice! {
    /// How a path of an Ingress is compared.
    enum PathType {
        /// As Istio does: as a whole, or as a beginning where it ends in `.*` or `/*`.
        ImplementationSpecific "ImplementationSpecific",
        /// As a whole.
        Exact "Exact",
        /// By its segments: `/foo` takes `/foo` and `/foo/bar`, not `/foobar`.
        Prefix "Prefix",
    }
}

object! {
    /// Where requests go: a service, or a resource of another kind.
    Exact struct IngressBackend {
        /// The service, in the Ingress's namespace.
        service "service": Option<IngressService>,
        /// A resource of another kind.
        resource "resource": Option<Tree>,
    }
}

object! {
    /// A port of a service.
    Exact struct IngressService {
        /// The service's name.
        name "name" (required): Spanned<String>,
        /// The port.
        port "port" (required): IngressPort,
    }
}

object! {
    /// A port by its number or its name in the service.
    Exact struct IngressPort {
        /// The number.
        number "number": Option<Spanned<u32>>,
        /// The name.
        name "name": Spanned<String>,
    }
}

object! {
    /// Who reads Ingresses of a class (`networking.k8s.io/v1`).
    Exact struct IngressClass {
        /// The name of the controller.
        controller "controller" (required): Spanned<String>,
        /// Its parameters.
        parameters "parameters": Unread,
    }
}

impl Decode for Ingress {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let written = IngressSpec::decode(node, report)?;
        let servers = servers(&written);
        Some(Self { written, servers })
    }
}

/// The servers of a gateway that an Ingress asks for (Istio's rules): one of HTTPS for each certificate, and one of HTTP
/// for all hosts.
fn servers(written: &IngressSpec) -> Vec<Server> {
    let any = |span| Spanned { value: "*".to_owned(), span };
    let port = |number, protocol: &str, span| Port {
        number: Spanned { value: number, span },
        protocol: protocol.to_owned(),
        ..Port::default()
    };
    let by_tls = written.tls.iter().filter(|tls| !tls.secret_name.is_empty()).map(|tls| Server {
        port: Some(port(443, "HTTPS", tls.secret_name.span)),
        hosts: if tls.hosts.is_empty() { vec![any(tls.secret_name.span)] } else { tls.hosts.clone() },
        tls: Some(ServerTlsSettings {
            mode: ServerTlsMode::Simple,
            credential_name: tls.secret_name.clone(),
            ..ServerTlsSettings::default()
        }),
        ..Server::default()
    });
    let plain = Server {
        port: Some(port(80, "HTTP", Default::default())),
        hosts: vec![any(Default::default())],
        ..Server::default()
    };
    by_tls.chain([plain]).collect()
}

impl Ingress {
    /// The servers of a gateway that it asks for: those of its certificates, and the last one for plain HTTP.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The place in `tls` of the certificate that a server shows; none for plain HTTP.
    pub fn tls_of_server(&self, server: usize) -> Option<usize> {
        let with_secret = self.written.tls.iter().enumerate().filter(|(_, tls)| !tls.secret_name.is_empty());
        with_secret.map(|(place, _)| place).nth(server)
    }

    pub(crate) fn check(&self, report: &mut Report) {
        let written = &self.written;
        if written.rules.is_empty() && written.default_backend.is_none() {
            report.error("the Ingress opens nothing").expected("`rules` or `defaultBackend`");
        }
        report.opt("defaultBackend", &written.default_backend, IngressBackend::check);
        report.each("tls", &written.tls, |tls, r| {
            r.each("hosts", &tls.hosts, |host, r| check_host(host, r));
            if tls.secret_name.is_empty() {
                r.warning("there is no `secretName`: these hosts are not opened by TLS").hint("name the Secret");
            }
        });
        report.each("rules", &written.rules, |rule, r| {
            if !rule.host.is_empty() {
                r.field("host", |r| check_host(&rule.host, r));
            }
            if rule.http.is_none() && written.default_backend.is_none() {
                r.warning("there is neither a path nor a default backend: requests are answered 404")
                    .expected("`http` with `paths`");
            }
            r.opt("http", &rule.http, |http, r| {
                if http.paths.is_empty() {
                    r.field("paths", |r| {
                        r.error("the rule has no path").expected("at least one path");
                    });
                }
                r.each("paths", &http.paths, HttpIngressPath::check);
            });
        });
    }
}

fn check_host(host: &str, report: &mut Report) {
    let name = host.strip_prefix("*.").unwrap_or(host);
    if host.parse::<std::net::IpAddr>().is_ok() || !is_dns_subdomain(name) {
        report
            .error(format!("{} is not a host", quoted(host)))
            .expected("a DNS name in lower case, such as `a.example.org` or `*.example.org`");
    }
}

/// Does every slash part two segments, none of which means another place?
fn is_normal(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let within = ["//", "/./", "/../", "%2f"].iter().any(|part| lower.contains(part));
    !within && !lower.ends_with("/..") && !lower.ends_with("/.")
}

impl HttpIngressPath {
    fn check(&self, report: &mut Report) {
        let (path, by_type) = (self.path.as_str(), self.path_type != PathType::ImplementationSpecific);
        if by_type || !path.is_empty() {
            report.field("path", |r| {
                if !path.starts_with('/') {
                    r.error(format!("{} is not a path", quoted(path))).expected("a path that begins with `/`");
                } else if by_type && !is_normal(path) {
                    r.error(format!("{} is not in its normal form", quoted(path)))
                        .expected("a path without `//`, `/./`, `/../` and escaped slashes");
                }
            });
        }
        report.field("backend", |r| self.backend.check(r));
    }
}

impl IngressBackend {
    fn check(&self, report: &mut Report) {
        match (&self.service, &self.resource) {
            (None, None) => {
                report.error("the backend leads nowhere").expected("`service` with `name` and `port`");
            }
            (Some(_), Some(_)) => {
                report.error("`service` and `resource` exclude each other").expected("one of them");
            }
            _ => {}
        }
        report.opt("service", &self.service, |service, r| {
            r.field("name", |r| {
                if !is_dns_label(&service.name) {
                    r.error(format!("{} is not the name of a service", quoted(&service.name)))
                        .expected("at most 63 of a-z, 0-9 and `-`, with a letter or digit at both ends");
                }
            });
            r.down(Step::Field("port"), |r| match (&service.port.number, service.port.name.as_str()) {
                (Some(number), "") => r.field("number", |r| check_port(number.value, r)),
                (None, "") => {
                    r.error("the port is not said").expected("`number` or `name`");
                }
                (Some(_), _) => {
                    r.error("`number` and `name` exclude each other").expected("one of them");
                }
                (None, name) => r.field("name", |r| check_port_name(name, r)),
            });
        });
    }
}
