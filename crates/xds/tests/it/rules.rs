//! The rules of the transport protocol, one table of messages each.
//!
//! A line of a table is what comes in, and what goes out because of it. Snapshots: `set CDS a=1 b=2; EDS a=1`.
//! Requests: the type, then `+name` and `-name` (incremental) or plain names (state of the world), `@name=1` for a
//! held version, `^n` for the nonce, `!` for an error. Responses: `CDS#1 a b -c`: nonce 1 brings a and b and takes c;
//! `a()` is an empty endpoint set, `a?` a name without a body.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::ResourceKind;
use proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use proto::google::rpc::Status;
use xds::server::{DeltaServer, EncodedResource, ResourceSet, ServerSession, Snapshot, SotwServer};
use xds::{decode, kind_of, type_url};

use crate::session::content;

fn kind(short: &str) -> ResourceKind {
    ResourceKind::ALL.into_iter().find(|kind| kind.short() == short).unwrap_or_else(|| panic!("{short}"))
}

fn short(url: &str) -> &'static str {
    kind_of(url).map_or("?", ResourceKind::short)
}

fn encoded(kind: ResourceKind, text: &str) -> Arc<EncodedResource> {
    let (name, number) = text.split_once('=').unwrap_or_else(|| panic!("{text}"));
    Arc::new(EncodedResource::new(&content(kind, name, number.parse().expect("a number"))))
}

/// The next snapshot. Sets are made from their predecessors, as a control plane does.
fn snapshot(text: &str, old: &Snapshot) -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    let parts: BTreeMap<&str, &str> =
        text.split("; ").filter(|it| !it.is_empty()).map(|it| it.split_once(' ').unwrap_or((it, ""))).collect();
    for kind in ResourceKind::ALL {
        let resources = parts.get(kind.short()).into_iter().flat_map(|it| it.split_whitespace());
        let resources: Vec<_> = resources.map(|it| encoded(kind, it)).collect();
        let set = match old.get(kind) {
            Some(old) => ResourceSet::next(old, resources),
            None => Arc::new(ResourceSet::new(resources)),
        };
        snapshot.put(kind, set);
    }
    Arc::new(snapshot)
}

fn error(word: &str) -> Option<Status> {
    (word == "!").then(|| Status { code: 3, message: "no".into(), ..Status::default() })
}

fn delta_request(text: &str) -> DeltaDiscoveryRequest {
    let mut words = text.split_whitespace();
    let kind = kind(words.next().unwrap_or_default());
    let mut request = DeltaDiscoveryRequest { type_url: type_url(kind).into(), ..Default::default() };
    for word in words {
        match word.split_at(1) {
            ("+", name) => request.resource_names_subscribe.push(name.into()),
            ("-", name) => request.resource_names_unsubscribe.push(name.into()),
            ("^", nonce) => request.response_nonce = nonce.into(),
            ("@", held) => {
                let held = encoded(kind, held);
                request.initial_resource_versions.insert(held.name.to_string(), held.version.to_string());
            }
            _ => request.error_detail = error(word),
        }
    }
    request
}

fn sotw_request(text: &str) -> DiscoveryRequest {
    let mut words = text.split_whitespace();
    let kind = kind(words.next().unwrap_or_default());
    let mut request = DiscoveryRequest { type_url: type_url(kind).into(), ..Default::default() };
    for word in words {
        match word.split_at(1) {
            ("^", nonce) => request.response_nonce = nonce.into(),
            ("!", _) => request.error_detail = error(word),
            _ => request.resource_names.push(word.into()),
        }
    }
    request
}

