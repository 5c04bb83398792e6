//! `halcyon gateway`: a proxy at the edge of the mesh.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use control::registration::RegisteredRole;
use launch::SidecarOutput;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{GatewayArgs, Place};
use crate::proxy_setup::{PORTS, ProxySetup, Started, Ticket};
use crate::{paths, print};

/// How long the proxy may take to leave after it has drained, before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Runs until a signal, or until the proxy has ended.
pub async fn run(place: &Place, args: GatewayArgs) -> Result<ExitCode> {
    let claim = launch::free_loopback_address(&PORTS)?;
    let account = format!("{}-service-account", args.name);
    let ticket = Ticket::get(place, &args.join, &args.namespace, &account, &args.name).await?;
    let folder = paths::data_dir(place.data_dir.as_deref())?.join("gateways").join(&args.name);
    let (of, labels) = ((args.namespace.as_str(), args.name.as_str()), args.all_labels());
    let started = Started::ask(place, &args.join, args.workers, of, &labels, &BTreeMap::new()).await?;
    let grace = started.drain + GRACE;
    let setup = ProxySetup {
        namespace: args.namespace.clone(),
        service_account: account,
        workload: args.name.clone(),
        instance: args.name.clone(),
        labels,
        locality: args.locality.clone().unwrap_or_default(),
        weight: 1,
        role: RegisteredRole::Gateway { bind: args.bind, ports: args.map.iter().copied().collect(), edge: args.edge() },
        address: claim.address().into(),
        started,
        ready: None,
        leave_delay: None,
        on_demand: false,
        explain: args.explain,
        metrics: None,
        tell: args.tell.clone(),
        certificates: args.join.certificates.clone(),
        ticket,
        workload_api: None,
        folder,
    };
    let spec = setup.own(None, SidecarOutput::Inherit)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let mut child = Command::new(&spec.program)
        .args(&spec.args)
        .envs(spec.env.iter().cloned())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start `{}`", spec.program.display()))?;
    print::note(&format!("gateway {}: admin on {}", args.name, setup.admin()));
    tokio::select! {
        ended = child.wait() => bail!("the gateway's proxy has ended ({})", ended?),
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    if let Some(pid) = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    match tokio::time::timeout(grace, child.wait()).await {
        Ok(status) => Ok(ExitCode::from(if status?.success() { 0 } else { 1 })),
        Err(_) => {
            child.kill().await?;
            bail!("the gateway's proxy did not leave within {} s and was killed", grace.as_secs())
        }
    }
}
