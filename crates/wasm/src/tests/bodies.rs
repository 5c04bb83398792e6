//! Bodies: shown, replaced, paused, bounded.

use std::time::Duration;

use mesh_http::BodyErrorKind;

use super::proxy::{Proxy, get, post, run, settings};
use super::wat::{module, on};

/// Pauses until the end, and then writes around all of it.
const AROUND: &str = r#"
(if (i32.eqz (local.get $end)) (then (return (i32.const 1))))
(drop (call $set_buffer (i32.const MAP) (i32.const 0) (i32.const 0) @"<"))
(drop (call $set_buffer (i32.const MAP) (i32.const 99999) (i32.const 0) @">"))
(i32.const 0)"#;

#[test]
fn replaced_whole_or_piece_by_piece() {
    let around = |side: &str, map: &str| on(&format!("{side}_body"), &AROUND.replace("MAP", map));
    let each = r#"(if (local.get $n) (then (drop (call $set_buffer (i32.const 0) (i32.const 0) (local.get $n) @"x")))) (i32.const 0)"#;
    let inner = r#"(if (local.get $n) (then (drop (call $set_buffer (i32.const 0) (i32.const 1) (i32.const 1) @"--")))) (i32.const 0)"#;
    let early = r#"(call $tell (i32.const 0) @"x" (call $set_buffer (i32.const 0) (i32.const 0) (i32.const 0) @"x")) (i32.const 0)"#;
    for (functions, seen, answered) in [
        (around("request", "0"), "<abcdef>", "<abcdef>"),
        (around("response", "1"), "abcdef", "<abcdef>"),
        (around("request", "0") + &around("response", "1"), "<abcdef>", "<<abcdef>>"),
        (on("request_body", each), "xx", "xx"),
        (on("request_body", inner), "a--cd--f", "a--cd--f"),
        (on("request_headers", early), "abcdef", "abcdef"),
    ] {
        run(async {
            let proxy = Proxy::new(settings(module(&functions)));
            let outcome = proxy.exchange(post(&["abc", "def"], false)).await;
            assert!(matches!(outcome.told("x"), None | Some("01")), "before it comes, there is no body");
            let found = (outcome.seen.as_deref(), outcome.body.as_deref());
            assert_eq!(found, (Some(seen), Ok(answered)), "{functions}");
        });
    }
}

#[test]
fn trailers() {
    let paused = on("request_body", "(i32.const 1)");
    let trailers = r#"(func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
        (call $add (i32.const 1) @"x-more" @"2")
        (drop (call $set_buffer (i32.const 0) (i32.const 0) (i32.const 0) @"<"))
        (i32.const 0))"#;
    run(async {
        let outcome = Proxy::new(settings(module(&(paused + trailers)))).exchange(post(&["ab", "c"], true)).await;
        let trailers = outcome.trailers.unwrap();
        assert_eq!(
            (outcome.seen.as_deref(), &trailers["x-more"], &trailers["age"]),
            (Some("<abc"), &"2".parse().unwrap(), &"1".parse().unwrap())
        );
    });
}

#[test]
fn too_much_to_hold() {
    let piece = "x".repeat(300_000);
    let pieces = [piece.as_str(); 4];
    let pauses = "(i32.sub (i32.const 1) (local.get $end))";
    let holds = |side: &str| on(&format!("{side}_headers"), "(i32.const 1)") + &on(&format!("{side}_body"), pauses);
    for (functions, reads, length, status, body) in [
        (on("request_body", pauses), false, 3, 200, Ok(900_000)),
        (on("request_body", pauses), false, 4, 413, Ok(0)),
        (on("request_body", "(i32.const 0)"), false, 4, 200, Ok(1_200_000)),
        (holds("request"), true, 3, 200, Ok(900_000)),
        (holds("request"), true, 4, 413, Ok(0)),
        (on("response_body", pauses), false, 3, 200, Ok(900_000)),
        (on("response_body", pauses), false, 4, 200, Err(BodyErrorKind::TooLarge)),
        (holds("response"), true, 4, 500, Ok(0)),
    ] {
        run(async {
            let settings = settings(module(&functions));
            let proxy = if reads { Proxy::reading(settings) } else { Proxy::new(settings) };
            let outcome = proxy.exchange(post(&pieces[..length], false)).await;
            assert_eq!((outcome.status, outcome.body.map(|body| body.len())), (status, body), "{functions}");
        });
    }
}

#[test]
fn heads_that_wait_for_bodies() {
    let waits = on("request_headers", "(i32.const 1)");
    let looks = on(
        "request_body",
        r#"(if (i32.eqz (local.get $end)) (then (return (i32.const 1))))
           (call $tell (i32.const 0) @"x-length" (local.get $n))
           (drop (call $set_buffer (i32.const 0) (i32.const 0) (local.get $n) @"new"))
           (i32.const 0)"#,
    );
    let functions = waits + &looks;
    run(async {
        let mut request = post(&["abc", "def"], false);
        request.headers_mut().insert("content-length", "6".parse().unwrap());
        let outcome = Proxy::reading(settings(module(&functions))).exchange(request).await;
        assert_eq!((outcome.told("x-length"), outcome.told("content-length")), (Some("06"), Some("3")));
        assert_eq!(outcome.seen.as_deref(), Some("new"));
    });
    let for_all = on("request_headers", "(i32.const 3)") + &looks;
    // As in Envoy: the body of a head that is paused is not shown, unless it is said to be; and never if all is paused.
    for (functions, reads) in [(functions, false), (for_all, true)] {
        run(async {
            let settings = settings(module(&functions));
            let proxy = if reads { Proxy::reading(settings) } else { Proxy::new(settings) };
            let exchange = proxy.exchange(post(&["abc"], false));
            assert!(tokio::time::timeout(Duration::from_secs(60), exchange).await.is_err(), "{reads}");
        });
    }
}

#[test]
fn answers_in_the_middle_of_a_body() {
    let answers = r#"(call $answer (i32.const 403) @"no") (i32.const 1)"#;
    for (side, status, body) in [("request", 403, Ok("no")), ("response", 200, Err(BodyErrorKind::Cancelled))] {
        run(async {
            let functions = on(&format!("{side}_body"), answers);
            let outcome = Proxy::new(settings(module(&functions))).exchange(post(&["abc"], false)).await;
            assert_eq!((outcome.status, outcome.body.as_deref().map_err(|kind| *kind)), (status, body), "{side}");
        });
    }
}

#[test]
fn no_body_is_no_piece() {
    run(async {
        let traps = on("request_body", "unreachable");
        let outcome = Proxy::new(settings(module(&traps))).exchange(get()).await;
        assert_eq!(outcome.status, 200);
    });
}
