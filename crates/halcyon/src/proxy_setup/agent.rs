//! The agent of a proxy that cannot ask for a certificate itself: it makes the key, which never leaves this machine, gets
//! the certificate for it with the token and renews it with itself, follows the roots of the mesh, and gives both to the
//! proxy by secret discovery over a Unix socket, as Istio's agent does.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use base::Backoff;
use ca::Key;
use control::registration::AGENT;
use model::ResourceKind;
use model::secret::{Secret, SecretValue};
use model::tls::{MESH_ROOTS, OWN_CERTIFICATE};
use proto::envoy::config::core::v3::Node;
use proto::google::protobuf::{Struct, Value, value::Kind};
use tokio::sync::{mpsc, watch};
use transport::Address;
use transport::tls::LiveCert;
use xds::Resource;
use xds::client::{ClientSession, Refusal, Update, Variant};
use xds::server::{EncodedResource, ResourceSet, Snapshot};
use xds::shell::{self, ControlServer, Links, Member};

use super::{ProxySetup, Ticket};

/// The life that is asked for; the control plane may give less.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// The first and longest bound of the wait after a certificate could not be renewed.
const BETWEEN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// The same between two streams to the control plane.
const STREAMS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// Sleeps are cut, so that a machine that slept too looks at the clock soon after it wakes.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);

/// An agent with a certificate.
pub struct Agent {
    ticket: Ticket,
    links: Links,
    node: Node,
    cert: LiveCert,
    /// The chain that is in use, in PEM.
    chain: Mutex<String>,
    secrets: Secrets,
    /// The workload, as its program is told of it.
    member: Arc<Member>,
}

/// What the proxy is given.
struct Secrets {
    all: Mutex<[Secret; 2]>,
    shown: watch::Sender<Arc<Snapshot>>,
}

impl Agent {
    /// Gets the first certificate.
    pub async fn start(setup: &ProxySetup) -> Result<Arc<Self>> {
        let ticket = setup.ticket.clone();
        let cert = LiveCert::empty();
        let links = links(&ticket, &cert)?;
        let secrets = Secrets::new(&ticket.trust_bundle);
        let (node, chain, member) = (node(setup), Mutex::new(String::new()), member(&links));
        let agent = Arc::new(Self { ticket, links, node, cert, chain, secrets, member });
        agent.obtain().await.context("cannot get a certificate for Envoy")?;
        Ok(agent)
    }

    /// Serves the secrets at a socket, and the SPIFFE Workload API at another, and keeps both fresh, for as long as this
    /// program runs. The sockets are there when this returns.
    pub fn serve(self: Arc<Self>, socket: &Path, workload_api: Option<&Path>) -> Result<PathBuf> {
        if let Some(path) = workload_api {
            self.serve_program(path)?;
        }
        let listener = transport::listen::unix(socket, 0o600)?;
        let shown = self.secrets.shown.subscribe();
        tokio::spawn(async move {
            if let Err(error) = shell::serve_secrets(listener, shown).await {
                crate::print::note(&format!("halcyon: the sidecar gets no more secrets: {error}"));
            }
        });
        let (roots, known) = watch::channel(String::new());
        tokio::spawn(self.clone().keep_fresh(known));
        tokio::task::spawn_local(self.follow_roots(roots));
        Ok(socket.to_owned())
    }

    fn serve_program(&self, path: &Path) -> Result<()> {
        let served = svid::serve(transport::listen::unix(path, 0o600)?, self.member.clone());
        tokio::spawn(async move {
            if let Err(error) = served.await {
                crate::print::note(&format!("halcyon: the program gets no more identities: {error}"));
            }
        });
        tokio::spawn(self.member.clone().follow(|reason| tracing::debug!("bundles of trust domains: {reason}")));
        Ok(())
    }

    /// Gets a certificate for a new key. Until when it is good.
    async fn obtain(&self) -> Result<(SystemTime, SystemTime)> {
        let key = Key::generate()?;
        let link = self.links.open(|| Some(self.ticket.token.clone())).await.map_err(|e| anyhow!(e))?;
        let answer = shell::certify(link, key.csr(&self.ticket.identity)?, LIFE).await;
        let mut chain = answer.map_err(|status| anyhow!("{}", status.message()))?;
        if chain.len() > 1 {
            // The roots come last; peers have them.
            chain.pop();
        }
        let (chain, key) = (chain.concat(), key.secret_pem());
        self.cert.set_pem(&chain, &key)?;
        self.member.show(&self.ticket.identity, &chain, &key)?;
        self.secrets.set(SecretValue::Certificate { chain: chain.clone().into_bytes(), private_key: key.into_bytes() });
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        let certificate = self.cert.certificate().context("the certificate was just set")?;
        Ok((certificate.not_before, certificate.not_after))
    }

