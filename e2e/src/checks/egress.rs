//! Nothing leaves past the proxy, and through it only what an EgressPolicy allows: attempts by a program inside.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::mesh::Mesh;
use crate::poll;
use crate::process;
use crate::runner::{Check, Outcome};
use crate::world::World;

const GROUP: &str = "egress";
const PATIENCE: Duration = Duration::from_secs(60);
/// An address of the host that is nobody's in the mesh, and that a program inside reaches through its proxy only.
const OUTSIDE: [u8; 4] = [127, 99, 0, 7];
/// Another one.
const ELSEWHERE: [u8; 4] = [127, 99, 0, 9];

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "nothing leaves past the proxy, whatever a program tries", 180, past_the_proxy),
        Check::new(GROUP, "names, server names and hosts that a policy does not allow are refused", 180, by_name),
    ]
}

/// A kind of attempt, its argument and a second one.
type Attempt<'a> = [&'a str; 3];

/// What came of attempts, and what the proxy beside the program counted.
struct Seen {
    outcomes: Vec<String>,
    stats: String,
    /// What the launcher told of what is neither TCP nor DNS.
    said: String,
}

/// Runs attempts as a workload of its own, until its proxy has counted what is wanted of it.
async fn attempts(mesh: &Mesh, name: &str, list: &[Attempt<'_>], counted: &[&str]) -> Result<Seen> {
    let folder = mesh.logs();
    let file = |kind: &str| -> PathBuf { folder.join(format!("{name}.{kind}")) };
    let (outcomes, until) = (file("outcomes"), file("until"));
    let list = serde_json::to_string(list)?;
    let arguments = ["inside", "leave", &list, &outcomes.display().to_string(), &until.display().to_string()];
    let program = async { mesh.inside("e2e", &arguments).await?.good() };
    let watching = async {
        let seen = watch(mesh, &outcomes, counted).await;
        std::fs::write(&until, "")?;
        seen
    };
    let (ran, seen) = tokio::join!(program, watching);
    let said = ran.context("the program inside")?.err;
    let told = said.lines().rev().find_map(|line| Some(line[line.find("packets refused")?..].to_owned()));
    Ok(Seen { said: told.unwrap_or_default(), ..seen? })
}

async fn watch(mesh: &Mesh, outcomes: &std::path::Path, counted: &[&str]) -> Result<Seen> {
    let text =
        poll::until("outcomes of the attempts", PATIENCE, async || Ok(std::fs::read_to_string(outcomes)?)).await?;
    let outcomes = serde_json::from_str(&text)?;
    poll::until("what the proxy counts", PATIENCE, async || {
        let stats = mesh.metrics("client-v1").await?;
        let missing: Vec<_> = counted.iter().filter(|line| !counts(&stats, line)).collect();
        ensure!(missing.is_empty(), "{missing:?} are not counted in\n{stats}");
        Ok(Seen { outcomes: Vec::clone(&outcomes), stats, said: String::new() })
    })
    .await
}

/// Is there a line with all of these words that counts something?
fn counts(stats: &str, words: &str) -> bool {
    let has = |line: &&str| words.split(' ').all(|word| line.contains(word));
    stats.lines().filter(|line| !line.starts_with('#')).filter(has).any(|line| !line.ends_with(" 0"))
}

/// Servers outside of the mesh, which say where they are.
struct Outside {
    at: SocketAddr,
    elsewhere: SocketAddr,
    /// Connections to the other one.
    reached: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Outside {
    /// The same port on both addresses.
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::from(OUTSIDE), 0)).await?;
        let at = listener.local_addr()?;
        let other = TcpListener::bind((std::net::Ipv4Addr::from(ELSEWHERE), at.port())).await?;
        let elsewhere = other.local_addr()?;
        let reached = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, "outside", Arc::default()));
        tasks.spawn(serve(other, "elsewhere", reached.clone()));
        Ok(Self { at, elsewhere, reached, _tasks: tasks })
    }
}

