//! Asks a service whether requests may pass (Envoy's `envoy.filters.http.ext_authz`): over gRPC, or over HTTP with a request
//! like the client's. What the service answers changes the request, its response, or is the answer.
//!
//! Requests that no route takes are not asked about. What other rules of access look at later, they see as the service left it.

mod heed;
mod over_grpc;
mod over_http;
mod question;
mod verdict;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version, header};
use mesh_http::body::Collected;
use mesh_http::{Body, BodyErrorKind, is_upgrade};
use model::ext_authz::{AskedBody, Authorizer, BodyRule, ExtAuthz, ExtAuthzRule, GrpcAuthorizer};
use model::metadata::Fields;
use model::route::FilterRule;
use model::{Metadata, StringMatch};
use proto::envoy::config::core::v3::{HeaderMap as WireHeaders, HeaderValue as WireHeader};
use proto::envoy::service::auth::v3::attribute_context::HttpRequest;
use telemetry::{Counter, Family};

use crate::around::{Call, Exchange};
use crate::chain::{Facts, Flow, HttpFilter};
use crate::stats::Stats;
use question::{Told, clean};
use verdict::Verdict;

pub use over_grpc::{METHOD, connection_allowed};
pub use question::{Ends, connection_question, wire_address};

const PARTIAL_NAME: &str = "x-envoy-auth-partial-body";
const PARTIAL: HeaderName = HeaderName::from_static(PARTIAL_NAME);
const SERVICE: HeaderName = HeaderName::from_static("x-envoy-downstream-service-cluster");

/// The filter.
#[derive(Debug)]
pub(crate) struct ExtAuthzFilter {
    settings: Arc<ExtAuthz>,
    stats: Stats,
}

/// What the service is sent of a body.
struct Piece {
    data: Bytes,
    /// Bytes that were read for it.
    read: usize,
    /// There is more.
    partial: bool,
}

impl ExtAuthzFilter {
    /// These settings, counted there.
    pub(crate) fn new(settings: Arc<ExtAuthz>, stats: Stats) -> Self {
        Self { settings, stats }
    }

    /// Of all requests, and of those to the cluster that this one goes to.
    fn count(&self, [all, by_cluster]: [&Family<Counter>; 2], facts: &Facts<'_>) {
        all.with(&[&self.stats.prefix, &self.settings.stat_prefix]).inc();
        if let Some(cluster) = facts.cluster().filter(|cluster| facts.around.has_cluster(cluster)) {
            by_cluster.with(&[cluster]).inc();
        }
    }

    /// Is the service asked about this request?
    fn is_asked(&self, request: &Request<Body>, facts: &mut Facts<'_>) -> bool {
        let said = request.extensions().get::<Metadata>();
        self.settings.enabled.takes(facts.draws.draw())
            && self.settings.enabled_by.as_ref().is_none_or(|condition| condition.matches(said))
    }

    /// What the service is sent of bodies on this route.
    fn asked_body(&self, facts: &Facts<'_>) -> Option<AskedBody> {
        match facts.rule(&self.settings.name) {
            Some(FilterRule::ExtAuthz(ExtAuthzRule::Told { body: BodyRule::Own(own), .. })) => Some(*own),
            Some(FilterRule::ExtAuthz(ExtAuthzRule::Told { body: BodyRule::Off, .. })) => None,
            _ => self.settings.body,
        }
    }

