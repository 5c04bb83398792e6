//! Item 1: Bookinfo through the gateway, with no rule but its own.

use anyhow::{Context, Result, ensure};

use crate::bookinfo::{Seen, Spread, Visitor};
use crate::mesh::Mesh;
use crate::process;
use crate::runner::{Check, Outcome};
use crate::world::World;

const GROUP: &str = "basic";

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "`halcyon demo` serves the page with details, reviews and ratings", 90, |w| {
            Box::pin(page(w))
        }),
        Check::new(GROUP, "all three versions of reviews are seen with no rule", 60, |w| Box::pin(versions(w))),
        Check::new(GROUP, "six workloads in network namespaces of their own", 60, namespaces),
        Check::new(GROUP, "both sides of a request count it with the standard labels", 60, |w| Box::pin(metrics(w))),
    ]
}

async fn page(world: &mut World) -> Result<String> {
    let mesh = world.demo().await?;
    whole_page(mesh).await
}

/// The page shows details and reviews, and where there are stars, the ratings.
pub async fn whole_page(mesh: &Mesh) -> Result<String> {
    let visitor = Visitor::anonymous(mesh.gateway);
    let mut seen = Spread::default();
    for _ in 0..30 {
        let page = visitor.page().await?;
        ensure!(page.details, "the page shows no details: {page:?}");
        ensure!(!matches!(page.reviews, Seen::Failed | Seen::NoStars), "the page misses reviews or stars: {page:?}");
        seen.add(page.reviews);
        if seen.count(Seen::V2) > 0 && seen.count(Seen::V3) > 0 {
            return Ok(format!("{seen}"));
        }
    }
    anyhow::bail!("no page showed the ratings of both versions that have stars: {seen}")
}

async fn versions(world: &mut World) -> Result<String> {
    let mesh = world.demo().await?;
    three_versions(mesh).await
}

/// A fair balancer misses one of three in 60 requests once in ten thousand million times.
pub async fn three_versions(mesh: &Mesh) -> Result<String> {
    let seen = Visitor::anonymous(mesh.gateway).spread(60).await?;
    for version in [Seen::V1, Seen::V2, Seen::V3] {
        ensure!(seen.count(version) > 0, "{version} was never seen: {seen}");
    }
    ensure!(seen.count(Seen::Failed) + seen.count(Seen::NoStars) == 0, "{seen}");
    Ok(seen.to_string())
}

fn namespaces(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.demo().await?;
        let own = namespace(std::process::id())?;
        let mut all = std::collections::BTreeSet::new();
        for name in ["productpage-v1", "details-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3"] {
            let launcher = mesh.pid(name)?;
            let program = process::the_one_below(launcher, "bookinfo").with_context(|| name.to_owned())?;
            let sidecar = process::the_one_below(launcher, "halcyon-proxy").with_context(|| name.to_owned())?;
            let inside = namespace(program)?;
            ensure!(inside != own, "{name}: the program runs on the host's network");
            ensure!(namespace(sidecar)? == own, "{name}: the sidecar does not run on the host's network");
            ensure!(all.insert(inside), "{name} shares its network namespace");
        }
        Ok(format!("{} namespaces", all.len()))
    })
}

fn namespace(pid: u32) -> Result<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/net")).with_context(|| format!("the namespace of process {pid}"))
}

async fn metrics(world: &mut World) -> Result<String> {
    let mesh = world.demo().await?;
    let sides = [("productpage-v1", "source", "details"), ("details-v1", "destination", "details")];
    let mut before = Vec::new();
    for (workload, reporter, to) in sides {
        before.push(requests(mesh, workload, reporter, to).await?);
    }
    for _ in 0..10 {
        Visitor::anonymous(mesh.gateway).page().await?;
    }
    let mut grown = Vec::new();
    for ((workload, reporter, to), before) in sides.into_iter().zip(before) {
        let grew = requests(mesh, workload, reporter, to).await? - before;
        ensure!(grew >= 10.0, "{workload} counted {grew} requests to {to} as {reporter}; expected 10 at least");
        grown.push(grew);
    }
    Ok(format!("{grown:?} more"))
}

/// `istio_requests_total` of one reporter for one destination, with code 200, proven on both sides.
async fn requests(mesh: &Mesh, workload: &str, reporter: &str, to: &str) -> Result<f64> {
    let wanted = [
        format!("reporter=\"{reporter}\""),
        format!("destination_service_name=\"{to}\""),
        "source_workload=\"productpage-v1\"".to_owned(),
        "source_principal=\"spiffe://cluster.local/ns/default/sa/bookinfo-productpage\"".to_owned(),
        "response_code=\"200\"".to_owned(),
        "request_protocol=\"http\"".to_owned(),
    ];
    let text = mesh.metrics(workload).await?;
    let lines = text.lines().filter(|line| line.starts_with("istio_requests_total{"));
    let ours = lines.filter(|line| wanted.iter().all(|label| line.contains(label.as_str())));
    Ok(ours.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
}
