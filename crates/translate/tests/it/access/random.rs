//! Policies and requests by chance, from few values, so that they meet often.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use super::naive::{Claim, Http, Plain};

/// Chance that is the same for the same seed (splitmix64).
pub struct Chance(pub u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One in `n`.
    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn up_to(&mut self, n: usize) -> usize {
        (self.next() % (n as u64 + 1)) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.up_to(from.len() - 1)]
    }
}

/// A policy: its action, and its rules in YAML.
#[derive(Debug, Clone)]
pub struct Written {
    pub action: &'static str,
    pub rules: Vec<String>,
}

impl Written {
    /// The document.
    pub fn text(&self, index: usize) -> String {
        let provider = if self.action == "CUSTOM" { ", provider: {name: nobody}" } else { "" };
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p{index}, namespace: default}}\nspec: {{action: {}{provider}, rules: [{}]}}\n",
            self.action,
            self.rules.join(",\n  ")
        )
    }
}

const PRINCIPALS: &[&str] = &[
    "cluster.local/ns/a/sa/x",
    "td/ns/a/sa/x",
    "td/ns/b/sa/y",
    "*/ns/a/sa/x",
    "*/sa/y",
    "td/ns/a/*",
    "td/*",
    "*",
    "other/ns/a/sa/x",
    "*d/ns/b/sa/y",
];
const NAMESPACES: &[&str] = &["a", "b", "a*", "*b", "*", "a-*-b", "c"];
const ACCOUNTS: &[&str] = &["x", "default/x", "a/x", "b/y", "a/x.z"];
const DOMAINS: &[&str] = &["td", "cluster.local", "other", "*", "t*", "*r"];
const TOKENS: &[&str] = &[
    "https://i.example/s1",
    "https://i.example/*",
    "*/s1",
    "*",
    "issuer/s2",
    "https://i.example/s*",
    "issuer*",
    "*2",
    "nosub",
];
const BLOCKS: &[&str] =
    &["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "192.168.0.0/16", "0.0.0.0/0", "2001:db8::/32", "::1"];
const HOSTS: &[&str] = &["a.example", "A.Example", "*.example", "a.*", "a.example:8080", "*", "b.example*"];
const METHODS: &[&str] = &["GET", "POST", "*", "P*", "*T"];
const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/*",
    "*/b",
    "/a*",
    "*",
    "/a/{*}",
    "/a/{*}/b",
    "/{**}",
    "/a/{**}",
    "/{*}/{**}/b",
    "/a/{*}/{**}",
    "/{*}",
];
const PORTS: &[&str] = &["80", "8080", "3306"];
const TEXTS: &[&str] = &["v1", "v*", "*1", "*", "other"];

/// A mapping of up to all of these fields, at least one.
fn fields(chance: &mut Chance, from: &[(&str, &str, &[&str])]) -> String {
    let mut written = Vec::new();
    while written.is_empty() {
        for (name, not, values) in from {
            for name in [name, not] {
                if chance.one_in(from.len() as u64 * 2) {
                    written.push(format!("{name}: {}", list(chance, values)));
                }
            }
        }
    }
    format!("{{{}}}", written.join(", "))
}

fn list(chance: &mut Chance, values: &[&str]) -> String {
    let count = 1 + chance.up_to(1);
    let values: Vec<String> = (0..count).map(|_| format!("'{}'", chance.pick(values))).collect();
    format!("[{}]", values.join(", "))
}

fn source(chance: &mut Chance, custom: bool) -> String {
    let addresses: &[_] = &[("ipBlocks", "notIpBlocks", BLOCKS), ("remoteIpBlocks", "notRemoteIpBlocks", BLOCKS)];
    let tokens = ("requestPrincipals", "notRequestPrincipals", TOKENS);
    let domains = ("trustDomains", "notTrustDomains", DOMAINS);
    let identities = [("principals", "notPrincipals", PRINCIPALS), ("namespaces", "notNamespaces", NAMESPACES)];
    let mut all = addresses.to_vec();
    if !custom {
        all.extend([tokens, domains]);
        match chance.one_in(3) {
            true => all.push(("serviceAccounts", "notServiceAccounts", ACCOUNTS)),
            false => all.extend(identities),
        }
    }
    fields(chance, &all)
}

fn operation(chance: &mut Chance) -> String {
    let all = [
        ("hosts", "notHosts", HOSTS),
        ("methods", "notMethods", METHODS),
        ("paths", "notPaths", PATHS),
        ("ports", "notPorts", PORTS),
    ];
    fields(chance, &all)
}

fn condition(chance: &mut Chance, custom: bool) -> String {
    let plain: &[(&str, &[&str])] = &[
        ("request.headers[X-V]", TEXTS),
        ("request.headers[x-none]", TEXTS),
        ("source.ip", BLOCKS),
        ("remote.ip", BLOCKS),
        ("destination.ip", BLOCKS),
        ("destination.port", PORTS),
        ("connection.sni", HOSTS),
    ];
    let proven: &[(&str, &[&str])] = &[
        ("source.namespace", NAMESPACES),
        ("source.principal", PRINCIPALS),
        ("source.serviceAccount", ACCOUNTS),
        ("source.trustDomain", DOMAINS),
        ("request.auth.principal", TOKENS),
        ("request.auth.audiences", TEXTS),
        ("request.auth.presenter", TEXTS),
        ("request.auth.claims[groups]", TEXTS),
        ("request.auth.claims[deep][er]", TEXTS),
    ];
    let mut all = plain.to_vec();
    all.extend(if custom { &[] } else { proven });
    let (key, values) = all[chance.up_to(all.len() - 1)];
    let lists = match chance.up_to(3) {
        0 => format!("notValues: {}", list(chance, values)),
        1 => format!("values: {}, notValues: {}", list(chance, values), list(chance, values)),
        _ => format!("values: {}", list(chance, values)),
    };
    format!("{{key: '{key}', {lists}}}")
}

