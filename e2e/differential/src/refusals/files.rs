//! The files, by what they are wrong about.

use std::fs;
use std::path::Path;

use super::Wrong;
use crate::bootstrap::{Bootstrap, cluster, routes};

mod resources;
mod settings;

/// All of them.
pub fn all() -> Vec<Wrong> {
    let all = [
        text(),
        fields(),
        settings::http_filters(),
        settings::manager(),
        settings::hosts(),
        settings::matches(),
        settings::forwarding(),
        settings::answers(),
        resources::listeners(),
        resources::chains(),
        resources::clusters(),
        resources::checks(),
        resources::balancing(),
        resources::endpoints(),
        resources::downstream_tls(),
        resources::upstream_tls(),
        resources::whole(),
    ];
    all.into_iter().flatten().collect()
}

/// What is no certificate and no key, beside the tests' own.
pub fn write_bad_pem(folder: &Path) -> std::io::Result<()> {
    fs::write(folder.join("bad.pem"), "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n")?;
    fs::write(folder.join("text.pem"), "no certificate at all\n")
}

fn wrong(name: &'static str, text: impl Into<String>) -> Wrong {
    Wrong { name, text: text.into(), differs: None }
}

/// A file that Envoy takes and ours does not.
fn refused(name: &'static str, reason: &'static str, text: impl Into<String>) -> Wrong {
    Wrong { differs: Some(reason), ..wrong(name, text) }
}

const ROUTES: &str = "- {match: {prefix: /}, route: {cluster: one}}";

/// A file in which all is well.
fn good() -> Bootstrap {
    routes(ROUTES)
}

/// One more cluster with more fields.
fn with_cluster(more: &str) -> String {
    good().clusters(&cluster("more", &["B1"], more)).text()
}

/// One route.
fn with_route(route: &str) -> String {
    routes(route).text()
}

/// The file with some of its text replaced, which has to be there.
fn replaced(bootstrap: &Bootstrap, from: &str, to: &str) -> String {
    let text = bootstrap.text();
    assert!(text.contains(from), "there is no {from:?} in the file");
    text.replacen(from, to, 1)
}

/// What is no text of a file.
fn text() -> Vec<Wrong> {
    vec![
        wrong("text: an open list", "a: ["),
        wrong("text: a list", "- a"),
        wrong("text: a word", "a"),
        wrong("text: a tab", "a:\n\tb: c"),
        refused("text: a key twice", "A key that stands twice in a file is refused", "node: {id: a}\nnode: {id: b}"),
    ]
}

/// What does not fit the schema.
fn fields() -> Vec<Wrong> {
    vec![
        wrong("fields: unknown at the top", "bogus: 1"),
        wrong("fields: unknown in a filter", good().filter("bogus: 1").text()),
        wrong("fields: unknown in a cluster", with_cluster("bogus: 1")),
        wrong("fields: unknown in a route", with_route("- {match: {prefix: /}, route: {cluster: one, bogus: 1}}")),
        wrong("fields: a list where text stands", with_cluster("alt_stat_name: [a]")),
        wrong("fields: text where a number stands", good().filter("xff_num_trusted_hops: many").text()),
        wrong("fields: a number below zero", good().filter("xff_num_trusted_hops: -1").text()),
        wrong("fields: a number that is too large", good().filter("xff_num_trusted_hops: 4294967296").text()),
        wrong("fields: text where a flag stands", good().filter("use_remote_address: maybe").text()),
        wrong("fields: a duration in words", with_cluster("dns_refresh_rate: 5 minutes")),
        wrong("fields: a duration in minutes", with_cluster("dns_refresh_rate: 5m")),
        wrong("fields: a duration without its unit", good().filter("stream_idle_timeout: 5").text()),
        wrong("fields: a duration that is too long", good().filter("stream_idle_timeout: 999999999999999s").text()),
        wrong("fields: an unknown word", good().filter("codec_type: HTTP9").text()),
        wrong("fields: an unknown number for a word", good().filter("codec_type: 99").text()),
        wrong(
            "fields: two of a choice",
            with_route("- {match: {prefix: /, path: /a}, route: {cluster: one}}"),
        ),
        wrong(
            "fields: two actions",
            with_route("- {match: {prefix: /}, route: {cluster: one}, redirect: {host_redirect: a}}"),
        ),
        wrong(
            "fields: an unknown type",
            good().http_filters("- {name: x, typed_config: {'@type': type.googleapis.com/no.such.Filter}}").text(),
        ),
        wrong("fields: no type", good().http_filters("- {name: x, typed_config: {a: 1}}").text()),
        wrong(
            "fields: a type of something else",
            good()
                .http_filters("- {name: x, typed_config: {'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: a}}")
                .text(),
        ),
    ]
}
