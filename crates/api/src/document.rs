//! A file to resources: finds the kind of each document, has it read and checked, and checks the set.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::code::Code;
use crate::decode::{Decode, Fields, Naming, is_of_every_document, nearest, one_of, wrong_shape};
use crate::enforced;
use crate::halcyon;
use crate::istio::{self, MESH_CONFIG_MAP};
use crate::kind::{Kind, Support};
use crate::meta::{DEFAULT_NAMESPACE, DEFAULTS_OF_ACCESS, Meta, ObjectMeta, Origin, ResourceKey};
use crate::problem::{Problem, quoted};
use crate::report::{Report, Step, find};
use crate::resource::{Resource, Spec};
use crate::yaml::{self, Limits, Node, Value};

/// What a file gave.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The documents without an error, in the order of the file.
    pub resources: Vec<Arc<Resource>>,
    /// Documents that are refused, and can be read all the same: so that what refers to them is not complained about too.
    pub refused: Vec<Arc<Resource>>,
    /// Everything that is wrong with the file, in its order.
    pub problems: Vec<Problem>,
}

impl Parsed {
    /// Was any document refused?
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }
}

/// Reads all documents of a file, YAML or JSON, and checks each. One bad document does not spoil the others; a caller
/// that wants all or nothing asks [`Parsed::has_errors`]. `file` stands in problems and origins as it is given.
pub fn parse(file: &str, text: &str) -> Parsed {
    parse_in(DEFAULT_NAMESPACE, file, text)
}

/// As [`parse`], with another namespace for documents that name none.
pub fn parse_in(namespace: &str, file: &str, text: &str) -> Parsed {
    let stream = yaml::read(file, text, &Limits::default());
    let mut parsed = Parsed { problems: stream.problems, ..Parsed::default() };
    for root in &stream.documents {
        for (path, item, kind) in flatten(root) {
            let origin = Origin { file: file.to_owned(), line: item.span.line };
            let (resource, problems) = read_document(root, path, item, kind, namespace, origin);
            let good = !problems.iter().any(Problem::is_error);
            let list = if good { &mut parsed.resources } else { &mut parsed.refused };
            list.extend(resource.map(Arc::new));
            parsed.problems.extend(problems);
        }
    }
    let doubles = check_set(&parsed.resources);
    keep_first(&mut parsed.resources);
    parsed.problems.extend(doubles);
    parsed.problems.sort_by_key(|p| (p.line, p.column));
    parsed
}

/// Checks that no key stands twice in a set of resources that are to be applied together. Each problem names both
/// places and stands at the later one.
pub fn check_set(resources: &[Arc<Resource>]) -> Vec<Problem> {
    let mut first: HashMap<ResourceKey, &Origin> = HashMap::new();
    let mut problems = Vec::new();
    for resource in resources {
        let key = resource.key();
        if let Some(origin) = first.get(&key) {
            let message = format!("{key} is written twice; the first is at {origin}");
            let problem = Problem::error(message)
                .code(Code::DuplicateResource)
                .hint("remove one of the two, or give it another name");
            problems.push(resource.problem(problem, yaml::Span::default()));
        } else {
            first.insert(key, &resource.origin);
        }
    }
    problems
}

fn keep_first(resources: &mut Vec<Arc<Resource>>) {
    let mut seen = std::collections::HashSet::new();
    resources.retain(|resource| seen.insert(resource.key()));
}

/// Reads a single document that is no list.
pub(crate) fn read_one(root: &Node, origin: Origin) -> (Option<Resource>, Vec<Problem>) {
    let (resource, problems) = read_document(root, Vec::new(), root, None, DEFAULT_NAMESPACE, origin);
    (resource.filter(|_| !problems.iter().any(Problem::is_error)), problems)
}

/// The documents inside a document: itself, or the items of a `List`, each with its path and with the kind that the
/// list gives to its items.
fn flatten(root: &Node) -> Vec<(Vec<Step>, &Node, Option<&'static str>)> {
    let mut out = Vec::new();
    flatten_into(root, Vec::new(), None, &mut out);
    out
}

