//! Item 2: Bookinfo's routing exercises, with our rules always and with Istio's own files where they are at hand.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bookinfo::{RATINGS, Seen, Spread, Visitor};
use crate::mesh::Mesh;
use crate::runner::{Check, Outcome, Skipped};
use crate::world::World;

/// Whose rules.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Istio,
}

/// The checks.
pub fn checks() -> Vec<Check> {
    macro_rules! both {
        ($($name:literal, $seconds:literal, $run:ident;)*) => {
            vec![$(
                Check::new("routing, our rules", $name, $seconds, |w| $run(w, Whose::Ours)),
                Check::new("routing, Istio's files", $name, $seconds, |w| $run(w, Whose::Istio)),
            )*]
        };
    }
    let mut all = both! {
        "all-v1: 200 of 200 requests", 90, all_v1;
        "reviews-test-v2: jason to v2, others to v1", 90, test_v2;
        "reviews-90-10: 1,000 requests within 4 points", 120, split_90_10;
        "reviews-80-20: 1,000 requests within 4 points", 120, split_80_20;
        "reviews-50-v3: 1,000 requests within 4 points", 120, split_50_50;
        "reviews-v3: nothing else", 90, only_v3;
        "ratings-test-delay: jason loses the reviews after two attempts of 3 s, others nothing", 120, delay;
        "ratings-test-abort: jason loses the stars, others nothing", 90, abort;
    };
    let phones =
        Check::new("routing, our rules", "reviews-phones-v3: telephones to v3, others to v1", 90, by_user_agent);
    all.push(phones);
    // Those of one side together: fewer files change between two checks, and the list reads better.
    all.sort_by_key(|check| check.group != "routing, our rules");
    all
}

impl Whose {
    /// The files of an exercise, in the order in which they are applied.
    fn files(self, world: &World, exercise: &[&str]) -> Result<Vec<PathBuf>> {
        if self == Self::Ours {
            let names = std::iter::once("destination-rules").chain(exercise.iter().copied());
            return Ok(names.map(|name| world.place.rule(&format!("{name}.yaml"))).collect());
        }
        let Some(folder) = world.place.istio_rules() else {
            return Err(Skipped("Istio's samples are not at hand (HALCYON_SHARED)".to_owned()).into());
        };
        let rules = exercise.iter().map(|name| format!("virtual-service-{name}.yaml"));
        let gateway_and_subsets = ["bookinfo-gateway.yaml", "destination-rule-all.yaml"].map(str::to_owned);
        Ok(gateway_and_subsets.into_iter().chain(rules).map(|name| folder.join(name)).collect())
    }
}

/// The demo's mesh with the rules of an exercise, each file by a command of its own, as people type it.
async fn with<'a>(world: &'a mut World, whose: Whose, exercise: &[&str]) -> Result<&'a Mesh> {
    let files = whose.files(world, exercise)?;
    let mesh = world.demo().await?;
    mesh.clear().await?;
    for file in &files {
        mesh.apply(&[file]).await.with_context(|| file.display().to_string())?;
    }
    Ok(mesh)
}

fn all_v1(world: &mut World, whose: Whose) -> Outcome<'_> {
    Box::pin(async move {
        let mesh = with(world, whose, &["all-v1"]).await?;
        only(&Visitor::anonymous(mesh.gateway), 200, Seen::V1).await
    })
}

fn only_v3(world: &mut World, whose: Whose) -> Outcome<'_> {
    Box::pin(async move {
        let mesh = with(world, whose, &["reviews-v3"]).await?;
        only(&Visitor::anonymous(mesh.gateway), 200, Seen::V3).await
    })
}

async fn only(visitor: &Visitor, requests: u32, wanted: Seen) -> Result<String> {
    let spread = visitor.spread(requests).await?;
    ensure!(spread.count(wanted) == requests, "{spread}; expected {wanted} alone");
    Ok(spread.to_string())
}

fn test_v2(world: &mut World, whose: Whose) -> Outcome<'_> {
    Box::pin(async move {
        let mesh = with(world, whose, &["all-v1", "reviews-test-v2"]).await?;
        let jason = Visitor::signed_in(mesh.gateway, "jason").await?;
        let his = only(&jason, 50, Seen::V2).await.context("jason")?;
        let others = only(&Visitor::anonymous(mesh.gateway), 50, Seen::V1).await.context("others")?;
        let anna = Visitor::signed_in(mesh.gateway, "anna").await?;
        only(&anna, 20, Seen::V1).await.context("anna")?;
        Ok(format!("jason: {his}, others: {others}"))
    })
}

