//! Gateway: the ports and hosts that a proxy at the mesh's edge serves.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;

use super::rules::{check_host, check_port, check_protocol};
use crate::decode::{Spanned, choice, object};
use crate::meta::check_selector;
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::{ProtocolClass, is_dns_label, protocol_class};

object! {
    /// What a gateway serves (`networking.istio.io`).
    Istio struct Gateway {
        /// The ports, each with its hosts.
        servers "servers": Vec<Server>,
        /// Labels of the proxies that serve it, in all namespaces.
        selector "selector": BTreeMap<String, String>,
    }
}

object! {
    /// A port and its hosts.
    Istio struct Server {
        /// The port.
        port "port" (required): Option<Port>,
        /// The address to listen at, or `unix://` and a path; empty means the gateway's own.
        bind "bind": String,
        /// Hosts: exact, `*.suffix` or `*`, each with an optional `namespace/` that its VirtualServices are in.
        hosts "hosts" (required): Vec<Spanned<String>>,
        /// TLS towards clients.
        tls "tls": Option<ServerTlsSettings>,
        /// Not implemented, in Istio neither.
        default_endpoint "defaultEndpoint": String,
        /// A name for the server.
        name "name": String,
    }
}

object! {
    /// A port that a gateway listens at.
    Istio struct Port {
        /// 1 to 65535.
        number "number" (required): Spanned<u32>,
        /// What is spoken there.
        protocol "protocol" (required): String,
        /// A name, unique in the gateway.
        name "name" (required): Spanned<String>,
        /// Without effect.
        target_port "targetPort": Option<u32>,
    }
}

object! {
    /// TLS towards clients.
    Istio struct ServerTlsSettings {
        /// Answer plain requests with a redirect to `https`.
        https_redirect "httpsRedirect": bool,
        /// Who ends TLS, and who shows a certificate.
        mode "mode": ServerTlsMode,
        /// File of the server's certificate.
        server_certificate "serverCertificate": String,
        /// File of the server's key.
        private_key "privateKey": String,
        /// File of the authorities that vouch for clients.
        ca_certificates "caCertificates": String,
        /// File of certificates that are revoked.
        ca_crl "caCrl": String,
        /// Secret with the server's key and certificate.
        credential_name "credentialName": Spanned<String>,
        /// Up to two Secrets, of different kinds of keys.
        credential_names "credentialNames": Vec<Spanned<String>>,
        /// Secret or ConfigMap with the authorities that vouch for clients.
        ca_cert_credential_name "caCertCredentialName": Spanned<String>,
        /// Up to two pairs of files, of different kinds of keys.
        tls_certificates "tlsCertificates": Vec<TlsCertificate>,
        /// Names of which the client's certificate must hold one.
        subject_alt_names "subjectAltNames": Vec<String>,
        /// Hashes of keys of which the client's must be one.
        verify_certificate_spki "verifyCertificateSpki": Vec<String>,
        /// Hashes of certificates of which the client's must be one.
        verify_certificate_hash "verifyCertificateHash": Vec<String>,
        /// The oldest version; `TLS_AUTO` means 1.2.
        min_protocol_version "minProtocolVersion": TlsProtocol,
        /// The newest version; `TLS_AUTO` means 1.3.
        max_protocol_version "maxProtocolVersion": TlsProtocol,
        /// Cipher suites by name; empty means the defaults.
        cipher_suites "cipherSuites": Vec<String>,
        /// Take any client's certificate.
        insecure_skip_verify "insecureSkipVerify": Option<bool>,
    }
}

object! {
    /// A certificate and its key, as files.
    Istio struct TlsCertificate {
        /// File of the certificate.
        server_certificate "serverCertificate": String,
        /// File of the key.
        private_key "privateKey": String,
        /// File of the authorities that vouch for clients.
        ca_certificates "caCertificates": String,
    }
}

choice! {
    /// Who ends TLS at a gateway, and who shows a certificate.
    enum ServerTlsMode {
        /// TLS goes on to the service, chosen by server name.
        Passthrough "PASSTHROUGH",
        /// The gateway shows one.
        Simple "SIMPLE",
        /// Both show one.
        Mutual "MUTUAL",
        /// TLS goes on to the service that the server name spells out (between meshes).
        AutoPassthrough "AUTO_PASSTHROUGH",
        /// Both show that of the mesh.
        IstioMutual "ISTIO_MUTUAL",
        /// The gateway shows one, the client may.
        OptionalMutual "OPTIONAL_MUTUAL",
    }
}

