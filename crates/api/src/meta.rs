//! What every resource has beside its own fields: name, namespace, labels, and where the user wrote it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::decode::{Unread, object};
use crate::kind::{Kind, Support};
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::{is_dns_label, is_dns_subdomain, is_label_key, is_label_value};

/// The namespace of documents that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The name of an IstioOperator that has none, as `istioctl install` names it.
const OPERATOR_NAME: &str = "installed-state";

/// Kubernetes' limit on all annotations of an object together, in bytes.
const MOST_ANNOTATIONS: usize = 256 << 10;

/// The annotation of a Namespace that says what becomes of calls of which no intention says anything: `allow` or `deny`. At
/// the root namespace it is for the mesh.
pub const INTENTION_DEFAULT: &str = "halcyon.dev/intention-default";

/// The same for workloads whose account no TrafficTarget names.
pub const TRAFFIC_TARGET_DEFAULT: &str = "halcyon.dev/traffic-target-default";

/// Both.
pub(crate) const DEFAULTS_OF_ACCESS: [&str; 2] = [INTENTION_DEFAULT, TRAFFIC_TARGET_DEFAULT];

/// A resource's metadata.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Meta {
    /// The name, unique within kind and namespace.
    pub name: String,
    /// The namespace; none for kinds that live outside of namespaces.
    pub namespace: Option<String>,
    /// Labels, by which selectors find it.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Grows with every change of the spec, if the source counts.
    pub generation: Option<u64>,
    /// When the source first took it, if the source says so. Decides between policies that collide: the oldest wins.
    pub created: Option<SystemTime>,
}

/// Names one resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ResourceKey {
    /// The kind.
    pub kind: Kind,
    /// The namespace; none for kinds that live outside of namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

/// `VirtualService/default/reviews`, `Namespace/prod`.
impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}/{namespace}/{}", self.kind, self.name),
            None => write!(f, "{}/{}", self.kind, self.name),
        }
    }
}

/// Where the user wrote a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The file as the user named it, or the source (`kubernetes`, ...).
    pub file: String,
    /// The line in which the document begins, from 1; 0 if not known.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

object! {
    /// Kubernetes' `ObjectMeta`, as written.
    Exact struct ObjectMeta {
        /// The name.
        name "name": String,
        /// The beginning of a name that the API server completes. Not possible here.
        generate_name "generateName": String,
        /// The namespace.
        namespace "namespace": String,
        /// Labels.
        labels "labels": BTreeMap<String, String>,
        /// Annotations.
        annotations "annotations": BTreeMap<String, String>,
        /// Counts changes of the spec.
        generation "generation": Option<u64>,
        /// When it was created, RFC 3339.
        creation_timestamp "creationTimestamp": Option<String>,
        /// The API server's identifier.
        uid "uid": Unread,
        /// The API server's version.
        resource_version "resourceVersion": Unread,
        /// Long out of use.
        self_link "selfLink": Unread,
        /// When it is to go.
        deletion_timestamp "deletionTimestamp": Unread,
        /// How long it may take to go.
        deletion_grace_period_seconds "deletionGracePeriodSeconds": Unread,
        /// Who owns it.
        owner_references "ownerReferences": Unread,
        /// Who wants to be asked before it goes.
        finalizers "finalizers": Unread,
        /// Who wrote which field.
        managed_fields "managedFields": Unread,
        /// Long out of use.
        cluster_name "clusterName": Unread,
    }
}

impl ObjectMeta {
    /// Checks the metadata of a `kind`, and puts it into `namespace` if it names none. The walk must stand at `metadata`.
    pub(crate) fn resolve(self, kind: Kind, namespace: &str, report: &mut Report) -> Meta {
        self.check_name(kind, report);
        if !kind.is_namespaced() && !self.namespace.is_empty() {
            report.field("namespace", |r| {
                let message = format!("a {} does not live in a namespace; this one is ignored", kind.name());
                r.warning(message).hint("remove the line");
            });
        } else if !self.namespace.is_empty() && !is_dns_label(&self.namespace) {
            report.field("namespace", |r| {
                r.error(format!("{} is not the name of a namespace", quoted(&self.namespace))).expected(DNS_LABEL);
            });
        }
        check_labels("labels", &self.labels, report);
        check_annotations(&self.annotations, report);
        let created = self.creation_timestamp.as_deref().and_then(|text| timestamp(text, report));
        let namespace = kind.is_namespaced().then(|| match self.namespace.is_empty() {
            true => namespace.to_owned(),
            false => self.namespace,
        });
        let Self { mut name, labels, annotations, generation, .. } = self;
        if name.is_empty() && kind == Kind::IstioOperator {
            name = OPERATOR_NAME.to_owned();
        }
        Meta { name, namespace, labels, annotations, generation, created }
    }

