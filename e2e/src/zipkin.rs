//! Zipkin's own server: how it is started, and what it answers.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::place::Place;
use crate::poll;
use crate::process::{self, Process, log_path};
use crate::web;

/// A virtual machine starts slowly on a busy machine.
const START: Duration = Duration::from_secs(120);

/// A server that runs until this goes.
pub struct Zipkin {
    /// Where it is.
    pub at: SocketAddr,
    _process: Process,
}

impl Zipkin {
    /// Starts one that keeps spans in its memory.
    pub async fn start(place: &Place) -> Result<Self> {
        let jar = place.zipkin()?;
        let java = place.installed("java", "default-jre-headless")?;
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, process::free_port()?));
        let logs = place.run.join("zipkin/logs");
        std::fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        let listen = [format!("--armeria.ports[0].ip={}", at.ip()), format!("--armeria.ports[0].port={}", at.port())];
        // It leaves nothing outside of its folder.
        let machine = ["-Xmx256m", "-XX:-UsePerfData", "-jar"].map(OsString::from);
        let server = [jar.into(), "--armeria.ports[0].protocols[0]=http".into()];
        let arguments: Vec<_> = machine.into_iter().chain(server).chain(listen.map(Into::into)).collect();
        let process = Process::start(place, "zipkin", &java, &arguments, &[], &log_path(&logs, "zipkin"))?;
        poll::until("Zipkin's server", START, async || web::get(at, "/health", &[]).await?.json()).await?;
        Ok(Self { at, _process: process })
    }

    /// The spans of a trace.
    pub async fn trace(&self, id: &str) -> Result<Vec<Value>> {
        let answer = web::get(self.at, &format!("/api/v2/trace/{id}"), &[]).await?.json()?;
        answer.as_array().cloned().context("no list of spans")
    }
}
