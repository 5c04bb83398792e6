//! SPIFFE for programs and for other trust domains: the Workload API as a library of others reads it, and two control planes
//! whose workloads call each other.

mod elsewhere;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use base::SpiffeId;
use ca::{Authority, CaState, Key};
use rustix::process::Signal;
use serde_json::Value;
use tokio::net::UnixStream;
use transport::tls::LiveCert;

use super::identity;
use crate::place::Place;
use crate::poll;
use crate::process::{self, Process, Said, log_path};
use crate::python::SPIFFE_CLIENT;
use crate::runner::{Check, Outcome, Skipped};
use crate::web::get;
use crate::world::World;

const GROUP: &str = "spiffe";
/// How long what travels through control planes and proxies may take.
const PATIENCE: Duration = Duration::from_secs(60);
const COMMAND: Duration = Duration::from_secs(60);
const LEAVE: Duration = Duration::from_secs(40);
const A: &str = "a.example";
const B: &str = "b.example";
/// Where the workload that is called stands.
const CALLED: &str = "127.99.7.1";
const HOST: &str = "details.b.example";

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "py-spiffe: a program has its certificate, tokens and bundles", 120, program),
        Check::new(GROUP, "py-spiffe: likewise beside a stock Envoy", 120, beside_envoy),
        Check::new(GROUP, "two trust domains fetch each other's bundles, and workloads call across", 240, federated),
        Check::new(GROUP, "certificates of another authority, from files", 240, elsewhere::check),
    ]
}

/// A control plane of a trust domain of its own.
struct Domain {
    place: Rc<Place>,
    name: &'static str,
    data: PathBuf,
    logs: PathBuf,
    bundle: SocketAddr,
    control: Process,
    others: Vec<Process>,
}

impl Domain {
    async fn start(place: &Rc<Place>, check: &str, name: &'static str) -> Result<Self> {
        let folder = place.run.join(format!("spiffe-{check}-{name}"));
        let (data, logs) = (folder.join("data"), folder.join("logs"));
        std::fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        let bundle = SocketAddr::from(([127, 0, 0, 1], process::free_port()?));
        let mut arguments = vec!["--data-dir".to_owned(), data.display().to_string(), "control".to_owned()];
        for port in ["--xds-port", "--plain-xds-port", "--metrics-port"] {
            arguments.extend([port.to_owned(), process::free_port()?.to_string()]);
        }
        let own = ["--trust-domain", name, "--bundle-endpoint", &bundle.to_string(), "--bundle-refresh-hint", "1s"];
        arguments.extend(own.map(str::to_owned));
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let log = log_path(&logs, "control");
        let control = Process::start(place, "control", &place.program("halcyon"), &arguments, &[], &log)?;
        let socket = data.join("control.sock");
        let domain = Self { place: place.clone(), name, data, logs, bundle, control, others: Vec::new() };
        poll::until("the control plane", PATIENCE, async || Ok(UnixStream::connect(&socket).await.map(drop)?)).await?;
        Ok(domain)
    }

    async fn halcyon(&self, arguments: &[&str]) -> Result<Said> {
        let mut command = process::command(&self.place, &self.place.program("halcyon"));
        command.arg("--data-dir").arg(&self.data).args(arguments);
        process::run(command, COMMAND).await
    }

    async fn apply(&self, file: &str, text: &str) -> Result<Said> {
        let path = self.place.write(&format!("{}-{file}", self.name), text)?.display().to_string();
        self.halcyon(&["apply", "-f", &path]).await?.good()
    }

    async fn roots(&self) -> Result<String> {
        Ok(self.halcyon(&["token", "trust-bundle"]).await?.good()?.out)
    }

    /// Runs the Python client as a workload of the mesh.
    async fn client(&self, more: &[&str], arguments: &[&str]) -> Result<Value> {
        let log = log_path(&self.logs, "client-sidecar").display().to_string();
        let run = [&["run", "--service", "client", "--sidecar-log", &log][..], more, &["--"]].concat();
        let python = self.place.python()?.display().to_string();
        let script = SPIFFE_CLIENT.path(&self.place)?.display().to_string();
        let told = [&run[..], &[&python, &script], arguments].concat();
        let said = self.halcyon(&told).await?.good()?.out;
        serde_json::from_str(&said).with_context(|| format!("the client printed `{said}`"))
    }