    fn check_name(&self, kind: Kind, report: &mut Report) {
        report.field("name", |r| {
            if self.name.is_empty() && kind != Kind::IstioOperator {
                let found = r.error("the resource has no name").expected("a name under `metadata`");
                if !self.generate_name.is_empty() {
                    found.hint("`generateName` needs an API server: write `name`");
                }
                return;
            }
            if self.name.is_empty() {
                return;
            }
            let (good, expected) = match kind {
                Kind::Service | Kind::Namespace => (is_dns_label(&self.name), DNS_LABEL),
                // Kubernetes lets some of its own kinds have other names (`system:node`).
                _ if kind.support() == Support::NotRead => (true, ""),
                _ => (is_dns_subdomain(&self.name), DNS_SUBDOMAIN),
            };
            if !good {
                r.error(format!("{} is not a name", quoted(&self.name))).expected(expected);
            }
        });
    }
}

pub(crate) const DNS_LABEL: &str = "at most 63 of a-z, 0-9 and `-`, with a letter or digit at both ends";
const DNS_SUBDOMAIN: &str = "at most 253 of a-z, 0-9, `-` and `.`, with a letter or digit at both ends";
const LABEL_KEY: &str = "an optional DNS name and `/`, then at most 63 letters, digits, `-`, `_` or `.`";
const LABEL_VALUE: &str =
    "nothing, or at most 63 letters, digits, `-`, `_` or `.`, with a letter or digit at both ends";

/// Checks a map of labels in the field `name`.
pub(crate) fn check_labels(name: &'static str, labels: &BTreeMap<String, String>, report: &mut Report) {
    report.entries(name, labels, |key, value, r| {
        if !is_label_key(key) {
            r.error(format!("{} is not the key of a label", quoted(key))).expected(LABEL_KEY);
        }
        if !is_label_value(value) {
            r.error(format!("{} is not the value of a label", quoted(value))).expected(LABEL_VALUE);
        }
    });
}

/// Checks the labels of a selector in the field `name`: like labels, with a plain word on wildcards.
pub(crate) fn check_selector(name: &'static str, labels: &BTreeMap<String, String>, report: &mut Report) {
    let wild = labels.iter().any(|(key, value)| key.contains('*') || value.contains('*'));
    if !wild {
        return check_labels(name, labels, report);
    }
    report.field(name, |r| {
        r.error("a selector cannot hold wildcards").expected("whole keys and values of labels");
    });
}

/// The annotation that says of a service where its requests prefer to go, and its words.
const DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];

fn check_annotations(annotations: &BTreeMap<String, String>, report: &mut Report) {
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MOST_ANNOTATIONS {
        report.field("annotations", |r| {
            r.error(format!("the annotations take {size} bytes")).expected(format!("at most {MOST_ANNOTATIONS}"));
        });
    }
    let is_known = |value: &str| DISTRIBUTIONS.iter().any(|known| known.eq_ignore_ascii_case(value));
    report.entries("annotations", annotations, |key, value, r| {
        if key == DISTRIBUTION && !value.is_empty() && !is_known(value) {
            r.warning(format!("{} is not known, so requests go anywhere", quoted(value)))
                .expected(format!("one of {}", DISTRIBUTIONS.join(", ")));
        }
        if key == crate::istio::DRY_RUN && crate::istio::truth(value).is_none() {
            r.warning(format!("{} is neither true nor false: the policy is enforced", quoted(value)))
                .expected("`true` or `false`, in quotes");
        }
        crate::traffic::check(key, value, r);
        if !is_label_key(key) {
            r.error(format!("{} is not the key of an annotation", quoted(key))).expected(LABEL_KEY);
        }
    });
}

fn timestamp(text: &str, report: &mut Report) -> Option<SystemTime> {
    match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(at) => Some(at.into()),
        Err(_) => {
            report.field("creationTimestamp", |r| {
                r.error(format!("{} is not a time", quoted(text))).expected("RFC 3339, such as `2026-01-31T12:00:00Z`");
            });
            None
        }
    }
}
