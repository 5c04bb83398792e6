//! People who log in at gateways: the filters of the LoginPolicies that are for one, and what is found out for them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::halcyon::{ClientAuthentication, ForwardToken, LoginMatch, LoginPolicy, LoginSameSite};
use api::istio::KeysAt;
use http::header;
use model::cluster::{Discovery, Transport};
use model::http_proxy::HttpFilter;
use model::matcher::{HeaderKey, HeaderMatch, ValueMatch};
use model::oauth2::{
    AfterLogout, ClientAuth, Cookies, EndSession, ForwardTokens, Lifetimes, OAuth2, SameSite, TokenEndpoint,
    UriTemplate,
};
use model::tls::{SYSTEM_ROOTS, TlsVersions, UpstreamTls, Validation};
use model::{Address, Cluster, Config, Endpoint, EndpointSet, LocalityEndpoints, Pattern, StringMatch};

use crate::access::text::literal;
use crate::clusters;
use crate::names;
use crate::node::Node;
use crate::service::selected;
use crate::world::{Document, World};

/// How the name of a client's secret begins, behind which follow a namespace, a Secret and its key.
pub(crate) const CLIENT: &str = "login-client://";
/// How the name of a secret of cookies begins, behind which follow a policy's namespace and name.
pub(crate) const SEAL: &str = "login-seal://";
/// How long a provider may take to give tokens where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A secret that there is not, while it is not known where people log in.
const UNKNOWN: &str = "login-unknown";
/// How the names of clusters begin in which providers are that no service stands for.
const PROVIDER: &str = "login";
/// A page that nobody has, while it is not known where people log in.
const NOWHERE: &str = "https://login.invalid/";

/// Where a provider is, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Where people log in.
    pub authorization: String,
    /// Where codes become tokens.
    pub token: String,
    /// Where people log out.
    pub end_session: Option<String>,
}

impl Endpoints {
    /// What is kept of a provider's document: a line for each of them.
    pub fn to_text(&self) -> String {
        [&self.authorization, &self.token, self.end_session.as_deref().unwrap_or_default()]
            .map(ToOwned::to_owned)
            .join("\n")
    }

    fn nowhere() -> Self {
        Self { authorization: NOWHERE.to_owned(), token: NOWHERE.to_owned(), end_session: None }
    }

    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::to_owned);
        let (authorization, token) = (lines.next()?, lines.next()?);
        Some(Self { authorization, token, end_session: lines.next().filter(|line| !line.is_empty()) })
    }
}

/// The endpoints are not known; why, if an attempt to find them failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound(pub Option<String>);

impl World {
    /// What the control plane has to find out, or to make, for LoginPolicies.
    pub(crate) fn logins_asked(&self) -> impl Iterator<Item = KeysAt> {
        self.login_policies.iter().flat_map(asked)
    }

    /// The hosts that give tokens, as far as they are known.
    pub(crate) fn login_hosts(&self) -> impl Iterator<Item = String> {
        let found = self.login_policies.iter().filter_map(|policy| endpoints(self, policy.spec()).ok());
        found.map(|found| Server::of(&found.token).host.to_owned())
    }

    /// The policies for a gateway, by name.
    fn logins<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Document<LoginPolicy>> {
        let root = &self.settings.root_namespace;
        self.login_policies.iter().filter(move |policy| {
            let near = policy.namespace() == root || policy.namespace() == node.namespace;
            near && policy.spec().selector.as_ref().is_none_or(|it| selected(&it.match_labels, &node.labels))
        })
    }

    /// The bytes of a login's secret that a proxy asks for by name.
    pub(crate) fn login_secret(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        if let Some(policy) = name.strip_prefix(SEAL) {
            let (of, _) = policy.split_once('/')?;
            let is_near = of == namespace || of == self.settings.root_namespace;
            let made = self.key_sets.get(name).filter(|_| is_near)?.set.as_ref()?;
            // The time of its making stands before it.
            return Some(made.split_once(' ')?.1.as_bytes().to_vec());
        }
        let mut parts = name.strip_prefix(CLIENT)?.splitn(3, '/');
        let (of, secret, key) = (parts.next()?, parts.next()?, parts.next()?);
        let found = self.secrets.iter().find(|it| it.namespace() == of && it.name() == secret)?;
        let bytes = found.spec().get(key).filter(|bytes| !bytes.is_empty() && of == namespace)?;
        // Whoever writes a file with an editor ends it with a line feed.
        Some(bytes.trim_ascii_end().to_vec())
    }
}

