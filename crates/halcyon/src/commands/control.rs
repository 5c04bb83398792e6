//! `halcyon control`: the control plane, until a signal.

mod guests;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use control::{Control, ControlOptions};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::{AccessLog, ControlArgs, OutboundPolicy, Place};
use crate::{paths, print};

/// Runs until SIGINT or SIGTERM.
pub async fn run(place: &Place, args: ControlArgs) -> Result<ExitCode> {
    if place.remote.server.is_some() {
        bail!("--server names a control plane of another machine; this command starts one here");
    }
    let filter = EnvFilter::try_from_env("HALCYON_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let (stop, watch) = base::drain::channel();
    let seen = observe::Options {
        history_bytes: args.observe.history_size << 20,
        most_traces: args.observe.traces,
        prometheus: args.observe.prometheus.clone(),
        ..observe::Options::default()
    };
    let control = Control::start_with(options(place, args)?, |house| guests::bring(house, seen), watch).await?;
    let doors = control.endpoints().clone();
    print::note(&format!("control plane: xDS and certificates on {}, metrics on {}", doors.tls, doors.metrics));
    print::note(&format!("plain xDS on {}, API on {}", doors.plain, doors.socket.display()));
    if let Some(api) = doors.api {
        print::note(&format!("API for users with tokens on https://{api}"));
    }
    if let Some(bundle) = doors.bundle {
        print::note(&format!("SPIFFE bundle of the trust domain on https://{bundle}/"));
    }
    if let Some(dashboard) = doors.dashboard {
        let missing = if observe::pages::are_there() { "" } else { " (built without its page: no Node.js)" };
        print::note(&format!("dashboard on http://{dashboard}{missing}; `halcyon dashboard` opens it"));
    }
    if let Some(spans) = doors.spans {
        print::note(&format!("spans by OTLP and Zipkin on http://{spans}"));
    }
    let finished = control.finished();
    tokio::pin!(finished);
    tokio::select! {
        ended = &mut finished => { ended?; return Ok(ExitCode::SUCCESS) }
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    stop.start();
    finished.await?;
    Ok(ExitCode::SUCCESS)
}

fn options(place: &Place, args: ControlArgs) -> Result<ControlOptions> {
    let data_dir = paths::data_dir(place.data_dir.as_deref())?;
    let policy = match args.outbound_policy {
        OutboundPolicy::AllowAny => "ALLOW_ANY",
        OutboundPolicy::RegistryOnly => "REGISTRY_ONLY",
    };
    let (access_log, encoding) = match args.access_log {
        AccessLog::Off => (None, "TEXT"),
        AccessLog::Text(file) => (Some(file), "TEXT"),
        AccessLog::Json(file) => (Some(file), "JSON"),
    };
    Ok(ControlOptions {
        config_dir: args.config_dir,
        ca_passphrase_file: args.ca_passphrase_file,
        trust_domain: Some(args.trust_domain),
        outbound_policy: Some(policy.to_owned()),
        access_log,
        access_log_encoding: Some(encoding.to_owned()),
        listen: Some(args.listen),
        tls_port: Some(args.xds_port),
        plain_port: Some(args.plain_xds_port),
        metrics_port: Some(args.metrics_port),
        certificate_ttl: Some(args.certificate_ttl),
        api: args.doors.api,
        api_cert: args.doors.api_cert.zip(args.doors.api_key),
        api_client_roots: args.doors.api_client_cas,
        socket_group: args.doors.socket_group,
        refusals: Some(args.refusals),
        ratelimit_config: args.limits.ratelimit_config,
        ratelimit_redis: args.limits.ratelimit_redis,
        ratelimit_headers: args.limits.ratelimit_headers,
        ratelimit_address: args.limits.ratelimit_address,
        bundle_endpoint: args.bundle.bundle_endpoint,
        bundle_endpoint_cert: args.bundle.bundle_endpoint_cert.zip(args.bundle.bundle_endpoint_key),
        bundle_refresh: Some(args.bundle.bundle_refresh_hint),
        dashboard: args.observe.dashboard.map(|dashboard| dashboard.0),
        takes_spans: true,
        spans: args.observe.spans,
        blocked_keys: args.blocked_key_networks,
        ..ControlOptions::new(data_dir)
    })
}
