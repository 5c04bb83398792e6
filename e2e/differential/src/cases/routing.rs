//! Which route takes a request.

use crate::bootstrap::{http, routes};
use crate::case::{Compare, Group, case, get};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![paths(), headers(), domains(), domains_without_port()]
}

fn paths() -> Group {
    let file = routes(
        "
- {name: exact, match: {path: /exact}, direct_response: {status: 200, body: {inline_string: exact}}}
- {name: exact-any-case, match: {path: /Any, case_sensitive: false}, direct_response: {status: 200, body: {inline_string: any}}}
- {name: regex, match: {safe_regex: {regex: '/items/[0-9]+'}}, direct_response: {status: 200, body: {inline_string: regex}}}
- {name: segments, match: {path_separated_prefix: /seg/ment}, direct_response: {status: 200, body: {inline_string: segments}}}
- {name: prefix, match: {prefix: /pre}, direct_response: {status: 200, body: {inline_string: prefix}}}
- {name: prefix-any-case, match: {prefix: /Low, case_sensitive: false}, direct_response: {status: 200, body: {inline_string: low}}}
- {name: never, match: {prefix: /share, runtime_fraction: {default_value: {numerator: 0}}}, direct_response: {status: 200, body: {inline_string: never}}}
- {name: always, match: {prefix: /share, runtime_fraction: {default_value: {numerator: 100}}}, direct_response: {status: 200, body: {inline_string: always}}}
- {name: half, match: {prefix: /half, runtime_fraction: {default_value: {numerator: 50}}}, direct_response: {status: 200, body: {inline_string: half}}}
- {name: other-half, match: {prefix: /half}, direct_response: {status: 200, body: {inline_string: rest}}}
- {name: post, match: {prefix: /method, headers: [{name: ':method', string_match: {exact: POST}}]}, direct_response: {status: 200, body: {inline_string: post}}}
- {name: query-exact, match: {prefix: /query, query_parameters: [{name: a, string_match: {exact: '1'}}]}, direct_response: {status: 200, body: {inline_string: exact}}}
- {name: query-regex, match: {prefix: /query, query_parameters: [{name: a, string_match: {safe_regex: {regex: 'x+'}}}]}, direct_response: {status: 200, body: {inline_string: regex}}}
- {name: query-present, match: {prefix: /query, query_parameters: [{name: b, present_match: true}]}, direct_response: {status: 200, body: {inline_string: present}}}
- {name: query-absent, match: {prefix: /query, query_parameters: [{name: c, present_match: false}, {name: d}]}, direct_response: {status: 200, body: {inline_string: absent}}}
- {name: to-one, match: {prefix: /one}, route: {cluster: one}}
- {name: to-nobody, match: {prefix: /nobody}, route: {cluster: not-there}}
",
    );
    Group::new(
        "paths",
        file.table("validate_clusters: false").text(),
        vec![
            case("exact", get("/exact")),
            case("exact with a query", get("/exact?a=b")),
            case("exact with more after it", get("/exact/")),
            case("exact in another case", get("/EXACT")),
            case("exact in any case", get("/aNY")),
            case("regex", get("/items/42")),
            case("regex with a query", get("/items/42?x")),
            case("regex looks at the whole path", get("/items/42/more")),
            case("segments themselves", get("/seg/ment")),
            case("segments and more", get("/seg/ment/more?x=y")),
            case("segments are whole", get("/seg/mentor")),
            case("segments with a slash", get("/seg/ment/")),
            case("prefix", get("/prefix")),
            case("prefix in another case", get("/PREfix")),
            case("prefix in any case", get("/lOWer")),
            case("no share and then all", get("/share")),
            case("half", get("/half")).times(400).compare(Compare::Spread),
            case("method", get("/method").method("POST")),
            case("another method", get("/method")),
            case("query exact", get("/query?a=1")),
            case("query exact among others", get("/query?x=1&a=1&y")),
            case("query twice, the first counts", get("/query?a=2&a=1")),
            case("query regex", get("/query?a=xxx")),
            case("query regex looks at the whole value", get("/query?a=xxy")),
            case("query present", get("/query?b")),
            case("query absent and present", get("/query?d=")),
            case("query absent, but there", get("/query?c&d=")),
            case("query encoded", get("/query?%61=1")),
            case("query value encoded", get("/query?a=%31")),
            case("nothing fits", get("/")),
            case("a fragment", get("/exact#fragment")),
            case("forwarded", get("/one/two?three=four").header("x-more", "yes")),
            case("forwarded by HTTP/2", get("/one/two?three=four").header("x-more", "yes").h2()),
            case("to a cluster that is not there", get("/nobody")),
            case("an asterisk", get("*").method("OPTIONS")),
        ],
    )
}

