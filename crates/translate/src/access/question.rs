//! What becomes of one request or connection at a workload, which rule decided, and what the nearest rule that allows
//! something asked for in vain.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::istio::{AccessAction, AccessRule, AuthorizationPolicy, ConditionKey};
use api::yaml::Span;
use api::{Resource, Spanned};
use model::access::{Call, Field, Names, Nearest, Refusal, Rules};
use model::matcher::HeaderKey;
use model::route::RequestView;

use super::other::{self, OtherLayer, Whence};
use super::{Layer, Ports, Standing, Subject, name};
use crate::check::{members_of, services_at};
use crate::names::complete_host;
use crate::node::Node;
use crate::peer_authentication::Mode;
use crate::protocol::Protocol;
use crate::service::Target;
use crate::world::{Document, World};

/// A request or connection that somebody wants judged.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who is asked for.
    pub subject: Subject<'a>,
    /// Who the caller has proven to be, as a SPIFFE ID; none without mutual TLS.
    pub identity: Option<&'a str>,
    /// The other end of the connection.
    pub source: IpAddr,
    /// The client, as trusted proxies in front tell it.
    pub remote: IpAddr,
    /// To what the connection is; the port is the program's.
    pub destination: SocketAddr,
    /// The request; none for a connection of raw TCP.
    pub request: Option<RequestView<'a>>,
    /// The name that the caller asked for by TLS.
    pub server_name: Option<&'a str>,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// It may pass.
    pub allowed: bool,
    /// Why.
    pub because: Because,
    /// The policies that concern the workload, the oldest first.
    pub policies: Vec<Arc<Resource>>,
    /// The provider that decides before all others, and the rule by which it is asked. `allowed` holds if it lets it pass.
    pub asked: Option<(Arc<str>, Place)>,
    /// Rules that note it down.
    pub audited: Vec<Place>,
    /// What would become of it if policies that are only tried were enforced: actions with the rule that would decide.
    pub tried: Vec<(AccessAction, bool, Option<Place>)>,
}

/// Why.
#[derive(Debug, Clone, PartialEq)]
pub enum Because {
    /// No policy concerns the workload.
    NoPolicy,
    /// This rule refuses it.
    Refused(Place),
    /// No rule refuses it, and there is none that allows something, without which everything else may pass.
    NotRefused,
    /// This rule allows it.
    Allowed(Place),
    /// There are policies that allow something, and none allows this. The rule that came nearest, if there is any.
    NotAllowed(Option<Missed>),
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ONLY: &str = "only what policies allow may pass";
        match self {
            Self::NoPolicy => f.write_str("no policy concerns the workload, so everything may pass"),
            Self::NotRefused => f.write_str("no rule refuses it, and no policy allows only some"),
            Self::Refused(by) => write!(f, "{by} refuses it"),
            Self::Allowed(by) => write!(f, "{by} allows it"),
            Self::NotAllowed(None) => write!(f, "{ONLY}, and none of them allows anything"),
            Self::NotAllowed(Some(missed)) => write!(f, "{ONLY}, and none allows it; nearest is {}", missed.rule),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.part.is_empty() {
            write!(f, "{} {} of ", self.part, self.rule)?;
        }
        write!(f, "`{}` ({})", self.policy.key(), self.at)?;
        match &self.by {
            Some(by) => write!(f, " by `{}` ({})", by.key(), by.origin),
            None => Ok(()),
        }
    }
}

/// A rule, and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// The policy.
    pub policy: Arc<Resource>,
    /// What it is within the policy: `rule`, `source`, `action`; empty if it is the document as a whole.
    pub part: &'static str,
    /// The number of its rule.
    pub rule: usize,
    /// The document by which it is for somebody, if that is another.
    pub by: Option<Arc<Resource>>,
    /// `file:line`, as far as that is known.
    pub at: String,
}

/// A rule that would have allowed it but for something.
#[derive(Debug, Clone, PartialEq)]
pub struct Missed {
    /// The rule.
    pub rule: Place,
    /// What did not fit, each with its field and where that was written.
    pub lacks: Vec<Miss>,
}

/// A field that did not fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Miss {
    /// The field within the document, such as `spec.rules[0].to[0].operation.methods`; empty if it is not known.
    pub field: String,
    /// `file:line`, as far as that is known.
    pub at: String,
    /// What did not fit, in words.
    pub words: String,
}

