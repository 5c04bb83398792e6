//! TrafficExtension and WasmPlugin, rule by rule.

fn check(spec: &str, expected: &[&str]) {
    crate::check("extensions.istio.io/v1alpha1", "TrafficExtension", spec, expected);
}

#[test]
fn scripts() {
    check("lua: {inlineCode: 'function envoy_on_request(h) end'}", &[]);
    check(
        "lua: {inlineCode: 'local a = 1'}",
        &["warning lua.inlineCode: the script has neither `envoy_on_request` nor `envoy_on_response`: it does nothing"],
    );
    check(
        "lua:\n  inlineCode: |\n    function envoy_on_request(h)\n      h:headers(:add('a', 'b')\n    end",
        &["error lua.inlineCode: the script is no Lua, line 2 of it: unexpected symbol near ':'"],
    );
    check(
        &format!("lua: {{inlineCode: '{}'}}", "-".repeat(65_537)),
        &["error lua.inlineCode: the script has 65537 bytes"],
    );
    check("lua: {inlineCode: ''}", &["error lua.inlineCode: the script has 0 bytes"]);
}

#[test]
fn modules() {
    check("wasm: {url: 'ftp://a/b'}", &["error wasm.url: `ftp://a/b` is no way to a module"]);
    check("phase: AUTHN", &["error : it is no filter, or two"]);
}
