//! What modules keep: configurations, ticks, shared data, queues, metrics, contexts, logs.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use model::extension::Wasm;
use telemetry::Registry;
use tracing_subscriber::fmt::MakeWriter;

use super::proxy::{Made, Nothing, Proxy, get, run, settings};
use super::wat::{module, on, on_request};

#[test]
fn configurations() {
    let reads = |from: &str| {
        format!(
            r#"(func (export "proxy_on_{from}") (param $id i32) (param $size i32) (result i32)
                 (drop (call $get_buffer (i32.const MAP) (i32.const 0) (local.get $size) (i32.const 48) (i32.const 52)))
                 (i32.const 1))"#
        )
    };
    let tells = on_request(r#"(call $add (i32.const 0) @"x" (i32.load (i32.const 48)) (i32.load (i32.const 52)))"#);
    let with = |map: &str, from: &str| module(&(reads(from).replace("MAP", map) + &tells));
    for (module, expected) in [(with("7", "configure"), "of the plugin"), (with("6", "vm_start"), "of the machine")] {
        run(async {
            let settings = Wasm {
                configuration: Bytes::from_static(b"of the plugin"),
                vm_configuration: Bytes::from_static(b"of the machine"),
                ..settings(module)
            };
            assert_eq!(Proxy::new(settings).exchange(get()).await.told("x"), Some(expected));
        });
    }
}

#[test]
fn ticks() {
    let ticks = r#"(global $ticks (mut i32) (i32.const 0))
        (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $tick_every (i32.const 100)) (i32.eqz))
        (func (export "proxy_on_tick") (param i32)
          (global.set $ticks (i32.add (global.get $ticks) (i32.const 1)))
          (if (i32.eq (global.get $ticks) (i32.const 3)) (then (drop (call $tick_every (i32.const 0))))))"#;
    let tells = on_request(r#"(call $tell (i32.const 0) @"x" (global.get $ticks))"#);
    run(async {
        let proxy = Proxy::new(settings(module(&(ticks.to_owned() + &tells))));
        for (wait, expected) in [(0, "00"), (150, "01"), (100, "02"), (5000, "03")] {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            assert_eq!(proxy.exchange(get()).await.told("x"), Some(expected));
        }
    });
}

#[test]
fn a_tick_lets_an_exchange_go_on() {
    let functions = r#"(global $waiting (mut i32) (i32.const 0))
        (func (export "proxy_on_tick") (param i32)
          (drop (call $mean (global.get $waiting))) (drop (call $continue (i32.const 0))))"#
        .to_owned()
        + &on(
            "request_headers",
            "(global.set $waiting (local.get $id)) (drop (call $tick_every (i32.const 500))) (i32.const 1)",
        );
    run(async {
        let proxy = Proxy::new(settings(module(&functions)));
        assert_eq!(proxy.exchange(get()).await.status, 200);
    });
}

#[test]
fn shared_data_of_two_filters() {
    // Reads what is there, and writes its own with that number; the second writes with the same number again.
    let swaps = on_request(
        r#"(i32.store (i32.const 24) (i32.const 0))
           (call $tell (i32.const 0) @"x-get" (call $get_shared @"k" (i32.const 16) (i32.const 20) (i32.const 24)))
           (call $tell (i32.const 0) @"x-set" (call $set_shared @"k" @"v" (i32.load (i32.const 24))))
           (call $tell (i32.const 0) @"x-set" (call $set_shared @"k" @"w" (i32.load (i32.const 24))))"#,
    );
    run(async {
        let one = settings(module(&swaps));
        let other = Wasm { configuration: Bytes::from_static(b"other"), ..one.clone() };
        let apart = Wasm { vm_id: "apart".into(), ..one.clone() };
        let proxy = Proxy::of(&[one, other, apart], Arc::new(Nothing)).unwrap();
        let outcome = proxy.exchange(get()).await;
        let told = |name| outcome.request.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(told("x-get"), ["01", "00", "01"]);
        // Zero writes whatever is there; another number only once.
        assert_eq!(told("x-set"), ["00", "00", "00", "08", "00", "00"]);
        assert!(proxy.shows("envoy_wasm_envoy_wasm_runtime_wasmtime_created 2"), "two filters, one instance");
        assert!(proxy.shows("envoy_wasm_envoy_wasm_runtime_wasmtime_active 2"));
    });
}

#[test]
fn each_worker_has_its_own_instance() {
    let counts = r#"(global $seen (mut i32) (i32.const 0))"#.to_owned()
        + &on_request(
            r#"(global.set $seen (i32.add (global.get $seen) (i32.const 1)))
               (call $tell (i32.const 0) @"x" (global.get $seen))
               (call $tell (i32.const 0) @"y" (call $get_shared @"k" (i32.const 16) (i32.const 20) (i32.const 24)))
               (drop (call $set_shared @"k" @"v" (i32.const 0)))"#,
        );
    let settings = settings(module(&counts));
    let first = Proxy::new(settings.clone());
    let one = |modules: Made, registry: Registry| {
        let proxy = Proxy::again(&modules, std::slice::from_ref(&settings), registry).ok().unwrap();
        let mut told = None;
        run(async {
            let outcome = proxy.exchange(get()).await;
            told = Some(["x", "y"].map(|name| outcome.told(name).unwrap().to_owned()));
        });
        told.unwrap()
    };
    let (modules, registry) = (&first.modules, &first.registry);
    let worker = || std::thread::scope(|scope| scope.spawn(|| one(modules.clone(), registry.clone())).join().unwrap());
    assert_eq!([worker(), worker()], [["01", "01"], ["01", "00"]], "data is shared, and nothing else");
    assert!(first.shows("envoy_wasm_envoy_wasm_runtime_wasmtime_created 2"));
}

