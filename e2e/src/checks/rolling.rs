//! What comes and goes in peace, under load: workloads that are replaced one by one, and instances that join and leave.
//! Nothing of it may cost a request.

use std::time::Duration;

use anyhow::Context;

use crate::load::{all_good, load};
use crate::mesh::Mesh;
use crate::runner::{Check, Outcome};
use crate::world::{Wanted, World};

const GROUP: &str = "rolling";
/// Requests per second.
const RATE: u32 = 200;
/// How often an instance joins and leaves.
const ROUNDS: u32 = 5;
/// What is said of the load before and after, too.
const AROUND: Duration = Duration::from_secs(1);

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "all six workloads replaced one by one at 200 requests/s: no failed request", 300, replaced),
        Check::new(
            GROUP,
            "instances of reviews and ratings join and leave at 200 requests/s: no failed request",
            240,
            churn,
        ),
    ]
}

fn replaced(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.mesh(Wanted::Parts).await?;
        mesh.clear().await?;
        let gateway = mesh.gateway;
        let replacing = async {
            tokio::time::sleep(AROUND).await;
            for workload in Mesh::workloads() {
                mesh.replace(&workload).await.with_context(|| format!("{workload} is replaced"))?;
            }
            tokio::time::sleep(AROUND).await;
            Ok(())
        };
        let (samples, ()) = load(gateway, RATE, replacing).await?;
        all_good(&samples, RATE as usize)?;
        Ok(format!("{} requests", samples.len()))
    })
}

fn churn(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.mesh(Wanted::Parts).await?;
        mesh.clear().await?;
        let gateway = mesh.gateway;
        let coming_and_going = async {
            for _ in 0..ROUNDS {
                for workload in ["reviews-v2", "ratings-v1"] {
                    mesh.double(workload).await?;
                    mesh.halve(workload).await?;
                }
            }
            tokio::time::sleep(AROUND).await;
            Ok::<_, anyhow::Error>(())
        };
        let (samples, ()) = load(gateway, RATE, coming_and_going).await?;
        all_good(&samples, RATE as usize)?;
        Ok(format!("{} requests, {} instances came and went", samples.len(), 2 * ROUNDS))
    })
}
