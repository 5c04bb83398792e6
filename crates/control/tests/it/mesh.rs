//! Bookinfo: applied, joined, pushed, refused, and kept over a restart.

use std::path::PathBuf;

use control::v1::{Outcome, ProxyConfig, Resources, Status, SyncState};
use model::ResourceKind;
use serde_json::json;
use tokio::task::LocalSet;

use crate::fake::{FakeProxy, Joined, Running, cable, eventually, sidecar, sidecar_that, sidecar_with};

fn sample(file: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../samples/bookinfo/mesh");
    std::fs::read_to_string(folder.join(file)).unwrap()
}

const REVIEWS: &str = "9080||reviews.default";

#[tokio::test]
async fn bookinfo() {
    LocalSet::new().run_until(story()).await;
}

async fn story() {
    let dir = tempfile::tempdir().unwrap();
    let control = Running::start(dir.path()).await;
    let applied = control.apply(&[("bookinfo.yaml", &sample("bookinfo.yaml"))]).await;
    assert!(applied.results.iter().all(|r| r.outcome == Outcome::Created), "{:?}", applied.results);
    let deployment = applied.results.iter().find(|r| r.key.to_string() == "Deployment/default/reviews-v2").unwrap();
    assert!(deployment.note.as_ref().is_some_and(|note| note.contains("not run here")), "{deployment:?}");
    let again = control.apply(&[("bookinfo.yaml", &sample("bookinfo.yaml"))]).await;
    assert_eq!((again.version, again.results[0].outcome), (applied.version, Outcome::Unchanged));

    // A caller and a callee join.
    let page = control.join("bookinfo-productpage").await;
    let page_node = sidecar("productpage-v1", "bookinfo-productpage", "127.64.1.1");
    let mut page_proxy = FakeProxy::connect(page.channel().await, page_node.clone());
    page_proxy.until(|config| !config.listeners.is_empty() && !config.routes.is_empty()).await;
    page_proxy.until(|config| config.names.values().any(|table| table.names.contains_key("reviews"))).await;
    assert!(FakeProxy::endpoints(&page_proxy.config.borrow(), REVIEWS).is_empty());
    let reviews = control.join("bookinfo-reviews").await;
    let node = sidecar("reviews-v2", "bookinfo-reviews", "127.64.1.2");
    let mut reviews_proxy = FakeProxy::connect(reviews.channel().await, node.clone());
    page_proxy.until(|config| FakeProxy::endpoints(config, REVIEWS) == ["127.64.1.2:9080"]).await;
    reviews_proxy.until(|config| config.listeners.keys().any(|name| name.contains("9080"))).await;

    status_and_config(&control).await;
    nack(&control, &page_proxy).await;

    // It goes in good order, and is gone.
    reviews_proxy.leave().await;
    page_proxy.until(|config| FakeProxy::endpoints(config, REVIEWS).is_empty()).await;
    let reviews_proxy = FakeProxy::connect(reviews.channel().await, node);
    page_proxy.until(|config| !FakeProxy::endpoints(config, REVIEWS).is_empty()).await;

    broken(&control, &reviews).await;

    // The control plane goes and comes back: the proxies hear of it, and what was there is there.
    let before: Status = control.get("/v1/status").await;
    control.stop().await;
    reviews_proxy.ended().await;
    page_proxy.ended().await;
    let control = Running::start(dir.path()).await;
    let after: Status = control.get("/v1/status").await;
    assert_eq!((after.control.version, after.control.workloads), (before.control.version, 2));
    assert_eq!(after.control.roots, before.control.roots);
    // The certificates are still good, and who has not come back yet still counts.
    let page = page.moved_to(control.endpoints.tls);
    let mut page_proxy = FakeProxy::connect(page.channel().await, page_node);
    page_proxy.until(|config| FakeProxy::endpoints(config, REVIEWS) == ["127.64.1.2:9080"]).await;
    control.stop().await;
}

#[tokio::test]
async fn on_demand() {
    LocalSet::new().run_until(asked_for()).await;
}

