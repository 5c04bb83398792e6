//! Services that scripts ask, and answers of their own.

use std::time::Duration;

use tokio::task::LocalSet;

use crate::rig::{Rig, request};

#[tokio::test]
async fn a_service_is_asked() {
    let mut rig = Rig::new(
        "function envoy_on_request(h)
           local headers, body = h:httpCall('auth', {[':method'] = 'POST', [':path'] = '/check', [':authority'] = 'auth',
             ['set-cookie'] = {'a=1', 'b=2'}, ['x-n'] = 7}, 'hello', 250)
           h:headers():add('x-status', headers[':status']) h:headers():add('x-user', headers['x-user'])
           h:headers():add('x-body', body or 'none')
         end",
    );
    rig.around.answer = Some((201, &[("x-user", "anna"), ("x-user", "bert")], "fine"));
    let outcome = rig.exchange(request(&["kept"])).await;
    assert_eq!(outcome.errors, 0);
    assert_eq!(
        (outcome.sent("x-status"), outcome.sent("x-user"), outcome.sent("x-body")),
        ("201".into(), "bert".into(), "fine".into())
    );
    assert_eq!(&outcome.upstream.as_ref().unwrap().body[..], b"kept");
    let asked = rig.around.asked.borrow();
    let (call, timeout) = &asked[0];
    assert_eq!((call.method().as_str(), call.uri().path(), &call.body()[..]), ("POST", "/check", &b"hello"[..]));
    assert_eq!(call.headers()["host"], "auth");
    assert_eq!(call.headers()["x-n"], "7");
    assert_eq!(call.headers()["content-length"], "5");
    assert_eq!(call.headers().get_all("set-cookie").iter().count(), 2);
    assert_eq!(*timeout, Some(Duration::from_millis(250)));
}

#[tokio::test]
async fn options_of_a_call() {
    let call = "'auth', {[':method'] = 'GET', [':path'] = '/', [':authority'] = 'a'}";
    for (options, expected) in [
        ("{return_duplicate_headers = true}", "anna+bert"),
        ("{timeout_ms = 5, trace_sampled = false, send_xff = false}", "bert"),
        ("{unknown = 1}", "error"),
        ("-1", "error"),
    ] {
        let mut rig = Rig::new(&format!(
            "function envoy_on_request(h) local ok, headers = pcall(function() return (h:httpCall({call}, nil, {options})) end)
               local user = ok and headers['x-user'] or 'error'
               h:headers():add('x-got', type(user) == 'table' and table.concat(user, '+') or user) end"
        ));
        rig.around.answer = Some((200, &[("x-user", "anna"), ("x-user", "bert")], ""));
        assert_eq!(rig.exchange(request(&[])).await.sent("x-got"), expected, "{options}");
    }
}

#[tokio::test]
async fn a_service_that_does_not_answer() {
    let rig = Rig::new(
        "function envoy_on_request(h)
           local headers, body = h:httpCall('auth', {[':method'] = 'GET', [':path'] = '/', [':authority'] = 'a'}, nil, 10)
           h:respond({[':status'] = headers[':status']}, body)
         end",
    );
    let outcome = rig.exchange(request(&[])).await;
    assert_eq!((outcome.response.status().as_u16(), &outcome.body[..]), (503, &b"upstream failure"[..]));
}

#[tokio::test]
async fn a_call_that_nobody_waits_for() {
    for flag in ["5, true", "{asynchronous = true}"] {
        let rig = Rig::new(&format!(
            "function envoy_on_response(h)
               local got = h:httpCall('auth', {{[':method'] = 'GET', [':path'] = '/log', [':authority'] = 'a'}}, nil, {flag})
               h:headers():add('x-got', tostring(got))
             end"
        ));
        let outcome = LocalSet::new().run_until(rig.exchange(request(&[]))).await;
        assert_eq!((outcome.got("x-got").as_str(), rig.around.asked.borrow().len()), ("nil", 1), "{flag}");
    }
}

#[tokio::test]
async fn a_script_answers_itself() {
    let rig = Rig::new(
        "function envoy_on_request(h)
           h:respond({[':status'] = '403', ['x-why'] = {'a', 'b'}, ['content-type'] = 'image/png'}, 'n\\0\\255')
           h:logErr('never')
         end
         function envoy_on_response(h) h:headers():add('x-seen', 'yes') end",
    );
    let outcome = rig.exchange(request(&[])).await;
    assert!(outcome.upstream.is_none());
    assert_eq!((outcome.response.status().as_u16(), &outcome.body[..]), (403, &b"n\0\xff"[..]));
    assert_eq!(
        (outcome.got("x-why"), outcome.got("content-type"), outcome.got("x-seen")),
        ("a,b".into(), "image/png".into(), "yes".into())
    );
}