fn check<S: ServerSession>(
    mut session: S,
    read: impl Fn(&str) -> S::Request,
    write: impl Fn(S::Response) -> String,
    lines: &[(&str, &str)],
) -> S {
    let mut now = Arc::new(Snapshot::default());
    for (input, expected) in lines {
        match input.strip_prefix("set ") {
            Some(text) => {
                now = snapshot(text, &now);
                session.offer(now.clone());
            }
            None => session.request(read(input)),
        }
        let mut out = Vec::new();
        while let Some(response) = session.next_response() {
            out.push(write(response));
            assert!(out.len() < 20, "endless after `{input}`: {out:?}");
        }
        assert_eq!(out.join("; "), *expected, "after `{input}`");
    }
    session
}

fn delta(lines: &[(&str, &str)]) -> DeltaServer {
    let write = |response: proto::envoy::service::discovery::v3::DeltaDiscoveryResponse| {
        let added = response.resources.iter().map(|it| {
            let none = if it.resource.is_none() { "?" } else { "" };
            format!(" {}{none}", it.name)
        });
        let removed = response.removed_resources.iter().map(|it| format!(" -{it}"));
        let names: String = added.chain(removed).collect();
        format!("{}#{}{names}", short(&response.type_url), response.nonce)
    };
    check(DeltaServer::new(Arc::default()), delta_request, write, lines)
}

fn sotw(lines: &[(&str, &str)]) -> SotwServer {
    let write = |response: proto::envoy::service::discovery::v3::DiscoveryResponse| {
        let kind = kind_of(&response.type_url).expect("a known type");
        let names = response.resources.iter().map(|any| {
            let resource = decode::resource(kind, any).expect("a resource");
            let empty = matches!(&resource, xds::Resource::Endpoints(set) if set.localities.is_empty());
            format!(" {}{}", resource.name(), if empty { "()" } else { "" })
        });
        format!("{}#{}{}", short(&response.type_url), response.nonce, names.collect::<String>())
    };
    check(SotwServer::new(Arc::default()), sotw_request, write, lines)
}

#[test]
fn acks_are_not_answered() {
    delta(&[("set CDS a=1", ""), ("CDS", "CDS#1 a"), ("CDS ^1", ""), ("CDS ^1", "")]);
    sotw(&[("set CDS a=1", ""), ("CDS", "CDS#1 a"), ("CDS ^1", ""), ("CDS ^1", "")]);
}

#[test]
fn what_was_refused_waits_for_a_change() {
    let server = delta(&[("set CDS a=1", ""), ("CDS", "CDS#1 a"), ("CDS ^1 !", ""), ("set CDS a=1", "")]);
    assert_eq!(server.status()[0].nack.as_ref().map(|nack| nack.message.as_str()), Some("no"));
    assert!(!server.status()[0].in_sync());
    let server =
        delta(&[("set CDS a=1", ""), ("CDS", "CDS#1 a"), ("CDS ^1 !", ""), ("set CDS a=2", "CDS#2 a"), ("CDS ^2", "")]);
    assert!(server.status()[0].in_sync());
    sotw(&[("set CDS a=1", ""), ("CDS", "CDS#1 a"), ("CDS ^1 !", ""), ("set CDS a=1", ""), ("set CDS a=2", "CDS#2 a")]);
}

#[test]
fn one_response_at_a_time_and_the_rest_together() {
    let lines = [("set CDS a=1", ""), ("CDS", "CDS#1 a"), ("set CDS a=2", ""), ("set CDS a=2 b=1", "")];
    delta(&[&lines[..], &[("CDS ^1", "CDS#2 a b")]].concat());
    sotw(&[&lines[..], &[("CDS ^1", "CDS#2 a b")]].concat());
    // A change that is taken back meanwhile was none.
    delta(&[&lines[..], &[("set CDS a=1", ""), ("CDS ^1", "")]].concat());
}

