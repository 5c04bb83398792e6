//! What happens in a root context beside exchanges: ticks, items of queues, answers, and its end.

use std::rc::{Rc, Weak};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::abi::Callback;
use crate::bounds;
use crate::context::{Calling, Wakes};
use crate::host::Answer;
use crate::vm::Vm;

/// What comes to a root context from outside.
pub(crate) struct Coming {
    /// The queues that have items.
    pub queues: mpsc::Receiver<u32>,
    /// Requests whose answers are to be waited for.
    pub calls: mpsc::UnboundedReceiver<Calling>,
}

/// What happens next.
enum Next {
    Tick,
    Item(u32),
    Call(Calling),
    Answer(u32, Box<Result<Answer, String>>),
    Changed,
}

/// Tells the guest of ticks, of items of its queues and of answers to its requests, for as long as its context lives.
pub(crate) async fn drive(vm: Weak<Vm>, root: u32, wakes: Rc<Wakes>, mut coming: Coming) {
    let mut period = wakes.period.get();
    let mut next = period.map(|period| Instant::now() + period);
    let mut calls = FuturesUnordered::new();
    loop {
        let tick = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        // Where a channel has no senders any more, the context is gone.
        let happens = tokio::select! {
            token = coming.queues.recv() => token.map(Next::Item),
            call = coming.calls.recv() => call.map(Next::Call),
            Some((token, answer)) = calls.next(), if !calls.is_empty() => Some(Next::Answer(token, Box::new(answer))),
            () = wakes.changed.notified() => Some(Next::Changed),
            () = tick => Some(Next::Tick),
        };
        let (Some(happens), Some(vm)) = (happens, vm.upgrade()) else { return };
        let told = match happens {
            Next::Tick => {
                next = period.map(|period| Instant::now() + period);
                vm.call(Callback::Tick, root, &[root])
            }
            Next::Item(token) => vm.call(Callback::QueueReady, root, &[root, token]),
            Next::Answer(token, answer) => vm.answered(root, token, *answer),
            Next::Call(call) => {
                calls.push(call);
                continue;
            }
            Next::Changed => {
                if wakes.period.get() != period {
                    period = wakes.period.get();
                    next = period.map(|period| Instant::now() + period);
                }
                continue;
            }
        };
        if told.is_err() {
            return;
        }
    }
}

/// Ends a root context: nobody has its plugin any more. A guest that is not done may say later that it is.
pub(crate) async fn end(vm: Rc<Vm>, root: u32, wakes: Rc<Wakes>) {
    wakes.period.set(None);
    if vm.call(Callback::Done, root, &[root]) == Ok(Some(0)) {
        let done = async {
            while !wakes.done.get() {
                wakes.changed.notified().await;
            }
        };
        // It has had its time.
        let _ = timeout(bounds::DONE, done).await;
    }
    let _ = vm.call(Callback::Delete, root, &[root]);
    vm.remove(root);
}