/// Judges a request or connection.
pub fn answer(world: &World, question: &Question<'_>) -> Answer {
    let layers = world.access_layers(question.subject, question.request.is_none(), Ports::default());
    let others = other::layers(world, question.subject, question.request.is_none(), Ports::default());
    let rules = Index::of(world, question.subject, &others);
    let uris: Vec<String> = question.identity.iter().map(|id| (*id).to_owned()).collect();
    let call = Call {
        request: question.request,
        peer: question.identity.map(|_| Names { uris: &uris, ..Names::default() }),
        direct_remote: question.source,
        source: question.source,
        remote: question.remote,
        destination: question.destination,
        server_name: question.server_name,
    };
    let because = decide(&layers, &rules, &call);
    Answer {
        allowed: !matches!(because, Because::Refused(_) | Because::NotAllowed(_)),
        because,
        policies: documents(world, question.subject, &others),
        asked: layers.iter().find_map(|layer| rules.asked(layer, &call)),
        audited: layers.iter().filter_map(|layer| rules.audited(layer, &call)).collect(),
        tried: layers.iter().filter_map(|layer| rules.tried(layer, &call)).collect(),
    }
}

/// What other kinds than AuthorizationPolicies mean the workload of a proxy by, at a port of its program.
pub fn standing(world: &World, node: &Node, port: u16) -> Standing {
    let services =
        world.inbound_services(node.address, &node.namespace, port).map(|(service, _)| service.host.clone()).collect();
    let account = node.identity.as_ref().and_then(|identity| identity.service_account()).map(str::to_owned);
    Standing { account, services }
}

/// The rule that proxies know by a name, at the workload of this one; none if there is no such rule now.
pub fn place(world: &World, node: &Node, name: &str) -> Option<Place> {
    let subject = Subject::of(node);
    let others: Vec<OtherLayer> =
        [false, true].into_iter().flat_map(|tcp| other::layers(world, subject, tcp, Ports::default())).collect();
    Index::of(world, subject, &others).place(&name.into())
}

fn decide(layers: &[Layer], rules: &Index<'_>, call: &Call<'_>) -> Because {
    let own = layers.iter().filter(|layer| layer.provider.is_none());
    let enforced = || own.clone().filter_map(|layer| Some((layer.action, layer.rules.as_ref()?)));
    for (_, of_action) in enforced().filter(|(action, _)| matches!(action, AccessAction::Custom | AccessAction::Deny)) {
        if let Some(place) = of_action.decide(call).policy.and_then(|name| rules.place(name)) {
            return Because::Refused(place);
        }
    }
    let mut allowed = None;
    for (_, allowing) in enforced().filter(|(action, _)| *action == AccessAction::Allow) {
        match allowing.decide(call).policy.and_then(|name| rules.place(name)) {
            Some(place) => allowed = allowed.or(Some(place)),
            None => return Because::NotAllowed(rules.nearest(allowing, call)),
        }
    }
    match allowed {
        Some(place) => Because::Allowed(place),
        None if enforced().next().is_some() => Because::NotRefused,
        None => Because::NoPolicy,
    }
}

/// The documents that concern a workload.
fn documents(world: &World, subject: Subject<'_>, others: &[OtherLayer]) -> Vec<Arc<Resource>> {
    let own = world.access_policies(subject).into_iter().map(|policy| &policy.resource);
    own.chain(others.iter().flat_map(|other| &other.documents)).cloned().collect()
}

/// Rules by the names that proxies know them by.
struct Index<'w>(HashMap<Arc<str>, Known<'w>>);

/// A rule.
enum Known<'w> {
    /// Of an AuthorizationPolicy, with its number.
    Own(&'w Document<AuthorizationPolicy>, usize),
    /// Of another kind.
    Other(Whence),
}

impl<'w> Index<'w> {
    fn of(world: &'w World, subject: Subject<'w>, others: &[OtherLayer]) -> Self {
        let own = world.access_policies(subject).into_iter().flat_map(|policy| {
            let both = move |index| {
                [true, false].map(move |is_asked| (name(policy, index, is_asked), Known::Own(policy, index)))
            };
            (0..policy.spec().rules.len().max(1)).flat_map(both)
        });
        let others = others.iter().flat_map(|other| &other.places);
        Self(own.chain(others.map(|(name, whence)| (name.clone(), Known::Other(whence.clone())))).collect())
    }

    fn place(&self, name: &Arc<str>) -> Option<Place> {
        Some(match self.0.get(name)? {
            Known::Own(policy, rule) => {
                let at = policy.spec().rules.get(*rule).map_or(Span::default(), |written| written.span);
                let at = line(&policy.resource, at);
                Place { policy: policy.resource.clone(), part: "rule", rule: *rule, by: None, at }
            }
            Known::Other(whence) => Place {
                policy: whence.document.clone(),
                part: whence.part,
                rule: whence.index,
                by: whence.by.clone(),
                at: line(&whence.document, whence.span),
            },
        })
    }