choice! {
    /// Versions of TLS.
    enum TlsProtocol {
        /// The default.
        TlsAuto "TLS_AUTO",
        /// 1.0, out of use.
        Tlsv1_0 "TLSV1_0",
        /// 1.1, out of use.
        Tlsv1_1 "TLSV1_1",
        /// 1.2.
        Tlsv1_2 "TLSV1_2",
        /// 1.3.
        Tlsv1_3 "TLSV1_3",
    }
}

impl Gateway {
    pub(crate) fn check(&self, report: &mut Report) {
        if self.servers.is_empty() {
            report.field("servers", |r| {
                r.error("the gateway serves nothing").expected("at least one server");
            });
        }
        check_selector("selector", &self.selector, report);
        let mut names: HashMap<&str, u32> = HashMap::new();
        report.field("servers", |r| {
            for (index, server) in self.servers.iter().enumerate() {
                r.down(crate::report::Step::Index(index), |r| {
                    server.check(r);
                    let Some(port) = &server.port else { return };
                    if let Some(first) = names.insert(&port.name, port.name.span.line).filter(|_| !port.name.is_empty())
                    {
                        let at = if first > 0 { format!("; the first is in line {first}") } else { String::new() };
                        r.field("port", |r| {
                            r.field("name", |r| {
                                r.error(format!("two ports are called {}{at}", quoted(&port.name)))
                                    .hint("give one of them another name");
                            })
                        });
                    }
                });
            }
        });
    }
}

impl Server {
    fn check(&self, report: &mut Report) {
        if self.hosts.is_empty() {
            report.field("hosts", |r| {
                r.error("the server has no host").expected("at least one host, or `*`");
            });
        }
        report.each("hosts", &self.hosts, |host, r| {
            let host = match host.split_once('/') {
                Some((namespace, host)) => {
                    if !matches!(namespace, "." | "*") && !is_dns_label(namespace) {
                        r.error(format!("{} is not a namespace", quoted(namespace)))
                            .expected("a namespace, `.` or `*` before the `/`");
                    }
                    host
                }
                None => host,
            };
            check_host(host, r);
        });
        let has_path = self.bind.starts_with("unix://");
        report.opt("port", &self.port, |port, r| port.check(has_path, r));
        if !self.bind.is_empty() && self.bind.parse::<std::net::IpAddr>().is_err() && !self.bind.starts_with("unix://")
        {
            report.field("bind", |r| {
                r.error(format!("{} is not an address", quoted(&self.bind)))
                    .expected("an IP address or `unix://` and a path");
            });
        }
        if !self.default_endpoint.is_empty() {
            report.field("defaultEndpoint", |r| {
                r.warning("this is never enforced, in Istio neither").hint("route by a VirtualService");
            });
        }
        self.check_tls_fits(report);
        report.opt("tls", &self.tls, ServerTlsSettings::check);
    }

    fn check_tls_fits(&self, report: &mut Report) {
        let Some(class) = self.port.as_ref().and_then(|p| protocol_class(&p.protocol)) else { return };
        let protocol = self.port.as_ref().map(|p| p.protocol.as_str()).unwrap_or_default();
        match (&self.tls, class) {
            (None, ProtocolClass::Tls) => {
                report
                    .error(format!("a port of the protocol {protocol} needs `tls`"))
                    .expected("`tls` with `mode` and certificates");
            }
            (Some(tls), ProtocolClass::Http | ProtocolClass::Opaque) => {
                let only_redirect =
                    ServerTlsSettings { https_redirect: tls.https_redirect, ..ServerTlsSettings::default() };
                if *tls != only_redirect {
                    report.field("tls", |r| {
                        r.error(format!("a port of the protocol {protocol} cannot end TLS"))
                            .expected("`protocol: HTTPS` or `protocol: TLS`");
                    });
                } else if class == ProtocolClass::Opaque && tls.https_redirect {
                    report.field("tls", |r| {
                        r.field("httpsRedirect", |r| {
                            r.warning("this has no effect on a port that does not speak HTTP");
                        });
                    });
                }
            }
            _ => {}
        }
    }
}

