//! Item 6: one workload behind a stock Envoy, driven by our control plane.

use anyhow::{Context, Result, ensure};
use testkit::TestCa;

use super::{access, attacks, authority, basic, deciders, extensions, identity, limits, revocation, why};
use crate::bookinfo::{Seen, Visitor};
use crate::mesh::Mesh;
use crate::process;
use crate::rules;
use crate::runner::{Check, Outcome};
use crate::world::{Wanted, World};

const GROUP: &str = "beside Envoy";

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "details behind Envoy 1.40: the page is whole", 120, |w| page(w, "details-v1")),
        Check::new(GROUP, "details behind Envoy 1.40: all three versions of reviews", 60, |w| {
            versions(w, "details-v1")
        }),
        Check::new(GROUP, "details behind Envoy 1.40: mutual TLS from ours to Envoy", 60, to_envoy),
        Check::new(GROUP, "details behind Envoy 1.40: who passes and who does not", 240, of_access),
        Check::new(
            GROUP,
            "details behind Envoy 1.40: forged certificates, and tricks to come past a policy",
            120,
            of_attacks,
        ),
        Check::new(GROUP, "details behind Envoy 1.40: services decide", 180, of_deciders),
        Check::new(GROUP, "details behind Envoy 1.40: a caller that is revoked", 120, of_revocation),
        Check::new(GROUP, "details behind Envoy 1.40: rate limits", 240, of_limits),
        Check::new(GROUP, "details behind Envoy 1.40: why", 180, of_why),
        Check::new(GROUP, "details behind Envoy 1.40: a script and a module", 180, of_extensions),
        Check::new(GROUP, "reviews-v2 behind Envoy 1.40: the page is whole", 120, |w| page(w, "reviews-v2")),
        Check::new(GROUP, "reviews-v2 behind Envoy 1.40: all three versions of reviews", 60, |w| {
            versions(w, "reviews-v2")
        }),
        Check::new(GROUP, "reviews-v2 behind Envoy 1.40: mutual TLS from Envoy to ours", 60, from_envoy),
    ]
}

/// The demo with a workload behind Envoy, which is really there.
async fn mesh<'a>(world: &'a mut World, workload: &'static str) -> Result<&'a mut Mesh> {
    let mesh = world.mesh(Wanted::Envoy(workload)).await?;
    let envoy = process::below(mesh.pid(workload)?).into_iter().find(|p| p.program.contains("envoy"));
    envoy.with_context(|| format!("no Envoy runs below {workload}"))?;
    let proxy = mesh.proxy(workload).await?;
    ensure!(!proxy.ours, "`halcyon status` takes the sidecar of {workload} for one of ours");
    Ok(mesh)
}

fn page<'a>(world: &'a mut World, workload: &'static str) -> Outcome<'a> {
    Box::pin(async move { basic::whole_page(mesh(world, workload).await?).await })
}

fn versions<'a>(world: &'a mut World, workload: &'static str) -> Outcome<'a> {
    Box::pin(async move { basic::three_versions(mesh(world, workload).await?).await })
}

fn to_envoy(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let strict = world.place.rule("strict-mtls.yaml");
        let mesh = mesh(world, "details-v1").await?;
        mesh.apply(&[strict]).await?;
        basic::whole_page(mesh).await?;
        let at = mesh.proxy("details-v1").await?.at(inbound_port(mesh).await?);
        identity::plain_is_refused(at, "/details/0").await?;
        let (_, peer) = identity::handshake(mesh, at, None).await?;
        let (shown, expected) = (peer.identity.map(|id| id.to_string()), identity::spiffe("details-v1"));
        ensure!(shown.as_deref() == Some(&*expected), "Envoy shows {shown:?}; expected {expected}");
        let stranger = TestCa::new("other.example").workload("bookinfo-productpage");
        let why = identity::is_refused(mesh, at, "/details/0", Some(stranger)).await?;
        Ok(format!("{expected}; a stranger: {why}"))
    })
}

fn of_access(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = mesh(world, "details-v1").await?;
        mesh.clear().await?;
        let at = mesh.proxy("details-v1").await?.at(inbound_port(mesh).await?);
        access::table(mesh, at).await
    })
}

fn of_attacks(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        let mesh = mesh(world, "details-v1").await?;
        let at = mesh.proxy("details-v1").await?.at(inbound_port(mesh).await?);
        let forged = attacks::forged_are_refused(mesh, &place, at, async |_| Ok(())).await?;
        Ok(format!("{forged}, {}", attacks::policies_are_kept(mesh, at).await?))
    })
}

fn of_deciders(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = mesh(world, "details-v1").await?;
        mesh.clear().await?;
        let at = mesh.proxy("details-v1").await?.at(inbound_port(mesh).await?);
        deciders::table(mesh, at).await
    })
}

fn of_revocation(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        // Envoy looks at the list when a connection begins.
        let once = authority::requests_each(&world.place, 1)?;
        let mesh = mesh(world, "details-v1").await?;
        mesh.clear().await?;
        mesh.apply(&[once]).await?;
        revocation::peers_refuse(mesh).await
    })
}

fn of_limits(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = mesh(world, "details-v1").await?;
        mesh.clear().await?;
        let at = mesh.proxy("details-v1").await?.at(inbound_port(mesh).await?);
        limits::table(mesh, at, false).await
    })
}

fn of_why(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = mesh(world, "details-v1").await?;
        mesh.clear().await?;
        let at = mesh.proxy("details-v1").await?.at(inbound_port(mesh).await?);
        why::table(mesh, at, false).await
    })
}

fn of_extensions(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = mesh(world, "details-v1").await?;
        mesh.clear().await?;
        let at = mesh.proxy("details-v1").await?.at(inbound_port(mesh).await?);
        extensions::table(mesh, at).await
    })
}

/// Without capture the sidecar listens on a port of its own choice, which the others learn as an endpoint.
async fn inbound_port(mesh: &Mesh) -> Result<u16> {
    let address = mesh.proxy("details-v1").await?.address;
    let said = mesh.halcyon(&["proxy-config", "endpoints", "productpage", "-o", "json"]).await?.good()?.out;
    let text =
        said.split(&format!("{address}:")).nth(1).with_context(|| format!("no endpoint on {address}: {said}"))?;
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("no port after {address}"))
}

fn from_envoy(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let strict = world.place.rule("strict-mtls.yaml");
        let to_v2 = world.place.write("to-v2.yaml", &rules::reviews_to("v2"))?;
        let mesh = mesh(world, "reviews-v2").await?;
        mesh.apply(&[strict, to_v2]).await?;
        let ratings = mesh.proxy("ratings-v1").await?.at(9080);
        identity::plain_is_refused(ratings, "/ratings/0").await.context("ratings must take mutual TLS only")?;
        let spread = Visitor::anonymous(mesh.gateway).spread(50).await?;
        ensure!(spread.count(Seen::V2) == 50, "{spread}; expected v2 with its stars alone");
        Ok(format!("{spread}, their stars over mutual TLS"))
    })
}