    fn asked(&self, layer: &Layer, call: &Call<'_>) -> Option<(Arc<str>, Place)> {
        let (provider, rules) = (layer.provider.as_ref()?, layer.rules.as_ref()?);
        let place = rules.decide(call).policy.and_then(|name| self.place(name))?;
        Some((provider.clone(), place))
    }

    fn audited(&self, layer: &Layer, call: &Call<'_>) -> Option<Place> {
        let rules = layer.rules.as_ref().filter(|_| layer.action == AccessAction::Audit)?;
        rules.decide(call).policy.and_then(|name| self.place(name))
    }

    fn tried(&self, layer: &Layer, call: &Call<'_>) -> Option<(AccessAction, bool, Option<Place>)> {
        let decision = layer.shadow.as_ref()?.decide(call);
        Some((layer.action, decision.allowed, decision.policy.and_then(|name| self.place(name))))
    }

    fn nearest(&self, rules: &Rules, call: &Call<'_>) -> Option<Missed> {
        let Some(Refusal::NotAllowed(Some(nearest))) = rules.why(call) else { return None };
        let place = self.place(nearest.policy)?;
        let lacks = match self.0.get(nearest.policy)? {
            Known::Own(policy, index) => misses(policy, *index, policy.spec().rules.get(*index)?, &nearest, call),
            Known::Other(_) => nearest
                .lacks
                .iter()
                .map(|lack| Miss {
                    field: String::new(),
                    at: place.at.clone(),
                    words: lack.in_words(call, &field_name),
                })
                .collect(),
        };
        Some(Missed { rule: place, lacks })
    }
}

fn misses(
    policy: &Document<AuthorizationPolicy>,
    index: usize,
    rule: &AccessRule,
    nearest: &Nearest<'_>,
    call: &Call<'_>,
) -> Vec<Miss> {
    let miss = |lack: &model::access::Lack<'_>| {
        let found = written(rule, &lack.field, lack.excluded);
        let at = found.as_ref().map_or(Span::default(), |(_, span)| *span);
        Miss {
            field: found.map_or_else(String::new, |(field, _)| format!("spec.rules[{index}].{field}")),
            at: line(&policy.resource, at),
            words: lack.in_words(call, &field_name),
        }
    };
    nearest.lacks.iter().map(miss).collect()
}

/// What a field is called where policies are written.
fn field_name(field: &Field<'_>) -> String {
    match field {
        Field::Header(HeaderKey::Method) => "the method".to_owned(),
        Field::Header(HeaderKey::Authority) => "the host".to_owned(),
        Field::Header(key) => format!("the header `{}`", key.as_str()),
        Field::Path => "the path".to_owned(),
        Field::DestinationIp => "the destination's address".to_owned(),
        Field::DestinationPort => "the port".to_owned(),
        Field::ServerName => "the server name".to_owned(),
        Field::Principal => "the caller's identity".to_owned(),
        Field::DirectRemoteIp | Field::SourceIp => "the source's address".to_owned(),
        Field::RemoteIp => "the client's address".to_owned(),
        Field::Metadata { path, .. } if path.first().is_some_and(|first| first == "payload") => {
            format!("the claim `{}`", path[1..].join("."))
        }
        Field::Metadata { filter, path } => format!("`{}` of {filter}", path.join(".")),
    }
}

/// Where a rule asks for a field first.
fn written(rule: &AccessRule, field: &Field<'_>, excluded: bool) -> Option<(String, Span)> {
    let of_source: &[&str] = match field {
        Field::Principal => &["principals", "namespaces", "serviceAccounts", "trustDomains"],
        Field::DirectRemoteIp | Field::SourceIp => &["ipBlocks"],
        Field::RemoteIp => &["remoteIpBlocks"],
        Field::Metadata { path: [_, name], .. } if name == "iss" || name == "sub" => &["requestPrincipals"],
        _ => &[],
    };
    let of_operation: &[&str] = match field {
        Field::Header(HeaderKey::Method) => &["methods"],
        Field::Header(HeaderKey::Authority) => &["hosts"],
        Field::Path => &["paths"],
        Field::DestinationPort => &["ports"],
        _ => &[],
    };
    type Lists<'a> = (&'static str, &'static str, api::istio::Pair<'a>);
    let first = |fields: &[Lists<'_>], wanted: &[&str]| {
        fields.iter().filter(|(name, ..)| wanted.contains(name)).find_map(|(name, not, (values, not_values))| {
            let (name, list): (_, &[Spanned<String>]) = if excluded { (*not, not_values) } else { (*name, values) };
            Some((name, list.first()?.span))
        })
    };
    for (i, from) in rule.from.iter().flatten().enumerate() {
        if let Some((name, span)) = first(&from.source.fields(), of_source) {
            return Some((format!("from[{i}].source.{name}"), span));
        }
    }
    for (i, to) in rule.to.iter().flatten().enumerate() {
        if let Some((name, span)) = first(&to.operation.fields(), of_operation) {
            return Some((format!("to[{i}].operation.{name}"), span));
        }
    }
    let conditions = rule.when.iter().flatten().enumerate();
    conditions
        .filter(|(_, condition)| is_of(&condition.key, field))
        .map(|(i, c)| (format!("when[{i}]"), c.key.span))
        .next()
}

