//! What the further conditions of roles and subjects look at.

use crate::istio::ConditionKey;

/// What a constraint of a role looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConstraintKey<'a> {
    /// `destination.labels[name]`: a label of the workload that is called.
    Label(&'a str),
    /// `destination.name`: the short name of the service that is called.
    Name,
    /// `destination.namespace`: its namespace.
    Namespace,
    /// `destination.user`: the account of the workload that is called.
    User,
    /// What conditions of an AuthorizationPolicy can look at too.
    Condition(ConditionKey<'a>),
}

impl<'a> ConstraintKey<'a> {
    /// Reads a key as it is written; none if there is no such.
    pub fn read(key: &'a str) -> Option<Self> {
        if let Some(label) = key.strip_prefix("destination.labels[") {
            return label.strip_suffix(']').filter(|label| !label.is_empty()).map(Self::Label);
        }
        match key {
            "destination.name" => return Some(Self::Name),
            "destination.namespace" => return Some(Self::Namespace),
            "destination.user" => return Some(Self::User),
            _ => {}
        }
        let key = ConditionKey::read(key).ok()?;
        let is_one = matches!(
            key,
            ConditionKey::RequestHeader(_)
                | ConditionKey::DestinationIp
                | ConditionKey::DestinationPort
                | ConditionKey::ServerName
                | ConditionKey::FilterMetadata { .. }
        );
        is_one.then_some(Self::Condition(key))
    }

    /// The forms that a key may have.
    pub(super) const FORMS: &'static str = "request.headers[NAME], destination.ip, destination.port, destination.labels[NAME], \
         destination.name, destination.namespace, destination.user, connection.sni, experimental.envoy.filters.FILTER[KEY]";
}

/// Is this what a property of a subject may look at?
pub fn is_property_key(key: &str) -> bool {
    key == "source.user" || property(key).is_some()
}

/// The forms that such a key may have.
pub(super) const PROPERTY_FORMS: &str = "source.ip, source.namespace, source.principal, source.user, request.headers[NAME], \
     request.auth.principal, request.auth.audiences, request.auth.presenter, request.auth.claims[NAME]";

fn property(key: &str) -> Option<ConditionKey<'_>> {
    let is_one = |key: &ConditionKey<'_>| {
        matches!(
            key,
            ConditionKey::SourceIp
                | ConditionKey::SourceNamespace
                | ConditionKey::SourcePrincipal
                | ConditionKey::RequestHeader(_)
                | ConditionKey::RequestPrincipal
                | ConditionKey::RequestAudiences
                | ConditionKey::RequestPresenter
                | ConditionKey::RequestClaims(_)
        )
    };
    ConditionKey::read(key).ok().filter(is_one)
}
