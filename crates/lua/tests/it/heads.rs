//! Heads, and what is told beside them.

use std::sync::Arc;

use http::Version;
use model::extension::{Lua, LuaChoice, LuaRule, Script};
use model::metadata::{Fields, Metadata, Value};
use model::route::FilterRule;

use crate::rig::{Rig, lua, request};

/// Runs a script, which answers what it has found out.
async fn says(body: &str) -> String {
    let script = format!(
        "function envoy_on_request(h)\nlocal said = (function()\n{body}\nend)()\n\
         h:respond({{[':status'] = '200'}}, tostring(said))\nend"
    );
    let outcome = Rig::new(&script).exchange(request(&[])).await;
    assert_eq!(outcome.errors, 0, "{body}");
    String::from_utf8(outcome.body.to_vec()).unwrap()
}

#[tokio::test]
async fn what_a_request_tells() {
    for (body, expected) in [
        ("return h:headers():get(':method')", "GET"),
        ("return h:headers():get(':path')", "/shop?q=1"),
        ("return h:headers():get(':authority')", "shop.example"),
        ("return h:headers():get('Host')", "shop.example"),
        ("return h:headers():get(':scheme')", "http"),
        ("return h:headers():get('X-A')", "1,2"),
        ("return h:headers():get('x-none')", "nil"),
        ("return h:headers():get('no name')", "nil"),
        ("return h:headers():getAtIndex('x-a', 1)", "2"),
        ("return h:headers():getAtIndex('x-a', 2)", "nil"),
        ("return h:headers():getAtIndex('x-a', -1)", "nil"),
        ("return h:headers():getNumValues('x-a')", "2"),
        ("return h:headers():getNumValues('x-none')", "0"),
        (
            "local all = {} for k, v in pairs(h:headers()) do all[#all + 1] = k .. '=' .. v end return table.concat(all, ' ')",
            ":authority=shop.example :path=/shop?q=1 :method=GET :scheme=http x-a=1 x-a=2",
        ),
        ("return h:streamInfo():protocol()", "HTTP/1.1"),
        ("return h:streamInfo():routeName()", "the-route"),
        ("return h:streamInfo():downstreamRemoteAddress()", "127.0.0.1:4000"),
        ("return h:streamInfo():downstreamDirectRemoteAddress()", "10.0.0.1:4000"),
        ("return h:streamInfo():downstreamLocalAddress()", "10.0.0.2:9080"),
        ("return h:streamInfo():requestedServerName()", "shop.example"),
        ("return h:connection():ssl():peerCertificatePresented()", "true"),
        ("return h:connection():ssl():uriSanPeerCertificate()[1]", "spiffe://cluster.local/ns/a/sa/b"),
        (
            "return h:streamInfo():downstreamSslConnection():uriSanLocalCertificate()[1]",
            "spiffe://cluster.local/ns/a/sa/own",
        ),
        ("return h:body()", "nil"),
        ("return h:body(true):length()", "0"),
        ("return h:base64Escape('h\\0i')", "aABp"),
        ("return h:timestamp() > 1.7e12 and #h:timestampString() == 13", "true"),
        ("return #h:timestampString(EnvoyTimestampResolution.MICROSECOND)", "16"),
        ("return bit.band(7, 12) .. ' ' .. os.date('!%Y', 0) .. ' ' .. math.max(1, 2)", "4 1970 2"),
        (
            "return tostring(io) .. tostring(require) .. tostring(os.execute) .. tostring(jit) .. tostring(debug)",
            "nilnilnilnilnil",
        ),
        ("return tostring(package) .. tostring(ffi) .. tostring(loadfile) .. tostring(os.getenv)", "nilnilnilnil"),
        ("return tostring(string.dump) .. tostring(load('\\27LJ')) .. tostring(loadstring('\\27LJ'))", "nilnilnil"),
        ("return select(2, load('\\27LJ\\2', 'x', 'b'))", "attempt to load chunk with wrong mode"),
        ("return load('return 1 + ...', 'sum')(2) .. load('return a', 'x', 't', { a = 5 })()", "35"),
    ] {
        assert_eq!(says(body).await, expected, "{body}");
    }
}

