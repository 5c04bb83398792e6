//! Item 3: mutual TLS: who is refused, who passes, and whose name the certificates carry.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use testkit::TestCa;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use transport::tls::{
    Accept, ClientOptions, ClientTls, LiveCert, LiveTrust, Peer, PeerCheck, Roots, ServerCheck, TrustBundles,
};
use transport::{Connector, Stream};

use crate::bookinfo::Visitor;
use crate::mesh::Mesh;
use crate::runner::{Check, Outcome};
use crate::web;
use crate::world::World;

use super::basic;

const GROUP: &str = "mutual TLS";
const PATIENCE: Duration = Duration::from_secs(5);

/// Workloads, and a path that each answers with 200.
const WORKLOADS: [(&str, &str); 6] = [
    ("details-v1", "/details/0"),
    ("ratings-v1", "/ratings/0"),
    ("reviews-v1", "/reviews/0"),
    ("reviews-v2", "/health"),
    ("reviews-v3", "/health"),
    ("productpage-v1", "/health"),
];

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "PERMISSIVE lets plain text in", 60, permissive),
        Check::new(GROUP, "STRICT refuses plain text at every workload", 60, strict),
        Check::new(GROUP, "STRICT lets meshed callers pass", 60, meshed),
        Check::new(GROUP, "every workload's certificate carries its SPIFFE ID", 60, identities),
        Check::new(GROUP, "a client without a certificate is refused", 60, nobody),
        Check::new(GROUP, "a certificate of another trust domain is refused", 60, foreign_domain),
        Check::new(GROUP, "a certificate of another authority with our names is refused", 60, foreign_authority),
    ]
}

fn permissive(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.demo().await?;
        mesh.clear().await?;
        for (workload, path) in WORKLOADS {
            let at = mesh.proxy(workload).await?.at(9080);
            let answer = web::get(at, path, &[]).await.with_context(|| format!("plain text to {workload}"))?;
            ensure!(answer.status == 200, "plain text to {workload}: status {}; expected 200", answer.status);
        }
        Ok(format!("{} workloads", WORKLOADS.len()))
    })
}

/// The demo's mesh, STRICT.
async fn strict_mesh(world: &mut World) -> Result<&mut Mesh> {
    let rule = world.place.rule("strict-mtls.yaml");
    let mesh = world.demo().await?;
    mesh.clear().await?;
    mesh.apply(&[rule]).await?;
    Ok(mesh)
}

fn strict(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = strict_mesh(world).await?;
        for (workload, path) in WORKLOADS {
            plain_is_refused(mesh.proxy(workload).await?.at(9080), path).await.with_context(|| workload.to_owned())?;
        }
        Ok(format!("{} workloads", WORKLOADS.len()))
    })
}

/// A plain request gets no HTTP answer, but the end of the connection.
pub async fn plain_is_refused(at: SocketAddr, path: &str) -> Result<()> {
    let mut stream = tokio::net::TcpStream::connect(at).await.with_context(|| format!("{at} cannot be dialled"))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    match tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await {
        Err(_) => bail!("plain text is neither answered nor refused within {} s", PATIENCE.as_secs()),
        // A reset is a refusal too.
        Ok(_) if answer.is_empty() => Ok(()),
        Ok(_) => bail!("plain text was answered: {}", String::from_utf8_lossy(&answer)),
    }
}

fn meshed(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = strict_mesh(world).await?;
        basic::whole_page(mesh).await?;
        let seen = basic::three_versions(mesh).await?;
        let status = Visitor::anonymous(mesh.gateway).ask(crate::bookinfo::RATINGS).await?.status;
        ensure!(status == 200, "ratings: status {status}");
        Ok(seen)
    })
}

fn identities(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = strict_mesh(world).await?;
        for (workload, _) in WORKLOADS {
            let proxy = mesh.proxy(workload).await?;
            let expected = spiffe(workload);
            let (_, peer) = handshake(mesh, proxy.at(9080), None).await.with_context(|| workload.to_owned())?;
            let shown = peer.identity.map(|id| id.to_string());
            ensure!(shown.as_deref() == Some(&*expected), "{workload} shows {shown:?}; expected {expected}");
            let known = proxy.identity.as_deref();
            ensure!(known == Some(&*expected), "`halcyon status` says {known:?} of {workload}; expected {expected}");
        }
        Ok(spiffe("reviews-v2"))
    })
}

