//! The Workload API as a client of tonic meets it: the mark, streams that follow what changes, and tokens.

use std::future::Future;
use std::task::{Context, Poll};

use aws_lc_rs::signature::EcdsaKeyPair;
use hyper_util::rt::TokioIo;
use proto::spiffe::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use serde_json::json;
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};
use tower_service::Service;

use super::*;
use crate::token::tests::{bundles, signed, signer};

struct Fake {
    identity: watch::Sender<Option<Arc<X509Svid>>>,
    bundles: watch::Sender<Option<Arc<Bundles>>>,
    key: EcdsaKeyPair,
}

const ID: &str = "spiffe://a.example/ns/default/sa/web";

#[tonic::async_trait]
impl Workload for Fake {
    fn identity(&self) -> watch::Receiver<Option<Arc<X509Svid>>> {
        self.identity.subscribe()
    }

    fn bundles(&self) -> watch::Receiver<Option<Arc<Bundles>>> {
        self.bundles.subscribe()
    }

    async fn mint(&self, audience: Vec<String>) -> Result<String, Status> {
        let claims = json!({"sub": ID, "aud": audience, "exp": 4_000_000_000_u64, "level": 3, "deep": {"a": [true]}});
        Ok(signed(&self.key, &json!({"alg": "ES256", "kid": "k"}), &claims))
    }
}

#[derive(Clone)]
struct Dial(std::path::PathBuf);

impl Service<Uri> for Dial {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async { UnixStream::connect(path).await.map(TokioIo::new) })
    }
}

struct Rig {
    fake: Arc<Fake>,
    client: SpiffeWorkloadApiClient<Channel>,
    folder: tempfile::TempDir,
}

fn with_x509(point: &[u8], roots: &[(&str, &[u8])]) -> Arc<Bundles> {
    let mut all = bundles(&[("a.example", "k", point)]);
    for (domain, root) in roots {
        all.all.entry(domain.parse().unwrap()).or_default().x509 = vec![root.to_vec()];
    }
    all.crl = vec![b"list".to_vec()];
    Arc::new(all)
}

fn svid(chain: &[u8]) -> Option<Arc<X509Svid>> {
    Some(Arc::new(X509Svid { id: ID.parse().unwrap(), chain: chain.to_vec(), key: b"key".to_vec() }))
}

async fn rig() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spiffe.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (key, point) = signer();
    let known = with_x509(&point, &[("a.example", b"root-a"), ("b.example", b"root-b")]);
    let fake = Arc::new(Fake { identity: watch::Sender::new(None), bundles: watch::Sender::new(Some(known)), key });
    tokio::spawn(serve(listener, fake.clone()));
    let channel = Endpoint::from_static("http://workload").connect_with_connector(Dial(path)).await.unwrap();
    Rig { fake, client: SpiffeWorkloadApiClient::new(channel), folder }
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
    request
}

#[tokio::test]
async fn requests_without_the_mark_are_refused() {
    let mut rig = rig().await;
    rig.fake.identity.send_replace(svid(b"leaf"));
    let code = |status: Status| status.code();
    assert_eq!(
        rig.client.fetch_x509svid(X509svidRequest {}).await.map(|_| ()).map_err(code),
        Err(Code::InvalidArgument)
    );
    let ask = JwtsvidRequest { audience: vec!["db".into()], spiffe_id: String::new() };
    assert_eq!(rig.client.fetch_jwtsvid(ask.clone()).await.map(|_| ()).map_err(code), Err(Code::InvalidArgument));
    let mut wrong = Request::new(ask);
    wrong.metadata_mut().insert("workload.spiffe.io", "True".parse().unwrap());
    assert_eq!(rig.client.fetch_jwtsvid(wrong).await.map(|_| ()).map_err(code), Err(Code::InvalidArgument));
}

