//! Is the program behind this sidecar ready? Asked from where its requests will come, and told to the control plane,
//! which sends it nobody before. The proxy's own readiness is another matter (`status`): the program may be started by
//! someone who waits for that.
//!
//! `ask` puts the question, `course` decides what an answer means and when it is put again.

mod ask;
mod course;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use transport::Netns;
use xds::health::Health;
use xds::shell::Command;

use crate::bootstrap::{Question, ReadyCheck};
use ask::Asker;
use course::Course;

/// What the control plane is told of the program: what was found out, unless it is to be left out whatever was found.
pub(crate) struct Teller {
    told: mpsc::Sender<Command>,
    /// None: nobody looks, which counts as ready.
    found: RefCell<Option<Health>>,
    left_out: Cell<bool>,
}

impl Teller {
    /// One that has told nothing yet.
    pub(crate) fn new(told: mpsc::Sender<Command>) -> Rc<Self> {
        Rc::new(Self { told, found: RefCell::default(), left_out: Cell::new(false) })
    }

    async fn found(&self, health: Health) {
        self.found.replace(Some(health));
        self.tell().await;
    }

    /// The program gets nothing more from others, or whatever it is fit for again.
    pub(crate) async fn leave_out(&self, is_out: bool) {
        if self.left_out.replace(is_out) != is_out {
            self.tell().await;
        }
    }

    async fn tell(&self) {
        let health = match self.left_out.get() {
            true => Err("it was asked to be left out (/healthcheck/fail)".to_owned()),
            false => self.found.borrow().clone().unwrap_or(Ok(())),
        };
        // Nobody listens any more when the proxy ends.
        let _ = self.told.send(Command::Report(health)).await;
    }
}

/// Asks, and tells what changed, until nothing can change any more.
pub(crate) async fn watch(check: ReadyCheck, netns: Option<Netns>, teller: Rc<Teller>) {
    // A connection that says nothing is a nuisance, and nobody asked for it.
    let is_asked_further = check.timing.is_some() || !matches!(check.question, Question::Tcp(_));
    let mut course = Course::new(check.timing);
    let asker = Asker::new(check.question, course.timeout(), netns);
    sleep(course.initial_delay()).await;
    let mut since = Instant::now();
    let mut told: Option<Health> = None;
    loop {
        let health = asker.ask().await;
        let step = course.take(health.is_ok(), since.elapsed());
        match (&health, step.is_ready) {
            (Ok(()), true) if step.is_new => tracing::info!("the program is ready"),
            (Err(reason), false) if step.is_new => {
                tracing::warn!("the program is not ready any more: {reason}");
                since = Instant::now();
            }
            _ => {}
        }
        // One that is ready may fail once or twice, and one that is not is not ready for one good answer.
        if health.is_ok() == step.is_ready && told.as_ref() != Some(&health) {
            told = Some(health.clone());
            teller.found(health).await;
        }
        if step.is_ready && !is_asked_further {
            return;
        }
        sleep(step.wait).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::task::{LocalSet, spawn_local};

    use super::*;
    use crate::bootstrap::Timing;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn told_once_and_no_more_after_it_is_ready() {
        let (server, address) = listener().await;
        drop(server);
        let (sender, mut told) = mpsc::channel(4);
        let mut next = async || match told.recv().await {
            Some(Command::Report(health)) => Some(health),
            Some(other) => panic!("{other:?}"),
            None => None,
        };
        let check = ReadyCheck { question: Question::Tcp(vec![address]), timing: None };
        LocalSet::new()
            .run_until(async {
                spawn_local(watch(check, None, Teller::new(sender)));
                assert_eq!(next().await, Some(Err(format!("nothing listens on {address} yet"))));
                let _server = TcpListener::bind(address).await.unwrap();
                assert_eq!(next().await, Some(Ok(())));
                assert_eq!(next().await, None);
            })
            .await;
    }

    #[tokio::test]
    async fn who_is_left_out_gets_nothing_whatever_it_says() {
        let (sender, mut told) = mpsc::channel(4);
        let mut next = || match told.try_recv() {
            Ok(Command::Report(health)) => Some(health.map_err(|_| "out")),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        };
        let teller = Teller::new(sender);
        teller.leave_out(false).await;
        assert_eq!(next(), None, "nothing changed");
        teller.leave_out(true).await;
        assert_eq!(next(), Some(Err("out")));
        teller.found(Ok(())).await;
        assert_eq!(next(), Some(Err("out")));
        teller.leave_out(false).await;
        assert_eq!((next(), next()), (Some(Ok(())), None));
    }

    #[tokio::test]
    async fn told_again_as_often_as_it_fails_and_comes_back() {
        let at = std::env::temp_dir().join(format!("halcyon-probe-{}", std::process::id()));
        let _ = std::fs::remove_file(&at);
        let server = tokio::net::UnixListener::bind(&at).unwrap();
        let timing = Timing { period: Duration::from_millis(5), failures: 2, successes: 2, ..Timing::default() };
        let check = ReadyCheck { question: Question::Command(at.clone()), timing: Some(timing) };
        let (sender, mut told) = mpsc::channel(16);
        LocalSet::new()
            .run_until(async {
                spawn_local(watch(check, None, Teller::new(sender)));
                let mut seen = Vec::new();
                for good in [false, true, true, false, true, false, false, true, true] {
                    let (mut wish, _) = server.accept().await.unwrap();
                    wish.write_all(if good { b"\n" } else { b"ended with 1\n" }).await.unwrap();
                    drop(wish);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    seen.extend(std::iter::from_fn(|| told.try_recv().ok()));
                }
                while seen.len() < 4 {
                    seen.push(told.recv().await.unwrap());
                }
                let found = |command: &Command| matches!(command, Command::Report(Ok(())));
                assert_eq!(seen.iter().map(found).collect::<Vec<_>>(), [false, true, false, true]);
            })
            .await;
        std::fs::remove_file(&at).unwrap();
    }
}
