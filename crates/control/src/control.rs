//! Builds the control plane from its options and runs it: who is given what stands here, and nowhere else.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use api::Source;
use api::source::Subscription;
use axum::Router;
use base::Clock;
use base::drain::{self, Signal, Watch};
use ca::DirStore;
use proto::envoy::service::accesslog::v3::access_log_service_server::AccessLogServiceServer;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use proto::envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitServiceServer;
use proto::halcyon::identity::v1::workload_identity_server::WorkloadIdentityServer;
use proto::istio::v1::auth::istio_certificate_service_server::IstioCertificateServiceServer;
use telemetry::Registry;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;
use translate::{LimitServiceAt, MeshTrust};
use transport::listen;
use transport::tls::{Accept, Certificate, ClientAuth, PeerCheck, ServerOptions, ServerTls, Versions};

use crate::api_doors;
use crate::audit;
use crate::authority::{self, Beginning, Issuer};
use crate::callers::{Attempts, Users};
use crate::certificates::CertificateService;
use crate::dashboard::{self, Sessions};
use crate::doors::{self, ApiListener, Incoming, KEEPALIVE, Places};
use crate::error::ControlError;
use crate::federation;
use crate::files::Directory;
use crate::guests::{Guests, House, Tellers};
use crate::keys;
use crate::options::{ControlOptions, Endpoints, Settings};
use crate::push::{self, Proxies, Push};
use crate::ratelimit::{self, CountRow, Counts, DomainDirectory, Keeper, RateLimits, Shared};
use crate::refusals::{self, Refusals, Ring};
use crate::registry::{self, Desk};
use crate::rest;
use crate::rotation::Rotation;
use crate::scrape;
use crate::store::{self, Disk, Kept, Start, Store, StoreError};
use crate::svids::{self, SvidService, Svids};

/// A control plane that runs.
pub struct Control {
    endpoints: Endpoints,
    written: PathBuf,
    store: Store,
    clock: Clock,
    keeper: Keeper,
    doors: JoinSet<Result<(), ControlError>>,
    chores: JoinSet<()>,
    _files: Option<Subscription>,
    /// Ends everything inside; begins when the drain outside does, or when a door fails.
    stop: Signal,
    drain: Watch,
}

/// Connections may take this long to end once the drain has begun.
const PATIENCE: Duration = Duration::from_secs(3);
/// Requests of proxies that come back name every resource that they hold.
const MOST_REQUEST_BYTES: usize = 32 << 20;

/// Starts the control plane and runs it until `drain` begins.
///
/// # Errors
/// [`ControlError`], one line each.
pub async fn run(options: ControlOptions, drain: Watch) -> Result<(), ControlError> {
    Control::start(options, drain).await?.finished().await
}

/// Sockets that are bound and not yet served.
struct Sockets {
    tls: TcpListener,
    plain: TcpListener,
    metrics: TcpListener,
    api: UnixListener,
    remote_api: Option<TcpListener>,
    bundle: Option<TcpListener>,
    dashboard: Option<TcpListener>,
    spans: Option<TcpListener>,
}

impl Control {
    /// Opens everything. When it returns, all doors are open. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// [`ControlError`], one line each; nothing runs then.
    pub async fn start(options: ControlOptions, drain: Watch) -> Result<Self, ControlError> {
        Self::start_with(options, |_| Ok(Guests::default()), drain).await
    }