fn flatten_into<'n>(
    node: &'n Node,
    path: Vec<Step>,
    inherited: Option<&'static str>,
    out: &mut Vec<(Vec<Step>, &'n Node, Option<&'static str>)>,
) {
    let kind = node.get("kind").and_then(Node::as_str).unwrap_or_default();
    let item_kind = kind.strip_suffix("List").and_then(|name| Kind::named(name).first().map(|k| k.name()));
    let items = node.get("items").map(|items| &items.value);
    match items {
        Some(Value::Sequence(items)) if kind == "List" || item_kind.is_some() => {
            for (index, item) in items.iter().enumerate() {
                let mut path = path.clone();
                path.extend([Step::Field("items"), Step::Index(index)]);
                flatten_into(item, path, item_kind, out);
            }
        }
        // A list without items is empty, not unknown.
        None | Some(Value::Null) if kind == "List" || item_kind.is_some() => {}
        _ => out.push((path, node, inherited)),
    }
}

fn read_document(
    root: &Node,
    path: Vec<Step>,
    node: &Node,
    inherited: Option<&'static str>,
    namespace: &str,
    origin: Origin,
) -> (Option<Resource>, Vec<Problem>) {
    let file = origin.file.clone();
    let mut report = Report::new(&file, root);
    let read = report.along(path, |r| read_resource(node, inherited, namespace, origin, r));
    let key = read.as_ref().ok().map(Resource::key).or_else(|| read.as_ref().err().cloned().flatten());
    (read.ok(), report.finish(key.as_ref()))
}

/// Reads one document. If its body cannot be read, its key is given, as far as that is known.
fn read_resource(
    node: &Node,
    inherited: Option<&'static str>,
    namespace: &str,
    origin: Origin,
    report: &mut Report,
) -> Result<Resource, Option<ResourceKey>> {
    if !matches!(node.value, Value::Mapping(_)) {
        wrong_shape(node, "a document with `apiVersion`, `kind` and `metadata`", report);
        return Err(None);
    }
    let (kind, api_version) = read_kind(node, inherited, report).ok_or(None)?;
    let meta = read_meta(node, kind, namespace, report);
    let key = ResourceKey { kind, namespace: meta.namespace.clone(), name: meta.name.clone() };
    let spec = read_spec(node, kind, &meta, report).ok_or(Some(key))?;
    let document = normal_form(node.to_json(), kind, &api_version, &meta);
    Ok(Resource::new(kind, api_version, meta, origin, spec, document))
}

fn read_kind(node: &Node, inherited: Option<&'static str>, report: &mut Report) -> Option<(Kind, String)> {
    let text = |name: &'static str, report: &mut Report| {
        let node = node.get(name).filter(|n| !n.is_null())?;
        report.field(name, |r| String::decode(node, r))
    };
    let api_version = text("apiVersion", report).unwrap_or_default();
    let name = text("kind", report).or_else(|| inherited.map(str::to_owned));
    let Some(name) = name else {
        if node.get("kind").is_none_or(Node::is_null) {
            report
                .error("the document has no `kind`")
                .expected("`apiVersion`, `kind` and `metadata`")
                .hint("add the kind, such as `VirtualService`");
        }
        return None;
    };
    let candidates = Kind::named(&name);
    if candidates.is_empty() {
        unknown_kind(&name, &api_version, report);
        return None;
    }
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let kind = candidates.iter().copied().find(|k| k.group() == group).unwrap_or(candidates[0]);
    let group_fits = kind.group() == group;
    if !group_fits || !kind.versions().is_empty() && !kind.versions().contains(&version) {
        let valid: Vec<String> =
            candidates.iter().filter(|k| !group_fits || **k == kind).flat_map(|k| k.api_versions()).collect();
        let valid: Vec<&str> = valid.iter().map(String::as_str).collect();
        let message = match api_version.is_empty() {
            true => format!("this {name} has no `apiVersion`"),
            false => format!("there is no {name} of the version {}", quoted(&api_version)),
        };
        report.field("apiVersion", |r| {
            r.error(message).expected(one_of(&valid));
        });
    }
    Some((kind, api_version))
}

fn unknown_kind(name: &str, api_version: &str, report: &mut Report) {
    let names: Vec<&str> = Kind::all().map(Kind::name).collect();
    report.field("kind", |r| {
        let of = if api_version.is_empty() { String::new() } else { format!(" (of {})", quoted(api_version)) };
        let found = r.error(format!("the kind {}{of} is not known", quoted(name)));
        match nearest(name, &names) {
            Some(near) => found.hint(format!("did you mean `{near}`?")),
            None => found.hint(
                "take the document out of the file: only kinds of Istio, the Gateway API, SMI, Kubernetes and our own are known",
            ),
        };
    });
}