#[test]
fn stale_nonces() {
    // Incremental: they count as changes of subscription, and answer nothing.
    delta(&[
        ("set EDS a=1 b=1", ""),
        ("EDS +a", "EDS#1 a"),
        ("EDS +b ^0", ""),
        ("EDS ^1", "EDS#2 b"),
        ("EDS -b ^1", ""),
        ("EDS ^2", ""),
        ("set EDS a=1 b=2", ""),
    ]);
    // State of the world: dropped, since the newest response will be answered with the whole list.
    sotw(&[
        ("set EDS a=1 b=1", ""),
        ("EDS a", "EDS#1 a"),
        ("EDS a b", ""),
        ("EDS a b ^1", "EDS#2 b"),
        ("EDS a ^1", ""),
        ("EDS a b ^2", ""),
        ("set EDS a=1 b=2", "EDS#3 b"),
    ]);
}

#[test]
fn a_new_stream_is_new() {
    // Whatever nonce the first request has, it stems from another stream.
    delta(&[("set CDS a=1", ""), ("CDS ^7", "CDS#1 a")]);
    sotw(&[("set CDS a=1", ""), ("CDS ^7", "CDS#1 a")]);
    // What is held and good is not sent again; what is not there any more is taken away.
    delta(&[("set EDS a=1 b=2", ""), ("EDS +a +b +c @a=1 @b=1 @c=1", "EDS#1 b"), ("EDS ^1", "EDS#2 -c")]);
    delta(&[("set CDS a=1", ""), ("CDS @a=1 @b=1", "CDS#1"), ("CDS ^1", "CDS#2 -b")]);
}

#[test]
fn wildcards() {
    // A first request without names is everything, but not for endpoints, routes and secrets.
    delta(&[("set CDS a=1; EDS a=1", ""), ("CDS", "CDS#1 a"), ("EDS", "")]);
    sotw(&[("set CDS a=1; EDS a=1", ""), ("CDS", "CDS#1 a"), ("EDS", "")]);
    // An empty set is an answer too.
    delta(&[("CDS", "CDS#1"), ("CDS ^1", "")]);
    sotw(&[("CDS", "CDS#1"), ("CDS ^1", "")]);
    // Incremental: it goes on beside names, until `*` is given up.
    delta(&[
        ("set CDS a=1 b=1", ""),
        ("CDS", "CDS#1 a b"),
        ("CDS +a ^1", "CDS#2 a"),
        ("CDS -* ^2", ""),
        ("set CDS a=2 b=2", "CDS#3 a"),
        ("CDS -a ^3", ""),
        ("set CDS a=3 b=3", ""),
    ]);
    // State of the world: it ends with the first name, and then an empty list is nothing.
    sotw(&[
        ("set CDS a=1 b=1", ""),
        ("CDS", "CDS#1 a b"),
        ("CDS a ^1", "CDS#2 a"),
        ("CDS ^2", ""),
        ("set CDS a=2 b=2", ""),
    ]);
    // Said aloud, it may stand beside names.
    sotw(&[("set CDS a=1 b=1", ""), ("CDS * a", "CDS#1 a b"), ("CDS * a ^1", ""), ("set CDS a=1 b=2", "CDS#2 a b")]);
}

#[test]
fn a_name_given_up_under_a_wildcard_is_answered() {
    delta(&[("set CDS a=1", ""), ("CDS +* +a +x", "CDS#1 a -x"), ("CDS -a -x ^1", "CDS#2 a -x"), ("CDS ^2", "")]);
    sotw(&[("set CDS a=1", ""), ("CDS * a", "CDS#1 a"), ("CDS * ^1", "CDS#2 a"), ("CDS * ^2", "")]);
}

#[test]
fn names_asked_for_anew_are_answered() {
    delta(&[("set EDS a=1", ""), ("EDS +a", "EDS#1 a"), ("EDS +a ^1", "EDS#2 a"), ("EDS ^2", "")]);
    delta(&[("set EDS a=1", ""), ("EDS +a", "EDS#1 a"), ("EDS -a ^1", ""), ("EDS +a", "EDS#2 a")]);
    sotw(&[("set EDS a=1", ""), ("EDS a", "EDS#1 a"), ("EDS ^1", ""), ("EDS a ^1", "EDS#2 a")]);
}

