//! Which other origins may call a route from a browser, and what browsers are told of it (Envoy's CORS filter).

use http::HeaderValue;

use crate::{Fraction, StringMatch};

/// What a route or a virtual host says on cross-origin requests. What a route leaves open its virtual host may say.
#[derive(Debug, Clone, PartialEq)]
pub struct Cors {
    /// The share of requests that the rules are for.
    pub enabled: Fraction,
    /// The origins that are allowed: those that one of these matches. One that matches `*` allows all.
    pub origins: Vec<StringMatch>,
    /// `access-control-allow-methods`; `*` gives back what was asked for.
    pub methods: Option<HeaderValue>,
    /// `access-control-allow-headers`; `*` gives back what was asked for.
    pub headers: Option<HeaderValue>,
    /// `access-control-expose-headers`.
    pub expose: Option<HeaderValue>,
    /// `access-control-max-age`, in seconds.
    pub max_age: Option<HeaderValue>,
    /// May requests carry credentials? Not said is no.
    pub credentials: Option<bool>,
    /// May pages of the public network ask a private one? Not said is no.
    pub private_network: Option<bool>,
    /// Preflight requests of origins that are not allowed go to the service; otherwise they are answered without a
    /// permission. Not said is yes.
    pub forward_unmatched: Option<bool>,
}

impl Default for Cors {
    /// For all requests; nothing is allowed.
    fn default() -> Self {
        Self {
            enabled: Fraction::ALL,
            origins: Vec::new(),
            methods: None,
            headers: None,
            expose: None,
            max_age: None,
            credentials: None,
            private_network: None,
            forward_unmatched: None,
        }
    }
}

/// The rules that hold on a route: its own first, then its virtual host's, field by field.
#[derive(Debug, Clone, Copy)]
pub struct CorsRules<'a> {
    first: &'a Cors,
    second: Option<&'a Cors>,
}

impl<'a> CorsRules<'a> {
    /// The rules of a route and its virtual host; none if neither has any.
    pub fn new(route: Option<&'a Cors>, host: Option<&'a Cors>) -> Option<Self> {
        match (route, host) {
            (Some(first), second) => Some(Self { first, second }),
            (None, Some(first)) => Some(Self { first, second: None }),
            (None, None) => None,
        }
    }

    /// For which share of the requests they are.
    pub fn enabled(&self) -> Fraction {
        self.first.enabled
    }

    /// May this origin call?
    pub fn allows(&self, origin: &str) -> bool {
        let mut origins = [Some(self.first), self.second].into_iter().flatten().map(|cors| &cors.origins);
        let said = origins.find(|origins| !origins.is_empty());
        said.is_some_and(|all| all.iter().any(|one| one.matches("*") || one.matches(origin)))
    }

    /// The first that says something.
    pub fn said<T>(&self, field: impl Fn(&'a Cors) -> Option<T>) -> Option<T> {
        field(self.first).or_else(|| field(self.second?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_speaks_before_its_host() {
        let value = |text| Some(HeaderValue::from_static(text));
        let exact = |text: &str| vec![StringMatch::exact(text)];
        let route = Cors { methods: value("GET"), credentials: Some(false), ..Cors::default() };
        let host = Cors { origins: exact("a"), methods: value("PUT"), max_age: value("1"), ..Cors::default() };
        let rules = CorsRules::new(Some(&route), Some(&host)).expect("rules");
        assert_eq!(rules.said(|c| c.methods.as_ref()), route.methods.as_ref());
        assert_eq!(rules.said(|c| c.max_age.as_ref()), host.max_age.as_ref());
        assert_eq!((rules.said(|c| c.credentials), rules.said(|c| c.private_network)), (Some(false), None));
        assert!(rules.allows("a") && !rules.allows("b"));
        let own = Cors { origins: exact("*"), ..Cors::default() };
        assert!(CorsRules::new(Some(&own), Some(&host)).is_some_and(|rules| rules.allows("b")));
        assert!(CorsRules::new(None, Some(&host)).is_some_and(|rules| rules.allows("a")));
        assert!(CorsRules::new(None, None).is_none());
    }
}