fn headers() -> Group {
    let kinds = [
        ("exact", "string_match: {exact: abc}"),
        ("exact-any-case", "string_match: {exact: abc, ignore_case: true}"),
        ("prefix", "string_match: {prefix: abc}"),
        ("suffix", "string_match: {suffix: abc}"),
        ("contains", "string_match: {contains: abc}"),
        ("regex", "string_match: {safe_regex: {regex: 'a+'}}"),
        ("present", "present_match: true"),
        ("absent", "present_match: false"),
        ("bare", ""),
        ("range", "range_match: {start: -5, end: 10}"),
        ("not-exact", "string_match: {exact: abc}, invert_match: true"),
        ("not-present", "present_match: true, invert_match: true"),
        ("not-exact-or-missing", "string_match: {exact: abc}, invert_match: true, treat_missing_header_as_empty: true"),
        ("empty-if-missing", "string_match: {exact: ''}, treat_missing_header_as_empty: true"),
        ("old-exact", "exact_match: abc"),
        ("old-prefix", "prefix_match: abc"),
        ("old-regex", "safe_regex_match: {regex: 'a.c'}"),
    ];
    let mut text = String::new();
    for (name, kind) in kinds {
        text += &format!(
            "- {{name: {name}, match: {{prefix: /{name}/, headers: [{{name: x-h, {kind}}}]}}, direct_response: {{status: 200, body: {{inline_string: fits}}}}}}\n"
        );
    }
    text += "- {name: host, match: {prefix: /host, headers: [{name: ':authority', string_match: {prefix: a.}}]}, direct_response: {status: 200}}\n";
    text += "- {name: scheme, match: {prefix: /scheme, headers: [{name: ':scheme', string_match: {exact: http}}]}, direct_response: {status: 200}}\n";
    text += "- {name: path, match: {prefix: /path, headers: [{name: ':path', string_match: {suffix: q=1}}]}, direct_response: {status: 200}}\n";
    text += "- {name: rest, match: {prefix: /}, direct_response: {status: 404, body: {inline_string: rest}}}\n";
    let value = |path: &str, value: &str| get(path).header("x-h", value);
    Group::new(
        "headers",
        routes(&text).text(),
        vec![
            case("exact", value("/exact/", "abc")),
            case("exact, another", value("/exact/", "abcd")),
            case("exact, missing", get("/exact/")),
            case("exact, another case", value("/exact/", "ABC")),
            case("exact in any case", value("/exact-any-case/", "aBC")),
            case("exact, twice", value("/exact/", "abc").header("x-h", "def")),
            case("exact, twice as a list", value("/exact/", "abc,abc")),
            case("prefix", value("/prefix/", "abcdef")),
            case("prefix, another", value("/prefix/", "xabc")),
            case("suffix", value("/suffix/", "xyzabc")),
            case("suffix, another", value("/suffix/", "abcx")),
            case("contains", value("/contains/", "xabcx")),
            case("regex", value("/regex/", "aaa")),
            case("regex looks at the whole value", value("/regex/", "aaab")),
            case("present", value("/present/", "")),
            case("present, missing", get("/present/")),
            case("absent", get("/absent/")),
            case("absent, but there", value("/absent/", "x")),
            case("only a name", value("/bare/", "x")),
            case("only a name, missing", get("/bare/")),
            case("range", value("/range/", "-5")),
            case("range, its end", value("/range/", "10")),
            case("range, no number", value("/range/", "5x")),
            case("range, a sign", value("/range/", "+5")),
            case("inverted", value("/not-exact/", "x")),
            case("inverted, the same", value("/not-exact/", "abc")),
            case("inverted, missing", get("/not-exact/")),
            case("inverted presence", get("/not-present/")),
            case("inverted, missing is empty", get("/not-exact-or-missing/")),
            case("missing is empty", get("/empty-if-missing/")),
            case("older exact", value("/old-exact/", "abc")),
            case("older prefix", value("/old-prefix/", "abcd")),
            case("older regex", value("/old-regex/", "axc")),
            case("authority", get("/host")),
            case("scheme", get("/scheme")),
            case("path with its query", get("/path?q=1")),
        ],
    )
}

const HOSTS: &str = "
- {name: exact, domains: [a.example], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: exact}}}]}
- {name: port, domains: ['a.example:81'], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: port}}}]}
- {name: suffix, domains: ['*.wild.example'], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: suffix}}}]}
- {name: longer-suffix, domains: ['*.b.wild.example'], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: longer}}}]}
- {name: dash, domains: ['*-dash.example'], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: dash}}}]}
- {name: prefix, domains: ['pre.*'], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: prefix}}}]}
- {name: six, domains: ['[::1]'], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: six}}}]}
";

fn domains() -> Group {
    Group::new(
        "domains",
        http(HOSTS).text(),
        vec![
            case("exact", get("/").host("a.example")),
            case("exact in another case", get("/").host("A.Example")),
            case("exact with a port", get("/").host("a.example:81")),
            case("exact with another port", get("/").host("a.example:82")),
            case("suffix", get("/").host("x.wild.example")),
            case("suffix, deeper", get("/").host("x.y.wild.example")),
            case("the longer suffix", get("/").host("x.b.wild.example")),
            case("suffix, nothing before it", get("/").host(".wild.example")),
            case("suffix with a port", get("/").host("x.wild.example:80")),
            case("suffix with a dash", get("/").host("x-dash.example")),
            case("prefix", get("/").host("pre.anything")),
            case("prefix, nothing after it", get("/").host("pre.")),
            case("nobody", get("/").host("nobody.example")),
            case("a dot at the end", get("/").host("a.example.")),
            case("an IPv6 address", get("/").host("[::1]")),
            case("an IPv6 address with a port", get("/").host("[::1]:80")),
            case("by HTTP/2", get("/").host("A.example").h2()),
        ],
    )
}

fn domains_without_port() -> Group {
    Group::new(
        "domains without port",
        http(HOSTS).table("ignore_port_in_host_matching: true").text(),
        vec![
            case("exact with a port", get("/").host("a.example:82")),
            case("a port in the domain", get("/").host("a.example:81")),
            case("suffix with a port", get("/").host("x.wild.example:80")),
            case("an IPv6 address with a port", get("/").host("[::1]:80")),
            case("what is no port", get("/").host("a.example:http")),
        ],
    )
}