fn by_user_agent(world: &mut World) -> Outcome<'_> {
    const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15";
    const DESK: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    Box::pin(async move {
        let mesh = with(world, Whose::Ours, &["all-v1", "reviews-phones-v3"]).await?;
        let phone = only(&Visitor::with_browser(mesh.gateway, PHONE), 50, Seen::V3).await.context("a telephone")?;
        let desk = only(&Visitor::with_browser(mesh.gateway, DESK), 50, Seen::V1).await.context("a computer")?;
        only(&Visitor::anonymous(mesh.gateway), 20, Seen::V1).await.context("nobody says what it is")?;
        Ok(format!("telephones: {phone}, others: {desk}"))
    })
}

fn split_90_10(world: &mut World, whose: Whose) -> Outcome<'_> {
    Box::pin(split(world, whose, "reviews-90-10", [(Seen::V1, 90.0), (Seen::V2, 10.0)]))
}

fn split_80_20(world: &mut World, whose: Whose) -> Outcome<'_> {
    Box::pin(split(world, whose, "reviews-80-20", [(Seen::V1, 80.0), (Seen::V2, 20.0)]))
}

fn split_50_50(world: &mut World, whose: Whose) -> Outcome<'_> {
    Box::pin(split(world, whose, "reviews-50-v3", [(Seen::V1, 50.0), (Seen::V3, 50.0)]))
}

/// How far a share may be off, in points of a hundred.
const POINTS: f64 = 4.0;

/// A fair split in halves is more than 4 points off in one of ninety samples of 1,000. Such a sample is continued to
/// 3,000, where a fair split is that far off once in eighty thousand times, and an unfair one still is.
async fn split(world: &mut World, whose: Whose, exercise: &str, shares: [(Seen, f64); 2]) -> Result<String> {
    let mesh = with(world, whose, &["all-v1", exercise]).await?;
    let visitor = Visitor::anonymous(mesh.gateway);
    let mut spread: Spread = visitor.spread(1000).await?;
    if !spread.is_within(POINTS, &shares) {
        spread.merge(&visitor.spread(2000).await?);
    }
    let expected = shares.map(|(seen, share)| format!("{seen} {share} %")).join(", ");
    ensure!(spread.is_within(POINTS, &shares), "{spread}; expected {expected}, each within {POINTS} points");
    Ok(spread.to_string())
}

fn delay(world: &mut World, whose: Whose) -> Outcome<'_> {
    Box::pin(async move {
        let mesh = with(world, whose, &["all-v1", "reviews-test-v2", "ratings-test-delay"]).await?;
        let jason = Visitor::signed_in(mesh.gateway, "jason").await?;
        let page = jason.page().await?;
        ensure!(page.details && page.reviews == Seen::Failed, "jason sees {page:?}; expected the reviews' error");
        let took = page.took.as_secs_f64();
        ensure!((5.5..12.0).contains(&took), "jason's page took {took:.1} s; expected two attempts of 3 s");
        for visitor in [Visitor::anonymous(mesh.gateway), Visitor::signed_in(mesh.gateway, "anna").await?] {
            let page = visitor.page().await?;
            ensure!(page.details && page.reviews == Seen::V1, "others see {page:?}; expected reviews v1");
            ensure!(page.took < Duration::from_secs(3), "others wait too: {page:?}");
            ensure!(visitor.ask(RATINGS).await?.status == 200, "others get no ratings");
        }
        Ok(format!("jason's page after {took:.1} s"))
    })
}

fn abort(world: &mut World, whose: Whose) -> Outcome<'_> {
    Box::pin(async move {
        let mesh = with(world, whose, &["all-v1", "reviews-test-v2", "ratings-test-abort"]).await?;
        let jason = Visitor::signed_in(mesh.gateway, "jason").await?;
        let page = jason.page().await?;
        ensure!(page.details && page.reviews == Seen::NoStars, "jason sees {page:?}; expected reviews without stars");
        let status = jason.ask(RATINGS).await?.status;
        ensure!(status == 500, "jason asks for ratings and gets status {status}; expected 500");
        let anna = Visitor::signed_in(mesh.gateway, "anna").await?;
        ensure!(anna.page().await?.reviews == Seen::V1, "others do not see reviews v1");
        for _ in 0..10 {
            let status = anna.ask(RATINGS).await?.status;
            ensure!(status == 200, "others ask for ratings and get status {status}; expected 200");
        }
        Ok("jason: the ratings service is unavailable".to_owned())
    })
}
