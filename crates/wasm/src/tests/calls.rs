//! Calls of services, and what waits for them.

use std::time::Duration;

use super::proxy::{Proxy, get, post, run, settings};
use super::wat::{module, on};

/// The head of what is sent.
const PAIRS: &str = concat!(
    r#"@"\03\00\00\00\07\00\00\00\04\00\00\00\05\00\00\00\02\00\00\00\0a\00\00\00\01\00\00\00"#,
    r#":method\00POST\00:path\00/p\00:authority\00h\00""#
);

/// A call of the cluster, from which the guest goes on or answers itself.
fn calling(cluster: &str, pauses_in: &str, then: &str) -> String {
    let call = format!(
        r#"(global.set $waiting (local.get $id))
           (drop (call $http_call @"{cluster}" {PAIRS} @"body" @"" (i32.const 5000) (i32.const 24)))
           (i32.const 1)"#
    );
    let told = r#"(func (export "proxy_on_http_call_response") (param $root i32) (param $token i32) (param $headers i32) (param $size i32) (param i32)
        (drop (call $mean (global.get $waiting)))
        (call $tell (i32.const MAP) @"x-headers" (local.get $headers))
        (call $tell (i32.const MAP) @"x-size" (local.get $size))
        (if (i32.eqz (call $get_header (i32.const 6) @"x-answer" (i32.const 16) (i32.const 20)))
          (then (call $tell_given (i32.const MAP) @"x-answer")))
        (drop (call $get_status (i32.const 24) (i32.const 16) (i32.const 20)))
        (call $tell (i32.const MAP) @"x-status" (i32.load (i32.const 24)))
        THEN)"#;
    let map = if pauses_in.starts_with("response") { "2" } else { "0" };
    let told = told.replace("MAP", map).replace("THEN", then);
    format!("(global $waiting (mut i32) (i32.const 0)){}{told}", on(pauses_in, &call))
}

#[test]
fn paused_until_the_answer() {
    let go = "(drop (call $continue (i32.const 0)))";
    for (cluster, headers, size, status, answer) in
        [("a", "02", "04", "00", Some("late")), ("b", "00", "00", "11", None)]
    {
        run(async {
            let proxy = Proxy::new(settings(module(&calling(cluster, "request_headers", go))));
            let began = tokio::time::Instant::now();
            let outcome = proxy.exchange(get()).await;
            assert_eq!(began.elapsed(), Duration::from_secs(3));
            let told = ["x-headers", "x-size", "x-status", "x-answer"].map(|name| outcome.told(name));
            assert_eq!(told, [Some(headers), Some(size), Some(status), answer]);
            assert_eq!(*proxy.around.calls.0.borrow(), [format!("{cluster} POST h/p Some(5s)")]);
        });
    }
}

#[test]
fn answers_of_its_own_after_the_answer() {
    for at in ["request_headers", "response_headers", "request_body"] {
        run(async {
            let functions = calling("a", at, r#"(call $answer (i32.const 401) @"who?")"#);
            let outcome = Proxy::new(settings(module(&functions))).exchange(post(&["a"], false)).await;
            assert_eq!((outcome.status, outcome.body.as_deref()), (401, Ok("who?")), "{at}");
        });
    }
}

#[test]
fn bodies_that_wait() {
    for (at, side) in [("request_body", 0), ("response_body", 1)] {
        run(async {
            let functions = calling("a", at, &format!("(drop (call $continue (i32.const {side})))"));
            let outcome = Proxy::new(settings(module(&functions))).exchange(post(&["ab", "cd"], false)).await;
            assert_eq!((outcome.seen.as_deref(), outcome.body.as_deref()), (Some("abcd"), Ok("abcd")), "{at}");
        });
    }
}

#[test]
fn whoever_leaves_is_not_waited_for() {
    run(async {
        let proxy = Proxy::new(settings(module(&calling("a", "request_headers", ""))));
        let gone = tokio::time::timeout(Duration::from_secs(1), proxy.exchange(get())).await;
        assert!(gone.is_err());
        // The answer finds its root context, and no exchange any more.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(proxy.shows("envoy_wasm_envoy_wasm_runtime_wasmtime_failed 0"));
    });
}

#[test]
fn reports_of_what_is_over() {
    let reports = r#"(func (export "proxy_on_log") (param i32)
          (drop (call $http_call @"a" PAIRS @"" @"" (i32.const 0) (i32.const 24))))
        (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
          (drop (call $define_metric (i32.const 0) @"reported" (i32.const 56)))
          (drop (call $increment_metric (i32.load (i32.const 56)) (i64.const 1))))"#;
    let proxy = Proxy::new(settings(module(&reports.replace("PAIRS", PAIRS))));
    run(async {
        proxy.exchange(get()).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(proxy.shows("envoy_wasmcustom_reported 1"));
        assert_eq!(*proxy.around.calls.0.borrow(), ["a POST h/p None"]);
    });
}

#[test]
fn what_is_no_request() {
    for headers in [r#"@"""#, r#"@"\01\00\00\00\05\00\00\00\01\00\00\00:path\00/\00""#, r#"@"\09\00\00\00""#] {
        run(async {
            let call = format!(r#"(call $http_call @"a" {headers} @"" @"" (i32.const 0) (i32.const 24))"#);
            let functions = super::wat::on_request(&format!(
                r#"(call $tell (i32.const 0) @"x" {call})
                   (call $tell (i32.const 0) @"y" (call $grpc_send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))"#
            ));
            let outcome = Proxy::new(settings(module(&functions))).exchange(get()).await;
            assert_eq!((outcome.told("x"), outcome.told("y")), (Some("02"), Some("12")), "{headers}");
        });
    }
}