async fn asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let control = Running::start(dir.path()).await;
    control.apply(&[("bookinfo.yaml", &sample("bookinfo.yaml"))]).await;
    let reviews = control.join("bookinfo-reviews").await;
    let node = sidecar("reviews-v2", "bookinfo-reviews", "127.64.1.2");
    let _reviews_proxy = FakeProxy::connect(reviews.channel().await, node);
    let page = control.join("bookinfo-productpage").await;
    let on_demand = |registration: &mut control::registration::Registration| registration.on_demand = true;
    let node = sidecar_with(on_demand, "productpage-v1", "bookinfo-productpage", "127.64.1.1");
    let hosts = ["9080/reviews", "9080/example.org"];
    let mut proxy = FakeProxy::connect_on_demand(page.channel().await, node, &hosts);
    proxy.until(|config| FakeProxy::endpoints(config, REVIEWS) == ["127.64.1.2:9080"]).await;
    proxy
        .until(|config| config.routes.get("9080").is_some_and(|table| table.on_demand && table.hosts.len() == 1))
        .await;
    let names = |map: Vec<&std::sync::Arc<str>>| map.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    {
        let config = proxy.config.borrow();
        assert_eq!(names(config.virtual_hosts.keys().collect()), ["9080/reviews"]);
        let clusters = names(config.clusters.keys().collect());
        assert_eq!(clusters, ["PassthroughCluster", "outbound|9080||reviews.default.svc.cluster.local"]);
    }
    // What is shown is what it holds.
    let shown = eventually(|| async {
        let status: Status = control.get("/v1/status").await;
        let page = status.proxies.iter().find(|p| p.workload == "productpage-v1")?.clone();
        let synced = |kind: &str| page.types.iter().any(|t| t.kind == kind && t.state == SyncState::Synced);
        ["CDS", "LDS", "EDS", "RDS", "VHDS"].into_iter().all(synced).then_some(page)
    })
    .await;
    let count = |kind: &str| shown.types.iter().find(|t| t.kind == kind).map(|t| t.count);
    assert_eq!((count("VHDS"), count("CDS"), count("EDS")), (Some(1), Some(2), Some(1)));
    let made: ProxyConfig = control.get("/v1/proxies/productpage-v1-1/config").await;
    let of = |kind: &str| {
        let kind = made.kinds.iter().find(|k| k.kind == kind).unwrap();
        kind.resources.iter().map(|r| r.name.as_str()).collect::<Vec<_>>()
    };
    assert!(made.on_demand);
    assert_eq!(of("VHDS"), ["9080/reviews"]);
    assert_eq!(of("CDS"), ["PassthroughCluster", "outbound|9080||reviews.default.svc.cluster.local"]);
    assert_eq!(of("EDS"), ["outbound|9080||reviews.default.svc.cluster.local"]);
    control.stop().await;
}

#[tokio::test]
async fn workloads_by_their_addresses() {
    LocalSet::new().run_until(dialled()).await;
}

async fn dialled() {
    let dir = tempfile::tempdir().unwrap();
    let control = Running::start(dir.path()).await;
    control.apply(&[("bookinfo.yaml", &sample("bookinfo.yaml"))]).await;
    let page = control.join("bookinfo-productpage").await;
    let on_demand = |registration: &mut control::registration::Registration| registration.on_demand = true;
    let node = sidecar_with(on_demand, "productpage-v1", "bookinfo-productpage", "127.64.1.1");
    let (reviews_at, nobody_at) = ("workload|127.64.1.2:9080", "workload|127.64.1.3:9080");
    let mut proxy = FakeProxy::connect_dialling(page.channel().await, node, &[reviews_at, nobody_at]);
    let names = |config: &model::Config| config.clusters.keys().map(ToString::to_string).collect::<Vec<_>>();
    proxy.until(|config| names(config) == ["PassthroughCluster"]).await;
    assert_eq!(proxy.config.borrow().clusters["PassthroughCluster"].workloads[0].to_string(), "127.64.0.0/10");

    let reviews = control.join("bookinfo-reviews").await;
    let node = sidecar("reviews-v2", "bookinfo-reviews", "127.64.1.2");
    let reviews_proxy = FakeProxy::connect(reviews.channel().await, node);
    proxy.until(|config| names(config) == ["PassthroughCluster", reviews_at]).await;
    {
        let config = proxy.config.borrow();
        let model::cluster::Transport::MeshTls(tls) = &config.clusters[reviews_at].transport else { panic!("TLS") };
        let identity = model::StringMatch::exact("spiffe://cluster.local/ns/default/sa/bookinfo-reviews");
        assert_eq!(tls.validation.as_ref().unwrap().names, [identity]);
    }
    // What is shown follows what was sent.
    eventually(|| async {
        let made: ProxyConfig = control.get("/v1/proxies/productpage-v1-1/config").await;
        let clusters = made.kinds.iter().find(|kind| kind.kind == "CDS")?;
        clusters.resources.iter().any(|resource| resource.name == reviews_at).then_some(())
    })
    .await;

    reviews_proxy.leave().await;
    proxy.until(|config| names(config) == ["PassthroughCluster"]).await;
    control.stop().await;
}