/// What a policy needs beside what it says.
pub(crate) fn asked(policy: &Document<LoginPolicy>) -> impl Iterator<Item = KeysAt> {
    [Some(seal_of(policy)), policy.spec().discovered_from()].into_iter().flatten()
}

/// What is asked for to sign and encrypt the cookies of a policy.
fn seal_of(policy: &Document<LoginPolicy>) -> KeysAt {
    KeysAt::Made(format!("{SEAL}{}/{}", policy.namespace(), policy.name()))
}

/// The endpoints of a policy, as it says and as they were found.
///
/// # Errors
/// They are not known.
pub fn endpoints(world: &World, spec: &LoginPolicy) -> Result<Endpoints, NotFound> {
    let text = |said: &Option<api::Spanned<String>>| said.as_ref().map(|said| said.value.clone());
    let found = match spec.discovered_from() {
        None => None,
        Some(at) => {
            let had = world.key_sets.get(at.uri());
            let found = had.and_then(|had| Endpoints::read(had.set.as_ref()?));
            Some(found.ok_or_else(|| NotFound(had.and_then(|had| had.failure.clone())))?)
        }
    };
    let missing = || NotFound(None);
    let of_found = found.as_ref();
    Ok(Endpoints {
        authorization: text(&spec.authorization_endpoint)
            .or_else(|| of_found.map(|it| it.authorization.clone()))
            .ok_or_else(missing)?,
        token: text(&spec.token_endpoint).or_else(|| of_found.map(|it| it.token.clone())).ok_or_else(missing)?,
        end_session: text(&spec.end_session_endpoint).or_else(|| of_found?.end_session.clone()),
    })
}

/// A URL's server.
struct Server<'u> {
    host: &'u str,
    port: u16,
    has_tls: bool,
}

impl<'u> Server<'u> {
    fn of(url: &'u str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let has_tls = scheme != "http";
        let named = authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = named.unwrap_or((authority, if has_tls { 443 } else { 80 }));
        Self { host: host.trim_start_matches('[').trim_end_matches(']'), port, has_tls }
    }

    /// The cluster by which a gateway reaches it: that of a service, if it speaks as the URL says; else one of its own, by the
    /// resolver's addresses and the system's authorities.
    fn cluster(&self, config: &mut Config, world: &World, node: &Node) -> Arc<str> {
        let mut known = Config::default();
        if let Some(service) = world.service_named(self.host).filter(|it| it.visible.includes(&node.namespace)) {
            clusters::add_service(&mut known, world, node, service);
        }
        let service = names::outbound(self.port, "", self.host);
        let speaks_so = |cluster: &Arc<Cluster>| !self.has_tls || matches!(cluster.transport, Transport::Tls(_));
        if known.clusters.get(&service).is_some_and(speaks_so) {
            return service;
        }
        let name: Arc<str> = format!("{PROVIDER}|{}|{}", self.port, self.host).into();
        let address = match self.host.parse() {
            Ok(ip) => Address::socket(SocketAddr::new(ip, self.port)),
            Err(_) => Address::Host { host: self.host.into(), port: self.port },
        };
        let endpoint = Endpoint::plain(address);
        let group = LocalityEndpoints { endpoints: vec![endpoint], ..LocalityEndpoints::default() };
        let names = vec![StringMatch::exact(self.host)];
        let tls = UpstreamTls {
            sni: Some(self.host.to_owned()),
            validation: Some(Validation { names, ..Validation::by(SYSTEM_ROOTS) }),
            certificate: None,
            alpn: Vec::new(),
            versions: TlsVersions::default(),
        };
        let cluster = Cluster {
            connect_timeout: world.settings.connect_timeout,
            dns_refresh: world.settings.dns_refresh,
            transport: if self.has_tls { Transport::Tls(tls) } else { Transport::Plain },
            ..Cluster::new(name.clone(), Discovery::StrictDns(EndpointSet::new(name.clone(), vec![group])))
        };
        config.clusters.insert(name.clone(), Arc::new(cluster));
        name
    }
}

