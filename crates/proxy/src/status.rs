//! How the proxy as a whole is doing, for probes and people.

use std::time::{Duration, Instant};

/// What [`Status::control_plane`] says while there is a stream.
pub(crate) const CONNECTED: &str = "connected";

/// What the proxy is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has no configuration yet, or waits for parts of it.
    Initializing,
    /// It takes traffic.
    Live,
    /// It finishes old work and takes no new.
    Draining,
}

impl State {
    /// Envoy's words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "INITIALIZING",
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
        }
    }
}

/// How the proxy as a whole is doing.
#[derive(Debug)]
pub(crate) struct Status {
    /// Its id.
    pub node_id: String,
    /// What the link to the control plane is at.
    pub control_plane: &'static str,
    /// What the configuration waits for.
    pub waiting: Vec<String>,
    begun: Instant,
    state: State,
}

impl Status {
    /// It begins now.
    pub(crate) fn new(node_id: &str) -> Self {
        let (node_id, begun) = (node_id.to_owned(), Instant::now());
        Self { node_id, control_plane: "none", waiting: Vec::new(), begun, state: State::Initializing }
    }

    /// What it is at.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// It has what it needs. Once live, it stays so until it drains: parts that come later are no reason to be taken
    /// out of service.
    pub(crate) fn is_whole(&mut self) {
        if self.state == State::Initializing {
            self.state = State::Live;
        }
    }

    /// It takes no new work.
    pub(crate) fn drains(&mut self) {
        self.state = State::Draining;
    }

    /// How long it has run.
    pub(crate) fn uptime(&self) -> Duration {
        self.begun.elapsed()
    }
}