/// Answers what comes: an HTTP request by HTTP, anything else by a word.
async fn serve(listener: TcpListener, word: &'static str, reached: Arc<AtomicUsize>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        reached.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            let length = stream.read(&mut buffer).await.unwrap_or(0);
            let answer = match buffer[..length].starts_with(b"GET ") {
                true => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                false => word,
            };
            // Whoever hangs up early has his reason.
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
}

fn policy(rules: &str) -> String {
    format!(
        "apiVersion: halcyon.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {{name: leaver}}\nspec: {{selector: {{matchLabels: \
         {{app: client}}}}, rules: {rules}}}\n"
    )
}

/// Compares outcomes with what is expected: one of the texts, which may end in `*`.
fn compare(list: &[Attempt<'_>], outcomes: &[String], expected: &[&[&str]]) -> Result<()> {
    ensure!(outcomes.len() == list.len() && expected.len() == list.len(), "{} outcomes", outcomes.len());
    for ((attempt, outcome), expected) in list.iter().zip(outcomes).zip(expected) {
        let fits = |text: &&&str| match text.strip_suffix('*') {
            Some(beginning) => outcome.starts_with(beginning),
            None => outcome == **text,
        };
        ensure!(expected.iter().any(|text| fits(&text)), "{attempt:?}: {outcome}; expected {expected:?}");
    }
    Ok(())
}

fn past_the_proxy(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.demo().await?;
        mesh.clear().await?;
        let outside = Outside::start().await?;
        let (at, far) = (outside.at.to_string(), outside.elsewhere.to_string());
        let resolver = "203.0.113.53:53";
        let refused: &[&str] = &["PermissionDenied"];
        let closed: &[&str] = &["closed"];
        let table: Vec<(Attempt<'_>, &[&str])> = vec![
            (["tcp", &at, "x"], closed),
            (["tcp", &far, "x"], closed),
            (["from", &at, "127.0.0.42"], closed),
            (["detached", &at, ""], closed),
            (["tcp", "203.0.113.7:22", "x"], closed),
            (["tcp", "[2001:db8::7]:443", "x"], &["closed", "NetworkUnreachable", "Uncategorized"]),
            (["tls", "1.1.1.1:443", "cloudflare-dns.com"], closed),
            (["tls", "1.1.1.1:853", "one.one.one.one"], closed),
            (["udp", "203.0.113.7:9999", "x"], refused),
            (["udp", "203.0.113.7:443", "x"], refused),
            (["udp", "[2001:db8::7]:443", "x"], &["PermissionDenied", "NetworkUnreachable", "Uncategorized"]),
            (["icmp", "203.0.113.7:0", ""], refused),
            (["raw", "", ""], refused),
            (["packet", "", ""], refused),
            (["rules", "", ""], refused),
            (["route", "", ""], refused),
            (["setns", "", ""], refused),
            (["unshare", &at, ""], &["refused", "PermissionDenied, PermissionDenied, closed"]),
            (["dns", resolver, "c2VjcmV0.tunnel.example"], &["code 3 records 0"]),
            (
                ["dns", "[2001:db8::53]:53", "c2VjcmV0.tunnel.example"],
                &["code 3 records 0", "NetworkUnreachable", "Uncategorized"],
            ),
            (["dns", resolver, "reviews.default.svc.cluster.local"], &["code 0 records 1"]),
            (["http", "reviews:9080", "reviews:9080"], &["HTTP/1.1 *"]),
        ];
        let list: Vec<Attempt<'_>> = table.iter().map(|(attempt, _)| *attempt).collect();
        // Where nothing forbids it, all that is captured passes through the proxy.
        let free = attempts(mesh, "free", &list[..4], &[]).await?;
        compare(&list[..4], &free.outcomes, &[&["outside"], &["elsewhere"], &["outside"], &["outside"]])?;
        mesh.apply_text("leaver.yaml", &policy("[]")).await?;
        let counted = ["halcyon_dns_refused_total default/leaver"];
        let seen = attempts(mesh, "held", &list, &counted).await?;
        let expected: Vec<&[&str]> = table.iter().map(|(_, expected)| *expected).collect();
        compare(&list, &seen.outcomes, &expected)?;
        ensure!(seen.said.starts_with("packets refused so far: "), "the launcher says {:?}", seen.said);
        mesh.clear().await?;
        Ok(format!("{} attempts; {}", list.len(), seen.said))
    })
}