/// The filters that log people in at a gateway, with the clusters that they need. They stand before all others: before rules of
/// access, which then see who it is.
pub fn filters(config: &mut Config, world: &World, node: &Node) -> Vec<HttpFilter> {
    world.logins(node).map(|policy| HttpFilter::OAuth2(Arc::new(filter(config, world, node, policy)))).collect()
}

/// The filter of a policy. While anything of it is not known, nobody can log in and nobody passes: the filter waits for a
/// secret then that does not come.
fn filter(config: &mut Config, world: &World, node: &Node, policy: &Document<LoginPolicy>) -> OAuth2 {
    let spec = policy.spec();
    let seal = seal_of(policy);
    let (endpoints, cluster, seal): (_, Arc<str>, &str) = match endpoints(world, spec) {
        Ok(found) => {
            let cluster = Server::of(&found.token).cluster(config, world, node);
            (found, cluster, seal.uri())
        }
        Err(_) => (Endpoints::nowhere(), PROVIDER.into(), UNKNOWN),
    };
    let secret = format!("{CLIENT}{}/{}/{}", node.namespace, spec.client_secret.name.value, spec.client_secret.key());
    let scopes: Vec<String> = match &spec.scopes[..] {
        [] => vec![OAuth2::OPENID.to_owned()],
        scopes => scopes.iter().map(|scope| scope.value.clone()).collect(),
    };
    let is_open_id = scopes.iter().any(|scope| scope == OAuth2::OPENID);
    let end = endpoints.end_session.filter(|_| is_open_id);
    OAuth2 {
        name: format!("{}.{}.{}", OAuth2::NAME, policy.namespace(), policy.name()).into(),
        stat_prefix: format!("{}.{}.", policy.namespace(), policy.name()).into(),
        token_endpoint: TokenEndpoint { uri: endpoints.token, cluster, timeout: spec.timeout.unwrap_or(TIMEOUT) },
        authorization_endpoint: endpoints.authorization,
        end_session: end.map(|endpoint| EndSession { endpoint, then: AfterLogout::Root }),
        client_id: spec.client_id.value.clone(),
        client_auth: match spec.client_authentication {
            ClientAuthentication::Body => ClientAuth::Body(secret.into()),
            ClientAuthentication::Basic => ClientAuth::Basic(secret.into()),
        },
        hmac_secret: seal.into(),
        redirect_uri: UriTemplate::at_host(spec.redirect_path()),
        redirect_path: StringMatch::exact(spec.redirect_path()),
        sign_out: StringMatch::exact(spec.logout_path()),
        forward: match spec.forward_token.unwrap_or_default() {
            ForwardToken::Identity => ForwardTokens::Identity(header::AUTHORIZATION),
            ForwardToken::Access => ForwardTokens::Access,
            ForwardToken::None => ForwardTokens::Nothing,
        },
        pass_through: other_hosts(spec).into_iter().chain(spec.pass_through.iter().flat_map(matches)).collect(),
        deny_redirect: spec.deny_redirect.iter().flat_map(matches).collect(),
        allow_failed: Vec::new(),
        scopes,
        resources: Vec::new(),
        lifetimes: Lifetimes { access: Duration::from_secs(3600), ..Lifetimes::default() },
        cookies: cookies(spec),
        original_uri: None,
        allowed_domains: spec.hosts.iter().map(|host| host.value.to_ascii_lowercase()).collect(),
    }
}

