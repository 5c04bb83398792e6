//! WorkloadGroup: what the workloads have in common that no platform tells of, such as the machines of one service.

use std::collections::BTreeMap;

use super::WorkloadEntry;
use super::rules::check_port;
use crate::decode::object;
use crate::meta::check_labels;
use crate::report::Report;

object! {
    /// Workloads that are alike (`networking.istio.io`).
    Istio struct WorkloadGroup {
        /// What each of them is called by.
        metadata "metadata": Option<GroupMetadata>,
        /// What each of them is like; the address is its own.
        template "template" (required): WorkloadEntry,
        /// What tells that one is ready.
        probe "probe": Option<ReadinessProbe>,
    }
}

object! {
    /// What the workloads of a group are called by.
    Istio struct GroupMetadata {
        /// Labels, which those of the template override.
        labels "labels": BTreeMap<String, String>,
        /// Annotations.
        annotations "annotations": BTreeMap<String, String>,
    }
}

object! {
    /// What tells that a program is ready.
    Istio struct ReadinessProbe {
        /// How long after its start it is asked.
        initial_delay_seconds "initialDelaySeconds": u32,
        /// How long an answer may take; 0 means 1.
        timeout_seconds "timeoutSeconds": u32,
        /// Time between questions; 0 means 10.
        period_seconds "periodSeconds": u32,
        /// So many good answers make it ready; 0 means 1.
        success_threshold "successThreshold": u32,
        /// So many bad ones make it not ready; 0 means 3.
        failure_threshold "failureThreshold": u32,
        /// It is asked over HTTP.
        http_get "httpGet": Option<HttpProbe>,
        /// It has to take a connection.
        tcp_socket "tcpSocket": Option<TcpProbe>,
        /// A command has to end well.
        exec "exec": Option<ExecProbe>,
        /// It is asked by gRPC's health checking protocol.
        grpc "grpc": Option<GrpcProbe>,
    }
}

object! {
    /// A question over HTTP.
    Istio struct HttpProbe {
        /// The path; empty means `/`.
        path "path": String,
        /// The port.
        port "port" (required): u32,
        /// The host that is named.
        host "host": String,
        /// `http` or `https`.
        scheme "scheme": String,
        /// Further headers.
        http_headers "httpHeaders": Vec<ProbeHeader>,
    }
}

object! {
    /// A header of a question.
    Istio struct ProbeHeader {
        /// Its name.
        name "name": String,
        /// Its value.
        value "value": String,
    }
}

object! {
    /// A connection.
    Istio struct TcpProbe {
        /// The host; empty means the program's.
        host "host": String,
        /// The port.
        port "port" (required): u32,
    }
}

object! {
    /// A command.
    Istio struct ExecProbe {
        /// The program and its arguments.
        command "command" (required): Vec<String>,
    }
}

object! {
    /// A question by gRPC.
    Istio struct GrpcProbe {
        /// The port.
        port "port": u32,
        /// The service that is asked for.
        service "service": String,
    }
}

impl WorkloadGroup {
    /// The labels of its workloads: those of the template count more than those of the metadata.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.metadata.as_ref().map(|metadata| metadata.labels.clone()).unwrap_or_default();
        labels.extend(self.template.labels.clone());
        labels
    }

    pub(crate) fn check(&self, report: &mut Report) {
        report.opt("metadata", &self.metadata, |metadata, r| {
            check_labels("labels", &metadata.labels, r);
            r.entries("annotations", &metadata.annotations, |key, value, r| crate::traffic::check(key, value, r));
        });
        report.field("template", |r| {
            if !self.template.address.is_empty() {
                r.field("address", |r| {
                    r.error("a template has no address").expected("none: each workload brings its own");
                });
            }
            self.template.check_rest(None, r);
        });
        report.opt("probe", &self.probe, ReadinessProbe::check);
    }
}

impl ReadinessProbe {
    pub(super) fn check(&self, report: &mut Report) {
        let ways = [
            ("httpGet", self.http_get.is_some()),
            ("tcpSocket", self.tcp_socket.is_some()),
            ("exec", self.exec.is_some()),
            ("grpc", self.grpc.is_some()),
        ];
        super::rules::check_exclusive(&ways, report);
        if !ways.iter().any(|(_, is_set)| *is_set) {
            report.error("the probe asks nothing").expected("`httpGet`, `tcpSocket`, `exec` or `grpc`");
        }
        report.opt("httpGet", &self.http_get, |http, r| {
            r.field("port", |r| check_port(http.port, r));
            if !matches!(http.scheme.to_ascii_lowercase().as_str(), "" | "http" | "https") {
                r.field("scheme", |r| {
                    r.error(format!("{} is not a scheme of HTTP", crate::problem::quoted(&http.scheme)))
                        .expected("`http` or `https`");
                });
            }
        });
        report.opt("tcpSocket", &self.tcp_socket, |tcp, r| r.field("port", |r| check_port(tcp.port, r)));
        report.opt("grpc", &self.grpc, |grpc, r| r.field("port", |r| check_port(grpc.port, r)));
        report.opt("exec", &self.exec, |exec, r| {
            if exec.command.is_empty() {
                r.field("command", |r| {
                    r.error("there is no command").expected("a program and its arguments");
                });
            }
        });
    }
}
