//! Heads, local responses and properties.

use bytes::Bytes;

use super::proxy::{Proxy, get, run, settings};
use super::wat::{module, module_of, on, on_request};

#[test]
fn changed_both_ways() {
    let request = on_request(
        r#"(call $add (i32.const 0) @"x-a" @"1") (call $add (i32.const 0) @"x-a" @"2")
           (drop (call $remove_header (i32.const 0) @"x-response"))
           (drop (call $replace_header (i32.const 0) @":path" @"/new"))
           (drop (call $get_header (i32.const 0) @":authority" (i32.const 16) (i32.const 20)))
           (call $tell_given (i32.const 0) @"x-host")
           (call $tell (i32.const 0) @"x-count" (local.get $n))
           (call $tell (i32.const 0) @"x-end" (local.get $end))
           (call $tell (i32.const 0) @"x-none" (call $get_header (i32.const 0) @"y" (i32.const 16) (i32.const 20)))"#,
    );
    let response = on(
        "response_headers",
        r#"(drop (call $replace_header (i32.const 2) @":status" @"202"))
           (drop (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
           (call $tell_given (i32.const 2) @"x-path")
           (call $tell (i32.const 2) @"x-late" (call $add_header (i32.const 0) @"a" @"b"))
           (i32.const 0)"#,
    );
    run(async {
        let proxy = Proxy::new(settings(module(&(request + &response))));
        for _ in 0..2 {
            let outcome = proxy.exchange(get()).await;
            let values: Vec<_> = outcome.request.get_all("x-a").iter().collect();
            assert_eq!(values, ["1", "2"]);
            let told = ["x-host", "x-count", "x-end", "x-none", "x-response"].map(|name| outcome.told(name));
            assert_eq!(told, [Some("reviews:80"), Some("05"), Some("01"), Some("01"), None]);
            assert_eq!((outcome.uri.as_str(), outcome.rerouted), ("/new", false));
            assert_eq!((outcome.status, &outcome.response["x-path"]), (202, &"/new".parse().unwrap()));
            assert_eq!(outcome.response["x-late"], "02", "what was sent on is not changed any more");
        }
        assert!(proxy.shows("envoy_wasm_envoy_wasm_runtime_wasmtime_created 1"), "one instance for both");
    });
}

#[test]
fn all_at_once() {
    let all = on_request(
        r#"(drop (call $get_pairs (i32.const 0) (i32.const 16) (i32.const 20)))
           (i32.store (i32.const 40) (i32.load (call $place)))
           (call $tell (i32.const 0) @"x-pairs" (i32.load (i32.const 40)))
           (drop (call $set_pairs (i32.const 0) @"\02\00\00\00\05\00\00\00\02\00\00\00\01\00\00\00\01\00\00\00:path\00/x\00a\00b\00"))"#,
    );
    run(async {
        let outcome = Proxy::new(settings(module(&all))).exchange(get()).await;
        assert_eq!((outcome.uri.as_str(), outcome.told("a"), outcome.told("x-pairs")), ("/x", Some("b"), None));
        assert_eq!(outcome.told("host"), Some("reviews:80"));
    });
}

#[test]
fn when_the_route_is_found_again() {
    let changes = r#"(call $add (i32.const 0) @"x-a" @"1")"#;
    let asks =
        r#"(drop (call $foreign @"clear_route_cache" (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 20)))"#;
    let other = r#"(call $tell (i32.const 0) @"x" (call $foreign @"sign" (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 20)))"#;
    for (abi, does, rerouted) in [
        ("0_2_1", changes, false),
        ("0_2_1", asks, true),
        ("0_2_1", other, false),
        ("0_2_0", changes, true),
        ("0_2_0", "", false),
    ] {
        run(async {
            let outcome = Proxy::new(settings(module_of(abi, &on_request(does)))).exchange(get()).await;
            assert_eq!(outcome.rerouted, rerouted, "{abi} {does}");
            if does == other {
                assert_eq!(outcome.told("x"), Some("01"));
            }
        });
    }
}

#[test]
fn the_first_version() {
    let request = r#"(func (export "proxy_on_request_headers") (param i32 i32) (result i32)
        (call $tell (i32.const 0) @"x-none" (call $get_header (i32.const 0) @"y" (i32.const 16) (i32.const 20)))
        (i32.const 0))"#;
    run(async {
        let outcome = Proxy::new(settings(module_of("0_1_0", request))).exchange(get()).await;
        assert_eq!(outcome.told("x-none"), Some("00"), "what is not there is empty");
    });
}

#[test]
fn answers_of_its_own() {
    let answer = r#"(drop (call $respond (i32.const 403) @"no way" @"go" @"\01\00\00\00\01\00\00\00\01\00\00\00a\00b\00" (i32.const -1)))"#;
    let at_request = on("request_headers", &format!("{answer} (i32.const 1)"));
    let at_response = on("response_headers", &format!("{answer} (i32.const 1)"));
    let and_again = format!("{at_request}{at_response}");
    for (functions, asked) in [(&at_request, false), (&at_response, true), (&and_again, false)] {
        run(async {
            let outcome = Proxy::new(settings(module(functions))).exchange(get()).await;
            assert_eq!((outcome.status, outcome.body.as_deref()), (403, Ok("go")), "{functions}");
            assert_eq!((&outcome.response["a"], outcome.seen.is_some()), (&"b".parse().unwrap(), asked));
            let details = outcome.local.map(|local| local.details);
            assert_eq!(details.as_deref(), (!asked).then_some("no_way"));
        });
    }
    let bad = on_request(
        r#"(call $tell (i32.const 0) @"x" (call $respond (i32.const 99) @"" @"" @"" (i32.const -1)))
           (call $tell (i32.const 0) @"y" (call $respond (i32.const 200) @"" @"" @"1" (i32.const -1)))"#,
    );
    run(async {
        let outcome = Proxy::new(settings(module(&bad))).exchange(get()).await;
        assert_eq!((outcome.told("x"), outcome.told("y"), outcome.status), (Some("02"), Some("02"), 200));
    });
}

#[test]
fn streams_that_are_closed() {
    let close = on("request_headers", "(drop (call $close (i32.const 0))) (i32.const 1)");
    run(async {
        let outcome = Proxy::new(settings(module(&close))).exchange(get()).await;
        assert_eq!((outcome.status, outcome.seen), (400, None));
    });
}

#[test]
fn properties() {
    let eight = |number: u64| String::from_utf8(number.to_le_bytes().into()).unwrap();
    for (path, expected) in [
        ("request\\00path", Some("/path?q=1".to_owned())),
        ("request\\00url_path", Some("/path".to_owned())),
        ("request\\00query", Some("q=1".to_owned())),
        ("request\\00host", Some("reviews:80".to_owned())),
        ("request\\00scheme", Some("http".to_owned())),
        ("request\\00method", Some("GET".to_owned())),
        ("request\\00protocol", Some("HTTP/1.1".to_owned())),
        ("request\\00headers\\00x-response", Some("yes".to_owned())),
        ("request\\00headers\\00x-other", None),
        ("request\\00nothing", None),
        ("source\\00address", Some("10.0.0.1:1234".to_owned())),
        ("connection\\00requested_server_name", Some("sni.example".to_owned())),
        ("connection\\00subject_peer_certificate", Some("CN=x".to_owned())),
        ("connection\\00uri_san_local_certificate", Some("spiffe://own".to_owned())),
        ("connection\\00uri_san_peer_certificate", None),
        ("connection\\00mtls", Some("\u{1}".to_owned())),
        ("destination\\00port", Some(eight(80))),
        ("request\\00size", Some(eight(0))),
        ("response\\00code", None),
        ("route_name", Some("route-1".to_owned())),
        ("cluster_name", None),
        ("plugin_name", Some("plugin".to_owned())),
        ("plugin_root_id", Some("root".to_owned())),
        ("plugin_vm_id", Some("vm".to_owned())),
        ("own\\00one", Some("1".to_owned())),
        ("", None),
    ] {
        // As a local response: no header holds zeros.
        let tell = format!(
            r#"(drop (call $set_property @"own\00one" @"1"))
               (if (i32.eqz (call $get_property @"{path}" (i32.const 16) (i32.const 20)))
                 (then (call $answer (i32.const 200) (call $place) (call $size))))"#
        );
        run(async {
            let outcome = Proxy::new(settings(module(&on_request(&tell)))).exchange(get()).await;
            let found = outcome.local.map(|local| local.body);
            assert_eq!(found, expected.map(Bytes::from), "{path}");
        });
    }
    let code = on(
        "response_headers",
        r#"(drop (call $get_property @"response\00code" (i32.const 16) (i32.const 20)))
           (call $tell (i32.const 2) @"x-code" (i32.rem_u (i32.load (call $place)) (i32.const 100)))
           (call $tell (i32.const 2) @"x-size" (call $size))
           (i32.const 0)"#,
    );
    run(async {
        let outcome = Proxy::new(settings(module(&code))).exchange(get()).await;
        assert_eq!(
            (&outcome.response["x-code"], &outcome.response["x-size"]),
            (&"00".parse().unwrap(), &"08".parse().unwrap())
        );
    });
}

#[test]
fn bad_places() {
    // Each of these asks for what is beyond the memory, or has an answer put there.
    for call in [
        r#"(call $add_header (i32.const 0) (i32.const -4) (i32.const 8) @"v")"#,
        r#"(call $get_header (i32.const 0) @"host" (i32.const -1) (i32.const 20))"#,
        r#"(call $get_header (i32.const 0) @"host" (i32.const 16) (i32.const 262142))"#,
        r#"(call $get_property @"route_name" (i32.const 16) (i32.const -4))"#,
        r#"(call $log (i32.const 2) (i32.const 1) (i32.const -1))"#,
        r#"(call $set_pairs (i32.const 0) (i32.const 262144) (i32.const 1))"#,
        r#"(call $register_queue @"q" (i32.const -2))"#,
        r#"(call $define_metric (i32.const 0) @"m" (i32.const -2))"#,
        r#"(call $http_call @"a" @"" @"" @"" (i32.const 0) (i32.const -1))"#,
    ] {
        run(async {
            let tell = on_request(&format!(r#"(call $tell (i32.const 0) @"x" {call})"#));
            let outcome = Proxy::new(settings(module(&tell))).exchange(get()).await;
            assert_eq!(outcome.told("x"), Some("06"), "{call}");
        });
    }
}