    /// The same with guests, who are asked what they bring before any door is open.
    ///
    /// # Errors
    /// As [`Self::start`], and what a guest says.
    pub async fn start_with(
        options: ControlOptions,
        guests: impl FnOnce(House) -> Result<Guests, String>,
        drain: Watch,
    ) -> Result<Self, ControlError> {
        let mut settings = options.resolve()?;
        let clock = Clock::system();
        let started = clock.now();
        let metrics = Registry::new();
        let shard = metrics.shard();
        // The lock on the data directory comes first: nothing in it is touched while another control plane uses it.
        let disk = Disk::open(&settings.data_dir)?;
        let (sockets, endpoints) = bind(&settings)?;
        let limit_files = ratelimit::Files::open(settings.limits.files.as_deref())?;
        settings.mesh.has_limit_files = settings.limits.files.is_some();
        settings.mesh.is_served = true;
        settings.mesh.limit_service = limit_service(&settings, endpoints.tls);
        settings.mesh.tells_refusals = settings.refusals > 0;
        settings.mesh.tells_spans = settings.takes_spans;
        let files = DirStore::new(&settings.ca_dir).sealed_by(settings.ca_passphrase.clone());
        let authority = authority::open(&files, &settings.ca_dir, &settings.mesh.trust_domain, started)?;
        let (store, kept) = Store::open(
            disk,
            Start {
                settings: settings.mesh.clone(),
                trust: MeshTrust::roots(authority.bundle().concat()),
                has_files: settings.config_dir.is_some(),
                clock: clock.clone(),
                shard: &shard,
            },
        )?;
        let Kept { workloads, tokens, leaves, revoked, users, user_tokens, counts, steps } = kept;
        let watched = match &settings.config_dir {
            Some(dir) => Some(watch_files(dir, &store).await?),
            None => None,
        };
        let declared = "declared once, alike";
        let counters = authority::Metrics::new(&shard).expect(declared);
        let token_files = files.clone();
        let begin = Beginning { authority, files, tokens, leaves, revoked };
        let own = (settings.certificate_ttl, settings.identity.clone());
        let issuer = Issuer::new(begin, store.clone(), clock.clone(), own, counters)?;
        // Nobody is told of roots without what is revoked.
        issuer.publish().await.map_err(|e| ControlError::Revoked(e.to_string()))?;
        let tls = server_tls(&issuer)?;
        let svids = Svids::open(
            token_files,
            issuer.clone(),
            store.clone(),
            clock.clone(),
            settings.bundle_refresh,
            svids::Metrics::new(&shard).expect(declared),
        )?;

        let (stop, stopping) = drain::channel();
        let desk = Desk::open(store.clone(), workloads, registry::Metrics::new(&shard).expect(declared));
        let proxies = Proxies::default();
        let push = Push::new(
            store.clone(),
            steps,
            desk.clone(),
            proxies.clone(),
            settings.mesh.trust_domain.clone(),
            clock.clone(),
            stopping.clone(),
            push::Metrics::new(&shard).expect(declared),
        );
        let mut chores = JoinSet::new();
        // Others have looked some times before a root signs (SPIFFE_Federation.md, section 4.1).
        let known_before = settings.bundle.as_ref().map_or(Duration::ZERO, |_| 3 * settings.bundle_refresh);
        let rotation = Rotation::new(issuer.clone(), proxies.clone(), known_before);
        chores.spawn(renew(issuer.clone(), clock.clone()));
        chores.spawn(rotation.clone().follow());
        chores.spawn(believe_others(issuer.clone(), store.clone()));
        chores.spawn(push.clone().follow());
        chores.spawn(sweep(push.clone(), store.clone()));
        let client = keys::Client::new(settings.blocked_keys.clone());
        let fetches = keys::Metrics::new(&shard).expect(declared);
        chores.spawn(keys::follow(store.clone(), client.clone(), keys::TIMES, fetches));
        chores.spawn(federation::follow(store.clone(), client));
        chores.spawn(svids.clone().follow());

        let keeper = keeper(&settings, counts, &clock)?;
        if let Keeper::Own(counts) = &keeper {
            chores.spawn(ratelimit::keep(counts.clone(), store.clone(), clock.clone()));
        }
        chores.spawn(ratelimit::follow(limit_files.clone()));
        let limits = RateLimits::new(
            DomainDirectory::new(store.clone(), limit_files),
            keeper.clone(),
            clock.clone(),
            settings.mesh.trust_domain.clone(),
            settings.limits.headers,
            ratelimit::Metrics::new(&shard).expect(declared),
        );

        let tellers = Tellers::new(proxies.clone(), settings.mesh.trust_domain.clone());
        let refused = Ring::new(settings.refusals);
        let refusals = Refusals::new(
            refused.clone(),
            proxies.clone(),
            clock.clone(),
            tellers.clone(),
            refusals::Metrics::new(&shard).expect(declared),
        );

        let guests = guests(House {
            data_dir: settings.data_dir.clone(),
            clock: clock.clone(),
            shard: shard.clone(),
            drain: stopping.clone(),
            tellers,
        });
        let guests = guests.map_err(ControlError::Guest)?;
        guests.chores.into_iter().for_each(|chore| drop(chores.spawn(chore)));

        let mut doors = JoinSet::new();
        let api_tls = match &settings.api {
            Some(door) => Some(api_doors::tls(door, &issuer, &mut chores)?),
            None => None,
        };
        let bundle_tls = match &settings.bundle {
            Some(door) => Some(svids::tls(door, &issuer, &mut chores)?),
            None => None,
        };
        if let (Some(listener), Some(tls), Some(address)) = (sockets.bundle, bundle_tls, endpoints.bundle) {
            let listener = ApiListener::new(
                doors::incoming(listener, Some(tls), Some(Places::new(api_doors::CONNECTIONS)), &stopping),
                address,
            );
            doors.spawn(svids::serve(listener, svids.told(), stopping.clone()));
        }
        let svids = SvidService::new(svids, stopping.clone());
        let services = Services {
            push: push.clone(),
            issuer: Some(issuer.clone()),
            limits: Some(limits),
            svids: Some(svids),
            refusals: Some(refusals),
            guests: guests.services,
        };
        doors.spawn(services.serve("TLS", doors::incoming(sockets.tls, Some(tls), None, &stopping), stopping.clone()));
        let services = Services { push, issuer: None, limits: None, svids: None, refusals: None, guests: None };
        doors.spawn(services.serve("plain", doors::incoming(sockets.plain, None, None, &stopping), stopping.clone()));
        let gate_shard = shard.clone();
        let pages = scrape::pages(metrics, shard, proxies.clone());
        doors.spawn(serve_pages("metrics", sockets.metrics, pages, stopping.clone()));
        let parts = rest::Parts {
            users: Users::new(users, user_tokens, store.clone(), clock.clone()),
            store: store.clone(),
            proxies,
            desk,
            issuer,
            rotation,
            endpoints: endpoints.clone(),
            started,
            clock: clock.clone(),
            attempts: Attempts::default(),
            group_role: settings.socket_group.map(|(_, role)| role),
            audit_dir: settings.data_dir.join(audit::FOLDER),
            gate: rest::Metrics::new(&gate_shard).expect(declared),
            refused,
            sessions: Sessions::default(),
        };
        let parts = Arc::new(parts);
        let calls = rest::calls(&parts, guests.calls);
        if let Some(listener) = sockets.dashboard {
            let pages = guests.pages.unwrap_or_default();
            let routes = dashboard::router(&parts, calls.clone(), pages);
            doors.spawn(dashboard::serve(listener, routes, stopping.clone()));
        }
        if let (Some(listener), Some(routes)) = (sockets.spans, guests.spans) {
            doors.spawn(serve_pages("spans", listener, routes, stopping.clone()));
        }
        let routes = rest::router(&parts, calls);
        doors.spawn(api_doors::serve_local(sockets.api, routes.clone(), stopping.clone()));
        if let (Some(listener), Some(tls), Some(address)) = (sockets.remote_api, api_tls, endpoints.api) {
            let places = Places::new(api_doors::CONNECTIONS);
            let listener = ApiListener::new(doors::incoming(listener, Some(tls), Some(places), &stopping), address);
            doors.spawn(api_doors::serve_remote(listener, routes, stopping));
        }

        let written = settings.data_dir.join("endpoints.json");
        let json = serde_json::to_string_pretty(&endpoints).unwrap_or_default();
        store::replace_file(&written, &json).map_err(|e| StoreError::io(&written, e))?;
        tracing::info!("xDS and certificates on {}, API on {}", endpoints.tls, endpoints.socket.display());
        Ok(Self { endpoints, written, store, clock, keeper, doors, chores, _files: watched, stop, drain })
    }

