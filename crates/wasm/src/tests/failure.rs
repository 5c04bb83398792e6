//! Modules that are wrong, that die, and that ask for too much.

use std::sync::Arc;
use std::time::Duration;

use model::extension::{Wasm, WasmFailure};

use super::proxy::{Nothing, Proxy, get, post, run, settings};
use super::wat::{module, module_of, on, on_request};

#[test]
fn modules_that_do_not_fit() {
    let other_import = r#"(module (import "env" "proxy_fly" (func)) (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1")))"#;
    let other_type = r#"(module (import "env" "proxy_log" (func)) (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1")))"#;
    let text = |text: &str| wat::parse_str(text).unwrap();
    for (bytes, expected) in [
        (b"(module)".to_vec(), "is no WebAssembly: expected a module in the binary format"),
        (b"\0asm\x01\0\0\0\x07".to_vec(), "is no WebAssembly module that can be run: "),
        (
            text("(module)"),
            "does not say for which version of Proxy-Wasm it is made: expected an export proxy_abi_version_*",
        ),
        (module_of("0_9_0", ""), "is made for version 0.9.0 of Proxy-Wasm; known are 0.1.0, 0.2.0, 0.2.1"),
        (
            text(r#"(module (func (export "proxy_abi_version_0_2_1")))"#),
            "exports no 32-bit memory under the name memory",
        ),
        (text(other_import), "imports proxy_fly from env, which no version of Proxy-Wasm up to 0.2.1 has"),
        (text(other_type), "imports a function with other parameters than Proxy-Wasm's"),
        (module(r#"(func (export "proxy_on_tick"))"#), "exports proxy_on_tick with another type than Proxy-Wasm's"),
    ] {
        let problem = Proxy::of(&[settings(bytes)], Arc::new(Nothing)).err().unwrap();
        let rest = problem.strip_prefix("the inline module of the filter w ").unwrap_or_else(|| panic!("{problem}"));
        assert!(rest.starts_with(expected), "{problem}");
    }
}

#[test]
fn dead_under_each_policy() {
    // Dies when it is asked to.
    let dies = on_request(
        r#"(if (i32.eqz (call $get_header (i32.const 0) @"x-die" (i32.const 16) (i32.const 20))) (then unreachable))
           (call $add (i32.const 0) @"x-lives" @"1")"#,
    );
    for (failure, first, later, much_later) in [
        (WasmFailure::Closed, 503, (503, None), (503, None)),
        (WasmFailure::Open, 200, (200, None), (200, None)),
        (WasmFailure::Reload, 503, (503, None), (200, Some("1"))),
    ] {
        run(async {
            let proxy = Proxy::new(Wasm { failure, ..settings(module(&dies)) });
            assert_eq!(proxy.exchange(get()).await.told("x-lives"), Some("1"));
            let mut request = get();
            request.headers_mut().insert("x-die", "1".parse().unwrap());
            let outcome = proxy.exchange(request).await;
            assert_eq!((outcome.status, outcome.told("host")), (first, Some("reviews:80")), "{failure:?}");
            if first == 503 {
                let why = outcome.why().unwrap();
                assert!(why.starts_with("the module failed in proxy_on_request_headers: "), "{why}");
                assert!(why.contains("unreachable"), "{why}");
            }
            assert!(proxy.shows("envoy_wasm_envoy_wasm_runtime_wasmtime_failed 1"));
            let outcome = proxy.exchange(get()).await;
            let found = (outcome.status, outcome.told("x-lives"));
            // The delay before a new instance may be next to nothing.
            assert!(found == later || failure == WasmFailure::Reload && found == much_later, "{failure:?}");
            tokio::time::sleep(Duration::from_secs(60)).await;
            let outcome = proxy.exchange(get()).await;
            assert_eq!((outcome.status, outcome.told("x-lives")), much_later, "{failure:?}");
            let reloaded = i32::from(failure == WasmFailure::Reload);
            assert!(proxy.shows(&format!("envoy_wasm_vm_reload_success {reloaded}")));
        });
    }
}

#[test]
fn dead_in_the_middle() {
    for (at, failure, status) in [
        ("request_body", WasmFailure::Closed, 503),
        ("request_body", WasmFailure::Open, 200),
        ("response_headers", WasmFailure::Closed, 503),
        ("response_headers", WasmFailure::Open, 200),
    ] {
        run(async {
            let proxy = Proxy::new(Wasm { failure, ..settings(module(&on(at, "unreachable"))) });
            let outcome = proxy.exchange(post(&["ab", "cd"], true)).await;
            assert_eq!(outcome.status, status, "{at} {failure:?}");
            if status == 200 {
                assert_eq!((outcome.seen.as_deref(), outcome.body.as_deref()), (Some("abcd"), Ok("abcd")));
                assert!(outcome.trailers.is_some());
            }
        });
    }
}

#[test]
fn no_room_for_an_answer() {
    let asks = |gives: &str| {
        format!(
            r#"(module
                (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 1)
                (data (i32.const 64) "host")
                (func (export "proxy_abi_version_0_2_0"))
                (func (export "malloc") (param i32) (result i32) {gives})
                (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                  (call $get (i32.const 0) (i32.const 64) (i32.const 4) (i32.const 16) (i32.const 20))))"#
        )
    };
    // What the function answers, the callback does: six is a pause, without end.
    for (gives, dies) in [("unreachable", true), ("(i32.const 0)", false), ("(i32.const -2)", false)] {
        run(async {
            let proxy = Proxy::new(settings(wat::parse_str(asks(gives)).unwrap()));
            let outcome = tokio::time::timeout(Duration::from_secs(60), proxy.exchange(get())).await.ok();
            let why = outcome.as_ref().and_then(|outcome| outcome.why());
            let expected = "the module failed in proxy_on_request_headers: wasm `unreachable` instruction executed";
            assert_eq!(why, dies.then_some(expected), "{gives}");
        });
    }
}

#[test]
fn endless_loops_are_cut_off() {
    run(async {
        let proxy = Proxy::new(settings(module(&on("request_headers", "(loop $again (br $again)) (i32.const 0)"))));
        let outcome = proxy.exchange(get()).await;
        assert_eq!(
            outcome.why(),
            Some("the module failed in proxy_on_request_headers: it ran longer than 1s, which one call may")
        );
    });
}

#[test]
fn memory_has_a_bound() {
    // Four pages there are; 2048 are 128 MiB.
    for (pages, grown) in [(1000, "04"), (2044, "04"), (2045, "--"), (60_000, "--")] {
        let grows = on_request(&format!(
            r#"(call $add (i32.const 0) @"x" @"") (if (i32.eq (memory.grow (i32.const {pages})) (i32.const 4))
                 (then (drop (call $replace_header (i32.const 0) @"x" @"04")))
                 (else (drop (call $replace_header (i32.const 0) @"x" @"--"))))"#
        ));
        run(async {
            let outcome = Proxy::new(settings(module(&grows))).exchange(get()).await;
            assert_eq!(outcome.told("x"), Some(grown), "{pages}");
        });
    }
    let large = r#"(module (memory (export "memory") 3000) (func (export "proxy_abi_version_0_2_1")))"#;
    run(async {
        let outcome = Proxy::new(settings(wat::parse_str(large).unwrap())).exchange(get()).await;
        let why = outcome.why().unwrap();
        assert!(why.starts_with("the module could not be instantiated: "), "{why}");
    });
}

#[test]
fn refused_starts_and_configurations() {
    let answers_false =
        |callback: &str| format!("(func (export \"{callback}\") (param i32 i32) (result i32) (i32.const 0))");
    for (functions, expected) in [
        (answers_false("proxy_on_vm_start"), "the module refuses to start: "),
        (answers_false("proxy_on_configure"), "the module refuses its configuration: "),
        (r#"(func (export "_initialize") unreachable)"#.to_owned(), "the module failed in _initialize: "),
        (
            r#"(func (export "_start") (call $proc_exit (i32.const 3)))"#.to_owned(),
            "the module failed in _start: it called proc_exit(3)",
        ),
    ] {
        run(async {
            let proxy = Proxy::new(settings(module(&functions)));
            for _ in 0..2 {
                let outcome = proxy.exchange(get()).await;
                let why = outcome.why().unwrap();
                assert!(why.starts_with(expected), "{why}");
            }
        });
    }
    run(async {
        let ends = r#"(func (export "_start") (call $proc_exit (i32.const 0)))"#;
        assert_eq!(Proxy::new(settings(module(ends))).exchange(get()).await.status, 200);
    });
}