impl Port {
    /// At a socket with a path the number means nothing, and should be 0.
    fn check(&self, has_path: bool, report: &mut Report) {
        if !(has_path && self.number.value == 0) {
            report.field("number", |r| check_port(self.number.value, r));
        }
        if self.protocol.is_empty() {
            report.field("protocol", |r| {
                r.error("the port has no protocol").expected("a protocol, such as `HTTP`, `HTTPS`, `TLS` or `TCP`");
            });
        }
        check_protocol(&self.protocol, report);
        if self.name.is_empty() {
            report.field("name", |r| {
                r.error("the port has no name").expected("a name");
            });
        }
        if self.target_port.is_some_and(|p| p > 0) {
            report.field("targetPort", |r| {
                r.error("a gateway has no target port")
                    .hint("remove the line; the destination's port stands in the VirtualService");
            });
        }
    }
}

impl ServerTlsSettings {
    pub(in crate::istio) fn check(&self, report: &mut Report) {
        self.check_versions(report);
        let credential = !self.credential_name.is_empty();
        let credentials = !self.credential_names.is_empty();
        let (pair, pairs) =
            (!self.server_certificate.is_empty() || !self.private_key.is_empty(), !self.tls_certificates.is_empty());
        if self.mode == ServerTlsMode::IstioMutual
            || matches!(self.mode, ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough)
        {
            return self.check_unused(report);
        }
        use super::rules::check_exclusive;
        check_exclusive(
            &[("credentialName", credential), ("credentialNames", credentials), ("tlsCertificates", pairs)],
            report,
        );
        for (name, count) in
            [("credentialNames", self.credential_names.len()), ("tlsCertificates", self.tls_certificates.len())]
        {
            if count > 2 {
                report.field(name, |r| {
                    r.error(format!("{count} certificates for one server"))
                        .expected("at most 2, one with an RSA key and one with an ECDSA key");
                });
            }
        }
        if !credential && !credentials && !pairs {
            for (name, file) in [("serverCertificate", &self.server_certificate), ("privateKey", &self.private_key)] {
                if file.is_empty() {
                    report
                        .error(format!("the mode {} needs `{name}`", self.mode.as_str()))
                        .expected("`credentialName`, or `serverCertificate` and `privateKey`");
                }
            }
        }
        report.each("tlsCertificates", &self.tls_certificates, |pair, r| {
            if pair.server_certificate.is_empty() || pair.private_key.is_empty() {
                r.error("the pair is not complete").expected("`serverCertificate` and `privateKey`");
            }
            let file = pair.ca_certificates.as_str();
            if let Some(counting) = self.client_roots().filter(|counting| !file.is_empty() && *counting != file) {
                r.field("caCertificates", |r| {
                    r.warning(format!("clients are checked against {} only", quoted(counting)))
                        .hint("put the authorities of all pairs into one file");
                });
            }
        });
        self.check_clients(pair || pairs, report);
        report.each("verifyCertificateSpki", &self.verify_certificate_spki, |hash, r| {
            if base64_hash(hash).is_none() {
                r.error(format!("{} is no hash of a key", quoted(hash))).expected("SHA-256 in base64, 44 characters");
            }
        });
        report.each("verifyCertificateHash", &self.verify_certificate_hash, |hash, r| {
            if hex_hash(hash).is_none() {
                r.error(format!("{} is no hash of a certificate", quoted(hash)))
                    .expected("SHA-256 as 64 hexadecimal digits, with colons or without");
            }
        });
    }

    /// The file of the authorities that vouch for clients: the server's, else the first that stands with a pair.
    pub fn client_roots(&self) -> Option<&str> {
        let of_pairs = self.tls_certificates.iter().map(|pair| &pair.ca_certificates);
        let mut files = std::iter::once(&self.ca_certificates).chain(of_pairs);
        files.find(|file| !file.is_empty()).map(String::as_str)
    }

