//! Bodies, whole and in pieces, and trailers.

use http::Request;

use crate::rig::{Rig, pieces, request, text};

#[tokio::test]
async fn bodies_are_read_and_rewritten() {
    for (script, given, expected, length) in [
        ("h:headers():add('x-size', h:body():length())", "abcdef", "abcdef", "-"),
        ("h:headers():add('x-got', h:body():getBytes(1, 3))", "abcdef", "abcdef", "-"),
        ("h:body():setBytes('other')", "abcdef", "other", "5"),
        ("h:body():setBytes('')", "abcdef", "", "0"),
        ("h:body() h:body():setBytes(h:body():getBytes(0, 6):upper())", "abcdef", "ABCDEF", "6"),
        ("h:body(true):setBytes('made')", "", "made", "4"),
    ] {
        let rig = Rig::new(&format!("function envoy_on_request(h) {script} end"));
        let given: Vec<&'static str> = if given.is_empty() { vec![] } else { vec![&given[..2], &given[2..]] };
        let outcome = rig.exchange(request(&given)).await;
        let seen = outcome.upstream.as_ref().unwrap();
        assert_eq!((&seen.body[..], outcome.errors), (expected.as_bytes(), 0), "{script}");
        assert_eq!(outcome.sent("content-length"), length, "{script}");
    }
}

#[tokio::test]
async fn what_is_too_long_to_hold() {
    let mut rig = Rig::new("function envoy_on_request(h) h:body() end");
    rig.around.limit = Some(5);
    assert_eq!(rig.exchange(request(&["12345"])).await.response.status(), 200);
    let outcome = rig.exchange(request(&["123", "456"])).await;
    assert_eq!((outcome.response.status().as_u16(), outcome.got("x-broken").as_str()), (413, "TooLarge"));
    let mut rig = Rig::new("function envoy_on_response(h) h:body() end");
    rig.around.limit = Some(5);
    let outcome = rig.exchange(request(&["123", "456"])).await;
    assert_eq!((outcome.response.status().as_u16(), outcome.got("server").as_str()), (500, "-"));
}

#[tokio::test]
async fn pieces_pass_through_a_script() {
    for (script, expected) in [
        ("for chunk in h:bodyChunks() do n = n + chunk:length() end", "abcd"),
        ("for chunk in h:bodyChunks() do chunk:setBytes(chunk:getBytes(0, chunk:length()):upper()) end", "ABCD"),
        // As in the documentation of Envoy's filter.
        ("local last for chunk in h:bodyChunks() do chunk:setBytes('') last = chunk end last:setBytes('new')", "new"),
        ("for chunk in h:bodyChunks() do chunk:setBytes('<' .. chunk:length() .. '>') end", "<2><2><0>"),
        ("local t = h:trailers() t:add('x-more', 'yes')", "abcd"),
        ("for chunk in h:bodyChunks() do end local t = h:trailers() t:replace('x-end', t:get('x-end') .. '!')", "abcd"),
        ("local size = h:body():length() local t = h:trailers() t:replace('x-end', size)", "abcd"),
    ] {
        for function in ["envoy_on_request", "envoy_on_response"] {
            let rig = Rig::new(&format!("n = 0 function {function}(h) {script} end"));
            let body = pieces(&["ab", "cd"], Some("1"));
            let asked = Request::post("/").header("content-length", "4").body(body).unwrap();
            let outcome = rig.exchange(asked).await;
            // What comes from the upstream is one piece.
            let expected =
                if function == "envoy_on_response" { expected.replace("<2><2>", "<4>") } else { expected.into() };
            assert_eq!((&outcome.body[..], outcome.errors), (expected.as_bytes(), 0), "{function} {script}");
            let trailers = outcome.trailers.unwrap();
            let end = match () {
                () if script.contains("size") => "4",
                () if script.contains('!') => "1!",
                () => "1",
            };
            assert_eq!(text(&trailers, "x-end"), end, "{script}");
            assert_eq!(text(&trailers, "x-more") == "yes", script.contains("x-more"), "{script}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_had_while_a_body_passes() {
    for (script, caught) in [
        ("h:body()", "body() cannot be had"),
        (
            "h:httpCall('auth', {[':method'] = 'GET', [':path'] = '/', [':authority'] = 'a'})",
            "httpCall() cannot be made",
        ),
        ("h:respond({[':status'] = '403'}, 'no')", "respond() is too late"),
        ("h:headers():add('x-late', '1')", "the headers have gone on"),
    ] {
        let script = format!(
            "function envoy_on_request(h) local last for chunk in h:bodyChunks() do last = chunk end \
             local ok, why = pcall(function() {script} end) last:setBytes(tostring(ok) .. ' ' .. tostring(why)) end"
        );
        let outcome = Rig::new(&script).exchange(request(&["ab"])).await;
        let said = String::from_utf8(outcome.upstream.unwrap().body.to_vec()).unwrap();
        assert!(said.starts_with("abfalse ") && said.contains(caught), "{script}: {said}");
    }
}
