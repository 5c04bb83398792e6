//! Those who wait for a connection, by what they want to speak, and how many dials are under way for them.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::Lease;
use crate::dial::DialError;
use crate::tls::Speak;

pub(super) type Turn = oneshot::Receiver<Result<Lease, DialError>>;
pub(super) type Taker = oneshot::Sender<Result<Lease, DialError>>;

#[derive(Default)]
pub(super) struct Waiting {
    http1: Queue,
    http2: Queue,
    either: Queue,
}

#[derive(Default)]
struct Queue {
    takers: VecDeque<Taker>,
    dialling: usize,
}

impl Waiting {
    pub(super) fn join(&mut self, speak: Speak) -> Turn {
        let (taker, turn) = oneshot::channel();
        self.queue(speak).takers.push_back(taker);
        turn
    }

    /// The one who has waited longest and is content with `speak`; those who gave up are dropped.
    pub(super) fn first(&mut self, speak: Speak) -> Option<Taker> {
        loop {
            let own = self.queue(speak).takers.pop_front();
            let taker = own.or_else(|| self.either.takers.pop_front())?;
            if !taker.is_closed() {
                return Some(taker);
            }
        }
    }

    /// The next that has to be dialled, counted as under way: for HTTP/1.1 one connection for each, otherwise one for
    /// all, since it may well carry them all. `http1`: the endpoint is known to choose HTTP/1.1 by ALPN.
    pub(super) fn next_dial(&mut self, http1: bool) -> Option<Speak> {
        for (speak, each) in [(Speak::Http1, true), (Speak::Http2, false), (Speak::Either, http1)] {
            let queue = self.queue(speak);
            if queue.takers.is_empty() {
                continue;
            }
            queue.takers.retain(|taker| !taker.is_closed());
            let wanted = if each { queue.takers.len() } else { queue.takers.len().min(1) };
            if queue.dialling < wanted {
                queue.dialling += 1;
                return Some(speak);
            }
        }
        None
    }

    /// Dials under way.
    pub(super) fn dialling(&self) -> usize {
        [&self.http1, &self.http2, &self.either].iter().map(|queue| queue.dialling).sum()
    }

    pub(super) fn dialled(&mut self, speak: Speak) {
        self.queue(speak).dialling -= 1;
    }

    /// A dial failed. So do those who had no other to hope for.
    pub(super) fn fail(&mut self, speak: Speak, error: &DialError) {
        let queue = self.queue(speak);
        while queue.takers.len() > queue.dialling {
            let Some(taker) = queue.takers.pop_front() else { return };
            let _ = taker.send(Err(error.clone()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        [&self.http1, &self.http2, &self.either].iter().all(|q| q.takers.is_empty() && q.dialling == 0)
    }

    fn queue(&mut self, speak: Speak) -> &mut Queue {
        match speak {
            Speak::Http1 | Speak::Raw => &mut self.http1,
            Speak::Http2 => &mut self.http2,
            Speak::Either => &mut self.either,
        }
    }
}
