//! The way of a module into the process: at hand, or fetched and compiled away from the workers, again and again until it
//! comes, for as long as somebody wants it.

use std::sync::Arc;
use std::time::Duration;

use base::Backoff;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::bounds;
use crate::compiled::{Compiled, Digest, Engine};
use crate::modules::Fetch;
use crate::stats::Stats;

/// A module that is there, or on its way.
#[derive(Debug, Clone)]
pub(crate) struct Load(watch::Receiver<State>);

#[derive(Debug, Clone)]
enum State {
    /// The first fetch is under way.
    First,
    /// The last one failed, and another will be tried.
    Failed(Arc<str>),
    There(Arc<Compiled>),
}

/// A module that must be fetched.
pub(crate) struct Remote {
    pub engine: Arc<Engine>,
    pub fetch: Arc<dyn Fetch>,
    pub uri: Arc<str>,
    pub digest: Option<Digest>,
    pub timeout: Duration,
    pub stats: Stats,
    /// What it is, for errors.
    pub what: String,
}

impl Load {
    /// It is there.
    pub(crate) fn there(compiled: Arc<Compiled>) -> Self {
        Self(watch::channel(State::There(compiled)).1)
    }

    /// It is fetched, by the runtime that this is called in or on a thread of its own.
    ///
    /// # Errors
    /// There is no runtime, and none can be made.
    pub(crate) fn begin(remote: Remote) -> Result<Self, String> {
        let (state, load) = watch::channel(State::First);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(remote.keep_trying(state));
            return Ok(Self(load));
        }
        let no_thread = |error| format!("no thread could be had that fetches WebAssembly modules: {error}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        let work = move || runtime.block_on(remote.keep_trying(state));
        std::thread::Builder::new().name("wasm-fetch".to_owned()).spawn(work).map_err(no_thread)?;
        Ok(Self(load))
    }

    /// The module. While the first fetch is under way it is waited for; later on, it is there or not.
    ///
    /// # Errors
    /// Why it is not there.
    pub(crate) async fn get(&self) -> Result<Arc<Compiled>, Arc<str>> {
        if let State::There(compiled) = &*self.0.borrow() {
            return Ok(compiled.clone());
        }
        let mut state = self.0.clone();
        let first = state.wait_for(|state| !matches!(state, State::First));
        match timeout(bounds::FIRST_LOAD, first).await {
            Ok(Ok(state)) => match &*state {
                State::There(compiled) => Ok(compiled.clone()),
                State::Failed(why) => Err(why.clone()),
                State::First => Err("the module is still being fetched".into()),
            },
            Ok(Err(_)) => Err("nobody fetches the module any more".into()),
            Err(_) => Err(format!("the module was not there within {:?}", bounds::FIRST_LOAD).into()),
        }
    }
}

impl Remote {
    async fn keep_trying(self, state: watch::Sender<State>) {
        let mut backoff = Backoff::new(bounds::RETRY_BASE, bounds::RETRY_MAX);
        loop {
            let tried = tokio::select! {
                () = state.closed() => return,
                tried = self.attempt() => tried,
            };
            match tried {
                Ok(compiled) => {
                    state.send_replace(State::There(compiled));
                    return;
                }
                Err(why) => {
                    self.stats.fetch_failures.inc();
                    tracing::warn!(target: "wasm", "{why}");
                    state.send_replace(State::Failed(why.into()));
                }
            }
            tokio::select! {
                () = state.closed() => return,
                () = sleep(backoff.next_delay()) => {}
            }
        }
    }

    async fn attempt(&self) -> Result<Arc<Compiled>, String> {
        if let Some(compiled) = self.digest.as_ref().and_then(|digest| self.engine.known(digest)) {
            self.stats.cache_hits.inc();
            return Ok(compiled);
        }
        self.stats.cache_misses.inc();
        let Self { what, uri, .. } = self;
        let fetched = timeout(self.timeout, self.fetch.fetch(uri, self.timeout)).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.timeout)));
        let bytes = fetched.map_err(|why| format!("{what} could not be fetched: {why}"))?;
        let (engine, digest, of) = (self.engine.clone(), self.digest, what.clone());
        let work = tokio::task::spawn_blocking(move || {
            let found: Digest = Sha256::digest(&bytes).into();
            if let Some(expected) = digest.filter(|expected| *expected != found) {
                let (found, expected) = (HEXLOWER.encode(&found), HEXLOWER.encode(&expected));
                return Err(format!("{of} has the SHA-256 {found}; expected is {expected}"));
            }
            engine.compiled(&bytes, &of)
        });
        let compiled = work.await.map_err(|_| format!("{what} could not be compiled: the compiler broke down"))??;
        self.stats.fetch_successes.inc();
        Ok(compiled)
    }
}