fn rule(chance: &mut Chance, custom: bool) -> String {
    let mut parts = Vec::new();
    let many = |chance: &mut Chance, one: &dyn Fn(&mut Chance) -> String| {
        let count = 1 + chance.up_to(1);
        (0..count).map(|_| one(chance)).collect::<Vec<_>>().join(", ")
    };
    if chance.one_in(2) {
        parts.push(format!("from: [{}]", many(chance, &|c| format!("{{source: {}}}", source(c, custom)))));
    }
    if chance.one_in(2) {
        parts.push(format!("to: [{}]", many(chance, &|c| format!("{{operation: {}}}", operation(c)))));
    }
    if chance.one_in(3) {
        parts.push(format!("when: [{}]", many(chance, &|c| condition(c, custom))));
    }
    format!("{{{}}}", parts.join(", "))
}

/// One to three policies.
pub fn policies(chance: &mut Chance) -> Vec<Written> {
    let count = 1 + chance.up_to(2);
    let one = |chance: &mut Chance| {
        let action = chance.pick(&["ALLOW", "ALLOW", "ALLOW", "DENY", "DENY", "AUDIT", "CUSTOM"]);
        let least = usize::from(action != "ALLOW");
        let rules = least.max(chance.up_to(2));
        let rules = (0..rules).map(|_| rule(chance, action == "CUSTOM")).collect();
        Written { action, rules }
    };
    (0..count).map(|_| one(chance)).collect()
}

/// A request, or a connection of raw TCP.
pub fn call(chance: &mut Chance) -> Plain {
    const ADDRESSES: &[&str] = &["10.1.2.3", "10.1.9.9", "10.9.9.9", "192.168.1.1", "2001:db8::7", "::1"];
    let mut ip = || -> IpAddr { chance.pick(ADDRESSES).parse().unwrap() };
    let (source, remote, destination) = (ip(), ip(), ip());
    let identity = (!chance.one_in(4)).then(|| {
        let part = |chance: &mut Chance, from: &[&str]| chance.pick(from).to_owned();
        (
            part(chance, &["td", "td", "other"]),
            part(chance, &["a", "b", "default", "a-x-b"]),
            part(chance, &["x", "y", "x.z", "xaz"]),
        )
    });
    Plain {
        identity,
        source,
        remote,
        destination,
        port: chance.pick(PORTS).parse().unwrap(),
        sni: chance.one_in(2).then(|| chance.pick(&["a.example", "b.example", ""]).to_owned()),
        http: (!chance.one_in(4)).then(|| http(chance)),
    }
}

fn http(chance: &mut Chance) -> Http {
    let mut claims = BTreeMap::new();
    let text = |chance: &mut Chance, from: &[&str]| Claim::Text(chance.pick(from).to_owned());
    if chance.one_in(2) {
        claims.insert("iss".to_owned(), text(chance, &["https://i.example", "issuer"]));
        if !chance.one_in(5) {
            claims.insert("sub".to_owned(), text(chance, &["s1", "s2"]));
        }
        for name in ["aud", "azp", "groups"] {
            let values = ["v1", "v2", "other"];
            match chance.up_to(2) {
                0 => _ = claims.insert(name.to_owned(), text(chance, &values)),
                1 => {
                    let list = (0..chance.up_to(2)).map(|_| chance.pick(&values).to_owned()).collect();
                    claims.insert(name.to_owned(), Claim::List(list));
                }
                _ => {}
            }
        }
        if chance.one_in(2) {
            let inner = BTreeMap::from([("er".to_owned(), text(chance, &["v1", "x"]))]);
            claims.insert("deep".to_owned(), Claim::Within(inner));
        }
    }
    let headers = match chance.up_to(3) {
        0 => BTreeMap::new(),
        1 => BTreeMap::from([("x-v".to_owned(), String::new())]),
        _ => BTreeMap::from([("x-v".to_owned(), chance.pick(&["v1", "v2", "other"]).to_owned())]),
    };
    const OF_REQUESTS: &[&str] = &["/", "/a", "/a/", "/a/b", "/a/x/b", "/ab", "/b", "/a/x/y/b", "/c/b", "/a//b"];
    Http {
        method: chance.pick(&["GET", "POST", "PUT", "DELETE"]).to_owned(),
        path: chance.pick(OF_REQUESTS).to_owned(),
        host: chance.pick(&["a.example", "A.EXAMPLE", "b.example", "a.example:8080", "c.test"]).to_owned(),
        headers,
        claims,
    }
}

/// Policies one below the other.
pub fn text(policies: &[Written]) -> String {
    policies.iter().enumerate().fold(String::new(), |mut all, (index, policy)| {
        write!(all, "{}", policy.text(index)).unwrap();
        all
    })
}