#[tokio::test]
async fn what_is_changed() {
    let rig = Rig::new(
        "function envoy_on_request(h)
           local all = h:headers()
           all:add('x-a', '3') all:replace('x-new', 'yes') all:remove('x-gone')
           all:replace(':path', '/other') all:replace(':method', 'POST') all:replace(':authority', 'other.example')
         end
         function envoy_on_response(h)
           h:headers():replace(':status', '418') h:headers():add('x-was', h:headers():get('server'))
           h:headers():remove('server')
         end",
    );
    let mut asked = request(&[]);
    asked.headers_mut().insert("x-gone", "1".parse().unwrap());
    let outcome = rig.exchange(asked).await;
    let head = &outcome.upstream.as_ref().unwrap().head;
    assert_eq!((head.method().as_str(), head.uri().to_string().as_str()), ("POST", "/other"));
    assert_eq!(
        (outcome.sent("host"), outcome.sent("x-a"), outcome.sent("x-gone")),
        ("other.example".into(), "1,2,3".into(), "-".into())
    );
    assert_eq!(
        (outcome.response.status().as_u16(), outcome.got("x-was"), outcome.got("server")),
        (418, "upstream".into(), "-".into())
    );
    assert_eq!((outcome.reroutes, outcome.errors), (1, 0), "what is changed may fit another route");
}

#[tokio::test]
async fn when_the_route_is_found_again() {
    for (reroutes, script, expected) in [
        (true, "h:headers():get('x-a')", 0),
        (true, "h:headers():add('x-b', '1')", 1),
        (false, "h:headers():add('x-b', '1')", 0),
        (false, "h:clearRouteCache()", 1),
    ] {
        let script = format!("function envoy_on_request(h) {script} end");
        let rig = Rig::with(Lua { reroutes, ..lua(&script) }).unwrap();
        assert_eq!(rig.exchange(request(&[])).await.reroutes, expected, "{reroutes} {script}");
    }
}

#[tokio::test]
async fn metadata_goes_both_ways() {
    let rig = Rig::new(
        "function envoy_on_request(h)
           local all = h:streamInfo():dynamicMetadata()
           all:set('mine', 'list', {1, 'two', true}) all:set('mine', 'by', {name = {deep = 1.5}})
           h:headers():add('x-subject', all:get('envoy.filters.http.jwt_authn').sub)
         end
         function envoy_on_response(h)
           local mine, names = h:streamInfo():dynamicMetadata():get('mine'), {}
           for name in pairs(h:streamInfo():dynamicMetadata()) do names[#names + 1] = name end
           h:headers():add('x-said', mine.list[2] .. mine.by.name.deep .. table.concat(names) .. h:streamInfo():protocol())
         end",
    );
    let mut asked = request(&[]);
    *asked.version_mut() = Version::HTTP_2;
    let mut known = Metadata::default();
    known.of("envoy.filters.http.jwt_authn").insert("sub".into(), Value::Text("anna".into()));
    asked.extensions_mut().insert(known);
    let outcome = rig.exchange(asked).await;
    assert_eq!(outcome.errors, 0);
    assert_eq!(outcome.sent("x-subject"), "anna");
    assert_eq!(outcome.got("x-said"), "two1.5envoy.filters.http.jwt_authnmineHTTP/2");
    let told = outcome.upstream.unwrap().head.extensions().get::<Metadata>().unwrap().clone();
    let list = Value::List(vec![Value::Number(1.0), Value::Text("two".into()), Value::Bool(true)]);
    assert_eq!(told.get("mine", &["list"]), Some(&list));
}

#[tokio::test]
async fn what_routes_say() {
    let says = |word: &str| {
        Script::Text(
            format!(
                "function envoy_on_request(h) h:headers():add('x-who', '{word}' .. (h:filterContext().key or '')) end"
            )
            .into(),
        )
    };
    let context = |text: &str| Some(Fields::from([("key".to_owned(), Value::Text(text.to_owned()))]));
    let rule = |script, context| Some(FilterRule::Lua(Arc::new(LuaRule { script, context })));
    for (rule, expected, errors) in [
        (None, "default+filter", 0),
        (rule(Some(LuaChoice::Off), None), "-", 0),
        (rule(Some(LuaChoice::Named("other".into())), None), "named+filter", 0),
        (rule(Some(LuaChoice::Named("none".into())), None), "-", 1),
        (rule(Some(LuaChoice::Script(says("route"))), context("+route")), "route+route", 0),
        (rule(Some(LuaChoice::Script(Script::Text("no lua".into()))), None), "-", 1),
        (rule(None, context("+route")), "default+route", 0),
    ] {
        let settings = Lua {
            script: Some(says("default")),
            named: [("other".into(), says("named"))].into(),
            context: context("+filter"),
            ..lua("")
        };
        let mut rig = Rig::with(settings).unwrap();
        rig.rule = rule.clone();
        let outcome = rig.exchange(request(&[])).await;
        assert_eq!((outcome.sent("x-who"), outcome.errors), (expected.to_owned(), errors), "{rule:?}");
    }
}

#[tokio::test]
async fn globals_stay_with_a_worker() {
    let rig = Rig::new("local n = 0\nfunction envoy_on_request(h) n = n + 1 h:headers():add('x-n', n) end");
    for expected in ["1", "2", "3"] {
        assert_eq!(rig.exchange(request(&[])).await.sent("x-n"), expected);
    }
}