    /// Where it is reached.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Completes when the drain that it was started with is over.
    ///
    /// # Errors
    /// [`ControlError::Door`] if a door stopped by itself.
    pub async fn finished(mut self) -> Result<(), ControlError> {
        let failed = tokio::select! {
            () = self.drain.started() => None,
            ended = self.doors.join_next() => Some(match ended {
                Some(Ok(Err(error))) => error,
                _ => ControlError::Door { door: "one", reason: "it ended by itself".to_owned() },
            }),
        };
        self.stop.start();
        let all = async { while self.doors.join_next().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            tracing::info!("some connections did not end in time, and are cut");
        }
        self.doors.shutdown().await;
        self.chores.shutdown().await;
        if let Keeper::Own(counts) = &self.keeper {
            counts.write(&self.store, &self.clock).await;
        }
        self.store.stop().await;
        // Nobody is to find a control plane that is not there. What cannot be removed is replaced at the next start.
        let _ = std::fs::remove_file(&self.endpoints.socket);
        let _ = std::fs::remove_file(&self.written);
        failed.map_or(Ok(()), Err)
    }
}

fn bind(settings: &Settings) -> Result<(Sockets, Endpoints), ControlError> {
    let (tls, tls_addr) = doors::bind(settings.tls)?;
    let (plain, plain_addr) = doors::bind(settings.plain)?;
    let (metrics, metrics_addr) = doors::bind(settings.metrics)?;
    let socket = settings.data_dir.join("control.sock");
    let api = match settings.socket_group {
        None => listen::unix(&socket, 0o600)?,
        Some((group, _)) => api_doors::open_to_group(&settings.data_dir, &socket, group)?,
    };
    let if_any = |address: Option<SocketAddr>| match address {
        Some(address) => doors::bind(address).map(|(listener, address)| (Some(listener), Some(address))),
        None => Ok((None, None)),
    };
    let (remote_api, remote_addr) = if_any(settings.api.as_ref().map(|door| door.address))?;
    let (bundle, bundle_addr) = if_any(settings.bundle.as_ref().map(|door| door.address))?;
    let (dashboard, dashboard_addr) = match if_any(settings.dashboard) {
        Err(error) if settings.dashboard_anywhere => {
            tracing::warn!("the dashboard is at another port: {error}");
            if_any(Some((Ipv4Addr::LOCALHOST, 0).into()))?
        }
        bound => bound?,
    };
    let (spans, spans_addr) = if_any(settings.spans)?;
    let endpoints = Endpoints {
        tls: tls_addr,
        plain: plain_addr,
        metrics: metrics_addr,
        socket,
        api: remote_addr,
        bundle: bundle_addr,
        dashboard: dashboard_addr,
        spans: spans_addr,
        identity: settings.identity.to_string(),
        pid: std::process::id(),
    };
    Ok((Sockets { tls, plain, metrics, api, remote_api, bundle, dashboard, spans }, endpoints))
}

