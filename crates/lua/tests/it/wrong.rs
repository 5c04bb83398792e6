//! Scripts that are wrong: what is said, and that the exchange goes on.

use model::extension::{Lua, Script};

use crate::rig::{Rig, lua, request};

#[test]
fn what_cannot_be_read() {
    for (script, expected) in [
        (
            Script::Text("function envoy_on_request(".into()),
            "the script script: line 1: <name> or '...' expected near '<eof>'",
        ),
        (
            Script::Text("\n\nnothing()".into()),
            "the script script: line 3: attempt to call global 'nothing' (a nil value)",
        ),
        (
            Script::Text("envoy_on_request = 1".into()),
            "the script script: envoy_on_request is a integer, expected a function",
        ),
        (
            Script::Text("while true do end".into()),
            "the script script: line 1: it computes for 1s without a wait: the script is ended",
        ),
        (
            Script::Text("a = {} while true do a[#a + 1] = string.rep('x', 100000 + #a) end".into()),
            "the script script: no more than 64 MiB of memory for a script",
        ),
        (
            Script::Text("require('os')".into()),
            "the script script: line 1: attempt to call global 'require' (a nil value)",
        ),
        (
            Script::File("/no/such.lua".into()),
            "the script script: /no/such.lua: No such file or directory (os error 2); expected a file of Lua",
        ),
    ] {
        let said = Rig::with(Lua { script: Some(script.clone()), ..lua("") }).err();
        assert_eq!(said.as_deref(), Some(expected), "{script:?}");
    }
}

#[tokio::test]
async fn a_script_that_fails_lets_pass() {
    for script in [
        "error('no')",
        "h:headers():add('x y', '1')",
        "h:headers():add('x', 'a\\nb')",
        "h:headers():replace(':method', 'NO METHOD')",
        "h:headers():replace(':status', '200')",
        "h:headers():setHttp1ReasonPhrase('fine')",
        "h:metadata()",
        "h:httpCall('none', {[':method'] = 'GET', [':path'] = '/', [':authority'] = 'a'})",
        "h:httpCall('auth', {})",
        "h:respond({}, 'no')",
        "h:respond({[':status'] = '99'})",
        "h:body():getBytes(1, 3)",
        "coroutine.yield(1)",
        "coroutine.wrap(function() h:body() end)()",
        "h.headers()",
        "h:nothing()",
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local a = {} while true do a[#a + 1] = string.rep('x', 100000 + #a) end",
        "kept:headers():get('x-a')",
        "h:streamInfo():dynamicMetadata():set('a', 'b', function() end)",
        "local t = {} t.t = t h:streamInfo():dynamicMetadata():set('a', 'b', t)",
    ] {
        let script = format!(
            "function envoy_on_request(h) h:headers():add('x-before', 'yes') if kept == nil then kept = h return end {script} end"
        );
        let rig = Rig::new(&script);
        // The first time the handle is kept, which is of no use later.
        assert_eq!(rig.exchange(request(&["ab"])).await.errors, 0);
        let outcome = rig.exchange(request(&["ab"])).await;
        assert_eq!(outcome.errors, 1, "{script}");
        assert_eq!(
            (outcome.sent("x-before"), &outcome.upstream.as_ref().unwrap().body[..]),
            ("yes".into(), &b"ab"[..]),
            "{script}"
        );
    }
}

#[tokio::test]
async fn an_error_can_be_caught_and_names_its_line() {
    let rig = Rig::new(
        "function envoy_on_request(h)
           local ok, why = pcall(function()
             h:httpCall('none', {[':method'] = 'GET', [':path'] = '/', [':authority'] = 'a'})
           end)
           h:headers():add('x-why', why)
         end
         function envoy_on_response(h)
           local ok, why = pcall(function() h:respond({[':status'] = '200'}) end)
           h:headers():add('x-why', why)
         end",
    );
    let outcome = rig.exchange(request(&[])).await;
    assert_eq!(outcome.sent("x-why"), "script:3: httpCall(): there is no cluster none");
    assert_eq!(outcome.got("x-why"), "script:8: respond() is of requests alone: a response is changed");
}