#[test]
fn names_that_do_not_exist() {
    // Incremental: said at once, and remembered.
    delta(&[("RDS +a", "RDS#1 -a"), ("RDS ^1", ""), ("set RDS a=1", "RDS#2 a")]);
    // State of the world: an empty endpoint set, and of other types nothing until they exist.
    sotw(&[("EDS a", "EDS#1 a()"), ("EDS a ^1", ""), ("set CDS b=1", ""), ("set EDS a=1", "EDS#2 a")]);
    sotw(&[("RDS a", ""), ("RDS a b", ""), ("set RDS a=1 b=1", "RDS#1 a b")]);
}

#[test]
fn partial_and_whole_responses() {
    sotw(&[
        ("set CDS a=1 b=1; EDS a=1 b=1", ""),
        ("CDS", "CDS#1 a b"),
        ("CDS ^1", ""),
        ("EDS a b", "EDS#2 a b"),
        ("EDS a b ^2", ""),
        ("set CDS a=1 b=1; EDS a=1 b=2", "EDS#3 b"),
        ("EDS a b ^3", ""),
        ("set CDS a=1 b=2; EDS a=1 b=2", "CDS#4 a b; EDS#5 b"),
    ]);
}

#[test]
fn endpoints_follow_their_clusters() {
    // A changed cluster waits for its endpoints, changed or not.
    delta(&[
        ("set CDS a=1 b=1; EDS a=1 b=1", ""),
        ("CDS", "CDS#1 a b"),
        ("EDS +a +b", "EDS#2 a b"),
        ("CDS ^1", ""),
        ("EDS ^2", ""),
        ("set CDS a=2 b=1; EDS a=1 b=1", "CDS#3 a; EDS#4 a"),
    ]);
    // So on a new stream, where the endpoints are held and the cluster is not.
    delta(&[("set CDS a=2; EDS a=1", ""), ("CDS @a=1", "CDS#1 a"), ("EDS +a @a=1", "EDS#2 a"), ("EDS ^2", "")]);
    // But not when both are held.
    delta(&[("set CDS a=1; EDS a=1", ""), ("CDS @a=1", "CDS#1"), ("EDS +a @a=1", "")]);
}

#[test]
fn virtual_hosts_by_authority() {
    delta(&[
        ("set VHDS r/h=1 r/wild=1 s/h=1", ""),
        // Never all of them.
        ("VHDS", ""),
        ("VHDS +r/h +r/h.test +r/h:80 +r/x.wild +r/none +none", "VHDS#1 r/h r/h.test r/h:80 r/x.wild none? r/none?"),
        ("VHDS ^1", ""),
        // Of several names for one host each is told of a change.
        ("set VHDS r/h=2 r/wild=1 s/h=1", "VHDS#2 r/h r/h.test r/h:80"),
        ("VHDS -r/h:80 ^2", ""),
        ("set VHDS r/wild=1 r/none=1", "VHDS#3 r/none"),
        ("VHDS ^3", "VHDS#4 -r/h -r/h.test"),
    ]);
    // What is held is not sent again.
    delta(&[("set VHDS r/h=1", ""), ("VHDS +r/h +r/none @r/h=1", "VHDS#1 r/none?"), ("VHDS ^1", "")]);
    delta(&[("set VHDS r/h=2", ""), ("VHDS +r/h @r/h=1", "VHDS#1 r/h")]);
}

