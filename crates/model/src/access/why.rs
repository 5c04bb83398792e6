//! Why a call is refused: the policy that denies it, or the one that would allow it with the least that is different.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::decide::Fact;
use super::{Action, Call, Condition, Operation, Policy, Rules, Source};
use crate::MetadataMatch;
use crate::matcher::HeaderKey;
use crate::route::header_value;

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal<'a> {
    /// This policy denies it.
    Denied(&'a Arc<str>),
    /// No policy allows it; this one comes nearest. None: there is no policy that could be met.
    NotAllowed(Option<Nearest<'a>>),
}

/// A policy that does not fit, and what of the call would have to be different for it to fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearest<'a> {
    /// Its name.
    pub policy: &'a Arc<str>,
    /// What would have to be different: all of it, and as little as possible.
    pub lacks: Vec<Lack<'a>>,
}

/// One thing that would have to be different.
#[derive(Debug, Clone, PartialEq)]
pub struct Lack<'a> {
    /// What is looked at.
    pub field: Field<'a>,
    /// What is asked of it, each as `begins with ...`: one of these would do. The first few.
    pub asked: Vec<String>,
    /// How many more would do too.
    pub more: usize,
    /// It must not be like this, in place of having to.
    pub excluded: bool,
}

/// What a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// A header, or what stands beside headers, such as the method.
    Header(&'a HeaderKey),
    /// The path.
    Path,
    /// The address that the connection is to.
    DestinationIp,
    /// The port that the connection is to.
    DestinationPort,
    /// The name that the caller asked for by TLS.
    ServerName,
    /// Who the peer has proven to be.
    Principal,
    /// The other end of the connection.
    DirectRemoteIp,
    /// The client of the connection, as a PROXY protocol header tells it.
    SourceIp,
    /// The client, as far as proxies in front of us are trusted.
    RemoteIp,
    /// What a filter said.
    Metadata {
        /// The filter.
        filter: &'a str,
        /// The way to the value.
        path: &'a [String],
    },
}

/// More alternatives are counted, not told.
const TOLD: usize = 3;

impl Rules {
    /// Why a call is refused; none if it is not.
    pub fn why(&self, call: &Call<'_>) -> Option<Refusal<'_>> {
        let decision = self.decide(call);
        if decision.allowed {
            return None;
        }
        match self.action {
            Action::Deny | Action::Log => decision.policy.map(Refusal::Denied),
            Action::Allow => Some(Refusal::NotAllowed(Nearest::among(&self.policies, call, usize::MAX))),
        }
    }
}

impl Refusal<'_> {
    /// In words, with the names that `name` has for fields.
    pub fn in_words(&self, call: &Call<'_>, name: &dyn Fn(&Field<'_>) -> String) -> String {
        match self {
            Self::Denied(policy) => format!("the policy `{policy}` denies it"),
            Self::NotAllowed(None) => "no policy allows it".into(),
            Self::NotAllowed(Some(nearest)) => format!("no policy allows it; {}", nearest.in_words(call, name)),
        }
    }
}

impl<'a> Nearest<'a> {
    /// Of policies the first of those that lack least. `budget` is how many facts are looked at, at most.
    pub(super) fn among(
        policies: impl IntoIterator<Item = &'a (Arc<str>, Policy)>,
        call: &Call<'_>,
        budget: usize,
    ) -> Option<Self> {
        let mut search = Search { call, left: budget };
        let mut nearest: Option<Self> = None;
        for (policy, rules) in policies {
            let lacks = search.of_policy(rules);
            if search.left == 0 && nearest.is_some() {
                break;
            }
            let least = nearest.as_ref().map_or(usize::MAX, |nearest| nearest.lacks.len());
            match lacks {
                Some(lacks) if lacks.len() < least => nearest = Some(Self { policy, lacks }),
                _ => {}
            }
            // Nothing can lack less, since none fits.
            if search.left == 0 || nearest.as_ref().is_some_and(|nearest| nearest.lacks.len() <= 1) {
                break;
            }
        }
        nearest
    }

