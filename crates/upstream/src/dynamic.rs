//! Clusters whose endpoints are the hosts that requests and connections name: looked up when the first one names them, kept
//! up beside the workers while they are in use, and forgotten after. What was found last stays in use while a name cannot
//! be resolved.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use base::Backoff;
use http::uri::Authority;
use model::DnsCache;
use model::dynamic_forward::AddressFamily;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Core;
use crate::dns::{self, AFTER_FAILURE, Resolve};

/// A host that was named, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The host, without a port.
    pub(crate) host: Arc<str>,
    /// Where it is dialled.
    pub(crate) address: SocketAddr,
}

/// Why a host that was named cannot be dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// None was named.
    #[error("no host is named")]
    Nameless,
    /// As many are held as may be.
    #[error("as many hosts are known as may be")]
    Full,
    /// It was looked up, and there is no address.
    #[error("{0}")]
    NotFound(Arc<str>),
}

/// The hosts that a cluster knows.
pub(crate) struct Hosts {
    settings: DnsCache,
    known: Mutex<HashMap<Arc<str>, Arc<Known>>>,
    lookups: OnceLock<(Handle, Arc<dyn Resolve>)>,
}

/// A host that was named.
struct Known {
    answer: watch::Sender<Answer>,
    used: Mutex<Instant>,
}

#[derive(Debug, Clone)]
enum Answer {
    Asked,
    At(SocketAddr),
    NotFound(Arc<str>),
}

impl Hosts {
    pub(crate) fn new(settings: DnsCache) -> Self {
        Self { settings, known: Mutex::default(), lookups: OnceLock::new() }
    }

    /// From now on names are looked up by tasks on `runtime`.
    pub(crate) fn resolve_on(&self, runtime: &Handle, resolver: Arc<dyn Resolve>) {
        // A second time means the same.
        let _ = self.lookups.set((runtime.clone(), resolver));
    }

    /// What is known of a host; asks for it, if it is new.
    fn ask(&self, core: &Arc<Core>, host: &str, port: u16) -> Result<watch::Receiver<Answer>, NoTarget> {
        let key = format!("{host}:{port}");
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&*key) {
            known.is_used();
            return Ok(known.answer.subscribe());
        }
        let Some((runtime, resolver)) = self.lookups.get() else {
            return Err(NoTarget::NotFound("names are not looked up here".into()));
        };
        if all.len() >= self.settings.max_hosts as usize {
            return Err(NoTarget::Full);
        }
        let known = Arc::new(Known { answer: watch::Sender::new(Answer::Asked), used: Mutex::new(Instant::now()) });
        let key: Arc<str> = key.into();
        all.insert(key.clone(), known.clone());
        let answer = known.answer.subscribe();
        let name = Name { key, host: host.to_owned(), port };
        runtime.spawn(keep_up(Arc::downgrade(core), name, known, resolver.clone()));
        Ok(answer)
    }

    async fn look_up(&self, name: &Name, resolver: &dyn Resolve, before: Option<SocketAddr>) -> Answer {
        let limit = self.settings.timeout;
        let found = match timeout(limit, resolver.resolve(&name.host, name.port)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Answer::NotFound(error.to_string().into()),
            Err(_) => return Answer::NotFound(format!("no answer within {limit:?}").into()),
        };
        let mut found = of_family(found, self.settings.family);
        let some = !found.is_empty();
        found.retain(|address| !self.is_refused(address));
        if some && found.is_empty() {
            return Answer::NotFound("it leads only to addresses that are refused".into());
        }
        // A host stays where it is while its name still says so.
        let stays = before.filter(|before| found.contains(before));
        match stays.or(found.first().copied()) {
            Some(address) => Answer::At(address),
            None => Answer::NotFound("it has no address".into()),
        }
    }

    fn is_refused(&self, address: &SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.settings.refused.iter().any(|block| block.contains(&ip))
    }

    fn forget(&self, key: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl Known {
    fn is_used(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle(&self) -> Duration {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Takes an answer. One that says nothing takes nothing away.
    fn take(&self, answer: Answer) {
        self.answer.send_if_modified(|now| {
            let keeps = matches!((&*now, &answer), (Answer::At(_), Answer::NotFound(_)));
            if !keeps {
                *now = answer;
            }
            !keeps
        });
    }

    fn address(&self) -> Option<SocketAddr> {
        match *self.answer.borrow() {
            Answer::At(address) => Some(address),
            _ => None,
        }
    }
}

/// A host and its port.
struct Name {
    key: Arc<str>,
    host: String,
    port: u16,
}

/// Looks a host up again and again, until nobody uses it any more.
async fn keep_up(core: Weak<Core>, name: Name, known: Arc<Known>, resolver: Arc<dyn Resolve>) {
    let mut backoff: Option<Backoff> = None;
    loop {
        let Some(core) = core.upgrade().filter(|core| !core.is_retired()) else { return };
        let Some(hosts) = &core.hosts else { return };
        if known.idle() >= hosts.settings.idle {
            return hosts.forget(&name.key);
        }
        let refresh = hosts.settings.refresh;
        let answer = hosts.look_up(&name, &*resolver, known.address()).await;
        let wait = match &answer {
            Answer::NotFound(why) => {
                tracing::debug!(cluster = %core.config.name, host = name.host, %why, "name not resolved");
                let new = || Backoff::new(AFTER_FAILURE.0.min(refresh), AFTER_FAILURE.1.min(refresh));
                backoff.get_or_insert_with(new).next_delay()
            }
            _ => {
                backoff = None;
                refresh
            }
        };
        known.take(answer);
        let wait = wait.min(hosts.settings.idle.saturating_sub(known.idle()));
        drop(core);
        sleep(wait).await;
    }
}

/// The address of the host that `authority` names; without a port in it that of the cluster's protocol is meant, unless
/// `port` is said.
pub(crate) async fn target(core: &Arc<Core>, authority: &str, port: Option<u16>) -> Result<Target, NoTarget> {
    let (Some(hosts), Ok(authority)) = (&core.hosts, authority.parse::<Authority>()) else {
        return Err(NoTarget::Nameless);
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if host.is_empty() {
        return Err(NoTarget::Nameless);
    }
    let port = port.or(authority.port_u16()).unwrap_or(if core.tls.is_some() { 443 } else { 80 });
    let mut answer = hosts.ask(core, &host, port)?;
    // The task ends only when the cluster does.
    let known = answer.wait_for(|answer| !matches!(answer, Answer::Asked)).await;
    match known.as_deref() {
        Ok(Answer::At(address)) => Ok(Target { host: host.into(), address: *address }),
        Ok(Answer::NotFound(why)) => Err(NoTarget::NotFound(why.clone())),
        Ok(Answer::Asked) | Err(_) => Err(NoTarget::NotFound("the cluster is gone".into())),
    }
}

fn of_family(found: Vec<SocketAddr>, family: AddressFamily) -> Vec<SocketAddr> {
    let mut found = match family {
        AddressFamily::Any => return dns::preferred(found),
        AddressFamily::V4 => found.into_iter().filter(SocketAddr::is_ipv4).collect::<Vec<_>>(),
        AddressFamily::V6 => found.into_iter().filter(SocketAddr::is_ipv6).collect(),
    };
    found.sort_unstable();
    found.dedup();
    found
}