#[tokio::test]
async fn certificates_and_bundles_follow_what_changes() {
    let mut rig = rig().await;
    // It waits for a certificate that is on its way.
    let fake = rig.fake.clone();
    tokio::spawn(async move { fake.identity.send_replace(svid(b"leaf-1")) });
    let mut svids = rig.client.fetch_x509svid(request(X509svidRequest {})).await.unwrap().into_inner();
    let first = svids.message().await.unwrap().unwrap();
    assert_eq!(first.svids.len(), 1);
    let one = &first.svids[0];
    assert_eq!((&*one.spiffe_id, &*one.x509_svid, &*one.x509_svid_key), (ID, &b"leaf-1"[..], &b"key"[..]));
    assert_eq!((&*one.bundle, first.crl), (&b"root-a"[..], vec![b"list".to_vec()]));
    let others: HashMap<String, Vec<u8>> = [("spiffe://b.example".to_owned(), b"root-b".to_vec())].into();
    assert_eq!(first.federated_bundles, others);

    let mut roots = rig.client.fetch_x509_bundles(request(X509BundlesRequest {})).await.unwrap().into_inner();
    let known = roots.message().await.unwrap().unwrap().bundles;
    assert_eq!(known.keys().collect::<std::collections::BTreeSet<_>>().len(), 2, "{known:?}");

    rig.fake.identity.send_replace(svid(b"leaf-2"));
    assert_eq!(svids.message().await.unwrap().unwrap().svids[0].x509_svid, b"leaf-2");
    // Whom nobody believes any more is gone from the next message.
    let (_, point) = signer();
    rig.fake.bundles.send_replace(Some(with_x509(&point, &[("a.example", b"root-2")])));
    let next = svids.message().await.unwrap().unwrap();
    assert_eq!((&*next.svids[0].bundle, next.federated_bundles.len()), (&b"root-2"[..], 0));
    // A renewed certificate is no news for who asked for roots alone.
    assert_eq!(roots.message().await.unwrap().unwrap().bundles["spiffe://a.example"], b"root-2");
}

#[tokio::test]
async fn tokens_are_given_and_checked() {
    let mut rig = rig().await;
    rig.fake.identity.send_replace(svid(b"leaf"));
    let mut ask = async |audience: &[&str], id: &str| {
        let audience = audience.iter().map(|one| (*one).to_owned()).collect();
        rig.client.fetch_jwtsvid(request(JwtsvidRequest { audience, spiffe_id: id.to_owned() })).await
    };
    for (audience, id, expected) in [
        (&[][..], "", Code::InvalidArgument),
        (&[""], "", Code::InvalidArgument),
        (&["db"], "spiffe://a.example/ns/default/sa/other", Code::PermissionDenied),
    ] {
        assert_eq!(ask(audience, id).await.unwrap_err().code(), expected, "{audience:?} {id}");
    }
    let given = ask(&["db", "queue"], ID).await.unwrap().into_inner().svids.remove(0);
    assert_eq!(given.spiffe_id, ID);
    let check = |audience: &str| {
        let message = ValidateJwtsvidRequest { audience: audience.to_owned(), svid: given.svid.clone() };
        let mut client = rig.client.clone();
        async move { client.validate_jwtsvid(request(message)).await }
    };
    let good = check("queue").await.unwrap().into_inner();
    assert_eq!(good.spiffe_id, ID);
    let claims = good.claims.unwrap().fields;
    assert_eq!(claims["level"].kind, Some(Kind::NumberValue(3.0)));
    assert_eq!(check("other").await.unwrap_err().code(), Code::InvalidArgument);

    let mut keys = rig.client.clone().fetch_jwt_bundles(request(JwtBundlesRequest {})).await.unwrap().into_inner();
    let sets = keys.message().await.unwrap().unwrap().bundles;
    let own: serde_json::Value = serde_json::from_slice(&sets["spiffe://a.example"]).unwrap();
    assert_eq!((&own["keys"][0]["kid"], &own["keys"][0]["use"]), (&json!("k"), &json!("jwt-svid")));
}

/// The frames of HTTP/2 until one that answers the first request: its type.
async fn answer_to(path: &std::path::Path, authority: &[u8]) -> u8 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let literal = |first: &[u8], value: &[u8]| [first, &[value.len() as u8], value].concat();
    let block = [
        vec![0x83, 0x86],
        literal(&[0x44], b"/SpiffeWorkloadAPI/FetchX509Bundles"),
        literal(&[0x41], authority),
        literal(&[0x5f], b"application/grpc"),
        literal(&[0x40, 2, b't', b'e'], b"trailers"),
    ]
    .concat();
    let mut stream = UnixStream::connect(path).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let head = [0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1];
    let all = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings[..], &head, &block].concat();
    stream.write_all(&all).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        if head[8] == 1 {
            return head[3];
        }
    }
}

#[tokio::test]
async fn clients_may_name_the_socket_as_authority() {
    let rig = rig().await;
    let path = rig.folder.path().join("spiffe.sock");
    const HEADERS: u8 = 1;
    for authority in [&b"localhost"[..], b"%2Ftmp%2Fspiffe.sock"] {
        assert_eq!(answer_to(&path, authority).await, HEADERS, "{}", String::from_utf8_lossy(authority));
    }
}