    /// In words, with the names that `name` has for fields.
    pub fn in_words(&self, call: &Call<'_>, name: &dyn Fn(&Field<'_>) -> String) -> String {
        let lacks: Vec<_> = self.lacks.iter().map(|lack| lack.in_words(call, name)).collect();
        format!("the nearest policy is `{}`: {}", self.policy, lacks.join(", and "))
    }
}

impl Lack<'_> {
    /// In words: `path is `/b`, where it asks for one that is `/a``.
    pub fn in_words(&self, call: &Call<'_>, name: &dyn Fn(&Field<'_>) -> String) -> String {
        let name = name(&self.field);
        let is = match self.field.found(call) {
            Some(found) => format!("{name} is `{}`", cut(&found)),
            None => format!("{name} is missing"),
        };
        if self.excluded {
            return format!("{is}, which it excludes");
        }
        let more = if self.more > 0 { format!(" or one of {} more", self.more) } else { String::new() };
        format!("{is}, where it asks for one that {}{more}", self.asked.join(" or "))
    }
}

/// Nobody reads more of a value.
const LONGEST: usize = 255;

fn cut(text: &str) -> &str {
    text.char_indices().nth(LONGEST).map_or(text, |(at, _)| &text[..at])
}

impl Field<'_> {
    /// What a call has there.
    pub fn found(&self, call: &Call<'_>) -> Option<String> {
        match self {
            Self::Header(key) => header_value(key, call.request.as_ref()?).map(Cow::into_owned),
            Self::Path => call.path().map(str::to_owned),
            Self::DestinationIp => Some(call.destination.ip().to_string()),
            Self::DestinationPort => Some(call.destination.port().to_string()),
            Self::ServerName => call.server_name.map(str::to_owned),
            Self::Principal => call.names().find(|name| !name.is_empty()).map(str::to_owned),
            Self::DirectRemoteIp => Some(call.direct_remote.to_string()),
            Self::SourceIp => Some(call.source.to_string()),
            Self::RemoteIp => Some(call.remote.to_string()),
            Self::Metadata { filter, path } => call.request?.metadata?.get(filter, path).map(|value| value.to_string()),
        }
    }
}

/// The field in Envoy's words, such as `header x-user` or `principal`.
impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(HeaderKey::Method) => f.write_str("method"),
            Self::Header(HeaderKey::Authority) => f.write_str("host"),
            Self::Header(key) => write!(f, "header {}", key.as_str()),
            Self::Path => f.write_str("path"),
            Self::DestinationIp => f.write_str("destination address"),
            Self::DestinationPort => f.write_str("destination port"),
            Self::ServerName => f.write_str("requested server name"),
            Self::Principal => f.write_str("principal"),
            Self::DirectRemoteIp => f.write_str("direct remote address"),
            Self::SourceIp => f.write_str("source address"),
            Self::RemoteIp => f.write_str("remote address"),
            Self::Metadata { filter, path } => write!(f, "{} of {filter}", path.join(".")),
        }
    }
}

/// A fact that can be told.
pub(super) trait Told: Fact {
    /// What it looks at.
    fn field(&self) -> Field<'_>;
    /// What is asked of the field: `begins with ...`.
    fn predicate(&self) -> String;
    /// It asks for the contrary.
    fn is_contrary(&self) -> bool;
}

impl Told for Operation {
    fn field(&self) -> Field<'_> {
        match self {
            Self::Header(header) => Field::Header(&header.key),
            Self::Path(_) | Self::Template(_) => Field::Path,
            Self::DestinationIp(_) => Field::DestinationIp,
            Self::DestinationPort(_) => Field::DestinationPort,
            Self::ServerName(_) => Field::ServerName,
            Self::Metadata(metadata) => of_metadata(metadata),
        }
    }

    fn predicate(&self) -> String {
        match self {
            Self::Header(header) => header.value.to_string(),
            Self::Path(text) | Self::ServerName(text) => text.to_string(),
            Self::Template(template) => format!("is like `{}`", template.as_str()),
            Self::DestinationIp(block) => format!("is in {block}"),
            Self::DestinationPort(ports) if ports.start() == ports.end() => format!("is {}", ports.start()),
            Self::DestinationPort(ports) => format!("is from {} to {}", ports.start(), ports.end()),
            Self::Metadata(metadata) => metadata.value.to_string(),
        }
    }

    fn is_contrary(&self) -> bool {
        match self {
            Self::Header(header) => header.invert,
            Self::Metadata(metadata) => metadata.invert,
            _ => false,
        }
    }
}