    /// Believes another trust domain from now on.
    async fn federate(&self, other: &Self) -> Result<()> {
        let (domain, url) = (other.name, format!("https://{}/", other.bundle));
        let roots = other.roots().await?.replace('\n', "\n        ");
        let mesh = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    \
             caCertificates:\n    - pem: |\n        {roots}\n      trustDomains: [{domain}]\n    - spiffeBundleUrl: {url}\n      \
             trustDomains: [{domain}]\n"
        );
        self.apply("mesh.yaml", &mesh).await?;
        Ok(())
    }

    async fn end(mut self) -> Result<()> {
        for process in &mut self.others {
            process.end(Signal::TERM, LEAVE).await?;
        }
        self.control.end(Signal::TERM, LEAVE).await?;
        Ok(())
    }

    /// A certificate that this authority's key signed for an identity of any trust domain.
    fn signed(&self, domain: &str, account: &str) -> Result<LiveCert> {
        let read =
            |name: &str| std::fs::read_to_string(self.data.join("ca").join(name)).with_context(|| name.to_owned());
        let state = CaState {
            root_cert: read("root-cert.pem")?,
            ca_cert: read("ca-cert.pem")?,
            ca_key: read("ca-key.pem")?,
            cert_chain: String::new(),
            next: None,
            retiring: None,
            former: Vec::new(),
        };
        let now = SystemTime::now();
        let authority = Authority::load(domain.parse()?, &state, now)?;
        let (key, id) = (Key::generate()?, SpiffeId::workload(&domain.parse()?, "default", account)?);
        let issued = authority.issue(key.csr(&id)?.as_bytes(), &id, Duration::from_secs(3600), now)?;
        Ok(LiveCert::from_pem(&issued.chain.concat(), &key.secret_pem())?)
    }
}

fn program(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        place.python()?;
        let domain = Domain::start(&place, "program", A).await?;
        let outcome = is_served(&domain, &[]).await;
        domain.end().await?;
        outcome
    })
}

fn beside_envoy(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        place.python()?;
        let envoy = place.envoy.clone().ok_or_else(|| Skipped("no stock Envoy at HALCYON_ENVOY".to_owned()))?;
        let envoy = envoy.display().to_string();
        let domain = Domain::start(&place, "envoy", A).await?;
        let outcome = is_served(&domain, &["--envoy", &envoy]).await;
        domain.end().await?;
        outcome
    })
}

async fn is_served(domain: &Domain, more: &[&str]) -> Result<String> {
    let id = "spiffe://a.example/ns/default/sa/default";
    let said = domain.client(more, &["database"]).await?;
    for (field, expected) in
        [("id", id), ("subject", id), ("good", id), ("unmarked", "INVALID_ARGUMENT"), ("mode", "0o600")]
    {
        ensure!(said[field] == expected, "{field}: {said}; expected {expected}");
    }
    ensure!(said["leads"] == true && said["fits"] == true, "its certificate: {said}");
    ensure!(said["other"] != id, "a token is good for another audience: {said}");
    ensure!(said["x509"] == serde_json::json!([A]) && said["jwt"] == serde_json::json!([A]), "bundles: {said}");
    Ok(id.to_owned())
}

fn federated(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        place.python()?;
        let (a, mut b) = (Domain::start(&place, "two", A).await?, Domain::start(&place, "two", B).await?);
        let outcome = across(&a, &mut b).await;
        a.end().await?;
        b.end().await?;
        outcome
    })
}

