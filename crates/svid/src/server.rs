//! The Workload API (SPIFFE_Workload_API.md, SPIFFE_Workload_Endpoint.md) over a Unix socket.
//!
//! Whoever may open the socket is the program: who that is, its place and permissions say.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proto::spiffe::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use proto::spiffe::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, ListValue, Struct,
    ValidateJwtsvidRequest, ValidateJwtsvidResponse, Value, X509BundlesRequest, X509BundlesResponse, X509svid,
    X509svidRequest, X509svidResponse, value::Kind,
};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use self::authority::Plain;
use crate::bundle::{Bundle, Bundles};
use crate::token::verify;
use crate::workload::{Workload, X509Svid};

mod authority;
#[cfg(test)]
mod tests;

/// How long a call waits for an identity, or bundles, that are on their way.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves the API at a socket for as long as this runs.
///
/// # Errors
/// The socket is of no use any more.
pub async fn serve(listener: UnixListener, workload: Arc<dyn Workload>) -> Result<(), tonic::transport::Error> {
    let service = SpiffeWorkloadApiServer::with_interceptor(Api(workload), marked);
    let incoming = UnixListenerStream::new(listener).map(|accepted| accepted.map(Plain::new));
    tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await
}

/// Requests that somebody was tricked into sending lack the mark (SPIFFE_Workload_Endpoint.md, section 3).
fn marked(request: Request<()>) -> Result<Request<()>, Status> {
    match request.metadata().get("workload.spiffe.io").map(|value| value.as_bytes()) {
        Some(b"true") => Ok(request),
        _ => Err(Status::invalid_argument("the metadata lack `workload.spiffe.io: true`")),
    }
}

struct Api(Arc<dyn Workload>);

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Api {
    type FetchX509SVIDStream = Messages<X509svidResponse>;

    async fn fetch_x509svid(&self, _: Request<X509svidRequest>) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let mut identity = self.0.identity();
        known(&mut identity, "certificate").await?;
        Ok(Response::new(self.follow(svids).await?))
    }

    type FetchX509BundlesStream = Messages<X509BundlesResponse>;

    async fn fetch_x509_bundles(
        &self,
        _: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        let message = |_: Option<&X509Svid>, known: &Bundles| {
            Some(X509BundlesResponse { crl: known.crl.clone(), bundles: roots(known) })
        };
        Ok(Response::new(self.follow(message).await?))
    }

    async fn fetch_jwtsvid(&self, request: Request<JwtsvidRequest>) -> Result<Response<JwtsvidResponse>, Status> {
        let JwtsvidRequest { audience, spiffe_id } = request.into_inner();
        if audience.is_empty() || audience.iter().any(String::is_empty) {
            return Err(Status::invalid_argument("`audience`: expected for whom the token is, and nothing empty"));
        }
        let mine = known(&mut self.0.identity(), "certificate").await?.id.to_string();
        if !spiffe_id.is_empty() && spiffe_id != mine {
            return Err(Status::permission_denied(format!("`{spiffe_id}` is not the identity of this workload")));
        }
        let token = self.0.mint(audience).await?;
        let svids = vec![Jwtsvid { spiffe_id: mine, svid: token, hint: String::new() }];
        Ok(Response::new(JwtsvidResponse { svids }))
    }

    type FetchJWTBundlesStream = Messages<JwtBundlesResponse>;

    async fn fetch_jwt_bundles(
        &self,
        _: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let message = |_: Option<&X509Svid>, known: &Bundles| {
            let keys = |bundle: &Bundle| (!bundle.jwt.is_empty()).then(|| bundle.jwks().into_bytes());
            Some(JwtBundlesResponse { bundles: by_id(known, keys) })
        };
        Ok(Response::new(self.follow(message).await?))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let ValidateJwtsvidRequest { audience, svid } = request.into_inner();
        if audience.is_empty() || svid.is_empty() {
            return Err(Status::invalid_argument("expected `audience` and `svid`"));
        }
        let bundles = known(&mut self.0.bundles(), "bundles").await?;
        let good = verify(&svid, &audience, &bundles, SystemTime::now())
            .map_err(|error| Status::invalid_argument(format!("the token is refused: {error}")))?;
        let claims = good.claims.into_iter().map(|(name, value)| (name, claim(value)));
        let claims = Some(Struct { fields: claims.collect() });
        Ok(Response::new(ValidateJwtsvidResponse { spiffe_id: good.id.to_string(), claims }))
    }
}