/// Watches the directory; what it holds now is in the store when this completes.
async fn watch_files(dir: &Path, store: &Store) -> Result<Subscription, ControlError> {
    let taker = store.clone();
    let subscription = Directory::new(dir).subscribe(Box::new(move |batch| taker.deliver(batch)))?;
    store.settled().await?;
    Ok(subscription)
}

/// Proxies prove who they are by certificate, if they have one yet.
fn server_tls(issuer: &Issuer) -> Result<ServerTls, ControlError> {
    let check = PeerCheck::Spiffe { trust: issuer.own().trust.clone(), accept: Accept::Any };
    let mut options = ServerOptions::new(issuer.own().cert.clone());
    options.client_auth = ClientAuth::Optional(check);
    options.alpn = vec![b"h2".to_vec()];
    options.versions = Versions::V1_3;
    ServerTls::new(options).map_err(|e| ControlError::OwnCertificate(e.to_string()))
}

/// Has workloads come in that another authority has certified, where the settings of the mesh name it.
async fn believe_others(issuer: Issuer, store: Store) {
    let mut versions = store.watch();
    loop {
        let roots = translate::further_roots(&versions.borrow_and_update().world);
        if let Err(error) = issuer.believe_also(&String::from_utf8_lossy(&roots)).await {
            tracing::error!("the roots of `caCertificates` are not believed by the control plane: {error}");
        }
        if versions.changed().await.is_err() {
            return;
        }
    }
}