impl Told for Source {
    fn field(&self) -> Field<'_> {
        match self {
            Self::Authenticated(_) => Field::Principal,
            Self::DirectRemoteIp(_) => Field::DirectRemoteIp,
            Self::SourceIp(_) => Field::SourceIp,
            Self::RemoteIp(_) => Field::RemoteIp,
            Self::Header(header) => Field::Header(&header.key),
            Self::Path(_) => Field::Path,
            Self::Metadata(metadata) => of_metadata(metadata),
        }
    }

    fn predicate(&self) -> String {
        match self {
            Self::Authenticated(None) => "came by TLS".into(),
            Self::Authenticated(Some(text)) | Self::Path(text) => text.to_string(),
            Self::DirectRemoteIp(block) | Self::SourceIp(block) | Self::RemoteIp(block) => format!("is in {block}"),
            Self::Header(header) => header.value.to_string(),
            Self::Metadata(metadata) => metadata.value.to_string(),
        }
    }

    fn is_contrary(&self) -> bool {
        match self {
            Self::Header(header) => header.invert,
            Self::Metadata(metadata) => metadata.invert,
            _ => false,
        }
    }
}

fn of_metadata(metadata: &MetadataMatch) -> Field<'_> {
    Field::Metadata { filter: &metadata.filter, path: &metadata.path }
}

/// Looks for what is lacking.
struct Search<'c> {
    call: &'c Call<'c>,
    /// How many more facts may be looked at.
    left: usize,
}

impl Search<'_> {
    fn of_policy<'a>(&mut self, policy: &'a Policy) -> Option<Vec<Lack<'a>>> {
        let mut lacks = self.one_of(&policy.permissions, true)?;
        lacks.extend(self.one_of(&policy.principals, true)?);
        Some(lacks)
    }

    /// What lacks for the condition to be met, or for it not to be; none: that cannot be, or takes too long to find out.
    fn of<'a, T: Told>(&mut self, condition: &'a Condition<T>, wanted: bool) -> Option<Vec<Lack<'a>>> {
        match (condition, wanted) {
            (Condition::Any, wanted) => wanted.then(Vec::new),
            (Condition::Not(one), wanted) => self.of(one, !wanted),
            (Condition::All(all), true) | (Condition::Either(all), false) => self.all(all, wanted),
            (Condition::Either(any), true) | (Condition::All(any), false) => self.one_of(any, wanted),
            (Condition::Is(fact), wanted) => {
                self.left = self.left.checked_sub(1)?;
                if fact.holds(self.call) == wanted {
                    return Some(Vec::new());
                }
                let excluded = wanted == fact.is_contrary();
                Some(vec![Lack { field: fact.field(), asked: vec![fact.predicate()], more: 0, excluded }])
            }
        }
    }

    fn all<'a, T: Told>(&mut self, all: &'a [Condition<T>], wanted: bool) -> Option<Vec<Lack<'a>>> {
        let mut lacks = Vec::new();
        for condition in all {
            lacks.extend(self.of(condition, wanted)?);
        }
        Some(lacks)
    }

    /// The least; alternatives of one field are told together.
    fn one_of<'a, T: Told>(&mut self, any: &'a [Condition<T>], wanted: bool) -> Option<Vec<Lack<'a>>> {
        let mut least: Option<Vec<Lack<'a>>> = None;
        for condition in any {
            let Some(lacks) = self.of(condition, wanted) else { continue };
            match (least.as_deref_mut(), &lacks[..]) {
                (_, []) => return Some(lacks),
                (Some([first]), [other]) => first.or(other),
                (Some(first), other) if first.len() <= other.len() => {}
                _ => least = Some(lacks),
            }
        }
        least
    }
}

impl<'a> Lack<'a> {
    /// This or another would do.
    fn or(&mut self, other: &Self) {
        if self.field != other.field || self.excluded || other.excluded {
            return;
        }
        self.more += other.more;
        for asked in &other.asked {
            if self.asked.len() < TOLD { self.asked.push(asked.clone()) } else { self.more += 1 }
        }
    }
}
