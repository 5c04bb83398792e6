//! What a client says: on opening a stream, to good and bad resources, and of what it holds.

use std::sync::Arc;

use model::ResourceKind;
use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource as WireResource,
};
use proto::google::protobuf::Any;
use xds::client::{ClientSession, Message, Refusal, Variant};
use xds::{encode, type_url};

use crate::session::content;

fn delta(message: Option<Message>) -> DeltaDiscoveryRequest {
    match message {
        Some(Message::Delta(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn sotw(message: Option<Message>) -> DiscoveryRequest {
    match message {
        Some(Message::Sotw(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn session(variant: Variant) -> ClientSession {
    let mut session = ClientSession::new(Node { id: "me".into(), ..Node::default() }, variant);
    session.want_all(ResourceKind::Cluster);
    session.connected();
    session
}

fn any(name: &str, number: u8) -> Any {
    encode::resource(&content(ResourceKind::Cluster, name, number))
}

fn bad() -> Any {
    Any { type_url: type_url(ResourceKind::Cluster).into(), value: vec![0x0a, 0x01, b'x', 0x88, 0x01] }
}

fn wrapped(name: &str, version: &str, resource: Any) -> WireResource {
    WireResource { name: name.into(), version: version.into(), resource: Some(resource), ..Default::default() }
}

fn response(nonce: &str, resources: Vec<WireResource>) -> DeltaDiscoveryResponse {
    let type_url = type_url(ResourceKind::Cluster).into();
    DeltaDiscoveryResponse { type_url, nonce: nonce.into(), resources, ..Default::default() }
}

fn whole(nonce: &str, resources: Vec<Any>) -> DiscoveryResponse {
    let type_url = type_url(ResourceKind::Cluster).into();
    DiscoveryResponse {
        version_info: format!("v{nonce}"),
        type_url,
        nonce: nonce.into(),
        resources,
        ..Default::default()
    }
}

#[test]
fn only_the_first_message_has_the_node() {
    let mut session = session(Variant::Delta);
    session.want(ResourceKind::Secret, [Arc::from("s")]);
    let first = delta(session.next_message());
    assert_eq!(first.node.map(|node| node.id).as_deref(), Some("me"));
    assert!(first.resource_names_subscribe.is_empty(), "everything, as all servers understand it");
    let second = delta(session.next_message());
    assert_eq!((second.node, second.resource_names_subscribe), (None, vec!["s".to_owned()]));
    assert_eq!(session.next_message(), None);
}

#[test]
fn good_ones_are_kept_and_bad_ones_named() {
    let mut session = session(Variant::Delta);
    _ = session.next_message();
    let resources = vec![
        wrapped("a", "1", any("a", 1)),
        wrapped("b", "1", bad()),
        wrapped("c", "1", any("other", 1)),
        wrapped("d", "1", any("d", 1)),
        wrapped("d", "2", any("d", 2)),
    ];
    let update = session.delta_response(response("n1", resources)).expect("an update");
    assert_eq!(update.updated, [content(ResourceKind::Cluster, "a", 1)]);
    assert_eq!(update.refused.iter().map(|it| it.resource.as_str()).collect::<Vec<_>>(), ["b", "c", "d"]);
    assert_eq!(session.next_message(), None, "nothing is said before the owner has spoken");
    session.resolve(&update.nonce, Ok(()));
    let nack = delta(session.next_message());
    assert_eq!(nack.response_nonce, "n1");
    let words = nack.error_detail.expect("an error").message;
    for part in ["b: value: cannot be read", "c: name: is \"other\"", "d: name: stands more than once"] {
        assert!(words.contains(part), "{part} in {words}");
    }
    // On the next stream the server learns what is held.
    session.connected();
    let versions = delta(session.next_message()).initial_resource_versions;
    assert_eq!(versions.into_iter().collect::<Vec<_>>(), [("a".to_owned(), "1".to_owned())]);
}

#[test]
fn what_cannot_be_applied_is_held_as_before() {
    let mut session = session(Variant::Delta);
    _ = session.next_message();
    for (nonce, outcome, held) in [
        ("1", Ok(()), "1"),
        ("2", Err(vec![Refusal { name: "a".into(), reason: "port in use".into() }]), "1"),
        ("3", Ok(()), "3"),
    ] {
        let refused = outcome.is_err();
        let resource = wrapped("a", nonce, any("a", 1));
        let update = session.delta_response(response(nonce, vec![resource])).expect("an update");
        session.resolve(&update.nonce, outcome);
        let answer = delta(session.next_message());
        assert_eq!(answer.response_nonce, nonce);
        assert_eq!(answer.error_detail.map(|it| it.message), refused.then(|| "a: port in use".to_owned()));
        assert_eq!(session.held().get(ResourceKind::Cluster, "a").map(|it| &*it.version), Some(held));
    }
}

#[test]
fn state_of_the_world() {
    let mut session = session(Variant::Sotw);
    let first = sotw(session.next_message());
    assert_eq!((first.version_info.as_str(), first.response_nonce.as_str()), ("", ""));
    let update = session.sotw_response(whole("1", vec![any("a", 1), any("b", 1)])).expect("an update");
    session.resolve(&update.nonce, Ok(()));
    let ack = sotw(session.next_message());
    assert_eq!((ack.version_info.as_str(), ack.response_nonce.as_str(), ack.error_detail), ("v1", "1", None));
    // A bad one stays as it was; one that is not in the response is gone.
    let spoiled = Any { value: [any("a", 2).value, vec![0x88, 0x01, 0x63]].concat(), ..any("a", 2) };
    let update = session.sotw_response(whole("2", vec![spoiled])).expect("an update");
    assert_eq!((update.updated, update.removed, update.refused.len()), (vec![], vec![Arc::from("b")], 1));
    session.resolve(&update.nonce, Ok(()));
    let nack = sotw(session.next_message());
    assert_eq!((nack.version_info.as_str(), nack.response_nonce.as_str()), ("v1", "2"));
    assert!(nack.error_detail.is_some());
    // When one cannot even say its name, none may be taken away.
    let update = session.sotw_response(whole("3", vec![Any { value: vec![0xff], ..any("a", 1) }])).expect("an update");
    assert_eq!(update.removed, Vec::<Arc<str>>::new());
}

#[test]
fn wants_change_while_a_response_is_unanswered() {
    let names = |names: &[&str]| names.iter().map(|it| Arc::from(*it)).collect::<Vec<Arc<str>>>();
    let mut session = session(Variant::Sotw);
    _ = session.next_message();
    session.want(ResourceKind::Secret, names(&["a"]));
    assert_eq!(sotw(session.next_message()).resource_names, ["a"]);
    let url = type_url(ResourceKind::Secret);
    let response = DiscoveryResponse { type_url: url.into(), nonce: "1".into(), ..Default::default() };
    let update = session.sotw_response(response).expect("an update");
    session.want(ResourceKind::Secret, names(&["a", "b"]));
    assert_eq!(session.next_message(), None, "it would acknowledge the response");
    session.resolve(&update.nonce, Ok(()));
    let ack = sotw(session.next_message());
    assert_eq!((ack.resource_names.len(), ack.response_nonce.as_str()), (2, "1"));
    assert_eq!(session.next_message(), None);
}

#[test]
fn complete_when_all_is_there_or_known_not_to_be() {
    let mut session = session(Variant::Delta);
    assert!(!session.is_complete());
    let update = session.delta_response(response("1", vec![wrapped("a", "1", any("a", 1))])).expect("an update");
    session.resolve(&update.nonce, Ok(()));
    assert!(session.is_complete());
    session.want(ResourceKind::Endpoints, [Arc::from("a")]);
    assert!(!session.is_complete());
    let missing = DeltaDiscoveryResponse {
        type_url: type_url(ResourceKind::Endpoints).into(),
        removed_resources: vec!["a".into()],
        ..Default::default()
    };
    let update = session.delta_response(missing).expect("an update");
    assert_eq!(update.removed, [Arc::from("a")]);
    assert!(session.is_complete());
}

#[test]
fn health_is_told_once_per_change_and_on_every_stream_after_the_node() {
    for variant in [Variant::Delta, Variant::Sotw] {
        let told = |session: &mut ClientSession| -> Vec<(bool, bool, Option<String>)> {
            let parts = |message| match message {
                Message::Delta(r) => (r.node, r.type_url, r.error_detail),
                Message::Sotw(r) => (r.node, r.type_url, r.error_detail),
            };
            std::iter::from_fn(|| session.next_message())
                .map(parts)
                .map(|(node, kind, error)| (node.is_some(), kind == xds::health::HEALTH_TYPE, error.map(|e| e.message)))
                .collect()
        };
        let mut session = session(variant);
        session.report(Err("not yet".to_owned()));
        let not_yet = (false, true, Some("not yet".to_owned()));
        assert_eq!(told(&mut session), [(true, false, None), not_yet.clone()]);
        session.report(Err("not yet".to_owned()));
        assert_eq!(told(&mut session), []);
        session.report(Ok(()));
        assert_eq!(told(&mut session), [(false, true, None)]);
        session.disconnected();
        session.report(Err("not yet".to_owned()));
        session.connected();
        assert_eq!(told(&mut session), [(true, false, None), not_yet]);
    }
}

#[test]
fn virtual_hosts_have_the_names_that_they_were_asked_by() {
    let kind = ResourceKind::VirtualHost;
    let answer = |nonce: &str, resources| DeltaDiscoveryResponse {
        type_url: type_url(kind).into(),
        nonce: nonce.into(),
        resources,
        ..Default::default()
    };
    let mut session = ClientSession::new(Node::default(), Variant::Delta);
    session.want(kind, ["r/h", "r/none"].map(Arc::from));
    session.connected();
    assert_eq!(delta(session.next_message()).resource_names_subscribe, ["r/h", "r/none"]);
    let host = content(kind, "r/h", 1);
    let none = WireResource { name: "r/none".into(), aliases: vec!["r/none".into()], ..Default::default() };
    let both = vec![wrapped("r/h", "1", encode::resource(&host)), none.clone()];
    let update = session.delta_response(answer("1", both)).expect("an update");
    assert_eq!((update.updated, update.removed), (vec![host.clone()], vec!["r/none".into()]));
    session.resolve(&update.nonce, Ok(()));
    assert!(session.is_complete());
    // So are they kept, and asked for on the next stream.
    let held = xds::client::Held::from_bytes(&session.held().to_bytes()).expect("what was kept");
    assert_eq!(ClientSession::new(Node::default(), Variant::Delta).restore(held), [host]);
    session.connected();
    assert_eq!(delta(session.next_message()).initial_resource_versions["r/h"], "1");
    // With a time to live a name without a body says that the old one is still good.
    let still = WireResource { name: "r/h".into(), ttl: Some(Default::default()), ..Default::default() };
    let update = session.delta_response(answer("2", vec![still])).expect("an update");
    assert_eq!((update.updated, update.removed), (vec![], vec![]));
    let gone = WireResource { name: "r/h".into(), ..Default::default() };
    let update = session.delta_response(answer("3", vec![gone])).expect("an update");
    assert_eq!(update.removed, ["r/h".into()]);
}
