//! Certificates of gateways: Secrets and ConfigMaps that are not there or hold nothing usable, and certificates that two
//! gateways show.

use std::collections::BTreeSet;

use api::istio::{Gateway, ServerTlsMode, ServerTlsSettings};
use api::{Code, Problem};

use crate::secrets;
use crate::servers::host_part;
use crate::service::selected;
use crate::world::{Document, World};

pub fn check(world: &World, problems: &mut Vec<Problem>) {
    for gateway in world.gateways.iter() {
        check_gateway(world, gateway, problems);
        check_shared(world, gateway, problems);
    }
}

/// A server whose certificate is not there cannot take a connection.
fn check_gateway(world: &World, gateway: &Document<Gateway>, problems: &mut Vec<Problem>) {
    for (i, server) in gateway.spec().servers.iter().enumerate() {
        let Some(tls) = &server.tls else { continue };
        let hosts: Vec<&str> = server.hosts.iter().map(|h| host_part(&h.value)).collect();
        let names = tls.credential_names.iter().chain(Some(&tls.credential_name)).filter(|n| !n.is_empty());
        for name in names {
            let Some(problem) = problem_of(world, &name.value, &hosts) else { continue };
            let problem = problem.path(format!("spec.servers[{i}].tls.credentialName"));
            problems.push(gateway.resource.problem(problem, name.span));
        }
        if let Some(problem) = unknown_roots(world, tls, &hosts) {
            let problem = problem.path(format!("spec.servers[{i}].tls.caCertCredentialName"));
            problems.push(gateway.resource.problem(problem, tls.ca_cert_credential_name.span));
        }
    }
}

/// The authorities that vouch for clients, where they have a place of their own and are not there.
fn unknown_roots(world: &World, tls: &ServerTlsSettings, hosts: &[&str]) -> Option<Problem> {
    let name = &tls.ca_cert_credential_name.value;
    let asks = matches!(tls.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    if name.is_empty() || !asks || secrets::has_roots(world, name) {
        return None;
    }
    let (what, expected) = match name.strip_prefix(secrets::MAPPED) {
        Some(map) => (format!("ConfigMap `{map}`"), "a ConfigMap of this namespace and name"),
        None => (format!("Secret or ConfigMap `{name}`"), "a Secret or a ConfigMap in the gateway's namespace"),
    };
    let problem = Problem::warning(format!("there is no {what} with `ca.crt`"));
    let problem = problem.code(Code::ReferencedResourceNotFound).expected(expected);
    Some(problem.hint(format!("until it is there, TLS connections for {} are refused", hosts.join(", "))))
}

/// What is wrong with the Secret that holds the certificate of some hosts.
pub fn problem_of(world: &World, name: &str, hosts: &[&str]) -> Option<Problem> {
    let found: Vec<_> = world.secrets.iter().filter(|s| s.name() == secrets::secret_name(name)).collect();
    let has = |keys: [&str; 2]| found.iter().any(|s| keys.iter().any(|key| s.spec().get(key).is_some_and(is_pem)));
    let problem = match found.is_empty() {
        true => Problem::warning(format!("there is no Secret `{name}`"))
            .code(Code::ReferencedResourceNotFound)
            .hint(format!("until it is there, TLS connections for {} are refused", hosts.join(", "))),
        false if !has(["tls.crt", "cert"]) || !has(["tls.key", "key"]) => {
            Problem::warning(format!("the Secret `{name}` holds no certificate with its key in PEM"))
                .code(Code::InvalidGatewayCredential)
                .hint(format!("TLS connections for {} are refused", hosts.join(", ")))
        }
        false => return None,
    };
    Some(problem.expected("a Secret with `tls.crt` and `tls.key` in the gateway's namespace"))
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|window| window == b"-----BEGIN ")
}

/// A client that has an HTTP/2 connection to one host sends requests for another on it, if the certificate is for both
/// (RFC 9113, section 9.1.1): behind another server they meet no route.
fn check_shared(world: &World, gateway: &Document<Gateway>, problems: &mut Vec<Problem>) {
    let others = world.gateways.iter().filter(|other| {
        other.resource.key() != gateway.resource.key() && selected(&gateway.spec().selector, &other.spec().selector)
    });
    let mut told = BTreeSet::new();
    for other in others {
        for (i, server) in gateway.spec().servers.iter().enumerate() {
            let Some(own) = server.tls.as_ref().filter(|_| !told.contains(&other.resource.key())) else { continue };
            let mut theirs = other.spec().servers.iter().filter_map(|server| server.tls.as_ref());
            if let Some(name) = theirs.find_map(|theirs| same_certificate(own, theirs)) {
                told.insert(other.resource.key());
                let problem = Problem::warning(format!("the Gateway `{}` shows the certificate {name} too", other.resource.key()))
                    .code(Code::GatewayDuplicateCertificate)
                    .path(format!("spec.servers[{i}].tls"))
                    .hint(
                        "clients may send requests for one of them over HTTP/2 connections to the other, which are answered \
                         404; put both into one Gateway, or use a certificate for each",
                    );
                problems.push(gateway.resource.problem(problem, own.credential_name.span));
            }
        }
    }
}

fn same_certificate(a: &ServerTlsSettings, b: &ServerTlsSettings) -> Option<String> {
    let by_secret = !a.credential_name.is_empty() && a.credential_name.value == b.credential_name.value;
    let by_file = !a.server_certificate.is_empty()
        && a.server_certificate == b.server_certificate
        && !a.private_key.is_empty()
        && a.private_key == b.private_key;
    match (by_secret, by_file) {
        (true, _) => Some(format!("`{}`", a.credential_name.value)),
        (_, true) => Some(format!("`{}`", a.server_certificate)),
        _ => None,
    }
}