#[test]
fn what_a_virtual_host_needs_comes_along() {
    let set = ("set CDS h=1 h-too=1 p=1; EDS h=1 h-too=1; VHDS r/h=1", "");
    let asked = ("VHDS +r/h", "VHDS#2 r/h; CDS#3 h h-too; EDS#4 h h-too");
    delta(&[
        set,
        ("CDS +p", "CDS#1 p"),
        ("CDS ^1", ""),
        asked,
        // The client asks for it as it reads that: it is on its way.
        ("VHDS ^2", ""),
        ("CDS +h +h-too", ""),
        ("CDS ^3", ""),
        ("EDS +h +h-too", ""),
        ("EDS ^4", ""),
        // From now on as if it had been asked for always.
        ("set CDS h=2 h-too=1 p=1; EDS h=2 h-too=2; VHDS r/h=1", "CDS#5 h; EDS#6 h h-too"),
        ("CDS -h ^5", ""),
        ("EDS -h ^6", ""),
        ("CDS +h", "CDS#7 h; EDS#8 h"),
    ]);
    // What the client never asked for goes with the virtual host.
    delta(&[
        set,
        ("CDS +p", "CDS#1 p"),
        ("CDS ^1", ""),
        asked,
        ("VHDS -r/h ^2", ""),
        ("CDS ^3", ""),
        ("EDS ^4", ""),
        ("set CDS h=2 h-too=2 p=1; EDS h=2 h-too=1; VHDS r/h=1", ""),
    ]);
    // Who has all clusters has these.
    delta(&[set, ("CDS", "CDS#1 h h-too p"), ("CDS ^1", ""), ("VHDS +r/h", "VHDS#2 r/h")]);
}

#[test]
fn make_before_break() {
    delta(&[
        ("set CDS a=1; EDS a=1; LDS x=1; RDS x=1", ""),
        ("RDS +x", "RDS#1 x"),
        ("LDS", "LDS#2 x"),
        ("CDS", "CDS#3 a"),
        ("EDS +a", "EDS#4 a"),
        ("CDS ^3", ""),
        ("EDS ^4", ""),
        ("LDS ^2", ""),
        ("RDS ^1", ""),
        // New ones in order; what is gone waits until all of them are answered.
        ("set CDS b=1; EDS b=1; LDS x=2 y=1; RDS x=2", "CDS#5 b; LDS#6 x y; RDS#7 x"),
        ("CDS ^5", ""),
        ("EDS +b", "EDS#8 b"),
        ("LDS ^6", ""),
        ("RDS ^7", ""),
        ("EDS ^8", "CDS#9 -a; EDS#10 -a"),
    ]);
    sotw(&[
        ("set CDS a=1; LDS x=1", ""),
        ("CDS", "CDS#1 a"),
        ("LDS", "LDS#2 x"),
        ("CDS ^1", ""),
        ("LDS ^2", ""),
        ("set CDS b=1; LDS y=1", "CDS#3 a b; LDS#4 x y"),
        ("CDS ^3", ""),
        // Users first.
        ("LDS ^4", "LDS#5 y; CDS#6 b"),
        ("LDS ^5", ""),
        ("CDS ^6", ""),
        ("set CDS b=1; LDS y=1", ""),
    ]);
}

#[test]
fn further_types() {
    const EXTENSION: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
    let set = |names: &[&'static str]| {
        let mut snapshot = Snapshot::default();
        let resources = names.iter().map(|name| Arc::new(EncodedResource::raw(*name, &b"raw"[..])));
        snapshot.put_type(EXTENSION, Arc::new(ResourceSet::new(resources)));
        Arc::new(snapshot)
    };
    let mut server = DeltaServer::new(set(&["lua"]));
    server.request(DeltaDiscoveryRequest { type_url: EXTENSION.into(), ..Default::default() });
    let first = server.next_response().expect("an answer");
    assert_eq!(
        first.resources[0].resource.as_ref().map(|any| (any.type_url.as_str(), any.value.as_slice())),
        Some((EXTENSION, &b"raw"[..]))
    );
    server.request(DeltaDiscoveryRequest {
        type_url: EXTENSION.into(),
        response_nonce: first.nonce,
        ..Default::default()
    });
    server.offer(set(&[]));
    // Envoy mishandles the removal of these.
    assert_eq!(server.next_response(), None);
}
