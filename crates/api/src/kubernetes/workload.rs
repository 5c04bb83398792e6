//! Deployment, and the pods that it makes.

use std::collections::BTreeMap;

use super::TransportProtocol;
use super::service::{check_port, check_port_name};
use crate::decode::{Spanned, Unread, choice, object};
use crate::meta::{ObjectMeta, check_labels};
use crate::problem::quoted;
use crate::report::Report;

object! {
    /// A set of like pods (`apps/v1`).
    Exact struct Deployment {
        /// How many; none means one.
        replicas "replicas": Option<u32>,
        /// Labels of its pods.
        selector "selector" (required): PodSelector,
        /// What its pods are like.
        template "template" (required): PodTemplate,
        /// How they are replaced.
        strategy "strategy": Unread,
        /// How long a new one has to be ready.
        min_ready_seconds "minReadySeconds": Option<u32>,
        /// How many old versions are kept.
        revision_history_limit "revisionHistoryLimit": Option<u32>,
        /// Is replacing stopped?
        paused "paused": bool,
        /// How long replacing may take.
        progress_deadline_seconds "progressDeadlineSeconds": Option<u32>,
    }
}

object! {
    /// Pods by their labels.
    Exact struct PodSelector {
        /// All of these have to be there.
        match_labels "matchLabels": BTreeMap<String, String>,
        /// Further conditions.
        match_expressions "matchExpressions": Vec<LabelExpression>,
    }
}

object! {
    /// A condition on a label.
    Exact struct LabelExpression {
        /// The label's key.
        key "key" (required): String,
        /// The condition.
        operator "operator" (required): LabelOperator,
        /// Values to compare with.
        values "values": Vec<String>,
    }
}

choice! {
    /// Conditions on a label.
    enum LabelOperator {
        /// Its value is one of these.
        In "In",
        /// Its value is none of these.
        NotIn "NotIn",
        /// It is there.
        Exists "Exists",
        /// It is not there.
        DoesNotExist "DoesNotExist",
    }
}

impl PodSelector {
    /// Does it take a pod with these labels?
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let holds = |e: &LabelExpression| {
            let value = labels.get(&e.key);
            match e.operator {
                LabelOperator::In => value.is_some_and(|v| e.values.contains(v)),
                LabelOperator::NotIn => !value.is_some_and(|v| e.values.contains(v)),
                LabelOperator::Exists => value.is_some(),
                LabelOperator::DoesNotExist => value.is_none(),
            }
        };
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(holds)
    }
}

object! {
    /// What pods are like.
    Exact struct PodTemplate {
        /// Their labels and annotations.
        metadata "metadata": ObjectMeta,
        /// What runs in them.
        spec "spec" (required): Pod,
    }
}

object! {
    /// What runs in a pod; of its many fields only these are read.
    Open struct Pod {
        /// The service account of its identity; empty means `default`.
        service_account_name "serviceAccountName": String,
        /// The old name of that field.
        service_account "serviceAccount": String,
        /// Its containers.
        containers "containers" (required): Vec<Container>,
        /// Does it use the node's network, and so stays outside of the mesh?
        host_network "hostNetwork": bool,
    }
}

object! {
    /// A container; of its many fields only these are read.
    Open struct Container {
        /// Its name.
        name "name" (required): String,
        /// Its image.
        image "image": String,
        /// Its ports.
        ports "ports": Vec<ContainerPort>,
    }
}

object! {
    /// A port of a container.
    Exact struct ContainerPort {
        /// A name, to which services may refer.
        name "name": String,
        /// 1 to 65535.
        container_port "containerPort" (required): Spanned<u32>,
        /// The transport.
        protocol "protocol": TransportProtocol,
        /// The port on the node.
        host_port "hostPort": Option<u32>,
        /// The node's address.
        host_ip "hostIP": String,
    }
}

impl Deployment {
    pub(crate) fn check(&self, report: &mut Report) {
        report.field("selector", |r| {
            check_labels("matchLabels", &self.selector.match_labels, r);
            if self.selector.match_labels.is_empty() && self.selector.match_expressions.is_empty() {
                r.error("the selector is empty").expected("`matchLabels` with labels of the template");
            }
            r.each("matchExpressions", &self.selector.match_expressions, |e, r| {
                let needs = matches!(e.operator, LabelOperator::In | LabelOperator::NotIn);
                if needs == e.values.is_empty() {
                    let expected = if needs { "at least one value" } else { "no values" };
                    r.error(format!("`values` does not fit the operator {}", e.operator.as_str())).expected(expected);
                }
            });
        });
        report.field("template", |r| {
            let labels = &self.template.metadata.labels;
            r.field("metadata", |r| {
                check_labels("labels", labels, r);
                if !self.selector.matches(labels) {
                    r.field("labels", |r| {
                        r.error("the selector does not take the pods of the template")
                            .expected("all labels of `selector`");
                    });
                }
            });
            r.field("spec", |r| self.template.spec.check(r));
        });
    }
}

impl Pod {
    /// The service account of its identity.
    pub fn service_account(&self) -> &str {
        [&self.service_account_name, &self.service_account]
            .into_iter()
            .find(|n| !n.is_empty())
            .map_or("default", String::as_str)
    }

    pub(crate) fn check(&self, report: &mut Report) {
        if self.containers.is_empty() {
            report.field("containers", |r| {
                r.error("there is no container").expected("at least one");
            });
        }
        report.each("containers", &self.containers, |container, r| {
            let mut names = std::collections::HashSet::new();
            r.each("ports", &container.ports, |port, r| {
                r.field("containerPort", |r| check_port(port.container_port.value, r));
                if !port.name.is_empty() {
                    r.field("name", |r| {
                        check_port_name(&port.name, r);
                        if !names.insert(port.name.clone()) {
                            r.error(format!("two ports are called {}", quoted(&port.name))).expected("each name once");
                        }
                    });
                }
            });
        });
    }
}
