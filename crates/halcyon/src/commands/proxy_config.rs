//! `halcyon proxy-config`: what was made for one proxy, and what it runs.

use std::process::ExitCode;

use anyhow::{Result, bail};
use control::v1::{ConfigResource, ProxyStatus, SyncState};
use serde_json::json;

use crate::cli::{Form, Part, ProxyConfigArgs};
use crate::client::Client;
use crate::print;

/// Exit code 1 if no proxy, or more than one, has that name.
pub async fn run(client: Client, args: ProxyConfigArgs) -> Result<ExitCode> {
    let status = client.status().await?;
    let proxy = find(&status.proxies, &args.node)?;
    let (kind, further) = match args.part {
        Part::Listeners => ("LDS", None),
        Part::Routes => ("RDS", Some("VHDS")),
        Part::Clusters => ("CDS", None),
        Part::Endpoints => ("EDS", None),
        Part::Secrets => ("SDS", None),
    };
    let config = client.proxy_config(&proxy.node).await?;
    let resources: Vec<ConfigResource> = config
        .kinds
        .into_iter()
        .filter(|k| k.kind == kind || Some(&*k.kind) == further)
        .flat_map(|k| k.resources)
        .collect();
    if args.output == Form::Json {
        let all = json!({ "node": proxy.node, "on_demand": config.on_demand, "resources": resources });
        crate::print::out!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    if resources.is_empty() {
        print::note(&format!("{} has no {kind} resource", proxy.node));
    }
    for resource in &resources {
        crate::print::out!("{}", resource.name);
        resource.summary.iter().for_each(|line| crate::print::out!("  {line}"));
    }
    if config.on_demand && matches!(args.part, Part::Routes | Part::Clusters | Part::Endpoints) {
        print::note("on demand: the proxy asks for what its program calls, and this is what it holds now");
    }
    std::iter::once(kind).chain(further).for_each(|kind| warn_if_not_in_force(proxy, kind));
    Ok(ExitCode::SUCCESS)
}

/// A proxy by its node id, or by a part of it that is no other's.
fn find<'a>(proxies: &'a [ProxyStatus], wanted: &str) -> Result<&'a ProxyStatus> {
    if let Some(exact) = proxies.iter().find(|p| p.node == wanted || p.instance == wanted) {
        return Ok(exact);
    }
    let near: Vec<&ProxyStatus> =
        proxies.iter().filter(|p| p.node.contains(wanted) || p.workload.contains(wanted)).collect();
    let names = |list: &[&ProxyStatus]| list.iter().map(|p| p.instance.as_str()).collect::<Vec<_>>().join(", ");
    match &near[..] {
        [only] => Ok(only),
        [] if proxies.is_empty() => bail!("no proxy is connected"),
        [] => bail!(
            "no connected proxy has `{wanted}` in its name; there are {}",
            names(&proxies.iter().collect::<Vec<_>>())
        ),
        many => bail!("several proxies have `{wanted}` in their name: {}; say more of it", names(many)),
    }
}

/// What was made is not what runs, as long as the proxy has not said yes.
fn warn_if_not_in_force(proxy: &ProxyStatus, kind: &str) {
    let Some(state) = proxy.types.iter().find(|t| t.kind == kind) else { return };
    match state.state {
        SyncState::Synced | SyncState::NeverSent => {}
        SyncState::Stale => print::note("the proxy has not acknowledged this yet"),
        SyncState::Nacked => {
            let reason = state.nack.as_deref().unwrap_or("no reason was given");
            print::note(&format!("the proxy refused some of this, and runs what it had before: {reason}"));
        }
    }
}
