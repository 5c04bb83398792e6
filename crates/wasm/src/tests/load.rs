//! Modules that are fetched, and modules in files.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use model::extension::{Wasm, WasmCode, WasmFailure};
use sha2::{Digest as _, Sha256};

use super::proxy::{Nothing, Proxy, get, run, settings};
use super::wat::{module, on_request};
use crate::{Fetch, bounds};

/// Fails so often, takes so long, and then gives this.
#[derive(Debug)]
struct Store {
    failures: usize,
    takes: Duration,
    module: Bytes,
    asked: AtomicUsize,
}

impl Fetch for Store {
    fn fetch(&self, uri: &str, _: Duration) -> Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send>> {
        let fails = self.asked.fetch_add(1, Relaxed) < self.failures;
        let (uri, module, takes) = (uri.to_owned(), self.module.clone(), self.takes);
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            if fails { Err(format!("{uri} answers 500")) } else { Ok(module) }
        })
    }
}

fn store(failures: usize, takes: u64) -> Arc<Store> {
    let module = module(&on_request(r#"(call $add (i32.const 0) @"x" @"1")"#)).into();
    Arc::new(Store { failures, takes: Duration::from_secs(takes), module, asked: AtomicUsize::new(0) })
}

fn remote(sha256: Option<String>, failure: WasmFailure) -> Wasm {
    let code = WasmCode::Remote {
        uri: "https://m/x.wasm".into(),
        sha256: sha256.map(Into::into),
        timeout: Duration::from_secs(30),
    };
    Wasm { code, failure, ..settings(Vec::new()) }
}

fn digest(store: &Store) -> Option<String> {
    Some(HEXLOWER.encode(&Sha256::digest(&store.module)))
}

#[test]
fn requests_wait_for_the_first_load() {
    for (takes, status) in [(3, 200), (20, 503)] {
        run(async {
            let store = store(0, takes);
            let proxy = Proxy::of(&[remote(digest(&store), WasmFailure::Closed)], store).unwrap();
            let outcome = proxy.exchange(get()).await;
            assert_eq!(outcome.status, status);
            if status == 503 {
                assert_eq!(outcome.why(), Some("the module was not there within 10s"));
                tokio::time::sleep(Duration::from_secs(takes)).await;
            }
            assert_eq!(proxy.exchange(get()).await.told("x"), Some("1"));
            assert!(proxy.shows("envoy_wasm_remote_load_fetch_successes 1"));
        });
    }
}

#[test]
fn failed_fetches_are_tried_again() {
    for failure in [WasmFailure::Closed, WasmFailure::Open] {
        run(async {
            let store = store(2, 0);
            let proxy = Proxy::of(&[remote(None, failure)], store.clone()).unwrap();
            let outcome = proxy.exchange(get()).await;
            if failure == WasmFailure::Closed {
                let expected =
                    "the module of the filter w at https://m/x.wasm could not be fetched: https://m/x.wasm answers 500";
                assert_eq!(outcome.why(), Some(expected));
            }
            assert_eq!(outcome.told("x"), None);
            tokio::time::sleep(bounds::RETRY_MAX).await;
            // The compiler works in a thread of its own, and time passes there too.
            while proxy.exchange(get()).await.told("x").is_none() {
                tokio::time::sleep(bounds::RETRY_MAX).await;
            }
            assert_eq!(store.asked.load(Relaxed), 3);
            assert!(proxy.shows("envoy_wasm_remote_load_fetch_failures 2"));
        });
    }
}

#[test]
fn what_comes_must_be_what_was_meant() {
    run(async {
        let store = store(0, 0);
        let proxy = Proxy::of(&[remote(Some("0".repeat(64)), WasmFailure::Closed)], store.clone()).unwrap();
        let outcome = proxy.exchange(get()).await;
        let (found, expected) = (digest(&store).unwrap(), "0".repeat(64));
        let why =
            format!("the module of the filter w at https://m/x.wasm has the SHA-256 {found}; expected is {expected}");
        assert_eq!(outcome.why(), Some(&*why));
        let problem = Proxy::of(&[remote(Some("abc".to_owned()), WasmFailure::Closed)], store).err().unwrap();
        assert_eq!(problem, "the filter w has the SHA-256 \"abc\"; expected are 64 hexadecimal digits");
    });
}

#[test]
fn what_is_known_is_not_fetched() {
    run(async {
        let store = store(0, 0);
        let at_hand = settings(store.module.to_vec());
        let proxy = Proxy::of(&[at_hand, remote(digest(&store), WasmFailure::Closed)], store.clone()).unwrap();
        let outcome = proxy.exchange(get()).await;
        assert_eq!((outcome.request.get_all("x").iter().count(), store.asked.load(Relaxed)), (2, 0));
        assert!(proxy.shows("envoy_wasm_remote_load_cache_hits 1"));
    });
}

#[test]
fn nobody_fetches_for_filters_that_are_gone() {
    run(async {
        let store = store(1000, 0);
        let proxy = Proxy::of(&[remote(None, WasmFailure::Closed)], store.clone()).unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(proxy);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let asked = store.asked.load(Relaxed);
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(asked > 0 && store.asked.load(Relaxed) == asked);
    });
}

#[test]
fn without_a_runtime_a_thread_fetches() {
    let store = store(0, 0);
    let proxy = Proxy::of(&[remote(digest(&store), WasmFailure::Closed)], store).ok().unwrap();
    // Time passes in this runtime only, and at once.
    run(async { while proxy.exchange(get()).await.told("x").is_none() {} });
}

#[test]
fn files() {
    let path = std::env::temp_dir().join(format!("halcyon-wasm-{}.wasm", std::process::id()));
    let of = |path: &str| Wasm { code: WasmCode::File(path.into()), ..settings(Vec::new()) };
    let shown = path.to_str().unwrap();
    let problem = Proxy::of(&[of(shown)], Arc::new(Nothing)).err().unwrap();
    assert!(problem.starts_with(&format!("the file {shown}, module of the filter w, cannot be read: ")), "{problem}");
    std::fs::write(&path, module("")).unwrap();
    run(async {
        assert_eq!(Proxy::of(&[of(shown)], Arc::new(Nothing)).unwrap().exchange(get()).await.status, 200);
    });
    std::fs::remove_file(&path).unwrap();
}
