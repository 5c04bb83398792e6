//! The mesh that the control plane is given, as documents: services by `ServiceEntry`, their endpoints by `WorkloadEntry`,
//! rules for every tenth, and a `Sidecar` in each namespace, so that a proxy sees the services of its own namespace only.

use std::fmt::Write as _;

/// Endpoints of each service.
pub const ENDPOINTS: usize = 3;
/// The port of every service.
pub const PORT: u16 = 8080;
/// Every so many services one has a `VirtualService`, and another a `DestinationRule`.
const RULED: usize = 10;

/// A mesh.
#[derive(Debug, Clone, Copy)]
pub struct Mesh {
    /// How many services there are.
    pub services: usize,
    /// How many of them share a namespace.
    pub group: usize,
    /// Each namespace has a `Sidecar` that limits its proxies to the services of the namespace.
    pub scoped: bool,
}

impl Mesh {
    /// The namespace of a service.
    pub fn namespace(&self, service: usize) -> usize {
        service / self.group
    }

    /// Its host.
    pub fn host(&self, service: usize) -> String {
        format!("s{service}.ns-{}.svc.cluster.local", self.namespace(service))
    }

    /// Everything that is applied before anybody connects.
    pub fn documents(&self) -> String {
        let mut text = String::new();
        for service in 0..self.services {
            text.push_str(&self.service(service));
            (0..ENDPOINTS).for_each(|slot| text.push_str(&self.endpoint(service, slot, 0)));
            match service % RULED {
                0 => text.push_str(&self.rule(service, 1)),
                1 => text.push_str(&self.policy(service)),
                _ => {}
            }
        }
        let namespaces = if self.scoped { self.services.div_ceil(self.group) } else { 0 };
        for namespace in 0..namespaces {
            let head = head("Sidecar", "default", namespace);
            write!(text, "{head}spec: {{egress: [{{hosts: ['./*']}}]}}\n---\n").expect("a text grows");
        }
        text
    }

    fn service(&self, service: usize) -> String {
        let head = head("ServiceEntry", &format!("s{service}"), self.namespace(service));
        let host = self.host(service);
        format!(
            "{head}spec:\n  hosts: [{host}]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{{number: {PORT}, \
             name: http, protocol: HTTP}}]\n  workloadSelector: {{labels: {{app: s{service}}}}}\n---\n"
        )
    }

    /// An endpoint, at an address of which there are so many versions that each change is one.
    pub fn endpoint(&self, service: usize, slot: usize, version: usize) -> String {
        let head = head("WorkloadEntry", &format!("s{service}-{slot}"), self.namespace(service));
        let number = service * ENDPOINTS + slot;
        let (a, b, c) = (16 + version % 200, number >> 8, number & 255);
        format!(
            "{head}spec:\n  address: 10.{a}.{b}.{c}\n  labels: {{app: s{service}, version: v{slot}}}\n  \
             serviceAccount: s{service}\n---\n"
        )
    }

    /// A rule, of which there are as many versions as there are time-outs.
    pub fn rule(&self, service: usize, version: usize) -> String {
        let head = head("VirtualService", &format!("s{service}"), self.namespace(service));
        let host = self.host(service);
        format!(
            "{head}spec:\n  hosts: [{host}]\n  http: [{{timeout: {version}s, route: [{{destination: {{host: {host}}}}}]}}]\
             \n---\n"
        )
    }

    fn policy(&self, service: usize) -> String {
        let head = head("DestinationRule", &format!("s{service}"), self.namespace(service));
        let host = self.host(service);
        format!(
            "{head}spec: {{host: {host}, trafficPolicy: {{connectionPool: {{tcp: {{connectTimeout: 3s}}}}}}}}\n---\n"
        )
    }

    /// How many of so many proxies see a service. Proxies stand beside the services in turn.
    pub fn concerned(&self, service: usize, proxies: usize) -> usize {
        if !self.scoped {
            return proxies;
        }
        let namespace = self.namespace(service);
        (0..proxies).filter(|proxy| self.namespace(proxy % self.services) == namespace).count()
    }

    /// The service that an endpoint set belongs to: `outbound|8080||s17.ns-0.svc.cluster.local` is the 17th's.
    pub fn service_of(resource: &str) -> Option<usize> {
        let host = resource.rsplit('|').next()?;
        host.strip_prefix('s')?.split('.').next()?.parse().ok()
    }
}

fn head(kind: &str, name: &str, namespace: usize) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: ns-{namespace}}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_concerned() {
        let mesh = Mesh { services: 70, group: 30, scoped: true };
        assert_eq!(mesh.concerned(0, 140), 60);
        assert_eq!(mesh.concerned(69, 140), 20);
        assert_eq!(Mesh { scoped: false, ..mesh }.concerned(0, 140), 140);
        assert_eq!(Mesh::service_of(&format!("outbound|8080||{}", mesh.host(69))), Some(69));
        assert_eq!(Mesh::service_of("PassthroughCluster"), None);
    }
}