    /// Renews at half of each certificate's life, and when certificates are issued under another root.
    async fn keep_fresh(self: Arc<Self>, mut roots: watch::Receiver<String>) {
        let mut backoff = Backoff::new(BETWEEN.0, BETWEEN.1);
        let mut at = self.renewal();
        loop {
            let left = at.duration_since(SystemTime::now()).unwrap_or_default();
            if !left.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(left.min(LONGEST_SLEEP)) => continue,
                    changed = roots.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        if !self.is_under(&roots.borrow_and_update()) {
                            at = SystemTime::now() + Duration::from_secs(2).mul_f64(rand::random());
                        }
                        continue;
                    }
                }
            }
            match self.obtain().await {
                Ok(_) => {
                    at = self.renewal();
                    backoff.reset();
                }
                Err(error) => {
                    crate::print::note(&format!("halcyon: the sidecar's certificate was not renewed: {error:#}"));
                    at = SystemTime::now() + backoff.next_delay();
                }
            }
        }
    }

    fn is_under(&self, roots: &str) -> bool {
        ca::leads_to(&self.chain.lock().unwrap_or_else(PoisonError::into_inner), roots)
    }

    /// Half of the life, with a little chance in it.
    fn renewal(&self) -> SystemTime {
        let certificate = self.cert.certificate();
        certificate.map_or_else(SystemTime::now, |certificate| {
            ca::renewal_time(certificate.not_before, certificate.not_after, rand::random_range(-0.01..=0.01))
        })
    }

    /// Holds a stream to the control plane, on which the roots come.
    async fn follow_roots(self: Arc<Self>, known: watch::Sender<String>) {
        let mut session = ClientSession::new(self.node.clone(), Variant::Delta);
        session.want(ResourceKind::Secret, [MESH_ROOTS.into()]);
        let (_orders, mut commands) = mpsc::channel(1);
        let mut backoff = Backoff::new(STREAMS.0, STREAMS.1);
        loop {
            if let Ok(link) = self.links.open(|| None).await {
                shell::run(link, &mut session, &mut commands, |session, update| {
                    backoff.reset();
                    let taken = self.take(&update, &known);
                    session.resolve(&update.nonce, taken);
                })
                .await;
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    fn take(&self, update: &Update, known: &watch::Sender<String>) -> Result<(), Vec<Refusal>> {
        for resource in &update.updated {
            let Resource::Secret(secret) = resource else { continue };
            let SecretValue::Trust { roots, .. } = &secret.value else { continue };
            let text = String::from_utf8_lossy(roots).into_owned();
            let refusal = |e: &dyn std::fmt::Display| Refusal { name: secret.name.clone(), reason: e.to_string() };
            self.links.trust(&text).map_err(|e| vec![refusal(&e)])?;
            self.secrets.set(secret.value.clone());
            known.send_replace(text);
        }
        Ok(())
    }
}

impl Secrets {
    fn new(roots: &str) -> Self {
        let trust = SecretValue::Trust {
            roots: roots.as_bytes().to_vec(),
            by_domain: Vec::new(),
            crl: Vec::new(),
            leaf_only: false,
        };
        let none = SecretValue::Certificate { chain: Vec::new(), private_key: Vec::new() };
        let secret = |name: &str, value| Secret { name: name.into(), value };
        let all = [secret(OWN_CERTIFICATE, none), secret(MESH_ROOTS, trust)];
        Self { all: Mutex::new(all), shown: watch::Sender::default() }
    }

    fn set(&self, value: SecretValue) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::from(matches!(value, SecretValue::Trust { .. }));
        all[index].value = value;
        let encoded =
            all.iter().map(|secret| Arc::new(EncodedResource::new(&Resource::Secret(Arc::new(secret.clone())))));
        let mut snapshot = Snapshot::default();
        snapshot.put(ResourceKind::Secret, Arc::new(ResourceSet::new(encoded)));
        self.shown.send_replace(Arc::new(snapshot));
    }
}

fn member(links: &Links) -> Arc<Member> {
    let links = links.clone();
    Member::new(Box::new(move || {
        let links = links.clone();
        Box::pin(async move { links.open(|| None).await })
    }))
}

fn links(ticket: &Ticket, cert: &LiveCert) -> Result<Links> {
    let address: Address = ticket.control.parse().map_err(|e| anyhow!("the control plane's address: {e}"))?;
    let server = ControlServer::Identity(ticket.server.clone());
    Ok(Links::tls(address, &server, &ticket.trust_bundle, cert.clone())?)
}

/// The agent says who it is beside; it registers nothing.
fn node(setup: &ProxySetup) -> Node {
    let fields = [("GENERATOR", AGENT), ("NAMESPACE", &*setup.namespace), ("SERVICE_ACCOUNT", &*setup.service_account)];
    let text = |value: &str| Value { kind: Some(Kind::StringValue(value.to_owned())) };
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
    Node { id: format!("agent~{}", setup.node_id()), metadata: Some(Struct { fields }), ..Node::default() }
}