fn cookies(spec: &LoginPolicy) -> Cookies {
    let written = spec.cookies.clone().unwrap_or_default();
    let same_site = Some(match written.same_site.unwrap_or_default() {
        LoginSameSite::Lax => SameSite::Lax,
        LoginSameSite::Strict => SameSite::Strict,
        LoginSameSite::None => SameSite::None,
    });
    let mut cookies = Cookies { domain: written.domain, ..Cookies::default() };
    for cookie in [
        &mut cookies.access.cookie,
        &mut cookies.identity.cookie,
        &mut cookies.refresh.cookie,
        &mut cookies.hmac,
        &mut cookies.expires,
    ] {
        cookie.same_site = same_site;
    }
    // The provider sends people back from another site, which a strict cookie would not survive.
    for cookie in [&mut cookies.nonce, &mut cookies.verifier] {
        cookie.same_site = same_site.map(|it| if it == SameSite::Strict { SameSite::Lax } else { it });
    }
    cookies
}

/// Requests for hosts that nobody has to log in for.
fn other_hosts(spec: &LoginPolicy) -> Option<HeaderMatch> {
    let of = |host: &api::Spanned<String>| match host.value.strip_prefix("*.") {
        Some(rest) => format!("[^:]+\\.{}", literal(rest)),
        None => literal(&host.value),
    };
    let all: Vec<String> = spec.hosts.iter().map(of).collect();
    let pattern = Pattern::new(&format!("(?i)({})\\.?(:[0-9]+)?", all.join("|"))).ok()?;
    let text = StringMatch::Regex(pattern);
    (!all.is_empty()).then(|| HeaderMatch { invert: true, ..HeaderMatch::text(HeaderKey::Authority, text) })
}

fn matches(written: &LoginMatch) -> Vec<HeaderMatch> {
    let paths =
        written.paths.iter().filter_map(|path| Some(HeaderMatch::text(HeaderKey::Path, self::path(&path.value)?)));
    let methods = written.methods.iter().map(|it| HeaderMatch::text(HeaderKey::Method, StringMatch::exact(&it.value)));
    let headers = written.headers.iter().filter_map(|header| {
        let key = HeaderKey::parse(&header.name.value)?;
        Some(match &header.value {
            Some(value) => HeaderMatch::text(key, StringMatch::exact(&value.value)),
            None => HeaderMatch { key, value: ValueMatch::Present(true), invert: false, missing_as_empty: false },
        })
    });
    paths.chain(methods).chain(headers).collect()
}

/// A condition on a target by its path, whatever its query. What stands in a query can never meet it.
fn path(written: &str) -> Option<StringMatch> {
    let pattern = match (written.strip_suffix('*'), written.strip_prefix('*')) {
        (Some(prefix), _) => return Some(StringMatch::prefix(prefix)),
        (None, Some(suffix)) => format!("[^?#]*{}([?#].*)?", literal(suffix)),
        (None, None) => format!("{}([?#].*)?", literal(written)),
    };
    Pattern::new(&pattern).ok().map(StringMatch::Regex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (written, target, expected) in [
            ("/public", "/public", true),
            ("/public", "/public?a=b", true),
            ("/public", "/publics", false),
            ("/public/*", "/public/a?b", true),
            ("/public/*", "/public", false),
            ("*.css", "/a/b.css?v=1", true),
            ("*.css", "/secret?x=.css", false),
            ("*.css", "/a.xcss", false),
            ("/a.b", "/axb", false),
        ] {
            assert_eq!(path(written).unwrap().matches(target), expected, "{written} {target}");
        }
    }

    #[test]
    fn servers() {
        for (url, expected) in [
            ("https://login.example/token", ("login.example", 443, true)),
            ("http://login.example?a", ("login.example", 80, false)),
            ("https://login.example:8443/token", ("login.example", 8443, true)),
            ("https://[::1]:8443/token", ("::1", 8443, true)),
        ] {
            let server = Server::of(url);
            assert_eq!((server.host, server.port, server.has_tls), expected, "{url}");
        }
    }

    #[test]
    fn found_endpoints_are_kept_as_text() {
        let found = |end_session: Option<&str>| Endpoints {
            authorization: "https://a/x".into(),
            token: "https://a/y".into(),
            end_session: end_session.map(Into::into),
        };
        for endpoints in [found(None), found(Some("https://a/z"))] {
            assert_eq!(Endpoints::read(&endpoints.to_text()), Some(endpoints));
        }
        assert_eq!(Endpoints::read("only one"), None);
    }
}