fn by_name(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.demo().await?;
        mesh.clear().await?;
        let (web, tls) = (Outside::start().await?, Outside::start().await?);
        let (http, secure) = (web.at.port(), tls.at.port());
        let entry = |name: &str| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {{hosts: \
                 [{name}.outside.example], resolution: STATIC, endpoints: [{{address: 127.99.0.7}}], ports: [{{number: {http}, \
                 name: http, protocol: HTTP}}, {{number: {secure}, name: tls, protocol: TLS}}]}}\n---\n"
            )
        };
        let rules = format!(
            "[{{hosts: [api.outside.example], ports: [{{number: {http}, protocol: HTTP}}, {{number: {secure}, protocol: TLS}}]}}]"
        );
        let log = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n    \
                   accessLogFile: /dev/stdout\n---\n";
        mesh.apply_text("names.yaml", &format!("{log}{}{}{}", entry("api"), entry("other"), policy(&rules))).await?;
        let (api, other) = (format!("api.outside.example:{http}"), format!("other.outside.example:{http}"));
        let name = format!("api.outside.example:{secure}");
        let (far, far_tls) = (web.elsewhere.to_string(), tls.elsewhere.to_string());
        let closed: &[&str] = &["closed"];
        let forbidden: &[&str] = &["HTTP/1.1 403 Forbidden"];
        let table: Vec<(Attempt<'_>, &[&str])> = vec![
            (["http", &api, &api], &["HTTP/1.1 200 OK"]),
            // The proxy looks the name up itself, whatever was dialled.
            (["http", &far, &api], &["HTTP/1.1 200 OK"]),
            (["http", &api, &other], forbidden),
            (["http", &api, "evil.example"], forbidden),
            (["h2", &api, &other], &["403"]),
            (["http", &far, &far], forbidden),
            (["tls", &name, "api.outside.example"], &["outside"]),
            (["tls", &far_tls, "api.outside.example"], &["outside"]),
            (["tls", &name, "other.outside.example"], closed),
            (["tls", &name, ""], closed),
            (["tcp", &name, "GET / HTTP/1.0\r\n\r\n"], closed),
            (["tcp", &name, "plain bytes"], closed),
            (["tls", &far_tls, "evil.example"], closed),
            (["tcp", &other, "x"], &["Uncategorized", "NotFound"]),
        ];
        let list: Vec<Attempt<'_>> = table.iter().map(|(attempt, _)| *attempt).collect();
        let counted = ["rbac egress denied", "EgressDenied", "halcyon_dns_refused_total default/leaver"];
        let seen = attempts(mesh, "names", &list, &counted).await?;
        let expected: Vec<&[&str]> = table.iter().map(|(_, expected)| *expected).collect();
        compare(&list, &seen.outcomes, &expected)?;
        ensure!(!seen.stats.contains("evil.example"), "a name that somebody made up is a label of a metric");
        let reached = web.reached.load(Ordering::SeqCst) + tls.reached.load(Ordering::SeqCst);
        ensure!(reached == 0, "{reached} connections went to the address that was dialled");
        mesh.halcyon(&["delete", "configmap", "istio", "-n", "istio-system"]).await?.good()?;
        let log = std::fs::read_to_string(process::log_path(&mesh.logs(), "client-sidecar"))?;
        for reason in
            ["rbac_access_denied_matched_policy[egress-policy[default/leaver]]", "EgressDenied|default/leaver"]
        {
            ensure!(log.contains(reason), "the access log does not say {reason}:\n{}", process::tail(&log, 20));
        }
        mesh.clear().await?;
        Ok(format!("{} attempts", list.len()))
    })
}
