//! Trust domains whose bundles are fetched: who is asked and how it is checked, whom proxies believe, and what is said of
//! fetches that fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::secret::SecretValue;
use translate::{BundleServer, Edit, FetchedBundle, HadBundle, World};

use crate::mesh::{BOOKINFO, config, sidecar, world};

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIEA\n-----END CERTIFICATE-----\n";
const URL: &str = "https://b.example:8443/";

fn mesh(entries: &[String]) -> World {
    let text: String = entries.concat().lines().map(|line| format!("    {line}\n")).collect();
    let map =
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n";
    world(&format!("{BOOKINFO}\n{map}    caCertificates:\n{text}"), &["productpage/v1@4#us/z1", "reviews/v1@2#us/z1"])
}

fn url(url: &str, domains: &str) -> String {
    format!("- spiffeBundleUrl: '{url}'\n  trustDomains: [{domains}]\n")
}

fn pem(domains: &str) -> String {
    format!("- pem: |\n    {}\n  trustDomains: [{domains}]\n", PEM.trim_end().replace('\n', "\n    "))
}

fn with(world: &World, fetched: FetchedBundle) -> World {
    let bundles = Arc::new([(URL.to_owned(), fetched)].into());
    world.next(Edit { bundles: Some(bundles), ..Edit::default() }).0
}

fn had(roots: &str) -> FetchedBundle {
    let had = HadBundle { document: "{}".into(), roots: roots.into() };
    FetchedBundle { had: Some(had), failure: None }
}

/// The roots of each trust domain, as a proxy is told.
fn told(world: &World) -> BTreeMap<String, String> {
    let config = config(world, &sidecar("productpage/v1@4#us/z1", 9080));
    let SecretValue::Trust { by_domain, .. } = &config.secrets["ROOTCA"].value else { panic!("no trust") };
    let text = |roots: &Vec<u8>| String::from_utf8(roots.clone()).unwrap();
    by_domain.iter().map(|(domain, roots)| (domain.clone(), text(roots))).collect()
}

#[test]
fn who_answers_is_checked() {
    let asked = |entries: &[String]| mesh(entries).bundles_asked().into_values().next().unwrap();
    let ids = |server: Result<BundleServer, String>| match server {
        Ok(BundleServer::Web) => "as on the web".to_owned(),
        Ok(BundleServer::Spiffe { ids, roots }) => {
            assert_eq!(String::from_utf8(roots).unwrap(), PEM);
            ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(" ")
        }
        Err(reason) => reason,
    };
    let usual = "spiffe://b.example/ns/halcyon-system/sa/control spiffe://b.example/spire/server";
    assert_eq!(ids(asked(&[url(URL, "b.example")])), "as on the web");
    assert_eq!(ids(asked(&[url(URL, "b.example"), pem("c.example")])), "as on the web");
    assert_eq!(ids(asked(&[url(URL, "b.example"), pem("b.example")])), usual);
    let named = format!("{URL}#spiffe://c.example/bundles");
    assert_eq!(ids(asked(&[url(&named, "b.example"), pem("c.example")])), "spiffe://c.example/bundles");
    let unknown = ids(asked(&[url(&named, "b.example")]));
    assert!(unknown.contains("there are no roots of `c.example`"), "{unknown}");
}

#[test]
fn roots_that_were_fetched_are_for_their_own_trust_domain() {
    let world = mesh(&[url(URL, "b.example"), pem("b.example")]);
    assert_eq!(told(&world)["b.example"], PEM);
    let own = told(&world)["cluster.local"].clone();
    // They take the place of those that are written, and none of the mesh's own is among them.
    let fetched = with(&world, had("-- fetched --\n"));
    assert_eq!(
        told(&fetched),
        [("b.example", "-- fetched --\n"), ("cluster.local", &own)].map(|(a, b)| (a.to_owned(), b.to_owned())).into()
    );
    // A bundle without roots: nobody is believed any more.
    assert_eq!(told(&with(&world, had(""))).keys().collect::<Vec<_>>(), ["cluster.local"]);
    // Before it is there nobody is believed by the roots of another.
    assert_eq!(told(&mesh(&[url(URL, "b.example")])).keys().collect::<Vec<_>>(), ["cluster.local"]);
}

#[test]
fn fetches_that_fail_are_said() {
    let world = mesh(&[pem("c.example"), url(URL, "b.example")]);
    let said = |fetched: FetchedBundle| {
        let world = with(&world, fetched);
        let problems = translate::check(&world).into_iter().map(|problem| format!("{problem:?}"));
        problems.filter(|text| text.contains("caCertificates")).collect::<Vec<_>>()
    };
    assert_eq!(said(had(PEM)), Vec::<String>::new());
    let failure = Some("nobody there".to_owned());
    let never = said(FetchedBundle { had: None, failure: failure.clone() });
    let [text] = never.as_slice() else { panic!("{never:?}") };
    for part in ["caCertificates[1].spiffeBundleUrl", URL, "nobody there", "nobody of its trust domains is believed"] {
        assert!(text.contains(part), "{text}");
    }
    let once = said(FetchedBundle { failure, ..had(PEM) });
    assert!(once[0].contains("the one that was fetched before still counts"), "{once:?}");
}