/// Renews the control plane's own certificate for as long as it runs.
async fn renew(issuer: Issuer, clock: Clock) {
    /// After a failure, and at most at once: a clock that jumps must not be slept over for hours.
    const AGAIN: Duration = Duration::from_secs(60);
    let due = |cert: Certificate| ca::renewal_time(cert.not_before, cert.not_after, rand::random_range(-0.1..0.1));
    let mut at = issuer.own().cert.certificate().map_or_else(|| clock.now(), due);
    loop {
        let left = at.duration_since(clock.now()).unwrap_or_default();
        if !left.is_zero() {
            tokio::time::sleep(left.min(60 * AGAIN)).await;
            continue;
        }
        match issuer.renew_own() {
            Ok(next) => at = next,
            Err(error) => {
                tracing::error!("{error}; trying again in {AGAIN:?}");
                at = clock.now() + AGAIN;
            }
        }
    }
}

/// Forgets encoded resources that nobody uses any more, some time after each change.
async fn sweep(push: Push, store: Store) {
    const LATER: Duration = Duration::from_secs(10);
    let mut versions = store.watch();
    while versions.changed().await.is_ok() {
        versions.mark_unchanged();
        tokio::time::sleep(LATER).await;
        push.sweep();
    }
}

/// Where proxies reach the TLS door to have requests counted. All addresses at once are none that could be dialled.
fn limit_service(settings: &Settings, listens: SocketAddr) -> Option<LimitServiceAt> {
    let address = settings.limits.address.or_else(|| Some(listens).filter(|at| !at.ip().is_unspecified()))?;
    Some(LimitServiceAt { address, identity: settings.identity.to_string() })
}

/// Who keeps the counts of rate limits.
fn keeper(settings: &Settings, counts: Vec<(String, CountRow)>, clock: &Clock) -> Result<Keeper, ControlError> {
    let Some(url) = &settings.limits.redis else {
        let now = clock.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        return Ok(Keeper::Own(Counts::new(counts, now)));
    };
    let shared = Shared::new(url).map_err(|error| ControlError::Option {
        option: "ratelimit redis",
        reason: format!("{error}; expected a URL such as `redis://127.0.0.1:6379`"),
    })?;
    Ok(Keeper::Shared(shared))
}

/// The gRPC services behind a door. Without an authority no certificates are given there, and nobody is proven whose
/// requests could be counted.
struct Services {
    push: Push,
    issuer: Option<Issuer>,
    limits: Option<RateLimits>,
    svids: Option<SvidService>,
    refusals: Option<Refusals>,
    guests: Option<Routes>,
}

impl Services {
    async fn serve(
        self,
        door: &'static str,
        incoming: ReceiverStream<std::io::Result<Incoming>>,
        drain: Watch,
    ) -> Result<(), ControlError> {
        let discovery = AggregatedDiscoveryServiceServer::new(self.push);
        let certificates = self.issuer.map(|issuer| CertificateService::new(issuer, Arc::default()));
        let certificates = certificates.map(IstioCertificateServiceServer::new);
        let refusals = self.refusals.map(|service| {
            AccessLogServiceServer::new(service).max_decoding_message_size(refusals::MOST_MESSAGE_BYTES)
        });
        let served = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE.0))
            .http2_keepalive_timeout(Some(KEEPALIVE.1))
            .add_routes(self.guests.unwrap_or_default())
            .add_service(discovery.max_decoding_message_size(MOST_REQUEST_BYTES))
            .add_optional_service(certificates)
            .add_optional_service(self.limits.map(RateLimitServiceServer::new))
            .add_optional_service(self.svids.map(WorkloadIdentityServer::new))
            .add_optional_service(refusals)
            .serve_with_incoming_shutdown(incoming, drain.started());
        served.await.map_err(|e| ControlError::Door { door, reason: e.to_string() })
    }
}

/// Serves a door for programs on this machine.
async fn serve_pages(
    door: &'static str,
    listener: TcpListener,
    routes: Router,
    drain: Watch,
) -> Result<(), ControlError> {
    let served = axum::serve(listener, routes).with_graceful_shutdown(drain.started()).await;
    served.map_err(|e| ControlError::Door { door, reason: e.to_string() })
}