async fn across(a: &Domain, b: &mut Domain) -> Result<String> {
    a.federate(b).await?;
    b.federate(a).await?;
    b.apply("strict.yaml", STRICT).await?;
    serve(b, &[])?;
    a.apply("entry.yaml", &entry()).await?;
    let call = async || calls(a, HOST, &[]).await;
    poll::until("a call to the other trust domain", PATIENCE, async || {
        let status = call().await?;
        ensure!(status == "200", "the answer is {status}");
        Ok(())
    })
    .await?;
    // Who called is known there, by name.
    b.apply("policy.yaml", &policy("a.example/ns/default/sa/somebody")).await?;
    poll::until("a refusal by name", PATIENCE, async || {
        let status = call().await?;
        ensure!(status == "403", "the answer is {status}");
        Ok(())
    })
    .await?;
    b.apply("policy.yaml", &policy("a.example/ns/default/sa/default")).await?;
    let at: SocketAddr = format!("{CALLED}:9080").parse()?;
    poll::until("certificates of either trust domain by its own roots alone", PATIENCE, async || {
        // Both authorities sign for a name of A; only A's own is believed.
        let roots = b.roots().await?;
        identity::answers(&roots, B, at, a.signed(A, "default")?).await.context("A for A")?;
        let forged = identity::answers(&roots, B, at, b.signed(A, "default")?).await;
        ensure!(forged.is_err(), "a certificate of {B} for a name of {A} is believed: {forged:?}");
        Ok(())
    })
    .await?;
    // Programs are told of the other trust domain, too, and check its tokens.
    let theirs = b.client(&["--namespace", "other"], &["database"]).await?;
    let given = theirs["token"].as_str().context("no token")?;
    let said = poll::until("the other's bundle in the Workload API", PATIENCE, async || {
        let said = a.client(&[], &["database", given]).await?;
        ensure!(said["x509"] == serde_json::json!([A, B]) && said["jwt"] == said["x509"], "{said}");
        ensure!(said["given"] == "spiffe://b.example/ns/other/sa/default", "{said}");
        Ok(said)
    })
    .await?;
    Ok(format!("bundles of {}", said["x509"]))
}

/// The workload that is called.
fn serve(b: &mut Domain, more: &[&str]) -> Result<()> {
    let bookinfo = b.place.program("bookinfo").display().to_string();
    let (data, log) = (b.data.display().to_string(), log_path(&b.logs, "details-sidecar").display().to_string());
    let run = ["--data-dir", &data, "run", "--service", "details", "--port", "9080:http", "--address", CALLED];
    let program = ["--sidecar-log", &log, "--", &bookinfo, "--role", "details", "--port", "9080", "--bind", "0.0.0.0"];
    let arguments: Vec<OsString> = run.into_iter().chain(more.iter().copied()).chain(program).map(Into::into).collect();
    let halcyon = b.place.program("halcyon");
    b.others.push(Process::start(&b.place, "details", &halcyon, &arguments, &[], &log_path(&b.logs, "details"))?);
    Ok(())
}

/// The status that a workload of A is answered with by a service.
async fn calls(a: &Domain, host: &str, more: &[&str]) -> Result<String> {
    let log = log_path(&a.logs, "caller-sidecar").display().to_string();
    let upstream = format!("{host}:9080");
    let python = a.place.python()?.display().to_string();
    let program = "import os,urllib.request,urllib.error\n\
        def get(url):\n    \
            try: return urllib.request.urlopen(url, timeout=10).status\n    \
            except urllib.error.HTTPError as error: return error.code\n\
        host = os.environ['DETAILS_SERVICE_HOST'] + ':' + os.environ['DETAILS_SERVICE_PORT']\n\
        print(get('http://' + host + '/details/0'))";
    let run = ["run", "--service", "caller", "--capture", "none", "--upstream", &upstream, "--sidecar-log", &log];
    let told = [&run[..], more, &["--", &python, "-c", program]].concat();
    Ok(a.halcyon(&told).await?.good()?.out.trim().to_owned())
}

const STRICT: &str = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
    metadata: {name: default, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}\n";

/// The other trust domain's workload, as A knows it.
fn entry() -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: details-b, namespace: default}}\n\
         spec:\n  hosts: [{HOST}]\n  ports: [{{number: 9080, name: http, protocol: HTTP}}]\n  resolution: STATIC\n  \
         location: MESH_EXTERNAL\n  endpoints: [{{address: {CALLED}}}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: details-b, namespace: default}}\n\
         spec:\n  host: {HOST}\n  trafficPolicy:\n    tls:\n      mode: ISTIO_MUTUAL\n      \
         subjectAltNames: ['spiffe://b.example/ns/default/sa/default']\n"
    )
}

fn policy(principal: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: callers, namespace: default}}\n\
         spec:\n  action: ALLOW\n  rules: [{{from: [{{source: {{principals: ['{principal}']}}}}]}}]\n"
    )
}