impl Api {
    /// A message at once, and one whenever it would be another.
    async fn follow<T, F>(&self, message: F) -> Result<Messages<T>, Status>
    where
        T: PartialEq + Clone + Send + 'static,
        F: Fn(Option<&X509Svid>, &Bundles) -> Option<T> + Send + 'static,
    {
        let (mut identity, mut bundles) = (self.0.identity(), self.0.bundles());
        known(&mut bundles, "bundles").await?;
        let (sender, messages) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut last = None;
            loop {
                let now = {
                    let (identity, bundles) = (identity.borrow_and_update(), bundles.borrow_and_update());
                    bundles.as_ref().and_then(|bundles| message(identity.as_deref(), bundles))
                };
                if now.is_some() && now != last {
                    last.clone_from(&now);
                    let Some(now) = now else { continue };
                    if sender.send(Ok(now)).await.is_err() {
                        return;
                    }
                }
                let goes_on = tokio::select! {
                    changed = identity.changed() => changed.is_ok(),
                    changed = bundles.changed() => changed.is_ok(),
                    () = sender.closed() => return,
                };
                if !goes_on {
                    // Nobody listens any more to what would be said.
                    let _ = sender.send(Err(Status::unavailable("the workload's proxy ends"))).await;
                    return;
                }
            }
        });
        Ok(Box::pin(ReceiverStream::new(messages)))
    }
}

/// What is there, or comes soon.
async fn known<T>(of: &mut watch::Receiver<Option<Arc<T>>>, what: &str) -> Result<Arc<T>, Status> {
    let late = || Status::unavailable(format!("there is no {what} yet: the control plane has not given it"));
    match timeout(PATIENCE, of.wait_for(Option::is_some)).await {
        Ok(Ok(there)) => there.clone().ok_or_else(late),
        _ => Err(late()),
    }
}

fn svids(identity: Option<&X509Svid>, known: &Bundles) -> Option<X509svidResponse> {
    let svid = identity?;
    let own = known.all.get(&known.own)?;
    let mut federated_bundles = roots(known);
    federated_bundles.remove(&format!("spiffe://{}", known.own));
    Some(X509svidResponse {
        svids: vec![X509svid {
            spiffe_id: svid.id.to_string(),
            x509_svid: svid.chain.clone(),
            x509_svid_key: svid.key.clone(),
            bundle: own.x509_concatenated(),
            hint: String::new(),
        }],
        crl: known.crl.clone(),
        federated_bundles,
    })
}

fn roots(known: &Bundles) -> HashMap<String, Vec<u8>> {
    by_id(known, |bundle| (!bundle.x509.is_empty()).then(|| bundle.x509_concatenated()))
}

/// What there is of each trust domain, by its SPIFFE ID. One without keys is not there: its members are not believed.
fn by_id(known: &Bundles, of: impl Fn(&Bundle) -> Option<Vec<u8>>) -> HashMap<String, Vec<u8>> {
    known.all.iter().filter_map(|(domain, bundle)| Some((format!("spiffe://{domain}"), of(bundle)?))).collect()
}

fn claim(value: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(all) => Kind::ListValue(ListValue { values: all.into_iter().map(claim).collect() }),
        Json::Object(all) => {
            Kind::StructValue(Struct { fields: all.into_iter().map(|(name, value)| (name, claim(value))).collect() })
        }
    };
    Value { kind: Some(kind) }
}
