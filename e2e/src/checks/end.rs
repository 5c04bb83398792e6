//! Item 7: the demo ends on Ctrl-C and leaves nothing. The whole run is compared too, at its very end.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::bookinfo::{Seen, Visitor};
use crate::poll;
use crate::process::{self, Process, free_port};
use crate::runner::{Check, Outcome};
use crate::world::World;

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new("end", "`halcyon demo` leaves nothing after Ctrl-C", 150, |w| left_by(w, Signal::INT)),
        Check::new("end", "`halcyon demo` leaves nothing after SIGTERM while it starts", 120, while_it_starts),
    ]
}

fn left_by(world: &mut World, signal: Signal) -> Outcome<'_> {
    Box::pin(async move {
        let (mut demo, gateway) = demo(world).await?;
        let visitor = Visitor::anonymous(gateway);
        let up = poll::until("the page of `halcyon demo`", Duration::from_secs(60), async || {
            ensure!(!demo.has_ended(), "`halcyon demo` has ended");
            let page = visitor.page().await?;
            ensure!(page.details && page.reviews != Seen::Failed, "{page:?}");
            Ok(())
        });
        up.await?;
        world.look_around();
        let processes = process::marked(&world.place.mark).len();
        let code = demo.end(signal, Duration::from_secs(40)).await?;
        ensure!(code == Some(0), "exit code {code:?} after {signal:?}; expected 0");
        nothing_is_left(world).await?;
        Ok(format!("{processes} processes gone"))
    })
}

fn while_it_starts(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let (mut demo, _) = demo(world).await?;
        let pid = demo.pid;
        poll::until("the first sidecar", Duration::from_secs(30), async || {
            ensure!(process::below(pid).iter().any(|p| p.program == "halcyon-proxy"), "no sidecar runs yet");
            Ok(())
        })
        .await?;
        let code = demo.end(Signal::TERM, Duration::from_secs(40)).await?;
        ensure!(code == Some(0), "exit code {code:?}; expected 0");
        nothing_is_left(world).await?;
        Ok(String::new())
    })
}

/// As a person starts it: its folder is its own.
async fn demo(world: &mut World) -> Result<(Process, std::net::SocketAddr)> {
    world.end_mesh().await;
    nothing_is_left(world).await?;
    let gateway = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let arguments = ["demo".into(), "--gateway".into(), gateway.to_string().into()];
    let folder = world.place.run.join("end/logs");
    std::fs::create_dir_all(&folder)?;
    let halcyon = world.place.program("halcyon");
    let demo = Process::start(&world.place, "demo", &halcyon, &arguments, &[], &folder.join("demo.log"))?;
    Ok((demo, gateway))
}

async fn nothing_is_left(world: &World) -> Result<()> {
    poll::until("all processes are gone", Duration::from_secs(5), async || {
        let left: Vec<String> =
            process::marked(&world.place.mark).iter().map(|p| format!("{} ({})", p.program, p.pid)).collect();
        ensure!(left.is_empty(), "still there: {}", left.join(", "));
        Ok(())
    })
    .await?;
    let files: Vec<_> = std::fs::read_dir(world.place.temp())?.flatten().map(|entry| entry.path()).collect();
    ensure!(files.is_empty(), "temporary files are left: {files:?}");
    Ok(())
}
