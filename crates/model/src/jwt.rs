//! Who proves by a token who it is (Envoy's `envoy.filters.http.jwt_authn`, JSON Web Tokens of RFC 7519): who signs tokens,
//! where requests carry them, what of them goes on, and which requests need which.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::StringMatch;
use crate::route::RouteMatch;

/// A filter that checks tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtAuthentication {
    /// Its name in the chain, under which routes speak to it.
    pub name: Arc<str>,
    /// Who signs tokens, by their names here.
    pub providers: BTreeMap<Arc<str>, JwtProvider>,
    /// What is required of requests; the first rule that matches decides, and without one nothing is required.
    pub rules: Vec<JwtRule>,
    /// Requirements that rules and routes name.
    pub requirements: BTreeMap<Arc<str>, Requirement>,
    /// Preflight requests (CORS) pass, whatever is required: browsers send them without tokens.
    pub bypass_preflight: bool,
    /// Refusals do not say why.
    pub strip_reason: bool,
}

impl JwtAuthentication {
    /// The name that Envoy gives the filter, and under which it says what tokens hold.
    pub const NAME: &'static str = "envoy.filters.http.jwt_authn";

    /// A filter without rules.
    pub fn new() -> Self {
        Self {
            name: Self::NAME.into(),
            providers: BTreeMap::new(),
            rules: Vec::new(),
            requirements: BTreeMap::new(),
            bypass_preflight: false,
            strip_reason: false,
        }
    }

    /// The clusters that keys are fetched from.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.providers.values().filter_map(|provider| match &provider.keys {
            KeySource::Remote(remote) => Some(&remote.cluster),
            KeySource::Inline(_) => None,
        })
    }
}

impl Default for JwtAuthentication {
    fn default() -> Self {
        Self::new()
    }
}

/// Who signs tokens, and how they travel.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtProvider {
    /// Its `iss`; empty: any.
    pub issuer: String,
    /// A token must be for one of these; none: for anybody.
    pub audiences: Vec<String>,
    /// Whom its tokens may be about; none: anybody.
    pub subjects: Option<StringMatch>,
    /// A token must say when it expires.
    pub require_expiration: bool,
    /// A token may not be valid for longer than this from now on.
    pub max_lifetime: Option<Duration>,
    /// By which signatures are checked.
    pub keys: KeySource,
    /// The token goes on to the upstream.
    pub forward: bool,
    /// Headers that carry it. With no place at all: `Authorization: Bearer` and the parameter `access_token`.
    pub from_headers: Vec<TokenHeader>,
    /// Query parameters that carry it.
    pub from_params: Vec<String>,
    /// Cookies that carry it.
    pub from_cookies: Vec<String>,
    /// The payload goes to the upstream in this header, as it stood in the token.
    pub payload_header: Option<HeaderName>,
    /// It is padded there, as Base64 is elsewhere.
    pub pad_payload: bool,
    /// The payload is said under this key.
    pub payload_in_metadata: Option<String>,
    /// Claims that are lists there, of what stood between spaces.
    pub space_delimited: Vec<String>,
    /// The token's header is said under this key.
    pub header_in_metadata: Option<String>,
    /// Why a token was refused is said under this key.
    pub failure_in_metadata: Option<String>,
    /// How far clocks may be apart, in seconds; never zero.
    pub clock_skew: u32,
    /// Claims that go to the upstream in headers of their own.
    pub claims_to_headers: Vec<ClaimHeader>,
    /// The route is chosen anew by what the token says.
    pub reroute: bool,
}

impl JwtProvider {
    /// Seconds that clocks may be apart where nothing is said.
    pub const CLOCK_SKEW: u32 = 60;

    /// Tokens of an issuer, signed by these keys, at the places where one expects them.
    pub fn new(issuer: impl Into<String>, keys: KeySource) -> Self {
        Self {
            issuer: issuer.into(),
            audiences: Vec::new(),
            subjects: None,
            require_expiration: false,
            max_lifetime: None,
            keys,
            forward: false,
            from_headers: Vec::new(),
            from_params: Vec::new(),
            from_cookies: Vec::new(),
            payload_header: None,
            pad_payload: false,
            payload_in_metadata: None,
            space_delimited: Vec::new(),
            header_in_metadata: None,
            failure_in_metadata: None,
            clock_skew: Self::CLOCK_SKEW,
            claims_to_headers: Vec::new(),
            reroute: false,
        }
    }
}

/// Where keys are (a JSON Web Key Set, RFC 7517).
#[derive(Debug, Clone, PartialEq)]
pub enum KeySource {
    /// The set itself.
    Inline(Arc<str>),
    /// Somewhere else.
    Remote(RemoteKeys),
}

/// Keys that are fetched.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteKeys {
    /// Their URI.
    pub uri: String,
    /// The cluster that has them.
    pub cluster: Arc<str>,
    /// How long a fetch may take.
    pub timeout: Duration,
    /// How long they hold.
    pub cache_duration: Duration,
    /// They are fetched beside requests (Envoy's `async_fetch`): so long after a fetch that failed the next one is made. None:
    /// a request that needs them fetches them.
    pub beside: Option<Duration>,
}

impl RemoteKeys {
    /// How long keys hold where nothing is said.
    pub const CACHE_DURATION: Duration = Duration::from_secs(600);
    /// How long after a failed fetch beside requests the next one is made where nothing is said.
    pub const RETRY_AFTER: Duration = Duration::from_secs(1);
}

/// A header that carries tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHeader {
    /// Its name.
    pub name: HeaderName,
    /// What stands before the token.
    pub prefix: String,
}

/// A claim that goes to the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimHeader {
    /// The header.
    pub header: HeaderName,
    /// The way to the claim; at least one name.
    pub claim: Vec<String>,
}

/// What is required of some requests.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtRule {
    /// Of which.
    pub matches: RouteMatch,
    /// What.
    pub requires: Required,
}

/// What a rule requires.
#[derive(Debug, Clone, PartialEq)]
pub enum Required {
    /// This.
    Own(Requirement),
    /// What stands under a name.
    Named(Arc<str>),
}

/// What is required.
#[derive(Debug, Clone, PartialEq)]
pub enum Requirement {
    /// Nothing.
    Nothing,
    /// A token of a provider.
    Provider {
        /// The provider.
        name: Arc<str>,
        /// For whom the token must be, in place of what the provider says; empty: what that says.
        audiences: Vec<String>,
    },
    /// One of these.
    Any(Vec<Requirement>),
    /// All of these.
    All(Vec<Requirement>),
    /// No token, or a good one.
    AllowMissing,
    /// Anything; good tokens are read.
    AllowMissingOrFailed,
}

impl Requirement {
    /// A token of this provider.
    pub fn provider(name: impl Into<Arc<str>>) -> Self {
        Self::Provider { name: name.into(), audiences: Vec::new() }
    }

    /// Shows the names of the providers that it asks for.
    pub fn providers(&self, seen: &mut impl FnMut(&Arc<str>)) {
        match self {
            Self::Provider { name, .. } => seen(name),
            Self::Any(list) | Self::All(list) => list.iter().for_each(|one| one.providers(seen)),
            Self::Nothing | Self::AllowMissing | Self::AllowMissingOrFailed => {}
        }
    }
}

/// What a route or a virtual host says to the filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwtRouteRule {
    /// Nothing is required.
    Off,
    /// What stands under this name; without such a name every request is refused.
    Named(Arc<str>),
}