    /// Whoever asks for a client's certificate has to know an authority for it.
    fn check_clients(&self, from_files: bool, report: &mut Report) {
        let asks = matches!(self.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
        let knows = self.client_roots().is_some()
            || !self.ca_cert_credential_name.is_empty()
            || self.tls_certificates.iter().any(|pair| !pair.ca_certificates.is_empty());
        if asks && from_files && !knows && self.insecure_skip_verify != Some(true) {
            report
                .error(format!("the mode {} needs an authority that vouches for clients", self.mode.as_str()))
                .expected("`caCertificates` or `caCertCredentialName`");
        }
        if !self.ca_crl.is_empty() {
            report.field("caCrl", |r| {
                if !self.credential_name.is_empty() {
                    r.error("with `credentialName` the revoked certificates stand in the Secret")
                        .expected("its key `ca.crl`");
                } else if !asks {
                    r.error("no client's certificate is asked for")
                        .expected("`mode: MUTUAL` or `mode: OPTIONAL_MUTUAL`");
                }
            });
        }
    }

    /// Modes that have their certificates from elsewhere, or none.
    fn check_unused(&self, report: &mut Report) {
        let is_mesh = self.mode == ServerTlsMode::IstioMutual;
        for (name, is_set) in [
            ("serverCertificate", !self.server_certificate.is_empty()),
            ("privateKey", !self.private_key.is_empty()),
            ("caCertificates", !self.ca_certificates.is_empty()),
            ("credentialName", !self.credential_name.is_empty()),
            ("credentialNames", !self.credential_names.is_empty()),
            ("tlsCertificates", !self.tls_certificates.is_empty()),
        ] {
            if is_set {
                report.field(name, |r| {
                    let message = format!("the mode {} does not take certificates of its own", self.mode.as_str());
                    let found = if is_mesh { r.error(message) } else { r.warning(message) };
                    found.hint("use `mode: SIMPLE` or `mode: MUTUAL`, or remove the line");
                });
            }
        }
    }

    fn check_versions(&self, report: &mut Report) {
        for (name, version) in
            [("minProtocolVersion", self.min_protocol_version), ("maxProtocolVersion", self.max_protocol_version)]
        {
            if matches!(version, TlsProtocol::Tlsv1_0 | TlsProtocol::Tlsv1_1) {
                report.field(name, |r| {
                    r.warning(format!("{} is out of use and not spoken here", version.as_str()))
                        .expected("`TLSV1_2` or `TLSV1_3`");
                });
            }
        }
        let (min, max) = (self.min_protocol_version, self.max_protocol_version);
        if max != TlsProtocol::TlsAuto && min as u8 > max as u8 {
            report.field("minProtocolVersion", |r| {
                r.error(format!("{} is newer than `maxProtocolVersion` {}", min.as_str(), max.as_str()))
                    .expected("the older of the two");
            });
        }
        let mut seen = std::collections::HashSet::new();
        let spoken = &SUITES[..SPOKEN];
        if !self.cipher_suites.is_empty() && !self.cipher_suites.iter().any(|suite| spoken.contains(&suite.as_str())) {
            report.field("cipherSuites", |r| {
                r.error("none of the suites is spoken here").expected(format!("at least one of {}", spoken.join(", ")));
            });
            return;
        }
        report.each("cipherSuites", &self.cipher_suites, |suite, r| {
            if !seen.insert(suite.clone()) {
                r.warning(format!("{} is listed twice", quoted(suite)));
            } else if !SUITES.contains(&suite.as_str()) {
                r.warning(format!("{} is not a cipher suite, and is left out", quoted(suite)))
                    .expected("a name as OpenSSL has it, such as `ECDHE-RSA-AES128-GCM-SHA256`");
            }
        });
    }
}

/// So many of [`SUITES`] are spoken here.
const SPOKEN: usize = 6;

/// The suites that Istio knows; of these the first six are spoken here.
const SUITES: [&str; 15] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// A SHA-256 hash as 64 hexadecimal digits, with colons or without.
pub fn hex_hash(text: &str) -> Option<[u8; 32]> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text.replace(':', "").as_bytes()).ok()?.try_into().ok()
}

/// A SHA-256 hash in base64.
pub fn base64_hash(text: &str) -> Option<[u8; 32]> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()?.try_into().ok()
}