async fn status_and_config(control: &Running) {
    let status = eventually(|| async {
        let status: Status = control.get("/v1/status").await;
        let synced = |kind: &str| {
            status.proxies.iter().all(|p| p.types.iter().any(|t| t.kind == kind && t.state == SyncState::Synced))
        };
        (status.proxies.len() == 2 && ["CDS", "LDS", "EDS", "RDS"].into_iter().all(synced)).then_some(status)
    })
    .await;
    assert_eq!((status.control.workloads, status.control.notices.len()), (2, 0));
    let proxy = status.proxies.iter().find(|p| p.workload == "reviews-v2").unwrap();
    assert_eq!(proxy.identity.as_deref(), Some("spiffe://cluster.local/ns/default/sa/bookinfo-reviews"));
    assert_eq!((proxy.instance.as_str(), proxy.admin.unwrap().port()), ("reviews-v2-1", 15000));
    let clusters = proxy.types.iter().find(|t| t.kind == "CDS").unwrap();
    assert!(clusters.count > 3 && clusters.sent == clusters.acked, "{clusters:?}");

    let config: ProxyConfig = control.get("/v1/proxies/productpage-v1-1/config").await;
    let endpoints = config.kinds.iter().find(|kind| kind.kind == "EDS").unwrap();
    let reviews = endpoints.resources.iter().find(|r| r.name.contains(REVIEWS)).unwrap();
    assert_eq!(reviews.summary, ["127.64.1.2:9080 reviews-v2.default mutual TLS"]);
    let (status, answer) = control.call("GET", "/v1/proxies/nobody/config", &serde_json::Value::Null).await;
    assert_eq!(status, 404, "{answer}");
}

async fn nack(control: &Running, proxy: &FakeProxy) {
    proxy.refuse_next(ResourceKind::Route);
    let rule = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\n\
        spec: {hosts: [reviews], http: [{timeout: 3s, route: [{destination: {host: reviews}}]}]}\n";
    control.apply(&[("rule.yaml", rule)]).await;
    let words = eventually(|| async {
        let status: Status = control.get("/v1/status").await;
        let page = status.proxies.into_iter().find(|p| p.workload == "productpage-v1")?;
        page.types.into_iter().find(|t| t.state == SyncState::Nacked)?.nack
    })
    .await;
    assert!(words.contains("the test says no"), "{words}");
    let (status, _) = control.call("DELETE", "/v1/resources?kind=vs&name=reviews", &serde_json::Value::Null).await;
    assert_eq!(status, 200);
}

