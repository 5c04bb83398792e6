//! With a real Redis, where there is one; without one they say so and pass.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use api::halcyon::Window;

use super::*;

/// A Redis of the test's own.
struct Redis {
    process: Child,
    url: String,
}

impl Redis {
    /// None: the machine has none.
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let started = Command::new("redis-server").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        match started {
            Ok(process) => Some(Self { process, url: format!("redis://127.0.0.1:{port}") }),
            Err(error) => {
                use std::io::Write;
                let _ = writeln!(std::io::stderr(), "skipped: there is no `redis-server` to run ({error})");
                None
            }
        }
    }

    /// A control plane's way to it, once it answers.
    async fn shared(&self) -> Shared {
        let shared = Shared::new(&self.url).unwrap();
        for _ in 0..100 {
            if shared.add([counter("probe", 1)].iter()).await.is_ok() {
                return shared;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no answer from {}", self.url);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn counter(key: &str, hits: u64) -> Counter {
    Counter { key: key.to_owned(), hits, ends: 0, window: Window::Day }
}

#[tokio::test]
async fn two_control_planes_share_counts() {
    let Some(redis) = Redis::start() else { return };
    let (one, other) = (redis.shared().await, redis.shared().await);
    assert_eq!(one.add([counter("a", 1), counter("b", 5)].iter()).await.unwrap(), [1, 5]);
    assert_eq!(other.add([counter("b", 2), counter("a", 1), counter("a", 0)].iter()).await.unwrap(), [7, 2, 2]);
    assert_eq!(one.add([].iter()).await.unwrap(), Vec::<u64>::new());
    // Together no more pass than one limit takes.
    let ask = async |shared: Shared| {
        let mut passed = 0;
        for _ in 0..50 {
            passed += usize::from(shared.add([counter("c", 1)].iter()).await.unwrap()[0] <= 60);
        }
        passed
    };
    let (first, second) = tokio::join!(ask(one.clone()), ask(other));
    assert_eq!(first + second, 60);
    let mut connection = one.0.clone();
    let left: i64 = redis::cmd("TTL").arg(format!("{PREFIX}c")).query_async(&mut connection).await.unwrap();
    assert!((1..=86_400).contains(&left), "{left}");
}

#[tokio::test]
async fn without_a_redis_nothing_is_counted() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let shared = Shared::new(&format!("redis://127.0.0.1:{port}")).unwrap();
    assert!(shared.add([counter("a", 1)].iter()).await.is_err());
    assert!(Shared::new("http://127.0.0.1").is_err());
}

#[tokio::test]
async fn a_redis_that_comes_back_counts_again() {
    let Some(mut redis) = Redis::start() else { return };
    let shared = redis.shared().await;
    let _ = redis.process.kill();
    let _ = redis.process.wait();
    assert!(shared.add([counter("a", 1)].iter()).await.is_err());
    let port = redis.url.rsplit(':').next().unwrap().to_owned();
    let arguments = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    redis.process = Command::new("redis-server").args(arguments).stdout(Stdio::null()).spawn().unwrap();
    for _ in 0..100 {
        if shared.add([counter("a", 1)].iter()).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it is not found again");
}
