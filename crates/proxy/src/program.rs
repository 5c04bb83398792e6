//! Is the program behind this sidecar ready? Asked from where its requests will come, and told to the control plane,
//! which sends it nobody before. The proxy's own readiness is another matter (`status`): the program may be started by
//! someone who waits for that.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ::http::Request;
use mesh_http::{Body, ClientOptions, h1};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};
use transport::{ConnectError, Connector, Netns};
use xds::health::Health;
use xds::shell::Command;

use crate::bootstrap::ReadyCheck;

/// How long one answer may take; Kubernetes' default for probes.
const PATIENCE: Duration = Duration::from_secs(1);
/// The shortest and the longest time between two questions until it is ready; in between a twentieth of the time waited,
/// so that what starts fast is noticed fast, and what starts slowly is not bothered.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// A program that answers by HTTP is asked further, and after so many answers in a row that were none it is not ready any
/// more (Kubernetes' defaults). One that only takes connections is not: a connection that says nothing is a nuisance.
const AFTERWARDS: (Duration, u32) = (Duration::from_secs(10), 3);

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
    let probe = Probe { check, connector: Connector { timeout: PATIENCE, netns, ..Connector::default() } };
    loop {
        until_ready(&probe, &teller).await;
        tracing::info!("the program is ready");
        if matches!(probe.check, ReadyCheck::Tcp(_)) {
            return;
        }
        let reason = until_lost(&probe).await;
        tracing::warn!("the program is not ready any more: {reason}");
        teller.found(Err(reason)).await;
    }
}

async fn until_ready(probe: &Probe, teller: &Teller) {
    let began = Instant::now();
    let mut last = None;
    loop {
        let health = probe.once().await;
        let ready = health.is_ok();
        if last.as_ref() != Some(&health) {
            last = Some(health.clone());
            teller.found(health).await;
        }
        if ready {
            return;
        }
        sleep(pause(began.elapsed())).await;
    }
}

async fn until_lost(probe: &Probe) -> String {
    let mut failures = 0;
    loop {
        sleep(AFTERWARDS.0).await;
        match probe.once().await {
            Ok(()) => failures = 0,
            Err(reason) => {
                failures += 1;
                if failures == AFTERWARDS.1 {
                    return reason;
                }
            }
        }
    }
}

fn pause(waited: Duration) -> Duration {
    (waited / 20).clamp(PAUSE.0, PAUSE.1)
}

struct Probe {
    check: ReadyCheck,
    connector: Connector,
}

impl Probe {
    /// Asks once. An error says in words what the program does not do.
    async fn once(&self) -> Health {
        match &self.check {
            ReadyCheck::Tcp(addresses) => {
                for address in addresses {
                    self.connect(*address).await?;
                }
                Ok(())
            }
            ReadyCheck::Http { address, path } => match timeout(PATIENCE, self.get(*address, path)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("GET {path} at {address}: no answer within {PATIENCE:?}")),
            },
        }
    }

    async fn connect(&self, address: SocketAddr) -> Result<transport::Stream, String> {
        self.connector.connect(&address.into()).await.map_err(|error| match error {
            ConnectError::Refused(_) => format!("nothing listens on {address} yet"),
            other => other.to_string(),
        })
    }

    /// Good are 200 to 399, as for Kubernetes' probes.
    async fn get(&self, address: SocketAddr, path: &str) -> Health {
        let bad = |what: String| format!("GET {path} at {address}: {what}");
        let stream = self.connect(address).await?;
        let request = Request::get(path).header("host", address.to_string()).header("user-agent", "halcyon-proxy");
        let request = request.body(Body::empty()).map_err(|e| bad(e.to_string()))?;
        let (sender, driver) = h1::connect(stream, &ClientOptions::default());
        let driving = spawn_local(driver);
        let answer = sender.send(request).await;
        let status = answer.map(|answer| answer.status().as_u16()).map_err(|e| bad(e.to_string()));
        driving.abort();
        match status? {
            200..400 => Ok(()),
            other => Err(bad(format!("status {other}; expected 200 to 399"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use mesh_http::ServerOptions;
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn once(check: ReadyCheck) -> Health {
        Probe { check, connector: Connector::default() }.once().await
    }

    #[tokio::test]
    async fn every_port_must_take_a_connection() {
        let ((first, a), (second, b)) = (listener().await, listener().await);
        assert_eq!(once(ReadyCheck::Tcp(vec![a, b])).await, Ok(()));
        drop(second);
        assert_eq!(once(ReadyCheck::Tcp(vec![a, b])).await, Err(format!("nothing listens on {b} yet")));
        drop(first);
        assert_eq!(once(ReadyCheck::Tcp(vec![a, b])).await, Err(format!("nothing listens on {a} yet")));
    }

    #[tokio::test]
    async fn http_must_answer_well() {
        LocalSet::new()
            .run_until(async {
                let (server, address) = listener().await;
                spawn_local(async move {
                    loop {
                        let (stream, _) = server.accept().await.unwrap();
                        spawn_local(async move {
                            let answer = async |request: Request<Body>| {
                                let status: u16 = request.uri().path()[1..].parse().unwrap();
                                ::http::Response::builder().status(status).body(Body::empty()).unwrap()
                            };
                            mesh_http::serve(stream, &ServerOptions::default(), std::future::pending(), answer).await
                        });
                    }
                });
                let get = |path: &str| once(ReadyCheck::Http { address, path: path.to_owned() });
                assert_eq!(get("/200").await, Ok(()));
                assert_eq!(get("/302").await, Ok(()));
                let refusal = format!("GET /503 at {address}: status 503; expected 200 to 399");
                assert_eq!(get("/503").await, Err(refusal));
            })
            .await;
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
        LocalSet::new()
            .run_until(async {
                spawn_local(watch(ReadyCheck::Tcp(vec![address]), None, Teller::new(sender)));
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

    #[test]
    fn pauses_grow_with_the_wait() {
        for (waited, expected) in [(0, 20), (400, 20), (2000, 100), (60_000, 500)] {
            assert_eq!(pause(Duration::from_millis(waited)), Duration::from_millis(expected));
        }
    }
}