/// A connection breaks and comes back: nobody hears of it.
async fn broken(control: &Running, account: &Joined) {
    let (address, wire) = cable(control.endpoints.tls).await;
    let node = sidecar("reviews-v3", "bookinfo-reviews", "127.64.1.3");
    let connect = |channel| FakeProxy::connect(channel, node.clone());
    let mut proxy = connect(account.channel_to(address).await);
    proxy.until(|config| !config.listeners.is_empty()).await;
    let before: Status = control.get("/v1/status").await;
    wire.abort();
    proxy.ended().await;
    eventually(|| async {
        let status: Status = control.get("/v1/status").await;
        (status.proxies.len() < before.proxies.len()).then_some(())
    })
    .await;
    let mut proxy = connect(account.channel().await);
    proxy.until(|config| !config.listeners.is_empty()).await;
    let after: Status = control.get("/v1/status").await;
    assert_eq!((after.control.version, after.control.workloads), (before.control.version, before.control.workloads));
    proxy.leave().await;
    eventually(|| async {
        let status: Status = control.get("/v1/status").await;
        (status.control.workloads < after.control.workloads).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_workload_gets_requests_when_its_program_is_ready() {
    LocalSet::new().run_until(readiness()).await;
}

async fn readiness() {
    const OWN: &str = "9080||reviews.default";
    let dir = tempfile::tempdir().unwrap();
    let control = Running::start(dir.path()).await;
    let page = control.join("default").await;
    let mut page_proxy = FakeProxy::connect(page.channel().await, sidecar("productpage-v1", "default", "127.64.2.1"));
    let reviews = control.join("reviews").await;
    let node = sidecar_that(true, "reviews-v1", "reviews", "127.64.2.2");
    let mut proxy = FakeProxy::connect(reviews.channel().await, node.clone());
    // The service is known, and its sidecar has all that it needs, before the program is ready.
    page_proxy.until(|config| config.names.values().any(|table| table.names.contains_key("reviews"))).await;
    proxy.until(|config| config.listeners.keys().any(|name| name.contains("9080"))).await;
    let reason = async || {
        let status: Status = control.get("/v1/status").await;
        status.proxies.into_iter().find(|p| p.workload == "reviews-v1").map(|p| p.not_ready)
    };
    assert!(reason().await.unwrap().unwrap().contains("has not said yet"));
    assert!(FakeProxy::endpoints(&page_proxy.config.borrow(), OWN).is_empty());

    let words = "nothing listens on 127.0.0.1:9080 yet";
    proxy.report(Err(words.to_owned())).await;
    eventually(|| async { (reason().await? == Some(words.to_owned())).then_some(()) }).await;
    proxy.report(Ok(())).await;
    page_proxy.until(|config| FakeProxy::endpoints(config, OWN) == ["127.64.2.2:9080"]).await;
    assert_eq!(reason().await, Some(None));
    proxy.report(Err(words.to_owned())).await;
    page_proxy.until(|config| FakeProxy::endpoints(config, OWN).is_empty()).await;
    let status: Status = control.get("/v1/status").await;
    let nacked = |p: &control::v1::ProxyStatus| p.types.iter().any(|t| t.nack.is_some());
    assert!(!status.proxies.iter().any(nacked), "a report is no answer to a push");
    proxy.report(Ok(())).await;
    page_proxy.until(|config| !FakeProxy::endpoints(config, OWN).is_empty()).await;

    // A new control plane takes it for as ready as it was.
    control.stop().await;
    proxy.ended().await;
    page_proxy.ended().await;
    let control = Running::start(dir.path()).await;
    let (page, reviews) = (page.moved_to(control.endpoints.tls), reviews.moved_to(control.endpoints.tls));
    let mut proxy = FakeProxy::connect(reviews.channel().await, node);
    proxy.until(|config| !config.listeners.is_empty()).await;
    let mut page_proxy = FakeProxy::connect(page.channel().await, sidecar("productpage-v1", "default", "127.64.2.1"));
    page_proxy.until(|config| FakeProxy::endpoints(config, OWN) == ["127.64.2.2:9080"]).await;
    control.stop().await;
}

#[tokio::test]
async fn sets_are_refused_whole_and_shown_redacted() {
    let dir = tempfile::tempdir().unwrap();
    let control = Running::start(dir.path()).await;
    let good = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
    let bad = "apiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec: {ports: [{port: many}]}\n";
    let set = json!({"documents": [{"file": "a.yaml", "text": good}, {"file": "b.yaml", "text": bad}]});
    let (status, answer) = control.call("POST", "/v1/apply", &set).await;
    assert_eq!((status, answer["problems"][0]["file"].as_str()), (422, Some("b.yaml")), "{answer}");
    let shown: Resources = control.get("/v1/resources?all_namespaces=true").await;
    assert_eq!((shown.version, shown.resources.len()), (0, 0));

    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {tls.key: hidden}\n";
    control.apply(&[("a.yaml", good), ("s.yaml", secret)]).await;
    let shown: Resources = control.get("/v1/resources?kind=secrets").await;
    assert_eq!(shown.resources.len(), 1);
    let text = shown.resources[0].document.to_string();
    assert!(!text.contains("hidden") && text.contains("tls.key") && text.contains("creationTimestamp"), "{text}");

    let (status, answer) = control.call("GET", "/v1/resources?kind=servcies", &serde_json::Value::Null).await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("did you mean"), "{answer}");
    let deleted: control::v1::ApplyResponse = control
        .post("/v1/delete", json!({"documents": [{"file": "a.yaml", "text": good}, {"file": "b.yaml", "text": bad}]}))
        .await;
    let outcomes: Vec<Outcome> = deleted.results.iter().map(|r| r.outcome).collect();
    assert_eq!(outcomes, [Outcome::Deleted, Outcome::NotFound]);
    control.stop().await;
}

#[tokio::test]
async fn a_watched_directory_is_in_force_from_the_start() {
    let (dir, config) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(config.path().join("mesh.yaml"), sample("bookinfo.yaml")).unwrap();
    let mut options = control::ControlOptions::new(dir.path()).on_free_ports();
    options.config_dir = Some(config.path().to_owned());
    let control = Running::with(options).await;
    let shown: Resources = control.get("/v1/resources?kind=svc").await;
    assert_eq!((shown.resources.len(), shown.resources[0].source.as_str()), (4, "files"));
    let (status, answer) =
        control.call("DELETE", "/v1/resources?kind=svc&name=details", &serde_json::Value::Null).await;
    assert!(status == 422 && answer["problems"][0]["message"].as_str().unwrap().contains("mesh.yaml"), "{answer}");
    std::fs::remove_file(config.path().join("mesh.yaml")).unwrap();
    eventually(|| async {
        let shown: Resources = control.get("/v1/resources?kind=svc").await;
        shown.resources.is_empty().then_some(())
    })
    .await;
    control.stop().await;
}
