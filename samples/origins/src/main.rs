//! The `origins` program: one subcommand for each server and client. A server's first line is the address it listens on.
#![allow(clippy::print_stdout)] // a program: what it prints is what it is for

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use origins::listen::{Listen, stop_signal};
use origins::load::{LoadOptions, Plan};
use origins::{authz, grpc, http_echo, load, tcp, udp, ws};
use tonic::transport::Endpoint;

/// Below the 30 s after which Kubernetes kills.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);

#[derive(Parser)]
#[command(name = "origins", version, about = "Origin servers and clients for tests and demonstrations")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// HTTP echo: /status/N, /delay/SECS, /stream/N, /bytes/N, /upload, /trailers, /break/N; JSON of the request elsewhere.
    HttpEcho(Listen),
    /// WebSocket echo.
    WsEcho(Listen),
    /// Send messages over a WebSocket and check that they come back.
    WsClient(Messages),
    /// TCP echo; with --greet the server speaks first.
    TcpEcho {
        #[command(flatten)]
        listen: Listen,
        /// A line to send before anything is read.
        #[arg(long, num_args = 0..=1, default_missing_value = "hello, this is tcp-echo")]
        greet: Option<String>,
    },
    /// Send lines over TCP and check that they come back.
    TcpClient {
        #[command(flatten)]
        messages: Messages,
        /// Wait for the server's greeting first.
        #[arg(long)]
        greeted: bool,
    },
    /// UDP echo.
    UdpEcho(Listen),
    /// Send datagrams and check that they come back.
    UdpClient(Messages),
    /// gRPC echo: all four kinds of calls.
    GrpcEcho(Listen),
    /// Work through a checklist of gRPC calls against grpc-echo.
    GrpcClient {
        /// http://host:port
        url: String,
        /// Only these checks; may be repeated.
        #[arg(long, value_parser = grpc::checklist::NAMES)]
        only: Vec<String>,
        /// The authority to name, when it is not the one of the URL.
        #[arg(long)]
        authority: Option<String>,
        /// Time limit of each check, in seconds.
        #[arg(long, default_value_t = 10.0)]
        timeout: f64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Decide on requests for proxies, over HTTP: the header `x-authz` says what (allow, hang, mistake; else they are denied).
    HttpAuthz(Listen),
    /// The same over gRPC (envoy.service.auth.v3.Authorization).
    GrpcAuthz(Listen),
    /// Constant-rate HTTP load with honest latencies.
    Load(LoadOptions),
}

#[derive(clap::Args)]
struct Messages {
    /// Where to: ws://host:port/path for ws-client, host:port for the others.
    to: String,
    /// What to send.
    #[arg(default_value = "hello")]
    messages: Vec<String>,
    /// Time limit of each step, in seconds.
    #[arg(long, default_value_t = 10.0)]
    timeout: f64,
}

fn main() -> ExitCode {
    let line = Line::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run_bounded(line.command)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("origins: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command; after the stop signal it has [`DRAIN_LIMIT`] to finish what is open.
async fn run_bounded(command: Command) -> anyhow::Result<bool> {
    let stop = stop_signal()?;
    tokio::select! {
        ended = run(command) => ended,
        () = async {
            stop.await;
            tokio::time::sleep(DRAIN_LIMIT).await;
        } => Ok(true),
    }
}

/// False: it ran, but what it checked is not as it should be.
async fn run(command: Command) -> anyhow::Result<bool> {
    let stop = stop_signal()?;
    match command {
        Command::HttpEcho(listen) => http_echo::serve(announced(&listen).await?, listen.name(), stop).await?,
        Command::WsEcho(listen) => ws::serve(announced(&listen).await?, stop).await?,
        Command::GrpcEcho(listen) => grpc::serve(announced(&listen).await?, listen.name(), stop).await?,
        Command::HttpAuthz(listen) => authz::serve_http(announced(&listen).await?, stop).await?,
        Command::GrpcAuthz(listen) => authz::serve_grpc(announced(&listen).await?, stop).await?,
        Command::TcpEcho { listen, greet } => tokio::select! {
            ended = tcp::serve(announced(&listen).await?, greet) => ended?,
            () = stop => {}
        },
        Command::UdpEcho(listen) => {
            let socket = listen.udp().await?;
            println!("{}", socket.local_addr()?);
            tokio::select! {
                ended = udp::serve(socket) => ended?,
                () = stop => {}
            }
        }
        Command::WsClient(to) => {
            ws::client(&to.to, &to.messages, seconds(to.timeout)?, |heard| println!("{heard}")).await?;
        }
        Command::TcpClient { messages: to, greeted } => {
            let heard = tcp::client(&to.to, &to.messages, greeted, seconds(to.timeout)?).await;
            heard.with_context(|| to.to.clone())?.iter().for_each(|line| println!("{line}"));
        }
        Command::UdpClient(to) => {
            udp::client(&to.to, &to.messages, seconds(to.timeout)?).await.with_context(|| to.to.clone())?;
            to.messages.iter().for_each(|message| println!("{message}"));
        }
        Command::GrpcClient { url, only, authority, timeout, json } => {
            return checklist(&url, &only, authority, seconds(timeout)?, json).await;
        }
        Command::Load(options) => {
            let json = options.json;
            let report = load::run(Plan::try_from(options)?, stop).await?;
            if json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{report}");
            }
            // Failing answers are a finding, not a failure of the tool; none at all is one.
            return Ok(report.answers > 0 || report.requests == 0);
        }
    }
    Ok(true)
}

async fn announced(listen: &Listen) -> anyhow::Result<tokio::net::TcpListener> {
    let listener = listen.tcp().await?;
    let address: SocketAddr = listener.local_addr()?;
    println!("{address}");
    Ok(listener)
}

fn seconds(value: f64) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(value)
        .with_context(|| format!("--timeout {value}: not a time span; expected seconds, for example 2.5"))
}

async fn checklist(
    url: &str,
    only: &[String],
    authority: Option<String>,
    within: Duration,
    json: bool,
) -> anyhow::Result<bool> {
    let wrong = || format!("{url}: not a URL that can be called; expected http://host:port");
    let mut endpoint = Endpoint::from_shared(url.to_owned()).with_context(wrong)?;
    if let Some(authority) = authority {
        let origin = format!("http://{authority}");
        endpoint =
            endpoint.origin(origin.parse().with_context(|| format!("--authority {authority}: expected host[:port]"))?);
    }
    let checks = grpc::checklist::run(endpoint, only, within)
        .await
        .with_context(|| format!("{url}: cannot connect; expected a gRPC echo server there"))?;
    let good = checks.iter().all(|check| check.fault.is_none());
    if json {
        println!("{}", serde_json::to_string_pretty(&checks)?);
        return Ok(good);
    }
    for check in &checks {
        match &check.fault {
            None => {
                let name = check.served_by.as_deref().unwrap_or("unknown");
                println!("ok    {:<22} {:>9.2} ms  {name}", check.name, check.took_ms);
            }
            Some(why) => println!("FAIL  {:<22} {:>9.2} ms  {why}", check.name, check.took_ms),
        }
    }
    Ok(good)
}