fn read_meta(node: &Node, kind: Kind, namespace: &str, report: &mut Report) -> Meta {
    report.field("metadata", |r| {
        let metadata = node.get("metadata").filter(|n| !n.is_null());
        let metadata = metadata.map_or_else(|| Some(ObjectMeta::default()), |n| ObjectMeta::decode(n, r));
        metadata.map(|m| m.resolve(kind, namespace, r)).unwrap_or_default()
    })
}

/// Reads, and then checks, the part of a document that belongs to its kind.
fn read_spec(node: &Node, kind: Kind, meta: &Meta, report: &mut Report) -> Option<Spec> {
    let spec = match kind {
        Kind::VirtualService => Spec::VirtualService(spec_field(node, report)?),
        Kind::DestinationRule => Spec::DestinationRule(spec_field(node, report)?),
        Kind::Gateway => Spec::Gateway(spec_field(node, report)?),
        Kind::ServiceEntry => Spec::ServiceEntry(spec_field(node, report)?),
        Kind::WorkloadEntry => Spec::WorkloadEntry(spec_field(node, report)?),
        Kind::Sidecar => Spec::Sidecar(spec_field(node, report)?),
        Kind::PeerAuthentication => Spec::PeerAuthentication(optional_spec_field(node, report)?),
        Kind::AuthorizationPolicy => Spec::AuthorizationPolicy(optional_spec_field(node, report)?),
        Kind::RequestAuthentication => Spec::RequestAuthentication(optional_spec_field(node, report)?),
        Kind::Telemetry => Spec::Telemetry(optional_spec_field(node, report)?),
        Kind::TrafficExtension => Spec::TrafficExtension(spec_field(node, report)?),
        Kind::WasmPlugin => {
            let plugin: Box<istio::WasmPlugin> = spec_field(node, report)?;
            Spec::TrafficExtension(Box::new((*plugin).into()))
        }
        Kind::ClusterRbacConfig => Spec::ClusterRbacConfig(spec_field(node, report)?),
        Kind::RbacConfig => Spec::RbacConfig(spec_field(node, report)?),
        Kind::ServiceRole => Spec::ServiceRole(spec_field(node, report)?),
        Kind::ServiceRoleBinding => Spec::ServiceRoleBinding(spec_field(node, report)?),
        Kind::ServiceIntentions => Spec::ServiceIntentions(spec_field(node, report)?),
        Kind::TrafficTarget => Spec::TrafficTarget(spec_or_whole(node, report)?),
        Kind::HttpRouteGroup => Spec::HttpRouteGroup(spec_or_whole(node, report)?),
        Kind::SmiTcpRoute => Spec::SmiTcpRoute(spec_or_whole(node, report)?),
        Kind::SmiUdpRoute => Spec::SmiUdpRoute(spec_or_whole(node, report)?),
        Kind::EnvoyFilter => Spec::EnvoyFilter(spec_field(node, report)?),
        Kind::WorkloadGroup => Spec::WorkloadGroup(spec_field(node, report)?),
        Kind::ProxyConfig => Spec::ProxyConfig(optional_spec_field(node, report)?),
        Kind::IstioOperator => Spec::IstioOperator(optional_spec_field(node, report)?),
        Kind::ServicePolicy => Spec::ServicePolicy(spec_field(node, report)?),
        Kind::RateLimitPolicy => Spec::RateLimitPolicy(spec_field(node, report)?),
        Kind::EgressPolicy => Spec::EgressPolicy(spec_field(node, report)?),
        Kind::LoginPolicy => Spec::LoginPolicy(spec_field(node, report)?),
        Kind::GeoRoute => Spec::GeoRoute(spec_field(node, report)?),
        Kind::Service => Spec::Service(spec_field(node, report)?),
        Kind::Deployment => Spec::Deployment(spec_field(node, report)?),
        Kind::Pod => Spec::Pod(spec_field(node, report)?),
        Kind::ServiceAccount => Spec::ServiceAccount(Box::decode(node, report)?),
        Kind::Namespace => Spec::Namespace(Box::decode(node, report)?),
        Kind::ConfigMap => Spec::ConfigMap(Box::decode(node, report)?),
        Kind::Secret => Spec::Secret(Box::decode(node, report)?),
        Kind::Ingress => Spec::Ingress(spec_field(node, report)?),
        Kind::IngressClass => Spec::IngressClass(spec_field(node, report)?),
        _ => {
            opaque(kind, report);
            return Some(Spec::Opaque);
        }
    };
    report.begin_checks();
    match &spec {
        Spec::VirtualService(s) => report.field("spec", |r| s.check(meta, r)),
        Spec::DestinationRule(s) => report.field("spec", |r| s.check(meta, r)),
        Spec::Gateway(s) => report.field("spec", |r| s.check(r)),
        Spec::ServiceEntry(s) => report.field("spec", |r| s.check(meta, r)),
        Spec::WorkloadEntry(s) => report.field("spec", |r| s.check(r)),
        Spec::Sidecar(s) => report.field("spec", |r| s.check(meta, r)),
        Spec::PeerAuthentication(s) => report.field("spec", |r| s.check(r)),
        Spec::AuthorizationPolicy(s) => {
            report.field("spec", |r| s.check(meta.namespace.as_deref().unwrap_or_default(), r));
        }
        Spec::RequestAuthentication(s) => report.field("spec", |r| s.check(r)),
        Spec::Telemetry(s) => report.field("spec", |r| s.check(r)),
        Spec::TrafficExtension(s) if kind == Kind::WasmPlugin => report.field("spec", |r| s.check_plugin(r)),
        Spec::TrafficExtension(s) => report.field("spec", |r| s.check(r)),
        Spec::ClusterRbacConfig(s) | Spec::RbacConfig(s) => {
            report.field("metadata", |r| istio::RbacConfig::check_name(&meta.name, r));
            report.field("spec", |r| s.check(r));
        }
        Spec::ServiceRole(s) => report.field("spec", |r| s.check(r)),
        Spec::ServiceRoleBinding(s) => report.field("spec", |r| s.check(r)),
        Spec::ServiceIntentions(s) => report.field("spec", |r| s.check(r)),
        Spec::TrafficTarget(s) => in_spec_or_whole(node, report, |r| s.check(r)),
        Spec::HttpRouteGroup(s) => in_spec_or_whole(node, report, |r| s.check(r)),
        Spec::EnvoyFilter(s) => report.field("spec", |r| s.check(r)),
        Spec::WorkloadGroup(s) => report.field("spec", |r| s.check(r)),
        Spec::ProxyConfig(s) => report.field("spec", |r| s.check(r)),
        Spec::IstioOperator(s) => report.field("spec", |r| s.check(r)),
        Spec::ServicePolicy(s) => report.field("spec", |r| s.check(r)),
        Spec::RateLimitPolicy(s) => report.field("spec", |r| s.check(r)),
        Spec::EgressPolicy(s) => report.field("spec", |r| s.check(r)),
        Spec::LoginPolicy(s) => report.field("spec", |r| s.check(r)),
        Spec::GeoRoute(s) => report.field("spec", |r| s.check(meta, r)),
        Spec::Service(s) => report.field("spec", |r| s.check(r)),
        Spec::Deployment(s) => report.field("spec", |r| s.check(r)),
        Spec::Pod(s) => report.field("spec", |r| s.check(r)),
        Spec::Secret(s) => s.check(report),
        Spec::Ingress(s) => report.field("spec", |r| s.check(r)),
        Spec::Namespace(_) => access_defaults(meta, report),
        Spec::SmiTcpRoute(_) | Spec::SmiUdpRoute(_) => {}
        Spec::IngressClass(_) | Spec::ServiceAccount(_) | Spec::ConfigMap(_) | Spec::Opaque => {}
    }
    check_settings(node, kind, meta, report);
    enforced::warn(enforced::not_enforced(kind), node, report);
    Some(spec)
}