/// Does a further condition look at this field?
fn is_of(key: &str, field: &Field<'_>) -> bool {
    let Ok(key) = ConditionKey::read(key) else { return false };
    match field {
        Field::Principal => key.is_identity(),
        Field::DirectRemoteIp | Field::SourceIp => key == ConditionKey::SourceIp,
        Field::RemoteIp => key == ConditionKey::RemoteIp,
        Field::DestinationIp => key == ConditionKey::DestinationIp,
        Field::DestinationPort => key == ConditionKey::DestinationPort,
        Field::ServerName => key == ConditionKey::ServerName,
        Field::Header(name) => {
            matches!(key, ConditionKey::RequestHeader(written) if written.eq_ignore_ascii_case(name.as_str()))
        }
        Field::Metadata { path, .. } => match key {
            ConditionKey::RequestClaims(names) => path.get(1..).is_some_and(|path| path == names),
            ConditionKey::RequestAudiences => path.last().is_some_and(|last| last == "aud"),
            ConditionKey::RequestPresenter => path.last().is_some_and(|last| last == "azp"),
            ConditionKey::RequestPrincipal => path.last().is_some_and(|last| last == "iss" || last == "sub"),
            ConditionKey::FilterMetadata { key, .. } => path.last().is_some_and(|last| last == key),
            _ => false,
        },
        Field::Path => false,
    }
}

/// `file:line` of something in a document, or of the document.
fn line(resource: &Resource, at: Span) -> String {
    match (resource.origin.file.as_str(), at.line) {
        (file, line) if line > 0 && resource.origin.line > 0 => format!("{file}:{line}"),
        _ => resource.origin.to_string(),
    }
}

/// A kind of workload that a request reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// It is a gateway.
    pub is_gateway: bool,
    /// Its account, and the services that lead to the port.
    pub standing: Standing,
    /// The port of its program.
    pub port: u16,
    /// Raw TCP is spoken there.
    pub tcp: bool,
    /// Mutual TLS is taken there, so callers have identities.
    pub takes_identities: bool,
}

impl Called {
    /// Who is asked for.
    pub fn subject(&self) -> Subject<'_> {
        let Self { namespace, labels, is_gateway, standing, .. } = self;
        Subject { namespace, labels, is_gateway: *is_gateway, account: None, services: &[] }.at(standing)
    }

    /// `default: app=reviews, version=v1`
    pub fn title(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if labels.is_empty() { self.namespace.clone() } else { format!("{}: {}", self.namespace, labels.join(", ")) }
    }
}

/// The kinds of workloads that a service's port leads to.
///
/// # Errors
/// Why there are none.
pub fn called(world: &World, namespace: &str, host: &str, port: Option<u16>) -> Result<Vec<Called>, String> {
    let whole = complete_host(host, namespace, &world.settings.dns_domain);
    let Some(service) = world.service(&whole) else {
        let near = crate::check::nearest_host(world, &whole);
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Err(format!("no service has the host `{whole}`{near}"));
    };
    let ports = || service.ports.iter().map(|port| port.number.to_string()).collect::<Vec<_>>().join(" or ");
    let port = match (port, &service.ports[..]) {
        (Some(number), _) => {
            service.port(number).ok_or_else(|| format!("`{whole}` has no port {number}; expected {}", ports()))?
        }
        (None, [only]) => only,
        (None, _) => return Err(format!("`{whole}` has several ports; expected {}", ports())),
    };
    let Target::Number(number) = port.target else {
        return Err(format!(
            "each workload has its own number for port {}; write the destination in full",
            port.number
        ));
    };
    let called = members_of(world, service).into_iter().map(|(labels, account)| Called {
        namespace: service.namespace.clone(),
        labels: labels.clone(),
        is_gateway: false,
        standing: Standing {
            account: account.map(str::to_owned),
            services: services_at(world, service, labels, number),
        },
        port: number,
        tcp: !port.protocol.is_http() && port.protocol != Protocol::Auto,
        takes_identities: world.mutual_tls_of(&service.namespace, labels, number) != Mode::Disable,
    });
    let called: Vec<Called> = called.collect();
    if called.is_empty() { Err(format!("no workload of `{whole}` runs or is described")) } else { Ok(called) }
}