#[test]
fn queues_tell_their_readers() {
    let reads = r#"(global $items (mut i32) (i32.const 0))
        (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $register_queue @"q" (i32.const 24)) (i32.eqz))
        (func (export "proxy_on_queue_ready") (param $id i32) (param $token i32)
          (if (i32.eqz (call $dequeue (local.get $token) (i32.const 16) (i32.const 20)))
            (then (global.set $items (i32.add (global.get $items) (call $size))))))"#;
    let writes = on_request(
        r#"(call $tell (i32.const 0) @"x" (global.get $items))
           (call $tell (i32.const 0) @"y" (call $resolve_queue @"" @"no" (i32.const 24)))
           (drop (call $resolve_queue @"vm" @"q" (i32.const 24)))
           (drop (call $enqueue (i32.load (i32.const 24)) @"four"))"#,
    );
    run(async {
        let proxy = Proxy::new(settings(module(&(reads.to_owned() + &writes))));
        for expected in ["00", "04", "08"] {
            let outcome = proxy.exchange(get()).await;
            assert_eq!((outcome.told("x"), outcome.told("y")), (Some(expected), Some("01")));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn metrics_are_shown() {
    let defines = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $define_metric (i32.const 0) @"my.counter" (i32.const 56)))
        (drop (call $define_metric (i32.const 1) @"my_gauge" (i32.const 60)))
        (i32.const 1))"#;
    let counts = on_request(
        r#"(drop (call $increment_metric (i32.load (i32.const 56)) (i64.const 2)))
           (drop (call $record_metric (i32.load (i32.const 60)) (i64.const 7)))
           (call $tell (i32.const 0) @"x" (call $increment_metric (i32.const 77) (i64.const 1)))"#,
    );
    run(async {
        let proxy = Proxy::new(settings(module(&(defines.to_owned() + &counts))));
        for count in [2, 4] {
            assert_eq!(proxy.exchange(get()).await.told("x"), Some("01"));
            assert!(proxy.shows(&format!("envoy_wasmcustom_my_counter {count}")));
            assert!(proxy.shows("envoy_wasmcustom_my_gauge 7"));
        }
    });
}

#[test]
fn contexts_end_with_their_exchanges_and_filters() {
    let count = |metric: &str| {
        format!(
            r#"(drop (call $define_metric (i32.const 0) @"{metric}" (i32.const 56))) (drop (call $increment_metric (i32.load (i32.const 56)) (i64.const 1)))"#
        )
    };
    let functions = [
        format!(r#"(func (export "proxy_on_context_create") (param i32 i32) {})"#, count("create")),
        format!(r#"(func (export "proxy_on_log") (param i32) {})"#, count("log")),
        format!(r#"(func (export "proxy_on_done") (param i32) (result i32) {} (i32.const 1))"#, count("done")),
        format!(r#"(func (export "proxy_on_delete") (param i32) {})"#, count("delete")),
    ];
    run(async {
        let proxy = Proxy::new(settings(module(&functions.concat())));
        let shows = |proxy: &Proxy, counts: [i32; 4]| {
            for (name, count) in ["create", "log", "done", "delete"].iter().zip(counts) {
                assert!(proxy.shows(&format!("envoy_wasmcustom_{name} {count}")), "{name} {count}");
            }
        };
        proxy.exchange(get()).await;
        shows(&proxy, [2, 1, 1, 1]);
        // The same settings once more: what the module keeps, stays.
        let again =
            Proxy::again(&proxy.modules, &[settings(module(&functions.concat()))], proxy.registry.clone()).unwrap();
        drop(proxy);
        tokio::time::sleep(Duration::from_secs(1)).await;
        again.exchange(get()).await;
        shows(&again, [3, 2, 2, 2]);
        let (modules, registry) = (again.modules.clone(), again.registry.clone());
        drop(again);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let empty = Proxy::again(&modules, &[], registry).unwrap();
        shows(&empty, [3, 2, 3, 3]);
        assert!(empty.shows("envoy_wasm_envoy_wasm_runtime_wasmtime_active 0"));
    });
}

/// Keeps lines of the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn logs() {
    let logs = on_request(
        r#"(drop (call $log (i32.const 3) @"careful"))
           (call $tell (i32.const 0) @"x" (call $log (i32.const 9) @"what?"))
           (i32.store (i32.const 64) (i32.const 80)) (i32.store (i32.const 68) (i32.const 3))
           (i32.store (i32.const 80) (i32.const 0x0a206968))
           (drop (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 72)))
           (call $tell (i32.const 0) @"y" (i32.load (i32.const 72)))
           (call $tell (i32.const 0) @"z" (call $fd_write (i32.const 5) (i32.const 64) (i32.const 1) (i32.const 72)))
           (drop (call $environ_get (i32.const 88) (i32.const 96)))
           (call $add (i32.const 0) @"x-environment" (i32.load (i32.const 88)) (i32.const 3))"#,
    );
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, || {
        run(async {
            let mut settings = settings(module(&logs));
            settings.environment.insert("A".into(), "1".into());
            let outcome = Proxy::new(settings).exchange(get()).await;
            let told = ["x", "y", "z", "x-environment"].map(|name| outcome.told(name));
            assert_eq!(told, [Some("02"), Some("03"), Some("08"), Some("A=1")]);
        });
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for part in ["WARN wasm: careful plugin=\"plugin\" root=\"root\" vm=\"vm\"", "INFO wasm: hi  plugin"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