/// Checks the settings of the mesh and of proxies that stand in documents of other kinds.
fn check_settings(node: &Node, kind: Kind, meta: &Meta, report: &mut Report) {
    match kind {
        Kind::ConfigMap if meta.name == MESH_CONFIG_MAP => istio::check_config_map(node, report),
        Kind::ConfigMap => halcyon::check_limit_files(node, report),
        Kind::Pod => istio::check_annotations(node, report),
        Kind::WorkloadGroup => {
            if let Some(group) = node.get("spec") {
                report.along(vec![Step::Field("spec")], |r| istio::check_annotations(group, r));
            }
        }
        Kind::Deployment => {
            if let Some(template) = node.get("spec").and_then(|spec| spec.get("template")) {
                report.along(vec![Step::Field("spec"), Step::Field("template")], |r| {
                    istio::check_annotations(template, r);
                });
            }
        }
        Kind::IstioOperator => {
            if let Some(entry) = node.get("spec").and_then(|spec| find(spec, "meshConfig")) {
                report.along(vec![Step::Field("spec"), Step::Field("meshConfig")], |r| {
                    istio::warn_of_mesh(&entry.value, r);
                });
            }
        }
        _ => {}
    }
}

/// Reads `spec`, beside which only the parts that every document has may stand.
fn spec_field<T: Decode + Default>(node: &Node, report: &mut Report) -> Option<Box<T>> {
    let fields = Fields::open(node, &["spec"], Naming::Document, report)?;
    Some(Box::new(fields.require("spec", report)))
}