    /// What the route says over what its virtual host says.
    fn extensions(&self, facts: &Facts<'_>) -> HashMap<String, String> {
        let [route, host] = facts.rules(&self.settings.name);
        let said = [host, route].into_iter().flatten().filter_map(|rule| match rule {
            FilterRule::ExtAuthz(ExtAuthzRule::Told { extensions, .. }) => Some(extensions),
            _ => None,
        });
        said.flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    async fn ask(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let asked = self.asked_body(facts).filter(|_| !request.body().is_end_stream() && !is_upgrade(request));
        let piece = match asked {
            None => None,
            Some(asked) => match piece(request, asked).await {
                Ok(piece) => Some(piece),
                Err(kind) => return Flow::Broken(kind),
            },
        };
        let raw = asked.is_some_and(|asked| asked.raw);
        let began = tokio::time::Instant::now();
        let said = match &self.settings.service {
            Authorizer::Grpc(service) => self.ask_grpc(service, request, piece.as_ref(), raw, facts).await,
            Authorizer::Http(service) => {
                let asked = over_http::question(
                    service,
                    request,
                    facts.around.view(request).authority,
                    self.headers_over_http(request, piece.as_ref()),
                    piece.map(|piece| piece.data),
                );
                match asked {
                    Ok(asked) => {
                        let timeout = Some(service.timeout);
                        let exchange = Exchange { cluster: &service.cluster, request: asked, timeout };
                        let answer = facts.around.exchange(exchange).await;
                        answer.map(|answer| over_http::verdict(service, answer, began.elapsed()))
                    }
                    Err(problem) => Err(problem),
                }
            }
        };
        let (verdict, metadata) = said.unwrap_or((Verdict::Error(None), Fields::new()));
        self.say(metadata, matches!(verdict, Verdict::Allow(_)).then(|| began.elapsed()), request);
        self.heed(verdict, request, facts)
    }

    async fn ask_grpc(
        &self,
        asks: &GrpcAuthorizer,
        request: &Request<Body>,
        piece: Option<&Piece>,
        raw: bool,
        facts: &mut Facts<'_>,
    ) -> Result<(Verdict, Fields), String> {
        let text = |name: &HeaderName| request.headers().get(name).map(|value| clean(value.as_bytes()));
        let ends = facts.around.ends(&self.settings.labels_key);
        let told = Told {
            http: self.http(request, piece, raw, facts),
            service: text(&SERVICE).unwrap_or_default(),
            extensions: self.extensions(facts),
            metadata: question::metadata(&self.settings.metadata, request.extensions().get()),
            server_name: self.settings.server_name.then(|| ends.server_name.unwrap_or_default().to_owned()),
        };
        let ends = Ends { certificate: ends.certificate.filter(|_| self.settings.peer_certificate), ..ends };
        let call = Call {
            service: &asks.service,
            path: METHOD,
            message: question::of_request(told, &ends),
            timeout: asks.timeout,
        };
        over_grpc::verdict(&facts.around.call(call).await?)
    }

    /// The request, as a service of gRPC is told it.
    fn http(&self, request: &Request<Body>, piece: Option<&Piece>, raw: bool, facts: &mut Facts<'_>) -> HttpRequest {
        let view = facts.around.view(request);
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let pseudo = [
            (":authority", view.authority),
            (":path", path),
            (":method", view.method.as_str()),
            (":scheme", view.scheme),
        ];
        let pseudo = pseudo.map(|(name, value)| (name, value.as_bytes())).into_iter();
        let own = request.headers().iter().filter(|(name, _)| *name != header::HOST);
        let own = own.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let told = pseudo.chain(own).filter(|(name, _)| *name != PARTIAL_NAME);
        let told = told.filter(|(name, _)| self.is_told(name, self.settings.allowed.is_none()));
        let partial = piece.map(|piece| (PARTIAL_NAME, if piece.partial { &b"true"[..] } else { b"false" }));
        let (headers, header_map) = wire_headers(told.chain(partial), self.settings.raw_headers);
        let data = piece.map(|piece| &piece.data[..]).unwrap_or_default();
        HttpRequest {
            id: facts.draws.draw().to_string(),
            method: view.method.to_string(),
            headers,
            header_map,
            path: path.to_owned(),
            host: view.authority.to_owned(),
            scheme: view.scheme.to_owned(),
            size: piece.map_or(0, |piece| piece.read as i64),
            protocol: protocol(request.version()).to_owned(),
            body: if raw { String::new() } else { clean(data) },
            raw_body: if raw { data.to_vec() } else { Vec::new() },
            ..HttpRequest::default()
        }
    }

    /// The client's headers that a service of HTTP is told.
    fn headers_over_http(&self, request: &Request<Body>, piece: Option<&Piece>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in request.headers().keys() {
            let fixed = [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, PARTIAL];
            if fixed.contains(name) || !self.is_told(name.as_str(), *name == header::AUTHORIZATION) {
                continue;
            }
            let values = request.headers().get_all(name).iter();
            if self.settings.raw_headers {
                headers.extend(values.map(|value| (name.clone(), value.clone())));
                continue;
            }
            let joined = values.map(|value| clean(value.as_bytes())).collect::<Vec<_>>().join(",");
            headers.extend(HeaderValue::try_from(joined).ok().map(|value| (name.clone(), value)));
        }
        if let Some(piece) = piece {
            headers.insert(PARTIAL, HeaderValue::from_static(if piece.partial { "true" } else { "false" }));
        }
        headers
    }

    fn is_told(&self, name: &str, anyway: bool) -> bool {
        let is_in = |list: &[StringMatch]| list.iter().any(|one| one.matches(name));
        !is_in(&self.settings.disallowed) && (anyway || self.settings.allowed.as_deref().is_some_and(is_in))
    }

    /// Leaves what the service wants to be said of the request for those who come after.
    fn say(&self, metadata: Fields, took: Option<std::time::Duration>, request: &mut Request<Body>) {
        if metadata.is_empty() || !self.settings.takes_metadata {
            return;
        }
        let said = request.extensions_mut().get_or_insert_default::<Metadata>().of(ExtAuthz::NAME);
        said.extend(metadata);
        let took = took.map(|took| model::metadata::Value::Number(took.as_millis() as f64));
        said.extend(took.map(|took| ("ext_authz_duration".to_owned(), took)));
    }
}

/// Of several headers with one name Envoy makes one, unless the service wants them as they are.
fn wire_headers<'h>(
    told: impl Iterator<Item = (&'h str, &'h [u8])>,
    raw: bool,
) -> (HashMap<String, String>, Option<WireHeaders>) {
    if raw {
        let one = |(name, value): (&str, &[u8])| WireHeader {
            key: name.to_owned(),
            raw_value: value.to_vec(),
            ..WireHeader::default()
        };
        return (HashMap::new(), Some(WireHeaders { headers: told.map(one).collect() }));
    }
    let mut headers: HashMap<String, String> = HashMap::new();
    for (name, value) in told {
        let value = clean(value);
        match headers.get_mut(name) {
            Some(joined) => {
                joined.push(',');
                joined.push_str(&value);
            }
            None => drop(headers.insert(name.to_owned(), value)),
        }
    }
    (headers, None)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// Reads of a body what the service is sent, and leaves the body whole.
async fn piece(request: &mut Request<Body>, asked: AskedBody) -> Result<Piece, BodyErrorKind> {
    let most = asked.max_bytes as usize;
    let mut body = std::mem::take(request.body_mut());
    if !asked.partial {
        let whole = body.collect(most).await.map_err(|error| error.kind)?;
        let data = whole.data.clone();
        *request.body_mut() = whole.into();
        return Ok(Piece { read: data.len(), data, partial: false });
    }
    let mut read = BytesMut::new();
    while read.len() < most {
        let Some(frame) = body.frame().await else { break };
        match frame.map_err(|error| error.kind)?.into_data() {
            Ok(data) => read.extend_from_slice(&data),
            Err(frame) => {
                let data = read.freeze();
                let whole = Collected { data: data.clone(), trailers: frame.into_trailers().ok() };
                *request.body_mut() = whole.into();
                return Ok(Piece { read: data.len(), data, partial: false });
            }
        }
    }
    let first = read.freeze();
    *request.body_mut() = Body::resumed(first.clone(), body);
    let data = first.slice(..first.len().min(most));
    Ok(Piece { read: first.len(), data, partial: first.len() > most })
}

impl HttpFilter for ExtAuthzFilter {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let is_off = matches!(facts.rule(&self.settings.name), Some(FilterRule::ExtAuthz(ExtAuthzRule::Off)));
        if facts.route.is_none() || is_off {
            return Flow::Continue;
        }
        if !self.is_asked(request, facts) {
            let label = [&*self.stats.prefix, &*self.settings.stat_prefix];
            self.stats.authz_disabled.with(&label).inc();
            return if self.settings.deny_when_off { self.refused_unasked() } else { Flow::Continue };
        }
        // Boxed: exchanges that ask nobody hold no room for it.
        Box::pin(self.ask(request, facts)).await
    }

    async fn on_response(&self, response: &mut Response<Body>, facts: &mut Facts<'_>) {
        let Some(left) = &mut facts.left else { return };
        std::mem::take(&mut left.writes).iter().for_each(|write| write.apply(response.headers_mut()));
    }
}