/// The identity of one of Bookinfo's workloads.
pub fn spiffe(workload: &str) -> String {
    let service = workload.split('-').next().unwrap_or_default();
    format!("spiffe://cluster.local/ns/default/sa/bookinfo-{service}")
}

/// A handshake with a workload whose certificate is held against the mesh's own roots.
pub async fn handshake(mesh: &Mesh, at: SocketAddr, cert: Option<LiveCert>) -> Result<(Stream, Peer)> {
    let bundle = mesh.halcyon(&["token", "trust-bundle"]).await?.good().context("halcyon token trust-bundle")?.out;
    handshake_by((&bundle, "cluster.local"), at, cert).await
}

/// With a workload of the trust domain that these roots (PEM) are of: does it answer? Of the refusal: why.
pub async fn answers(roots: &str, domain: &str, at: SocketAddr, cert: LiveCert) -> Result<()> {
    let (mut stream, _) = handshake_by((roots, domain), at, Some(cert)).await?;
    let request = format!("GET / HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut first = [0; 8];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut first)).await.context("no answer")??;
    ensure!(&first == b"HTTP/1.1", "it answers {first:?}");
    Ok(())
}

async fn handshake_by(
    (bundle, domain): (&str, &str),
    at: SocketAddr,
    cert: Option<LiveCert>,
) -> Result<(Stream, Peer)> {
    let roots = Roots::from_pem(bundle).context("the trust bundle")?;
    let trust = LiveTrust::new(TrustBundles::domain(domain.parse()?, roots));
    let mut options = ClientOptions::new(ServerCheck::Peer(PeerCheck::Spiffe { trust, accept: Accept::Any }));
    options.cert = cert;
    options.alpn = vec![b"istio".to_vec()];
    options.resumption = false;
    let stream = Connector::default().connect(&at.to_string().parse()?).await?;
    Ok(ClientTls::new(options)?.connect(stream, None, PATIENCE).await?)
}

fn nobody(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = strict_mesh(world).await?;
        is_refused_everywhere(mesh, || None).await
    })
}

fn foreign_domain(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = strict_mesh(world).await?;
        let authority = TestCa::new("other.example");
        is_refused_everywhere(mesh, || Some(authority.workload("bookinfo-productpage"))).await
    })
}

fn foreign_authority(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = strict_mesh(world).await?;
        let authority = TestCa::new("cluster.local");
        is_refused_everywhere(mesh, || Some(authority.workload("bookinfo-productpage"))).await
    })
}

async fn is_refused_everywhere(mesh: &Mesh, cert: impl Fn() -> Option<LiveCert>) -> Result<String> {
    let mut why = String::new();
    for (workload, path) in WORKLOADS {
        let at = mesh.proxy(workload).await?.at(9080);
        why = is_refused(mesh, at, path, cert()).await.with_context(|| workload.to_owned())?;
    }
    Ok(why)
}

/// In TLS 1.3 the client learns of its refusal with the first bytes that it reads.
pub async fn is_refused(mesh: &Mesh, at: SocketAddr, path: &str, cert: Option<LiveCert>) -> Result<String> {
    // Where nobody listens nobody refuses.
    drop(TcpStream::connect(at).await.with_context(|| format!("nobody listens at {at}"))?);
    let mut stream = match handshake(mesh, at, cert).await {
        Ok((stream, _)) => stream,
        Err(error) => return Ok(format!("{error:#}")),
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    // The alert may come before all is written.
    let written = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let Ok(read) = read else { bail!("neither answered nor refused within {} s", PATIENCE.as_secs()) };
    ensure!(answer.is_empty(), "was let in: {}", String::from_utf8_lossy(&answer));
    match written.and(read.map(drop)) {
        Err(error) => Ok(error.to_string()),
        Ok(()) => Ok("closed".to_owned()),
    }
}