/// The same, where no `spec` means an empty one.
fn optional_spec_field<T: Decode + Default>(node: &Node, report: &mut Report) -> Option<Box<T>> {
    let fields = Fields::open(node, &["spec"], Naming::Document, report)?;
    Some(Box::new(fields.take("spec", report)))
}

/// Reads `spec`, or where there is none what early versions had beside the parts that every document has.
fn spec_or_whole<T: Decode + Default>(node: &Node, report: &mut Report) -> Option<Box<T>> {
    let Value::Mapping(entries) = &node.value else { return None };
    if has_spec(node) {
        return spec_field(node, report);
    }
    let own = entries.iter().filter(|entry| !is_of_every_document(&entry.key) && entry.key != "spec");
    let own = Node { value: Value::Mapping(own.cloned().collect()), ..node.clone() };
    T::decode(&own, report).map(Box::new)
}

fn in_spec_or_whole(node: &Node, report: &mut Report, check: impl FnOnce(&mut Report)) {
    if has_spec(node) { report.field("spec", check) } else { check(report) }
}

fn has_spec(node: &Node) -> bool {
    node.get("spec").is_some_and(|spec| !spec.is_null())
}

/// What a namespace says of access where no rule does.
fn access_defaults(meta: &Meta, report: &mut Report) {
    let said = meta.annotations.iter().filter(|(key, _)| DEFAULTS_OF_ACCESS.contains(&key.as_str()));
    let wrong: Vec<(&String, &String)> =
        said.filter(|(_, value)| !["allow", "deny"].contains(&value.as_str())).collect();
    report.field("metadata", |r| {
        r.entries("annotations", wrong, |_, value, r| {
            r.error(format!("{} is no default", quoted(value))).expected("`allow` or `deny`");
        });
    });
}

fn opaque(kind: Kind, report: &mut Report) {
    let name = kind.name();
    report.field("kind", |r| {
        if kind.support() == Support::NotEnforced {
            r.warning(format!("{name} is not enforced yet: the document is kept, and changes nothing"))
        } else {
            r.warning(format!("{name} is not read by Halcyon: the document is kept, and changes nothing"))
        }
        .code(Code::NotEnforced);
    });
}

/// The document with its parts in the usual order and its namespace filled in, so that it reads back the same.
fn normal_form(document: Json, kind: Kind, api_version: &str, meta: &Meta) -> Json {
    let Json::Object(mut written) = document else { return document };
    let mut out = Map::new();
    out.insert("apiVersion".to_owned(), api_version.into());
    out.insert("kind".to_owned(), kind.name().into());
    let mut metadata = match written.remove("metadata") {
        Some(Json::Object(map)) => map,
        _ => Map::new(),
    };
    let mut ordered = Map::new();
    ordered.insert("name".to_owned(), meta.name.as_str().into());
    if let Some(namespace) = &meta.namespace {
        ordered.insert("namespace".to_owned(), namespace.as_str().into());
    }
    metadata.retain(|key, _| key != "name" && key != "namespace");
    ordered.extend(metadata);
    out.insert("metadata".to_owned(), Json::Object(ordered));
    let status = written.remove("status");
    written.retain(|key, _| key != "apiVersion" && key != "kind");
    out.extend(written);
    if let Some(status) = status {
        out.insert("status".to_owned(), status);
    }
    Json::Object(out)
}
