//! Programs without a proxy: gRPC's own library reads our configuration by xDS. Their calls are plain text, to workloads
//! with sidecars in PERMISSIVE mode.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::inside::GRPC;
use crate::mesh::Mesh;
use crate::python::GRPC_ECHO;
use crate::runner::{Check, Outcome};
use crate::world::World;

const GROUP: &str = "programs without a proxy";
const HOST: &str = "echo.default.svc.cluster.local";
/// How long a program may take to read its configuration and make its first call.
const PATIENCE: &str = "20";

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "grpcio: calls reach a service by its whole name and by its short one", 120, names),
        Check::new(GROUP, "grpcio: a fault is injected, and taken back", 120, faults),
    ]
}

async fn mesh(world: &mut World) -> Result<&mut Mesh> {
    let mesh = world.demo().await?;
    mesh.clear().await?;
    mesh.with_echo().await?;
    Ok(mesh)
}

/// What a program saw.
#[derive(Debug)]
struct Seen {
    statuses: BTreeMap<String, u64>,
    details: String,
}

/// Makes calls as a program that has nothing but gRPC and the address of our control plane.
async fn call(world: &mut World, target: &str, calls: u32) -> Result<Seen> {
    let place = world.place.clone();
    let mesh = world.demo().await?;
    let endpoints = std::fs::read_to_string(mesh.data_dir.join("endpoints.json")).context("endpoints.json")?;
    let endpoints: Value = serde_json::from_str(&endpoints)?;
    let control = endpoints["plain"].as_str().with_context(|| format!("no plain xDS in {endpoints}"))?;
    let bootstrap = json!({
        "xds_servers": [{
            "server_uri": control,
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }],
        "node": {
            "id": "sidecar~127.0.0.1~client.default~default.svc.cluster.local",
            "metadata": {"GENERATOR": "grpc", "NAMESPACE": "default"},
        },
    });
    let arguments = [format!("xds:///{target}"), calls.to_string(), PATIENCE.to_owned()];
    let told = ("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap.to_string());
    Seen::read(&GRPC_ECHO.run(&place, &arguments, Some(told)).await?)
}

impl Seen {
    fn read(said: &Value) -> Result<Self> {
        let statuses = serde_json::from_value(said["statuses"].clone());
        Ok(Self {
            statuses: statuses.with_context(|| format!("no statuses in {said}"))?,
            details: said["details"].as_str().unwrap_or_default().to_owned(),
        })
    }
}

fn names(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        mesh(world).await?;
        for host in [HOST, "echo", "echo.default"] {
            let seen = call(world, &format!("{host}:{}", GRPC[0]), 20).await?;
            ensure!(seen.statuses == BTreeMap::from([("OK".to_owned(), 20)]), "{host}: {seen:?}");
        }
        Ok("3 names, 20 calls each".to_owned())
    })
}

fn faults(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        mesh(world).await?;
        let rule = world.place.write(
            "abort.yaml",
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: echo}\nspec:\n  hosts: [echo]\n  http:\n  - fault: {abort: {httpStatus: 503, percentage: {value: 100}}}\n    route: [{destination: {host: echo}}]\n",
        )?;
        world.demo().await?.apply(&[rule]).await?;
        let target = format!("{HOST}:{}", GRPC[0]);
        let seen = call(world, &target, 10).await?;
        ensure!(seen.statuses == BTreeMap::from([("UNAVAILABLE".to_owned(), 10)]), "{seen:?}");
        let said = seen.details;
        world.demo().await?.clear().await?;
        let seen = call(world, &target, 10).await?;
        ensure!(seen.statuses == BTreeMap::from([("OK".to_owned(), 10)]), "{seen:?}");
        Ok(format!("UNAVAILABLE ({said}), then OK"))
    })
}
